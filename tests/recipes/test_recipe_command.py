"""``gnnlib reproduce`` as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_recipe_files import GOOD

from gnnlib.cli import main


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in ("reproduce", *arguments)])
    return int(ended.value.code or 0)


def test_the_list_names_every_recipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run("--list") == 0
    shown = capsys.readouterr().out
    assert "gcn-cora" in shown
    assert "gae-cora" in shown


def test_a_recipe_and_the_table_in_one_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(GOOD)
    assert run("mine.toml", "--seeds", 1, "--device", "cpu", "--table") == 0
    assert (tmp_path / "results" / "mine.json").is_file()
    assert "`mine`" in (tmp_path / "RESULTS.md").read_text()
    assert "mine" in capsys.readouterr().out


def test_a_missed_bar_ends_with_status_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(
        GOOD.replace("low = 0.0", "low = 1.1").replace("high = 1.0", "high = 2.0")
    )
    assert run("mine.toml", "--seeds", 1, "--device", "cpu") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gcn-croa",), "did you mean 'gcn-cora'"),
        ((), "no recipe is named"),
        (("--table", "--out", "nowhere"), "holds no result"),
    ],
)
def test_bad_calls_end_with_one_line(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err
