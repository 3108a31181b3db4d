"""The models that training steps are measured on, from either library's layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gnnlib.bench.graphs import Graph

#: A library's ``nn`` and the graph to train on -> a model. The libraries' layers share names, arguments and
#: state_dict keys.
Build = Callable[[Any, Graph], nn.Module]

AGGREGATORS = ("mean", "min", "max", "std")
SCALERS = ("identity", "amplification", "attenuation")


class Stack(nn.Module):
    """Convolutions with ReLU between them, and a sum over each graph with a linear map where asked."""

    def __init__(self, convs: Iterable[nn.Module], pool: Any = None, head: nn.Module | None = None) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.pool = pool
        self.head = head

    def forward(self, x: Tensor, adj: Any, batch: Tensor | None, num_graphs: int) -> Tensor:
        for k, conv in enumerate(self.convs):
            x = conv(F.relu(x) if k else x, adj)
        if self.head is not None:
            x = self.head(self.pool(F.relu(x), batch, num_graphs))
        return x


def allset(features: int) -> nn.Module:
    """One layer of AllSetTransformer, with a head of 16 numbers at width 64."""
    from gnnlib.nn import AllSetTransformerConv

    return AllSetTransformerConv(features, features, heads=4, dropout=0.0)


def gcn(in_channels: int, hidden: int, classes: int, **options: Any) -> Build:
    """Two GCN layers."""
    return lambda lib, graph: Stack(
        [lib.GCNConv(in_channels, hidden, **options), lib.GCNConv(hidden, classes, **options)]
    )


def sage(in_channels: int, hidden: int, classes: int) -> Build:
    """Two SAGE layers with a mean."""
    return lambda lib, graph: Stack([lib.SAGEConv(in_channels, hidden), lib.SAGEConv(hidden, classes)])


def attention(layer: str, in_channels: int, hidden: int, classes: int, heads: int = 4) -> Build:
    """Two layers of a kind of attention: heads side by side, then heads averaged."""

    def build(lib: Any, graph: Graph) -> nn.Module:
        conv = getattr(lib, layer)
        return Stack(
            [
                conv(in_channels, hidden // heads, heads=heads),
                conv(hidden, classes, heads=heads, concat=False),
            ]
        )

    return build


def pna(in_channels: int, hidden: int, classes: int) -> Build:
    """Two PNA layers, four aggregators by three scalers, one tower."""

    def build(lib: Any, graph: Graph) -> nn.Module:
        deg = torch.bincount(torch.bincount(graph.edge_index[1], minlength=graph.num_nodes))
        return Stack(
            lib.PNAConv(width, out, list(AGGREGATORS), list(SCALERS), deg)
            for width, out in ((in_channels, hidden), (hidden, classes))
        )

    return build


def gin(width: int, classes: int, layers: int) -> Build:
    """GIN with batch norm, a sum over each graph and a linear map."""

    def mlp() -> nn.Module:
        return nn.Sequential(
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)
        )

    return lambda lib, graph: Stack(
        [lib.GINConv(mlp()) for _ in range(layers)], lib.global_add_pool, nn.Linear(width, classes)
    )
