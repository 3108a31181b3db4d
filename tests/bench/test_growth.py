"""How time and memory grow: each work runs, the slopes are those of the logarithms, the files are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
from typer.testing import CliRunner

from gnnlib.bench import curves, growth, memory
from gnnlib.bench.curves import Curve, Point, slope
from gnnlib.bench.runner import Plan
from gnnlib.bench.worker import Request
from gnnlib.cli.bench import bench

app = typer.Typer()
app.command()(bench)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Stand in for the processes: time goes as edges, memory as edges times features."""
    seen: list[Request] = []

    def ask(request: Request, huge_pages: bool, on_event: Any) -> dict[str, Any]:
        seen.append(request)
        if request.case == "gat-step" and request.edges == max(curves.EDGES):
            return {"refused": "the process was killed, most likely for want of memory"}
        time, peak = 1e-6 * request.edges, 1000 * request.edges * request.features
        return {
            "num_nodes": request.edges // 10,
            "edges": request.edges,
            "samples": [2 * time, time],
            "peak": peak,
            "threads": 2,
        }

    monkeypatch.setattr(curves, "ask", ask)
    return seen


@pytest.mark.parametrize("work", growth.WORK)
def test_every_work_is_measured(work: str) -> None:
    found = growth.measure(work, 2_000, 16, rounds=2, quick=True)
    assert abs(found["edges"] - 2_000) <= 2
    assert found["num_nodes"] > 100
    assert len(found["samples"]) == 2
    assert (found["peak"] is None) == (memory.why_not() is not None)


def test_slopes_are_exponents() -> None:
    x = [1.0, 10.0, 100.0, 1000.0]
    assert slope(x, [3 * a**1.5 for a in x]) == pytest.approx(1.5)
    assert slope([5.0, 5.0], [1.0, 2.0]) is None
    assert slope([], []) is None


def test_small_peaks_and_unmeasured_ones_have_no_part_in_a_slope() -> None:
    peaks = (1000, None, 10**7, 10**8)
    points = [Point("spmm", 10, 10**k, 8, (1.0,), p) for k, p in enumerate(peaks, start=3)]
    curve = Curve("spmm", "edges", tuple(points))
    assert curve.memory_slope == pytest.approx(1)
    assert curve.time_slope == pytest.approx(0)
    assert points[2].arrays == pytest.approx(10**7 / (4 * 10 * 8))
    assert points[1].arrays is None
    assert Point("walks", 10, 10, 1, (1.0,), 10**7).arrays is None


def test_a_run_covers_both_axes_and_measures_a_shared_point_once(asked: list[Request]) -> None:
    report = curves.run(Plan())
    assert [(c.work, c.axis) for c in report.curves] == [
        (w, a)
        for w in growth.WORK
        for a in ("edges", "features")
        if a == "edges" or w not in growth.WIDTHLESS
    ]
    wide = len(growth.WORK) - len(growth.WIDTHLESS)
    assert len(asked) == wide * (len(curves.EDGES) + len(curves.FEATURES) - 1) + 2 * len(curves.EDGES)
    assert {r.features for r in asked if r.case in growth.WIDTHLESS} == {1}
    assert {r.rounds for r in asked} == {curves.ROUNDS}
    first, second = report.curves[:2]
    assert first.time_slope == pytest.approx(1)
    assert second.time_slope == pytest.approx(0)
    assert second.memory_slope == pytest.approx(1)
    (why,) = report.failures
    assert why.startswith("GAT training step at 10,000,000 edges, F = 128: the process was killed")


def test_the_command_writes_tables_and_pictures(asked: list[Request], tmp_path: Path) -> None:
    arguments = ("--growth", "--quick", "--rounds", "3", "--threads", "1", "--out", str(tmp_path))
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    assert {p.name for p in tmp_path.iterdir()} == {f"growth.{k}" for k in ("json", "md", "png", "svg")}
    assert {(r.rounds, r.threads, r.quick) for r in asked} == {(3, 1, True)}
    found = json.loads((tmp_path / "growth.json").read_text())
    assert found["curves"][0]["time_slope"] == pytest.approx(1)
    assert found["curves"][0]["points"][0]["node_arrays"] > 0
    lines = (tmp_path / "growth.md").read_text().splitlines()
    assert lines[2].startswith("| spmm sum | edges | 3,000 | 30,000 | 1.00 | 1.00 |")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(tmp_path / "growth.svg").getroot().tag.endswith("svg")
    for piece in ("spmm sum, along edges", "slope of memory", "QUICK RUN"):
        assert piece in done.output


def test_what_could_not_be_measured_is_told(asked: list[Request], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ("--growth", "--out", str(tmp_path)), env={"COLUMNS": "120"})
    assert done.exit_code == 1
    assert "not measured: GAT training step at 10,000,000 edges" in done.output
    assert "killed" in (tmp_path / "growth.md").read_text()


def test_growth_has_its_own_cases(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ("--growth", "--cases", "spmm", "--out", str(tmp_path)))
    assert done.exit_code != 0
    assert "leave --cases and --peers out" in str(done.exception)
