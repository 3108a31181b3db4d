"""Prediction files: every item once, the scores of the selected weights, and clear refusals."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gnnlib import data
from gnnlib.train import TrainConfig, predict, run
from tests.train.conftest import graph_dataset, with_graph

Quick = Callable[..., TrainConfig]
Given = Callable[[data.Loaded], None]


def test_csv_json_and_npz_say_the_same(quick: Quick, tmp_path: Path) -> None:
    result = run(quick(seeds=2, epochs=10))
    best = result.content["best_run"]
    files = {suffix: predict(result.path, tmp_path / f"p{suffix}") for suffix in (".csv", ".json", ".npz")}
    with np.load(files[".npz"], allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    assert arrays["node"].tolist() == list(range(34))
    with np.load(result.path / best / "predictions.npz") as kept:
        np.testing.assert_allclose(arrays["score"][kept["test_index"]], kept["test_score"], rtol=1e-5)
        assert set(arrays["part"][kept["test_index"]]) == {"test"}
    with files[".csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    told = json.loads(files[".json"].read_text())
    assert (told["dataset"], told["model"], told["run"]) == ("karate", "gcn", best)
    for number in range(34):
        item = told["items"][number]
        assert item["prediction"] == int(rows[number]["prediction"]) == arrays["prediction"][number]
        assert item["score_1"] == pytest.approx(float(rows[number]["score_1"]), rel=1e-6)
        assert item["label"] == int(rows[number]["label"])


def test_links_and_graphs(quick: Quick, given: Given, tmp_path: Path) -> None:
    links = run(quick(dataset="les-miserables", model="gae", out=str(tmp_path / "links")))
    with predict(links.path, tmp_path / "links.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0].keys() == {"source", "target", "part", "label", "score"}
    given(graph_dataset("roc_auc", missing=True))
    graphs = run(quick(model="gin", out=str(tmp_path / "graphs")))
    items = json.loads(predict(graphs.path, tmp_path / "graphs.json").read_text())["items"]
    assert len(items) == 24
    assert items[0]["label"] is None  # missing, and json has no NaN
    assert items[1].keys() == {"graph", "part", "label", "prediction", "score"}


def test_a_run_that_is_not_finished_predicts_with_its_best_so_far(quick: Quick, tmp_path: Path) -> None:
    result = run(quick())
    (result.path / "result.json").unlink()
    (result.path / "seed-0" / "metrics.json").unlink()
    assert predict(result.path, tmp_path / "p.csv").exists()
    (result.path / "seed-0" / "best.ckpt").unlink()
    with pytest.raises(FileNotFoundError, match="holds no trained weights yet"):
        predict(result.path, tmp_path / "p.csv")


def test_what_does_not_fit_is_refused(quick: Quick, tmp_path: Path, given: Given) -> None:
    result = run(quick())
    with pytest.raises(ValueError, match=r"p.txt ends in '.txt'; choose one of .csv, .json, .npz"):
        predict(result.path, tmp_path / "p.txt")
    with pytest.raises(FileNotFoundError, match=r"is .* a run directory of gnnlib train"):
        predict(tmp_path / "nowhere", tmp_path / "p.csv")
    with pytest.raises(
        ValueError, match=r"holds gcn trained on karate \(node .*but digits is a node task with 64 features"
    ):
        predict(result.path, tmp_path / "p.csv", dataset="digits")
    config = json.loads((result.path / "config.json").read_text())
    (result.path / "config.json").write_text(json.dumps(config | {"model": "mlp", "model_options": {}}))
    with pytest.raises(ValueError, match="belongs to model 'gcn', but this run has model 'mlp'"):
        predict(result.path, tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()


def test_another_dataset_of_the_same_form(quick: Quick, tmp_path: Path, given: Given) -> None:
    result = run(quick())
    loaded = data.load("karate")
    twin = dataclasses.replace(loaded, card=dataclasses.replace(loaded.card, name="twin"))
    given(with_graph(twin, x=loaded.dataset[0].x * 2))
    told = json.loads(predict(result.path, tmp_path / "p.json", dataset="twin").read_text())
    assert told["dataset"] == "twin"
