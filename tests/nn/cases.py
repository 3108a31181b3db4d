"""One line a layer: how the contract suite builds it. A public layer without a line fails the suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gnnlib.nn import (
    APPNP,
    MLP,
    GATConv,
    GCNConv,
    GINConv,
    GraphConv,
    JumpingKnowledge,
    Linear,
    SAGEConv,
    SGConv,
)

F_IN, F_OUT = 7, 5


def on_graph(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer(x, edge_index)
    return out


def on_nodes(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer(x)
    return out


def on_layers(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer([x, 2 * x.tanh(), x.square()])
    return out


@dataclass(frozen=True)
class Case:
    """A layer that maps features ``[N, F_IN]`` to ``[N, out]``."""

    name: str
    build: Callable[[], nn.Module]
    out: int = F_OUT
    run: Callable[[nn.Module, Tensor, Any], Tensor] = on_graph
    lazy: Callable[[], nn.Module] | None = None  # the same layer with in_channels=-1
    any_width: bool = False  # takes any number of features

    @property
    def graph(self) -> bool:
        return self.run is on_graph


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(F_IN, 6), nn.Tanh(), nn.Linear(6, F_OUT))


CASES = [
    Case("APPNP", lambda: APPNP(3, 0.2), out=F_IN, any_width=True),
    Case("GATConv", lambda: GATConv(F_IN, F_OUT, heads=2), out=2 * F_OUT, lazy=lambda: GATConv(-1, F_OUT, 2)),
    Case("GCNConv", lambda: GCNConv(F_IN, F_OUT), lazy=lambda: GCNConv(-1, F_OUT)),
    Case("GINConv", lambda: GINConv(_mlp(), eps=0.3, train_eps=True)),
    Case("GraphConv", lambda: GraphConv(F_IN, F_OUT), lazy=lambda: GraphConv(-1, F_OUT)),
    Case("JumpingKnowledge", lambda: JumpingKnowledge("lstm", F_IN, 3), out=F_IN, run=on_layers),
    Case("Linear", lambda: Linear(F_IN, F_OUT), run=on_nodes, lazy=lambda: Linear(-1, F_OUT)),
    Case(
        "MLP",
        lambda: MLP([F_IN, 6, F_OUT], act="tanh"),
        run=on_nodes,
        lazy=lambda: MLP([-1, 6, F_OUT], act="tanh"),
    ),
    Case("SAGEConv", lambda: SAGEConv(F_IN, F_OUT), lazy=lambda: SAGEConv(-1, F_OUT)),
    Case("SGConv", lambda: SGConv(F_IN, F_OUT, K=2), lazy=lambda: SGConv(-1, F_OUT, K=2)),
]


def awkward_graph(num_nodes: int = 20, num_edges: int = 60) -> Tensor:
    """Unsorted edges with duplicates and self-loops; the last three nodes are isolated."""
    generator = torch.Generator().manual_seed(3)
    edge_index = torch.randint(0, num_nodes - 3, (2, num_edges), generator=generator)
    edge_index[:, 1] = edge_index[:, 0]
    edge_index[1, 2] = edge_index[0, 2]
    return edge_index


def weighted_graph(num_nodes: int = 20, num_edges: int = 60) -> Tensor:
    """The awkward graph with at most one self-loop a node."""
    edge_index = awkward_graph(num_nodes, num_edges)
    seen = set()
    for e, (source, target) in enumerate(edge_index.t().tolist()):
        if source == target and source in seen:
            edge_index[1, e] = (target + 1) % (num_nodes - 3)
        seen |= {source} if source == target else set()
    return edge_index


def plain_graph(num_nodes: int = 20, num_edges: int = 60) -> Tensor:
    """Unsorted edges without duplicates and self-loops; the last three nodes are isolated."""
    generator = torch.Generator().manual_seed(4)
    n = num_nodes - 3
    pairs = torch.randperm(n * n, generator=generator)
    edge_index = torch.stack([pairs // n, pairs % n])
    return edge_index[:, edge_index[0] != edge_index[1]][:, :num_edges]
