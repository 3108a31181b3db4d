"""Propagation over many hops as a case: many steps in one call, and a few in each training step."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gnnlib.bench import reference
from gnnlib.bench.graphs import GRAPHS, Graph
from gnnlib.bench.peers import AGGREGATE, FORMS
from gnnlib.bench.problems import SMALL, Problem, adam_step, first
from gnnlib.bench.timing import Run
from gnnlib.bench.traffic import NOTHING, neighbor_pass, node_arrays
from gnnlib.sparse import use_backend


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


def lazy_step(graph: Graph, *, in_channels: int, hidden: int, classes: int, layers: int) -> Problem:
    """A training step of LazyGNN beside one of PyG's GCN that looks ``layers`` hops far in each step.

    LazyGNN propagates twice a step, from where the last step ended, and so comes as far after as many steps.
    They are different models: ours is held to the reference kernels in float64, at its first step and on a
    smaller draw, where sums over nodes do not hide small gradients in the rounding of large ones.
    """
    sample = GRAPHS[graph.name](0.01) if graph.num_edges > SMALL else graph

    def inputs(of: Graph) -> tuple[Tensor, Tensor]:
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(of.num_nodes, in_channels, generator=draw)
        return x, torch.randint(classes, (of.num_nodes,), generator=draw)

    def lazy() -> nn.Module:
        from gnnlib.models import registry

        options: dict[str, Any] = {"hidden_channels": hidden, "dropout": 0.0, "norm": "none", "K": layers}
        config = registry.config_class("lazygnn")(**options)
        model: nn.Module = registry.build("lazygnn", "node", in_channels, classes, config)
        return model

    def deep() -> nn.Module:
        from torch_geometric.nn import GCN

        model: nn.Module = GCN(in_channels, hidden, layers, classes)
        return model

    def made(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return (lazy() if name == "ours" else deep()).to(dtype)

    def start(name: str) -> Run:
        model, (x, y) = made(name), inputs(graph)
        adj = graph.edge_index if name == "ours" else FORMS[name](graph)
        return adam_step(model, lambda: F.cross_entropy(model(x, adj), y))

    def gradients(dtype: torch.dtype) -> dict[str, Tensor]:
        model, (x, y) = made("ours", dtype), inputs(sample)
        torch.autograd.backward(F.cross_entropy(model(x.to(dtype), sample.edge_index), y))
        return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    @functools.cache
    def expected() -> dict[str, reference.Expected]:
        with use_backend("reference"):
            return reference.gradients(gradients(torch.float64))

    def verify(name: str) -> str | None:
        if name != "ours":
            return None
        got = gradients(torch.float32)
        return first(expected()[n].disagreement(g) for n, g in got.items())

    passes = NOTHING
    for _ in range(4):  # two steps forward and two back
        passes += neighbor_pass(graph, classes)
    return Problem({n: functools.partial(start, n) for n in ("ours", "pyg", "pyg-csr")}, verify, passes)
