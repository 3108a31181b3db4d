"""One line a pooling: how the contract suite builds it. A public one without a line fails the suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gnnlib.nn import (
    ASAPooling,
    DiffPool,
    DMoNPooling,
    EdgePooling,
    GCNConv,
    GraclusPooling,
    GraphConv,
    KMISPooling,
    MinCutPooling,
    NDPPooling,
    SAGPooling,
    TopKPooling,
)
from gnnlib.nn.pool import Pooling

F_IN = 5


@dataclass(frozen=True)
class Case:
    """A pooling of features ``[N, F_IN]``."""

    name: str
    build: Callable[[], Pooling]
    keeps_all: bool = False  # every node has the same total weight in the clusters
    sums: bool = True  # the features of a cluster are the weighted sum of those of its nodes
    hard: bool = False  # each node is in one cluster with weight 1


CASES = [
    Case("ASAPooling", lambda: ASAPooling(F_IN, 0.6, GNN=GraphConv), sums=False),
    Case("DiffPool", lambda: DiffPool(F_IN, 3, GNN=GCNConv), keeps_all=True),
    Case("DMoNPooling", lambda: DMoNPooling([F_IN, 4], 3), keeps_all=True, sums=False),
    Case("EdgePooling", lambda: EdgePooling(F_IN)),
    Case("GraclusPooling", lambda: GraclusPooling("sum"), keeps_all=True, hard=True),
    Case("KMISPooling", lambda: KMISPooling(k=1, heuristic=None), keeps_all=True, hard=True),
    Case("MinCutPooling", lambda: MinCutPooling(F_IN, 3, temp=0.7), keeps_all=True),
    Case("NDPPooling", lambda: NDPPooling()),
    Case("SAGPooling", lambda: SAGPooling(F_IN, 0.6)),
    Case("TopKPooling", lambda: TopKPooling(F_IN, 0.6)),
]


def graphs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four undirected weighted graphs of 9, 1, 6 and 4 nodes: x, edge_index, edge_weight, batch.

    The second has no edge, the last two equal edges and a loop.
    """
    generator = torch.Generator().manual_seed(4)
    sizes = [9, 1, 6, 4]
    batch = torch.arange(4).repeat_interleave(torch.tensor(sizes))
    x = torch.randn(20, F_IN, generator=generator, dtype=torch.float64)
    i, j = torch.triu_indices(20, 20, 1)
    near = (batch[i] == batch[j]) & (torch.rand(i.shape[0], generator=generator) < 0.5)
    one = torch.stack([i[near], j[near]])
    one = torch.cat([one, torch.tensor([[16, 16], [17, 17]])], dim=1)
    weight = torch.rand(one.shape[1], generator=generator, dtype=torch.float64) + 0.2
    loop = torch.tensor([[18], [18]])
    edge_index = torch.cat([one, one.flip(0), loop], dim=1)
    weight = torch.cat([weight, weight, weight.new_tensor([0.3])])
    order = torch.randperm(edge_index.shape[1], generator=generator)
    return x, edge_index[:, order], weight[order], batch
