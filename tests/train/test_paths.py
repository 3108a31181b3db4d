"""A model that reads paths, in the graph task: one search for the dataset, and what 1-WL misses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from gnnlib import data
from gnnlib.data.loaded import Graphs
from gnnlib.sparse.ops import enumerate_paths as search
from gnnlib.train import TrainConfig, run
from tests.train.conftest import ring


def rings() -> data.Loaded:
    """One ring, or two of half the size: every node has two neighbours and the same feature."""
    graphs = []
    for number in range(20):
        n, label = 3 + number // 2 % 2, number % 2
        edge_index = torch.cat([ring(n), ring(n) + n], 1) if label else ring(2 * n)
        graphs.append(Data(x=torch.ones(2 * n, 1), edge_index=edge_index, y=torch.tensor([label])))
    card = data.Card("rings", "rings", "graph", "none", "made here", "none", "two splits", "accuracy")
    order = torch.arange(20)
    splits = [
        data.Split(order[:12], order[12:16], order[16:]),
        data.Split(order[8:], order[4:8], order[:4]),
    ]
    metric = data.get_metric("accuracy")
    return data.Loaded(
        card, Graphs(graphs, "rings"), splits[0], metric, splits, ["fold-0", "fold-1"], 0, 1, 2
    )


def test_paths_are_searched_for_once_and_tell_what_gin_cannot(
    given: Callable[[data.Loaded], None],
    quick: Callable[..., TrainConfig],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    find = search.enumerate_paths

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(args[0].num_rows)
        return find(*args, **options)

    monkeypatch.setattr(search, "enumerate_paths", counted)
    given(rings())
    options = {"hidden_channels": 8, "num_layers": 3, "dropout": 0.0, "norm": "none"}
    shared: dict[str, Any] = {"dataset": "rings", "epochs": 10, "lr": 0.05, "batch_size": 4, "folds": 2}
    paths = run(quick(model="pathnn", model_options=options, out=str(tmp_path / "paths"), **shared))
    assert paths.content["summary"]["test"]["mean"] == 1.0
    assert calls == [10 * 6 + 10 * 8]  # all graphs at once, for both folds
    around = run(quick(model="gin", model_options={**options}, out=str(tmp_path / "gin"), **shared))
    assert around.content["summary"]["test"]["mean"] == 0.5
