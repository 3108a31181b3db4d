"""What a run writes: ratios, table, json, Markdown, picture, and the difference to a baseline."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from gnnlib.bench import baseline, picture, table
from gnnlib.bench.cases import Targets
from gnnlib.bench.results import Entry, Outcome, Report, Setting
from gnnlib.bench.timing import Times
from gnnlib.bench.traffic import Traffic


@pytest.fixture
def outcome() -> Outcome:
    entries = {
        "ours": Entry("ours", Times((0.02, 0.03, 0.025)), peak=100_000_000),
        "pyg": Entry("pyg", Times((0.6, 0.5, 0.8)), peak=2_000_000_000),
        "pyg-csr": Entry("pyg-csr", Times((0.06, 0.04, 0.05)), note="differs from float64: out: 1 of 8"),
        "torch-scatter": Entry("torch-scatter", note="'torch-scatter' is not installed"),
        "scipy": Entry("scipy", Times((0.01,))),
        "avx2": Entry("avx2", Times((0.018,))),
    }
    return Outcome(
        "spmm-sum",
        "spmm",
        1,
        "spmm sum, F = 128",
        "arxiv-like",
        Targets(pyg=20, best=2.5, yardstick=0.8, other=0.25, memory=30),
        num_nodes=10,
        num_edges=20,
        threads=2,
        copy_bandwidth=3e10,
        traffic=Traffic(2_000_000, 20_000_000),
        entries=entries,
    )


def _report(*outcomes: Outcome, quick: bool = False) -> Report:
    setting = Setting("Some CPU 7", 2, "abc", {"torch": "2"}, "2025-01-01T00:00:00+00:00", 5, quick)
    return Report(setting, list(outcomes))


def _text(renderable: object) -> str:
    console = Console(width=200, file=io.StringIO())
    with console.capture() as shown:
        console.print(renderable)
    return shown.get()


def test_ratios_are_minimum_over_minimum(outcome: Outcome) -> None:
    ratios = outcome.ratios()
    assert ratios["pyg"].value == pytest.approx(25)
    assert ratios["pyg"].reached
    assert (ratios["best"].value, ratios["best"].peer) == (pytest.approx(2), "pyg-csr")
    assert ratios["best"].reached is False
    assert ratios["yardstick"].value == pytest.approx(0.9)
    assert ratios["other"].peer == "scipy"
    assert ratios["other"].reached
    assert outcome.bandwidth == pytest.approx(1e9)
    assert outcome.compulsory_bandwidth == pytest.approx(1e8)
    assert outcome.memory_ratio is not None
    assert outcome.memory_ratio.value == pytest.approx(20)
    assert outcome.memory_ratio.reached is False


def test_json_holds_what_was_measured(outcome: Outcome) -> None:
    found = json.loads(json.dumps(_report(outcome).to_json()))
    (case,) = found["cases"]
    assert found["setting"]["machine_class"] == "some-cpu-7-2-cores"
    assert (case["op"], case["graph"], case["dtype"], case["device"]) == (
        "spmm",
        "arxiv-like",
        "float32",
        "cpu",
    )
    ours = case["entries"][0]
    assert (ours["min_s"], ours["median_s"], ours["peak_bytes"]) == (0.02, 0.025, 100_000_000)
    assert ours["spread"] == pytest.approx(0.4)
    assert case["ratios"]["pyg"]["target"] == 20
    assert case["refused"] is None
    assert case["memory_ratio"] == pytest.approx(20)
    assert case["targets"]["memory"] == 30


def test_the_tables_show_ratios_aims_notes_and_speed(outcome: Outcome) -> None:
    shown = _text(table.case_table(outcome))
    for piece in ("spmm sum, F = 128 [spmm-sum]", "25x", "100 MB", "2.00 GB", "2 threads", "ordinary pages"):
        assert piece in shown
    for piece in ("copies at 30.0 GB/s", "1.0 GB/s", "torch-scatter: 'torch-scatter' is not installed"):
        assert piece in shown
    summary = _text(table.summary_table(_report(outcome)))
    for piece in ("25x (20x)", "0.5x (0.25x)", "20x (30x)"):
        assert piece in summary
    lines = table.markdown(_report(outcome)).splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert "25x (20x)" in lines[2]


def test_a_refused_case_shows_why_and_no_ratio(outcome: Outcome, tmp_path: Path) -> None:
    refused = dataclasses.replace(outcome, refused="ours disagrees with float64: out: 3 of 9")
    assert refused.ratios() == {}
    shown = _text(table.case_table(refused))
    assert "no ratio: ours disagrees with float64: out: 3 of 9" in shown
    assert "25x" not in shown
    assert "25x" not in table.markdown(_report(refused))
    assert picture.draw(_report(refused), tmp_path / "bench") == []


def test_a_case_that_cannot_run_here_says_so(outcome: Outcome) -> None:
    skipped = dataclasses.replace(outcome, entries={}, skipped="cora is a real graph")
    assert "not run: cora is a real graph" in _text(table.case_table(skipped))


def test_the_picture_is_drawn_in_both_forms(outcome: Outcome, tmp_path: Path) -> None:
    png, svg = picture.draw(_report(outcome), tmp_path / "bench")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bench.png", "bench.svg"]


def test_a_case_without_pyg_has_a_bar_too(outcome: Outcome, tmp_path: Path) -> None:
    entries = {n: e for n, e in outcome.entries.items() if n in ("ours", "scipy")}
    assert picture._drawn(outcome).keys() == {"pyg", "best"}
    alone = dataclasses.replace(outcome, entries=entries)
    assert picture._drawn(alone).keys() == {"other"}
    _, svg = picture.draw(_report(outcome, alone), tmp_path / "bench")
    assert svg.exists()


def test_the_difference_to_a_baseline(outcome: Outcome, tmp_path: Path) -> None:
    report = _report(outcome)
    assert baseline.differences(report, tmp_path) is None
    assert baseline.save(report, tmp_path).name == "some-cpu-7-2-cores.json"
    entries = {**outcome.entries, "ours": Entry("ours", Times((0.04,)), peak=150_000_000)}
    slower = _report(dataclasses.replace(outcome, entries=entries))
    found = {d.figure: d for d in baseline.differences(slower, tmp_path) or ()}
    assert found["pyg"].change == pytest.approx(-0.5)
    assert found["peak_bytes"].change == pytest.approx(0.5)


def test_a_baseline_keeps_the_cases_that_were_not_run(outcome: Outcome, tmp_path: Path) -> None:
    baseline.save(_report(outcome), tmp_path)
    path = baseline.save(_report(dataclasses.replace(outcome, case="other")), tmp_path)
    assert json.loads(path.read_text())["cases"].keys() == {"other", "spmm-sum"}


def test_a_quick_run_is_no_baseline(outcome: Outcome, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="quick run"):
        baseline.save(_report(outcome, quick=True), tmp_path)


def test_committed_baselines_name_their_class() -> None:
    for path in baseline.FOLDER.glob("*.json"):
        content = json.loads(path.read_text())
        assert content["machine_class"] == path.stem
        assert content["cases"]


@pytest.mark.parametrize(
    ("value", "shown"), [(1.5, "1.5 s"), (0.0123, "12.3 ms"), (4.2e-5, "42 us"), (None, "-")]
)
def test_times_are_shown_in_a_fitting_unit(value: float | None, shown: str) -> None:
    assert table.seconds(value) == shown
