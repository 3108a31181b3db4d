"""The two kinds of work that cases measure: one op on a graph, and a whole training step."""

from __future__ import annotations

import copy
import functools
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gnnlib.bench import reference
from gnnlib.bench.graphs import Graph
from gnnlib.bench.peers import AGGREGATE, DEFAULT, FORMS
from gnnlib.bench.timing import Run
from gnnlib.bench.traffic import NOTHING, Traffic, neighbor_pass, node_arrays


@dataclass(frozen=True)
class Problem:
    """One input and every way to work on it.

    Attributes:
        contenders: name -> set-up that returns the call to time; ``"ours"`` first.
        verify: name -> what is wrong with that contender's result against float64, or None.
        traffic: the bytes that a call must move.
    """

    contenders: Mapping[str, Callable[[], Run]]
    verify: Callable[[str], str | None]
    traffic: Traffic


def _first(sentences: Iterable[str | None]) -> str | None:
    return next((s for s in sentences if s is not None), None)


def aggregation(
    graph: Graph, *, reduce: Literal["sum", "max"], features: int, backward: bool = False
) -> Problem:
    """Sum or maximum over neighbours, alone or with the gradient of its input."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(graph.num_nodes, features, generator=draw)
    grad = torch.randn(graph.num_nodes, features, generator=draw) if backward else None

    def forward_only(name: str) -> Run:
        aggregate = AGGREGATE[name](graph, reduce, features)
        return lambda: aggregate(x)

    def with_gradient(name: str) -> Run:
        aggregate = AGGREGATE[name](graph, reduce, features)
        leaf = x.clone().requires_grad_()

        def run() -> tuple[Tensor, Tensor]:
            out = aggregate(leaf)
            (dx,) = torch.autograd.grad(out, leaf, grad)
            return out.detach(), dx

        return run

    start = with_gradient if backward else forward_only

    @functools.cache
    def expected() -> tuple[reference.Expected, ...]:
        if reduce == "sum":
            return (reference.neighbor_sum(graph, x),)
        return reference.neighbor_max(graph, x, torch.zeros_like(x) if grad is None else grad)

    def verify(name: str) -> str | None:
        got = start(name)()
        results = got if isinstance(got, tuple) else (got,)
        # Where neighbours tie, other libraries may share the gradient out: theirs is not held to our rule.
        checked = len(results) if name == "ours" else 1
        return _first(e.disagreement(r) for e, r in zip(expected()[:checked], results, strict=False))

    traffic = neighbor_pass(graph, features)
    if backward:  # the argument written and read, the gradient read and the input's gradient written
        traffic += node_arrays(graph, features, 4)
    names = [n for n in AGGREGATE if not backward or n not in ("scipy", "avx2")]
    return Problem({n: functools.partial(start, n) for n in names}, verify, traffic)


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


#: A model from either library's ``nn``, whose layers share names, arguments and state_dict keys.
Build = Callable[[Any], nn.Module]


def training_step(
    graph: Graph,
    *,
    build: Build,
    in_channels: int,
    classes: int,
    passes: tuple[int, ...],
    variants: Mapping[str, Build] | None = None,
    fresh: bool = False,
) -> Problem:
    """Zeroed gradients, forward, cross entropy, backward and an Adam step, all nodes (or graphs) at once.

    Args:
        passes: width of every pass over the edges that the step cannot do without; its traffic counts
            these alone.
        variants: other models by peer, for forms of PyG that are options of a layer.
        fresh: every step sees a new ``edge_index``, as a loader delivers it, so nothing is reused.
    """
    models = dict.fromkeys(("ours", "pyg", "pyg-csr", "pyg-edgeindex"), build) | dict(variants or {})
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(graph.num_nodes, in_channels, generator=draw)
    items = graph.num_nodes if graph.batch is None else graph.num_graphs
    y = torch.randint(classes, (items,), generator=draw)

    @functools.cache
    def initial() -> dict[str, Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return copy.deepcopy(build(importlib.import_module("torch_geometric.nn")).state_dict())

    def model_of(name: str) -> nn.Module:
        library = importlib.import_module("gnnlib.nn" if name == "ours" else "torch_geometric.nn")
        model = models[name](library)
        model.load_state_dict(initial())
        return model

    def loss_of(model: nn.Module, adj: Any, features: Tensor) -> Tensor:
        if fresh and isinstance(adj, Tensor) and adj.layout == torch.strided:
            adj = adj.clone()
        return F.cross_entropy(model(features, adj, graph.batch, graph.num_graphs), y)

    def start(name: str) -> Run:
        model, adj = model_of(name), FORMS[name](graph)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

        def run() -> Tensor:
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model, adj, x)
            torch.autograd.backward(loss)
            optimizer.step()
            return loss.detach()

        return run

    def gradients(model: nn.Module, adj: Any, features: Tensor) -> dict[str, Tensor]:
        loss = loss_of(model, adj, features)
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        grads = torch.autograd.grad(loss, [p for _, p in named])
        return {"loss": loss.detach()} | {n: g for (n, _), g in zip(named, grads, strict=True)}

    @functools.cache
    def expected() -> dict[str, reference.Expected]:
        exact = gradients(model_of(DEFAULT).double(), FORMS[DEFAULT](graph), x.double())
        return reference.gradients(exact)

    def verify(name: str) -> str | None:
        got = gradients(model_of(name), FORMS[name](graph), x)
        if got.keys() != expected().keys():
            return f"trains {sorted(got)}, expected {sorted(expected())}"
        return _first(expected()[n].disagreement(g) for n, g in got.items())

    traffic = sum((neighbor_pass(graph, w) for w in passes), NOTHING)
    return Problem({n: functools.partial(start, n) for n in models}, verify, traffic)
