"""Training on labelled nodes of many graphs, and on edge features."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from gnnlib import data
from gnnlib.data.loaded import Graphs
from gnnlib.train import TrainConfig, predict, run
from gnnlib.train.tasks import NodesTask, make_task
from gnnlib.train.tasks.packing import PackedGraphs
from tests.tolerances import assert_close
from tests.train.conftest import ring


def rings(count: int = 12) -> data.Loaded:
    """Rings whose node 0 must tell the class of its neighbour 1; edges carry two features."""
    graphs = []
    for k in range(count):
        size, label = 3 + k % 4, k % 2
        mask = torch.zeros(size, dtype=torch.bool)
        mask[0] = True
        x = torch.zeros(size, 3)
        x[1, label] = 1
        y = torch.full((size,), -1).masked_fill(mask, label)
        graphs.append(Data(x=x, edge_index=ring(size), y=y, mask=mask, edge_attr=torch.rand(2 * size, 2)))
    card = data.Card("marked", "marked", "node", "none", "made here", "none", "one split", "accuracy")
    order = torch.arange(count)
    split = data.Split(order[:6], order[6:9], order[9:])
    return data.Loaded(
        card, Graphs(graphs, "marked"), split, data.get_metric("accuracy"), [split], ["all"], 0, 3, 2
    )


def test_a_batch_holds_the_labelled_nodes_and_the_edges_of_its_graphs() -> None:
    loaded = rings()
    packed = PackedGraphs(loaded.dataset, torch.device("cpu"), "marked", labels="node")
    batch = packed.batch(torch.tensor([5, 0]))
    five, zero = loaded.dataset[5], loaded.dataset[0]
    assert batch.labelled is not None
    assert batch.labelled.tolist() == [0, five.num_nodes]
    assert batch.y.tolist() == [1, 0]
    assert_close(batch.edge_attr, torch.cat([five.edge_attr, zero.edge_attr]))
    bad = [Data(x=torch.zeros(3, 1), edge_index=ring(3), y=torch.zeros(1))]
    with pytest.raises(ValueError, match="y of graph 0 has 1 rows but the graph has 3 nodes"):
        PackedGraphs(bad, torch.device("cpu"), "bad", labels="node")


@pytest.mark.parametrize("model", ["gcn", "gatedgcn"])
def test_it_learns_and_predicts(
    model: str, given: Callable[[data.Loaded], None], quick: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    loaded = rings()
    given(loaded)
    options: dict[str, Any] = {"hidden_channels": 16, "dropout": 0.0, "num_layers": 2}
    config = quick(model=model, epochs=60, lr=0.02, batch_size=3, model_options=options)
    assert isinstance(make_task(loaded, config, torch.device("cpu")), NodesTask)
    result = run(config)
    assert result.mean("train") == 1.0
    path = predict(result.path, tmp_path / "out.csv")
    rows = list(csv.DictReader(path.open()))
    assert [int(r["graph"]) for r in rows] == list(range(12))
    assert [r["part"] for r in rows] == ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    starts = [0]
    for k in range(11):
        starts.append(starts[-1] + loaded.dataset[k].num_nodes)
    assert [int(r["node"]) for r in rows] == starts
    assert [int(r["label"]) for r in rows] == [k % 2 for k in range(12)]


def test_a_generated_task_trains(quick: Callable[..., TrainConfig]) -> None:
    options = {"hidden_channels": 16, "num_layers": 3, "norm": "layer", "order": "norm_last"}
    config = quick(
        dataset="tree-neighbors-match-2",
        model="residual-gin",
        epochs=80,
        lr=0.003,
        batch_size=16,
        model_options=options | {"input_dropout": 0.0},
    )
    assert run(config).mean("train") > 0.9
