"""Small datasets that stand in for real ones, and a quick config."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from gnnlib import data
from gnnlib.data.loaded import Graphs
from gnnlib.train import TrainConfig, experiment


def ring(num_nodes: int) -> torch.Tensor:
    """A cycle, both directions ``[2, 2 N]``."""
    nodes = torch.arange(num_nodes)
    there = torch.stack([nodes, (nodes + 1) % num_nodes])
    return torch.cat([there, there.flip(0)], dim=1)


def graph_dataset(kind: str = "accuracy", count: int = 24, *, missing: bool = False) -> data.Loaded:
    """Rings with a feature that tells their class; ``roc_auc`` and ``rmse`` change the labels."""
    draw = torch.Generator().manual_seed(0)
    graphs = []
    for number in range(count):
        size = 3 + number % 4
        label = number % 2
        x = torch.randn(size, 5, generator=draw) + 2.0 * label
        y: torch.Tensor = torch.tensor([label])
        if kind == "rmse":
            y = torch.tensor([[float(label)]])
        if kind == "roc_auc":
            y = torch.tensor([[float("nan") if missing and number % 5 == 0 else float(label)]])
        graphs.append(Data(x=x, edge_index=ring(size), y=y))
    card = data.Card("rings", "rings", "graph", "none", "made here", "none", "two splits", kind)
    order = torch.arange(count)
    splits = [
        data.Split(order[: count // 2], order[count // 2 : -6], order[-6:]),
        data.Split(order[count // 2 :], order[6 : count // 2], order[:6]),
    ]
    outputs = 2 if kind == "accuracy" else 1
    metric = data.get_metric(kind)
    return data.Loaded(
        card, Graphs(graphs, "rings"), splits[0], metric, splits, ["fold-0", "fold-1"], 0, 5, outputs
    )


def with_graph(loaded: data.Loaded, **changes: Any) -> data.Loaded:
    """The same dataset with fields of its one graph changed."""
    graph = loaded.dataset[0].clone()
    for name, value in changes.items():
        graph[name] = value
    return dataclasses.replace(loaded, dataset=Graphs([graph], loaded.name))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """These graphs are too small to share, and threads that wait for each other slow a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _plain_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the report, which costs more than these runs, but where a test asks for it."""
    if "real_report" not in request.fixturenames:

        def write(folder: Path) -> Path:
            path = folder / "report.html"
            path.write_text("<html></html>")
            return path

        monkeypatch.setattr(experiment, "write_report", write)


@pytest.fixture
def real_report() -> None:
    """Asks for the real report."""


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[data.Loaded], None]:
    """Make ``data.load`` return this dataset, on whichever of its splits is asked for."""

    def give(loaded: data.Loaded) -> None:
        def load(name: Any, root: Any = None, *, split: int = 0) -> data.Loaded:
            return dataclasses.replace(loaded, split=loaded.splits[split], split_index=split)

        monkeypatch.setattr(data, "load", load)

    return give


@pytest.fixture
def quick(tmp_path: Any) -> Callable[..., TrainConfig]:
    """A config of a few epochs on the karate club, into a fresh directory."""

    def make(**changes: Any) -> TrainConfig:
        values: dict[str, Any] = {
            "dataset": "karate",
            "model": "gcn",
            "epochs": 5,
            "out": str(tmp_path / "run"),
        }
        return TrainConfig(**(values | changes))

    return make
