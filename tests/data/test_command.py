"""``gnnlib data``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gnnlib.cli.data import data
from tests.data.tiny import write_tu

pytestmark = pytest.mark.usefixtures("cache")

app = typer.Typer()
app.command()(data)


def run(*arguments: str, width: int = 80) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": str(width)}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("width", [80, 140])
def test_the_list(width: int) -> None:
    lines = run(width=width).splitlines()
    row = next(line for line in lines if line.startswith("cora "))
    assert row.split()[:4] == ["cora", "node", "2,708", "nodes"]
    assert row.split()[-2:] == ["accuracy", "online"]
    assert ("10,556" in row) == (width == 140)
    assert "bundled" in next(line for line in lines if line.startswith("digits "))
    assert max(map(len, lines)) <= width
    assert not any("\u2026" in line for line in lines), "a cell is cut off"


def test_one_task() -> None:
    output = run("--task", "incidence")
    assert "davis" in output
    assert "cora" not in output


def test_json() -> None:
    records = {record["name"]: record for record in json.loads(run("--json"))}
    assert records["cora"]["counts"]["nodes"] == 2708
    assert records["digits"]["where"] == "bundled"
    one = json.loads(run("cora", "--json"))
    assert one["files"][0]["url"].startswith("https://")


def test_one_dataset() -> None:
    output = run("cora")
    assert "Cora, a citation network" in output
    assert "nodes 2,708" in output
    assert "18 in Planetoid/Cora, 10 optional" in output
    assert "online" in output


def test_a_root(tmp_path: Path) -> None:
    write_tu(tmp_path, "RINGS")
    assert json.loads(run("TU:RINGS", "--root", str(tmp_path), "--json"))["where"] == str(
        tmp_path / "TUDataset" / "RINGS"
    )


def test_wrong_names() -> None:
    with pytest.raises(ValueError, match="did you mean 'cora'"):
        run("croa")
    with pytest.raises(ValueError, match="name the dataset to fetch"):
        run("--fetch")
    with pytest.raises(ValueError, match="comes with the installed packages"):
        run("digits", "--fetch")
