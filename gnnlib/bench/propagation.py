"""Repeated propagation as a case: many steps of the normalised adjacency."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from gnnlib.bench import reference
from gnnlib.bench.graphs import Graph
from gnnlib.bench.peers import AGGREGATE
from gnnlib.bench.problems import Problem
from gnnlib.bench.timing import Run
from gnnlib.bench.traffic import NOTHING, neighbor_pass, node_arrays


def repeated(graph: Graph, *, features: int, steps: int) -> Problem:
    r"""``steps`` steps of :math:`D^{-1} A`, which keeps numbers of order 1, in one call of ours.

    A peer sums neighbours as in the ``spmm`` cases and divides each row, step by step. The traffic is that of
    ``steps`` passes over the edges, so that the share of the bandwidth compares with ``spmm``'s; peers read
    and write the features once more a step to divide them.
    """
    x = torch.randn(graph.num_nodes, features, generator=torch.Generator().manual_seed(0))
    degree = torch.bincount(graph.edge_index[1], minlength=graph.num_nodes)
    scale = 1 / degree.clamp(min=1).float()

    def ours() -> Run:
        from gnnlib.sparse import as_csr, propagate

        adj = as_csr(graph.edge_index, graph.num_nodes)
        return lambda: propagate(adj, x, steps, row_scale=scale)

    def other(name: str) -> Run:
        aggregate = AGGREGATE[name](graph, "sum", features)

        def run() -> Tensor:
            h = x
            for _ in range(steps):
                h = aggregate(h) * scale[:, None]
            return h

        return run

    @functools.cache
    def expected() -> reference.Expected:
        return reference.mean_power(graph, x, steps)

    def start(name: str) -> Run:
        return ours() if name == "ours" else other(name)

    def verify(name: str) -> str | None:
        return expected().disagreement(start(name)())

    passes = NOTHING
    for _ in range(steps):
        passes += neighbor_pass(graph, features) + node_arrays(graph, 1, 1)
    names = ("ours", "pyg", "pyg-csr", "torch-reduce")
    return Problem({name: functools.partial(start, name) for name in names}, verify, passes)
