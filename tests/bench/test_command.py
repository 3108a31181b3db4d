"""``gnnlib bench`` from the outside: its processes, its files, its status and its messages."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gnnlib import machine
from gnnlib.bench import memory, runner
from gnnlib.bench.cases import CASES
from gnnlib.bench.runner import Plan, run_case
from gnnlib.bench.worker import MARK, Request
from gnnlib.cli.bench import bench

app = typer.Typer()
app.command()(bench)
_START = subprocess.Popen


def _invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120"})


def test_a_quick_run_measures_and_writes_everything(tmp_path: Path) -> None:
    done = _invoke(
        "--quick", "--rounds", "2", "--cases", "spmm-hub", "--peers", "pyg", "--out", str(tmp_path)
    )
    assert done.exit_code == 0, done.output
    assert {p.name for p in tmp_path.iterdir()} == {"bench.json", "bench.md", "bench.png", "bench.svg"}
    found = json.loads((tmp_path / "bench.json").read_text())
    (case,) = found["cases"]
    assert found["setting"]["quick"]
    assert [e["peer"] for e in case["entries"]] == ["ours", "pyg"]
    assert all(len(e["samples_s"]) == 2 for e in case["entries"])
    assert not case["huge_pages"]
    assert case["ratios"]["pyg"]["value"] > 0
    for piece in ("spmm sum with a hub", "QUICK RUN", "no baseline"):
        assert piece in done.output


def test_memory_is_measured_in_a_fresh_process() -> None:
    if why := memory.why_not():
        pytest.skip(why)
    request = Request("memory", "spmm-in-cache", peers=("scipy",), threads=1)
    found = runner.ask(request, False, lambda event: None)
    out = 20_000 * 64 * 4
    assert out <= found["peak"] < 4 * out


@pytest.mark.parametrize(
    ("option", "name", "said"),
    [("--cases", "spmm-hup", "did you mean 'spmm-hub'"), ("--peers", "pyg-crs", "did you mean 'pyg-csr'")],
)
def test_an_unknown_name_is_told_the_nearest(option: str, name: str, said: str, tmp_path: Path) -> None:
    done = _invoke(option, name, "--out", str(tmp_path))
    assert done.exit_code != 0
    assert said in str(done.exception)


def test_the_list_names_cases_and_peers() -> None:
    done = _invoke("--list")
    assert done.exit_code == 0
    for name in (*CASES, "avx2", "pyg-csr"):
        assert name in done.output


def test_groups_names_and_lists_choose_cases() -> None:
    assert [c.group for c in Plan(cases=("spmm",)).chosen()] == ["spmm"] * 4
    assert [c.name for c in Plan(cases=("gcn-step", "spmm-sum")).chosen()] == ["spmm-sum", "gcn-step"]
    assert [c.name for c in Plan(cases=("pairs",)).chosen()] == ["common-neighbors"]
    assert len(Plan().chosen()) == len(CASES)


def test_bad_figures_are_refused() -> None:
    with pytest.raises(ValueError, match="rounds=0"):
        Plan(rounds=0)
    with pytest.raises(ValueError, match="threads=-1"):
        Plan(threads=-1)


def _worker(monkeypatch: pytest.MonkeyPatch, script: str) -> list[dict[str, str]]:
    """Run a shell script in the worker's place; returns the environments it was given."""
    given: list[dict[str, str]] = []

    def popen(command: Any, env: dict[str, str], **options: Any) -> Any:
        given.append(env)
        return _START(["sh", "-c", script], env=env, **options)

    monkeypatch.setattr(runner.subprocess, "Popen", popen)
    return given


def test_a_killed_worker_is_a_refusal_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    _worker(monkeypatch, "kill -9 $$")
    assert "want of memory" in str(run_case(CASES["spmm-hub"], Plan(quick=True)).refused)
    _worker(monkeypatch, "echo nonsense; echo 'it broke' >&2; exit 3")
    assert (
        run_case(CASES["spmm-hub"], Plan(quick=True)).refused == "the process ended with status 3: it broke"
    )


@pytest.mark.parametrize(
    ("case", "plan", "asked"),
    [
        ("spmm-sum", Plan(memory=False), "0"),
        ("gcn-step", Plan(memory=False), "1"),
        ("gcn-step", Plan(memory=False, huge_pages=False), "0"),
        ("spmm-sum", Plan(memory=False, huge_pages=True), "1"),
    ],
)
def test_the_huge_page_setting_is_that_of_the_case_unless_chosen(
    case: str, plan: Plan, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = json.dumps({"result": {"skipped": "a stand-in"}})
    given = _worker(monkeypatch, f"echo '{MARK}{result}'")
    assert run_case(CASES[case], plan).skipped == "a stand-in"
    assert [env[machine.HUGE_PAGES_VARIABLE] for env in given] == [asked]


@pytest.mark.parametrize(("plan", "rounds"), [(Plan(memory=False), 2), (Plan(memory=False, rounds=9), 9)])
def test_a_case_chooses_its_rounds_unless_told(
    plan: Plan, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []

    def ask(request: Request, huge_pages: bool, on_event: Any) -> dict[str, Any]:
        asked.append(request)
        return {"skipped": "a stand-in"}

    monkeypatch.setattr(runner, "ask", ask)
    run_case(CASES["pna-step"], plan)
    assert [r.rounds for r in asked] == [rounds]


def test_a_refused_case_ends_with_an_error_status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = json.dumps({"result": {"refused": "ours disagrees with float64"}})
    _worker(monkeypatch, f"echo '{MARK}{result}'")
    done = _invoke("--cases", "spmm-hub", "--out", str(tmp_path))
    assert done.exit_code == 1
    assert "no ratio: ours disagrees with float64" in done.output
    assert json.loads((tmp_path / "bench.json").read_text())["cases"][0]["refused"]
