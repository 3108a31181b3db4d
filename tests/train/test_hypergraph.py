"""Hypergraph tasks: node labels with and without a validation part, held-out incidences."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data.hypergraph_data import HyperGraphData

from gnnlib import data
from gnnlib.data.loaded import Graphs
from gnnlib.sparse import Hypergraph
from gnnlib.train import TrainConfig, run
from gnnlib.train.defaults import defaults
from gnnlib.train.predict import predict
from gnnlib.train.tasks import IncidenceTask, make_task

Quick = Callable[..., TrainConfig]
Given = Callable[[data.Loaded], None]


def communities(val: bool = True) -> data.Loaded:
    """Two groups of 20; hyperedges of 4 within a group, noisy features, an empty hyperedge at the end."""
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(40) // 20
    node = torch.cat([torch.randperm(20, generator=draw)[:4] + 20 * (e % 2) for e in range(24)])
    index = torch.stack([node, torch.arange(24).repeat_interleave(4)])
    x = torch.randn(40, 4, generator=draw) + 0.7 * y[:, None]
    graph = HyperGraphData(x=x, edge_index=index, y=y)
    graph.num_hyperedges = 25
    order = torch.randperm(40, generator=draw)
    splits = [data.Split(order[:10], order[10:20] if val else order[:0], order[20:]) for _ in range(2)]
    card = data.Card("groups", "groups", "hypergraph", "none", "here", "none", "some", "accuracy")
    metric = data.get_metric("accuracy")
    graphs = Graphs([graph], "groups")
    return data.Loaded(card, graphs, splits[0], metric, splits, ["seed-0", "seed-1"], 0, 4, 2)


@pytest.mark.parametrize("model", ["hgnn", "allsettransformer", "phenomnn", "mlp"])
def test_nodes_of_a_hypergraph(
    model: str, quick: Quick, given: Given, real_report: None, tmp_path: Path
) -> None:
    given(communities())
    result = run(quick(dataset="zoo", model=model, epochs=60, seeds=2))
    assert result.content["dataset"]["task"] == "hypergraph"
    assert result.content["summary"]["test"]["mean"] > (0.6 if model == "mlp" else 0.75)
    assert [r["split"] for r in result.runs] == [0, 1]
    assert "accuracy" in result.report.read_text().lower()


def test_without_a_validation_part_the_last_epoch_is_tested(quick: Quick, given: Given) -> None:
    given(communities(val=False))
    result = run(quick(dataset="zoo", model="unisage", epochs=8))
    assert result.runs[0]["best_epoch"] == 8
    assert "val" not in result.runs[0]["metrics"]
    assert result.runs[0]["metrics"]["test"] > 0


def test_incidences(quick: Quick, real_report: None, tmp_path: Path) -> None:
    chosen = defaults("davis").model
    result = run(quick(dataset="davis", model=chosen, epochs=40, seeds=2, lr=0.02))
    assert result.content["metric"]["name"] == "auc"
    assert result.content["summary"]["test"]["mean"] > 0.5
    assert "no member" in result.report.read_text()
    table = predict(result.path, tmp_path / "rows.csv")
    rows = list(csv.DictReader(table.open()))
    assert list(rows[0])[:2] == ["node", "hyperedge"]
    assert len(rows) == 2 * (8 + 17)
    assert max(int(r["hyperedge"]) for r in rows) < 14
    found = np.load(result.path / "seed-0" / "predictions.npz")
    assert found["embedding"].shape[0] == 18 + 14


def test_negative_incidences_are_none(quick: Quick) -> None:
    config = quick(dataset="davis", model="unisage")
    task: Any = make_task(data.load("davis"), config, torch.device("cpu"))
    assert isinstance(task, IncidenceTask)
    assert isinstance(task.edge_index, Hypergraph)
    pairs = task._negatives(5000, torch.Generator().manual_seed(0))
    assert pairs.shape == (2, 5000)
    known = {(v, e) for v, e in data.load("davis").split.train_edges.t().tolist()}
    drawn = {(v, e - 18) for v, e in pairs.t().tolist()}
    assert not drawn & known
    assert len(drawn) == 18 * 14 - 64  # every other pair comes
    with pytest.raises(ValueError, match="davis: negatives=all is offered for links"):
        make_task(data.load("davis"), config.replace(negatives="all"), torch.device("cpu"))
    with pytest.raises(ValueError, match="does not serve incidence tasks"):
        make_task(data.load("davis"), config.replace(model="gcn", model_options={}), torch.device("cpu"))


def test_a_task_that_has_no_loop_is_refused(quick: Quick) -> None:
    loaded = communities()
    card = dataclasses.replace(loaded.card, task="embedding")
    with pytest.raises(NotImplementedError, match="groups is a embedding dataset; train knows"):
        make_task(dataclasses.replace(loaded, card=card), quick(), torch.device("cpu"))
