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


@pytest.mark.filterwarnings("ignore:influence. no output depends on the node itself")
def test_a_model_that_looks_against_the_edges(
    tmp_path: Path, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gnnlib.cli import main

    out = tmp_path / "run"
    run(TrainConfig(dataset="texas", model="dirgnn", epochs=1, root=str(data_root), out=str(out)))
    with pytest.raises(SystemExit) as stop:
        main(["measure", str(out), "--samples", "20"])
    assert not stop.value.code
    assert "reach, hops, in either direction" in capsys.readouterr().out
    found = json.loads((out / "measure.json").read_text())["influence"]
    assert (found["hops"], found["apart"], found["reach"] < 20) == ("undirected", 0, True)
    with pytest.raises(ValueError, match="one node to measure says nothing of the spread; pass 2 or more"):
        measure(out, num_samples=1)


def test_a_graph_run_has_its_gap(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(TrainConfig(dataset="ring-transfer-6", model="gcn", epochs=1, batch_size=500, out=str(out)))
    found = measure(out)
    assert set(found) == {"dataset", "model", "run", "gap"}


def test_runs_are_compared_on_the_same_nodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gnnlib.cli import main

    places = [tmp_path / name for name in ("near", "far")]
    for place, layers in zip(places, (1, 3), strict=True):
        options = {"num_layers": layers, "hidden_channels": 16, "act": "elu"}
        run(TrainConfig(dataset="karate", model="gcn", epochs=2, out=str(place), model_options=options))
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stop:
        main(["measure", *map(str, places), "--samples", "20", "--out", str(out)])
    assert not stop.value.code
    printed = capsys.readouterr().out.splitlines()
    rows = [k for k, line in enumerate(printed) if line.split()[:1] in (["far"], ["near"])]
    assert printed[rows[0]].split()[0] == "far"  # the farthest first
    content = json.loads((out / "karate.json").read_text())
    assert (content["dataset"], content["metric"]) == ("karate", "accuracy")
    near, far = content["models"]["near"], content["models"]["far"]
    assert (near["reach"], far["reach"], near["nodes"], far["nodes"]) == (1, 3, 20, 20)
    assert near["R"] < far["R"]
    assert near["training"].items() >= {"epochs": 2, "lr": 0.01, "seeds": [0], "weight_decay": 0.0}.items()
    assert not {"dataset", "model", "out"} & set(near["training"])
    assert near["curve"] == pytest.approx(measure(places[0], num_samples=20)["influence"]["curve"])
    lines = (out / "karate.csv").read_text().splitlines()
    assert lines[0] == "run,model,hop,influence,standard_error"
    assert len(lines) == 1 + 2 + 4
    assert (out / "karate.png").stat().st_size > 10_000


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    from gnnlib.train.compare import compare

    for dataset in ("karate", "digits", "ring-transfer-6"):
        run(TrainConfig(dataset=dataset, model="mlp", epochs=1, out=str(tmp_path / dataset)))
    with pytest.raises(ValueError, match="digits, the one before on karate; compare runs on one"):
        compare([tmp_path / "karate", tmp_path / "digits"], out=tmp_path)
    with pytest.raises(ValueError, match="ring-transfer-6, which is no node dataset of one graph"):
        compare([tmp_path / "ring-transfer-6", tmp_path / "karate"], out=tmp_path)
