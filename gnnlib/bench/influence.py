"""How far a trained network looks: influence by hop against PyG's ``total_influence`` on PyG's own layers."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from gnnlib.bench.graphs import Graph
from gnnlib.bench.peers import DEFAULT
from gnnlib.bench.problems import Problem, library
from gnnlib.bench.timing import Run, alone
from gnnlib.bench.traffic import Traffic, neighbor_pass

FEATURES, CLASSES = 37, 10  # as City-Networks have


class _GCN(nn.Module):
    def __init__(self, name: str, layers: int, hidden: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        width = [FEATURES, *[hidden] * (layers - 1), CLASSES]
        conv = library(name).GCNConv
        self.convs = nn.ModuleList(conv(a, b) for a, b in itertools.pairwise(width))
        for weight in self.parameters():
            nn.init.xavier_uniform_(weight) if weight.dim() == 2 else nn.init.zeros_(weight)
        self.requires_grad_(False)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        *inner, last = self.convs
        for layer in inner:
            x = layer(x, edge_index).relu()
        out: Tensor = last(x, edge_index)
        return out


def _ours(model: nn.Module, data: Data, hops: int, nodes: int) -> Tensor:
    from gnnlib.measure import influence

    return influence(model, data, hops, nodes, normalize=False).curve


def _pyg(model: nn.Module, data: Data, hops: int, nodes: int) -> Tensor:
    from torch_geometric.utils import total_influence

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # its progress bar
        curve: Tensor = total_influence(model, data, hops, nodes, normalize=False)[0]
    return curve


_CONTENDERS: dict[str, Callable[[nn.Module, Data, int, int], Tensor]] = {"ours": _ours, DEFAULT: _pyg}


def jacobian_influence(graph: Graph, *, layers: int, hidden: int, nodes: int) -> Problem:
    """Mean influence by hop of so many nodes, for GCN with the same weights from both libraries.

    Both are checked on a small ring, one hop beyond the layers, where PyG's ball has its rim.
    """

    def measured(name: str, data: Data, hops: int, count: int) -> Callable[[], Tensor]:
        model = _GCN(name, layers, hidden).eval()
        return lambda: _CONTENDERS[name](model, data, hops, count)

    def start(name: str) -> Run:
        x = torch.randn(graph.num_nodes, FEATURES, generator=torch.Generator().manual_seed(0))
        run = measured(name, Data(x=x, edge_index=graph.edge_index), layers, min(nodes, graph.num_nodes))
        return lambda: alone(run)

    def verify(name: str) -> str | None:
        size = 2 * layers + 4  # no node is met from both sides
        node = torch.arange(size)
        ring = torch.stack([torch.cat([node.roll(1), node]), torch.cat([node, node.roll(1)])])
        x = torch.randn(size, FEATURES, generator=torch.Generator().manual_seed(1))
        got = measured(name, Data(x=x, edge_index=ring), layers + 1, size)().double()
        model = _GCN("ours", layers, hidden).double().eval()
        jac = torch.func.jacrev(lambda value: model(value, ring))(x.double())
        felt = jac.abs().sum((1, 3))
        step = (node[:, None] - node).abs()
        hop = torch.minimum(step, size - step)
        right = torch.stack([felt[hop == h].sum() / size for h in range(layers + 2)])
        if not torch.allclose(got, right, rtol=1e-3, atol=1e-5 * float(right.max())):
            return f"influence by hop is {got.tolist()}, the Jacobian's {right.tolist()}"
        return None

    once = neighbor_pass(graph, hidden)  # of the forward pass, without which there is no derivative
    moved = Traffic(layers * once.once, layers * once.per_edge)
    return Problem({name: functools.partial(start, name) for name in _CONTENDERS}, verify, moved)
