"""A run directory from beginning to end: its files, its numbers, its refusals."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnnlib import data
from gnnlib.nn.link import adamic_adar
from gnnlib.sparse import as_csr
from gnnlib.train import Progress, Result, TrainConfig, predict, run
from tests.train.conftest import graph_dataset, with_graph

Quick = Callable[..., TrainConfig]
Given = Callable[[data.Loaded], None]


def strict(path: Path) -> Any:
    def refuse(text: str) -> None:
        raise AssertionError(f"{path} holds {text}, which is no json")

    return json.loads(path.read_text(), parse_constant=refuse)


def weights(folder: Path, name: str = "best.ckpt") -> dict[str, torch.Tensor]:
    content = torch.load(folder / name, weights_only=True)
    return dict(content["model"])


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.usefixtures("real_report")
def test_a_node_run_writes_what_its_docstring_says(quick: Quick) -> None:
    result = run(quick(seeds=2))
    content = strict(result.path / "result.json")
    assert content["dataset"]["name"] == "karate"
    assert content["dataset"]["counts"]["train"] == 2
    assert content["metric"] == {"name": "accuracy", "higher_is_better": True, "kind": "multiclass"}
    assert [r["dir"] for r in content["runs"]] == ["seed-0", "seed-1"]
    assert [r["split"] for r in content["runs"]] == [0, 1]  # the dataset comes with equal splits: one a seed
    tests = [r["metrics"]["test"] for r in content["runs"]]
    assert content["summary"]["test"] == {
        "mean": pytest.approx(np.mean(tests)), "std": pytest.approx(np.std(tests, ddof=1)), "n": 2,
    }  # fmt: skip
    assert {"gnnlib", "python", "torch", "torch_geometric", "numpy"} <= content["versions"].keys()
    assert content["peak_memory"] > 1e6
    assert strict(result.path / "config.json")["seeds"] == [0, 1]
    assert result.report is not None
    assert "<html" in result.report.read_text()
    for name in ("seed-0", "seed-1"):
        folder = result.path / name
        assert strict(folder / "metrics.json")["epochs"] == 5
        history = strict(folder / "history.json")
        assert history["epoch"] == [1, 2, 3, 4, 5]
        assert {len(history[k]) for k in ("loss", "val", "val_loss", "lr", "seconds")} == {5}
        best = history["best_epoch"] - 1
        assert history["val"][best] == max(history["val"])
        with np.load(folder / "predictions.npz", allow_pickle=False) as arrays:
            scores, label = arrays["test_score"], arrays["test_label"]
            assert scores.dtype == np.float32
            assert scores.sum(axis=1) == pytest.approx(np.ones(len(label)), rel=1e-5)
            accuracy = float((scores.argmax(axis=1) == label).mean())
            assert accuracy == pytest.approx(strict(folder / "metrics.json")["metrics"]["test"])
            assert arrays["embedding"].shape[0] == 34
            assert arrays["embedding_part"][arrays["test_index"]].tolist() == [2] * len(label)


def test_a_link_run(quick: Quick) -> None:
    result = run(quick(dataset="les-miserables", model="gae", epochs=20))
    content = strict(result.path / "result.json")
    assert content["metric"]["kind"] == "ranking"
    assert content["runs"][0]["metrics"].keys() == {"train", "val", "test"}
    with np.load(result.path / "seed-0" / "predictions.npz", allow_pickle=False) as arrays:
        assert arrays["test_index"].shape == (2, arrays["test_label"].size)
        assert set(arrays["test_label"].tolist()) == {0, 1}
        from sklearn.metrics import roc_auc_score

        found = roc_auc_score(arrays["test_label"], arrays["test_score"])
    assert found == pytest.approx(result.mean("test"), abs=1e-6)


def test_links_against_all_other_pairs(quick: Quick) -> None:
    config = quick(dataset="les-miserables", model="gae", epochs=20, negatives="all")
    assert run(config).mean("val") > 0.6
    with pytest.raises(ValueError, match=r"negatives=all needs inner products .* but the decoder is mlp"):
        run(config.replace(model_options={"decoder": "mlp"}, out=str(config.out) + "-mlp"))
    with pytest.raises(ValueError, match="negatives=all takes every pair in each step; drop batch_size"):
        config.replace(batch_size=7)


@pytest.mark.parametrize("kind", ["accuracy", "roc_auc", "rmse"])
def test_a_graph_run(kind: str, quick: Quick, given: Given) -> None:
    given(graph_dataset(kind, missing=True))
    result = run(quick(model="gin", batch_size=5, epochs=40))
    assert strict(result.path / "seed-0" / "metrics.json")["counts"] == {"train": 12, "val": 6, "test": 6}
    if kind == "rmse":
        assert result.mean("val") < 0.5
    else:
        assert result.mean("val") > 0.9
    label = np.load(result.path / "seed-0" / "predictions.npz")["test_label"]
    assert label.dtype == (np.int64 if kind == "accuracy" else np.float32)


def test_folds_are_runs(quick: Quick, given: Given) -> None:
    given(graph_dataset())
    result = run(quick(model="gin", folds=2, epochs=2))
    assert [(r["dir"], r["split"], r["fold"]) for r in result.runs] == [
        ("seed-0-fold-0", 0, 0),
        ("seed-0-fold-1", 1, 1),
    ]
    with pytest.raises(ValueError, match=r"option folds is 3 but rings has 2 splits; choose at most 2"):
        run(quick(model="gin", folds=3, out=str(result.path) + "-3"))


def test_the_first_of_unequal_splits_is_for_every_seed(quick: Quick, given: Given) -> None:
    given(dataclasses.replace(graph_dataset(), split_names=["public", "extra-0"]))
    result = run(quick(model="gin", seeds=2, epochs=1))
    assert [r["split"] for r in result.runs] == [0, 0]


def test_the_same_seed_gives_the_same_bits(quick: Quick, tmp_path: Path) -> None:
    a = run(quick(seeds=(4,)))
    torch.rand(17)  # another state of the global generators
    b = run(quick(seeds=(4,), out=str(tmp_path / "again")))
    assert same(weights(a.path / "seed-4"), weights(b.path / "seed-4"))
    c = run(quick(seeds=(5,), out=str(tmp_path / "other")))
    assert not same(weights(a.path / "seed-4"), weights(c.path / "seed-5"))


def test_test_labels_do_not_touch_training_or_selection(quick: Quick, given: Given, tmp_path: Path) -> None:
    honest = data.load("karate")
    y = honest.dataset[0].y.clone()
    y[honest.split.test] = 1 - y[honest.split.test]
    a = run(quick(epochs=15))
    given(with_graph(honest, y=y))
    b = run(quick(epochs=15, out=str(tmp_path / "lied")))
    assert same(weights(a.path / "seed-0"), weights(b.path / "seed-0"))
    assert a.mean("test") == pytest.approx(1 - b.mean("test"))


def test_the_last_epoch_can_be_selected(quick: Quick) -> None:
    result = run(quick(select="last", epochs=12))
    assert result.runs[0]["best_epoch"] == 12
    folder = result.path / "seed-0"
    assert same(weights(folder), weights(folder, "last.ckpt"))


def test_patience_stops(quick: Quick) -> None:
    result = run(quick(epochs=200, patience=3, lr=1e-9))
    record = result.runs[0]
    assert record["stopped"] == "patience"
    assert record["epochs"] < 60


def test_no_epoch_evaluates_the_model_as_it_is_built(quick: Quick, tmp_path: Path) -> None:
    untrained = run(quick(epochs=0))
    assert (untrained.runs[0]["epochs"], untrained.runs[0]["best_epoch"]) == (0, 0)
    assert untrained.mean("test") != run(quick(epochs=5, out=str(tmp_path / "b"))).mean("test")
    assert run(quick(epochs=0), resume=True).mean("test") == untrained.mean("test")
    assert predict(untrained.path, tmp_path / "p.csv").exists()


@pytest.mark.usefixtures("real_report")
def test_a_model_without_parameters_runs_for_no_epoch(quick: Quick, tmp_path: Path) -> None:
    options = {"dataset": "les-miserables", "model": "adamic-adar"}
    result = run(quick(**options, epochs=0))
    assert result.content["model"]["parameters"] == 0
    assert result.mean("test") > 0.8  # characters of one scene share many others
    with np.load(result.path / "seed-0" / "predictions.npz") as kept:
        scores, pairs = kept["test_score"], torch.from_numpy(kept["test_index"])
    loaded = data.load("les-miserables")
    found = adamic_adar(as_csr(loaded.dataset[0].edge_index, 77), pairs)
    np.testing.assert_allclose(scores, found.numpy(), rtol=1e-5)
    with np.load(predict(result.path, tmp_path / "p.npz")) as rows:
        np.testing.assert_allclose(rows["score"][rows["part"] == "test"], scores, rtol=1e-5)
    with pytest.raises(ValueError, match="model 'adamic-adar' has no parameters to train"):
        run(quick(**options, batch_size=20, epochs=1, out=str(tmp_path / "trained")))


def test_not_every_epoch_needs_an_evaluation(quick: Quick) -> None:
    result = run(quick(epochs=5, eval_every=2))
    history = strict(result.path / "seed-0" / "history.json")
    assert [v is None for v in history["val"]] == [True, False, True, False, False]


def test_features_are_normalised_on_request(quick: Quick, tmp_path: Path, given: Given) -> None:
    loaded = data.load("karate")
    a = run(quick(normalize_features=True))
    given(with_graph(loaded, x=loaded.dataset[0].x * 7.0))
    b = run(quick(normalize_features=True, out=str(tmp_path / "b")))
    torch.testing.assert_close(weights(a.path / "seed-0"), weights(b.path / "seed-0"))


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed", "bf16-true"])
def test_other_precisions_train(precision: str, quick: Quick) -> None:
    result = run(quick(precision=precision))
    assert math.isfinite(result.runs[0]["losses"]["train"])


def test_options_of_the_optimiser_reach_it(quick: Quick, tmp_path: Path) -> None:
    sgd = run(quick(optimizer="sgd", lr=0.1, lr_schedule="step", lr_step=2, grad_clip=1e-12))
    assert strict(sgd.path / "seed-0" / "history.json")["lr"] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])
    still = weights(sgd.path / "seed-0")
    start = weights(run(quick(optimizer="sgd", lr=1e-12, out=str(tmp_path / "b"))).path / "seed-0")
    torch.testing.assert_close(still, start, atol=1e-6, rtol=0)  # clipped to nothing: the weights stay


def test_a_directory_is_never_overwritten(quick: Quick, tmp_path: Path) -> None:
    first = run(quick(epochs=1))
    before = (first.path / "result.json").read_bytes()
    with pytest.raises(FileExistsError, match=r"holds a run already; add --resume to finish it"):
        run(quick(epochs=1))
    with pytest.raises(
        ValueError, match=r"was made with lr=0.01, but this run has lr=0.5; resume with the same"
    ):
        run(quick(epochs=1, lr=0.5), resume=True)
    with pytest.raises(
        ValueError, match=r"made with dataset=karate, model=gcn.*but.*dataset=digits, model=mlp"
    ):
        run(quick(epochs=1, dataset="digits", model="mlp"), resume=True)
    assert (first.path / "result.json").read_bytes() == before
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.tex").write_text("dear")
    with pytest.raises(FileExistsError, match="is not empty and no run directory"):
        run(quick(out=str(tmp_path / "else")), resume=True)
    with pytest.raises(FileExistsError, match="is a file; give another --out"):
        run(quick(out=str(tmp_path / "else" / "thesis.tex")))


def test_finished_seeds_are_skipped_and_new_ones_added(quick: Quick) -> None:
    class Notes(Progress):
        def __init__(self) -> None:
            self.begun: list[str] = []

        def run_begin(self, name: str, index: int, epoch: int) -> None:
            self.begun.append(name)

    first = run(quick(seeds=1))
    record = (first.path / "seed-0" / "metrics.json").read_bytes()
    notes = Notes()
    second = run(quick(seeds=2), resume=True, progress=notes)
    assert notes.begun == ["seed-1"]
    assert (first.path / "seed-0" / "metrics.json").read_bytes() == record
    assert len(second.runs) == 2
    assert Result.read(first.path).runs == second.runs


def test_a_dataset_or_model_that_does_not_fit_is_refused(quick: Quick, given: Given) -> None:
    with pytest.raises(
        ValueError, match=r"model 'gae' does not serve node tasks, and karate is one; choose .*gcn"
    ):
        run(quick(model="gae"))
    with pytest.raises(ValueError, match=r"split 99"):
        run(quick(split=99))
    assert not Path(quick().out or "").exists()
    loaded = data.load("karate")
    given(with_graph(loaded, x=loaded.dataset[0].x[:30]))
    with pytest.raises(ValueError, match=r"x has shape \[30, 34\] but the graph has 34 nodes"):
        run(quick())


def test_a_device_that_is_not_here_is_refused(quick: Quick) -> None:
    with pytest.raises(ValueError, match="device 'gpu' is no device; choose auto, cpu, cuda"):
        run(quick(device="gpu"))
    with pytest.raises(ValueError, match="device 'cuda:77' is not here"):
        run(quick(device="cuda:77"))


def test_the_table_shows_every_run_and_the_mean(quick: Quick) -> None:
    from rich.console import Console

    result = run(quick(seeds=2, epochs=2))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(result.table())
    text = console.export_text()
    assert "seed-0" in text
    assert "seed-1" in text
    assert f"{100 * result.mean():.2f} ± {100 * result.std():.2f}" in text
