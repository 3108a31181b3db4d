"""``gnnlib measure`` on small runs: what it prints and writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gnnlib.train import TrainConfig, run
from gnnlib.train.measure import measure


def test_a_node_run_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    run(TrainConfig(dataset="karate", model="gcn", epochs=3, out=str(out)))
    found = measure(out, num_samples=None)
    content = json.loads((out / "measure.json").read_text())
    assert content == found
    assert content["influence"]["reach"] == 2
    assert content["influence"]["nodes"] == 34
    assert len(content["influence"]["curve"]) == 3
    assert [row["layer"] for row in content["smoothing"]] == ["input", "encoder.convs.0", "encoder.convs.1"]
    assert len(content["squashing"]["resistance"]) == len(content["squashing"]["sensitivity"]) > 50
    assert content["gap"]["epoch"] == [1, 2, 3]
    assert (out / "measure.png").stat().st_size > 5000


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gnnlib.cli import main

    out = tmp_path / "run"
    run(TrainConfig(dataset="karate", model="mlp", epochs=2, out=str(out)))
    with pytest.raises(SystemExit) as stop:
        main(["measure", str(out), "--samples", "5"])
    assert not stop.value.code
    printed = capsys.readouterr().out
    assert "range R, hops" in printed
    assert "generalisation gap" in printed


def test_a_graph_run_has_its_gap(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(TrainConfig(dataset="ring-transfer-6", model="gcn", epochs=1, batch_size=500, out=str(out)))
    found = measure(out)
    assert set(found) == {"dataset", "model", "run", "gap"}
