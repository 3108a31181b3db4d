"""The kinds of work that cases measure on node features: one op, one layer, a whole training step."""

from __future__ import annotations

import copy
import functools
import importlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gnnlib.bench import reference
from gnnlib.bench.graphs import GRAPHS, Graph
from gnnlib.bench.models import Build
from gnnlib.bench.peers import AGGREGATE, DEFAULT, FORMS, ON_CPU, ON_CUDA
from gnnlib.bench.timing import Run
from gnnlib.bench.traffic import NOTHING, Traffic, neighbor_pass, node_arrays, rows_pass
from gnnlib.sparse import use_backend

#: Graphs with fewer edges than this are small: results are checked on the graph itself.
SMALL = 100_000


@dataclass(frozen=True)
class Problem:
    """One input and every way to work on it.

    Attributes:
        contenders: name -> set-up that returns the call to time; ``"ours"`` first.
        verify: name -> what is wrong with that contender's result against float64, or None.
        traffic: the bytes that a call must move.
        needs: name -> bytes that a call of that contender holds at its peak, for those that a machine may
            lack the memory for.
        sampled: ``verify`` looks at a smaller draw. A call returns the loss of a step, and the first losses
            of ours and of PyG on the input itself are to agree too.
    """

    contenders: Mapping[str, Callable[[], Run]]
    verify: Callable[[str], str | None]
    traffic: Traffic
    needs: Mapping[str, int] = field(default_factory=dict)
    sampled: bool = False


def first(sentences: Iterable[str | None]) -> str | None:
    """The first that says something."""
    return next((s for s in sentences if s is not None), None)


def library(name: str) -> Any:
    """The ``nn`` that a contender's layers come from."""
    return importlib.import_module("gnnlib.nn" if name == "ours" else "torch_geometric.nn")


def aggregation(
    graph: Graph,
    *,
    reduce: Literal["sum", "max"],
    features: int,
    backward: bool = False,
    dtype: torch.dtype = torch.float32,
    checked_at: float | None = None,
) -> Problem:
    """Sum or maximum over neighbours, alone or with the gradient of its input.

    With ``checked_at`` results are checked on a draw of the same generator at this scale.
    """
    sample = graph
    if checked_at is not None and graph.num_edges > SMALL:
        sample = GRAPHS[graph.name](checked_at).to(graph.device)

    def inputs(of: Graph) -> tuple[Tensor, Tensor | None]:
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(of.num_nodes, features, generator=draw).to(of.device, dtype)
        grad = torch.randn(of.num_nodes, features, generator=draw) if backward else None
        return x, None if grad is None else grad.to(of.device, dtype)

    def forward_only(name: str, of: Graph = graph) -> Run:
        aggregate, (x, _) = AGGREGATE[name](of, reduce, features), inputs(of)
        return lambda: aggregate(x)

    def with_gradient(name: str, of: Graph = graph) -> Run:
        aggregate, (x, grad) = AGGREGATE[name](of, reduce, features), inputs(of)
        leaf = x.requires_grad_()

        def run() -> tuple[Tensor, Tensor]:
            out = aggregate(leaf)
            (dx,) = torch.autograd.grad(out, leaf, grad)
            return out.detach(), dx

        return run

    start = with_gradient if backward else forward_only

    @functools.cache
    def expected() -> tuple[reference.Expected, ...]:
        here = sample.to("cpu")
        x, grad = inputs(here)
        found: tuple[reference.Expected, ...]
        if reduce == "sum":
            found = (reference.neighbor_sum(here, x),)
        else:
            found = reference.neighbor_max(here, x, torch.zeros_like(x) if grad is None else grad)
        return found if dtype == torch.float32 else tuple(e.rounded_to(dtype) for e in found)

    def verify(name: str) -> str | None:
        got = start(name, sample)()
        results = got if isinstance(got, tuple) else (got,)
        # Where neighbours tie, other libraries may share the gradient out: theirs is not held to our rule.
        checked = len(results) if name == "ours" else 1
        return first(e.disagreement(r.cpu()) for e, r in zip(expected()[:checked], results, strict=False))

    traffic = neighbor_pass(graph, features, dtype.itemsize)
    if backward:  # the argument written and read, the gradient read and the input's gradient written
        traffic += node_arrays(graph, features, 4)
    there = ON_CUDA if graph.device.type == "cuda" else ON_CPU
    names = [n for n in there if not backward or n not in ("scipy", "avx2", "cusparse")]
    return Problem({n: functools.partial(start, n) for n in names}, verify, traffic)


def hypergraph_layer(
    graph: Graph, *, features: int, other: Callable[[int], nn.Module] | None = None
) -> Problem:
    """One hypergraph convolution, forward and backward to its input and its parameters.

    Our layer does as PyG's does; with hyperedge weights of 1 the paper's form is the same.

    Args:
        other: makes another layer of ours from its width, of a kind that PyG does not have. PyG's
            HypergraphConv then stands beside it as the nearest there is, and ours is held to float64 on the
            reference kernels.
    """
    draw = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(graph.num_nodes, features, generator=draw) for _ in range(2))
    members, size = graph.edge_index, graph.num_hyperedges

    def build(name: str) -> nn.Module:
        if name == "ours" and other is not None:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                return other(features)
        options = {"pyg_compat": True} if name == "ours" else {}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            conv: nn.Module = library(name).HypergraphConv(features, features, **options)
            conv.load_state_dict(library(DEFAULT).HypergraphConv(features, features).state_dict())
        return conv

    def start(name: str, dtype: torch.dtype = torch.float32) -> Run:
        conv = build(name).to(dtype)
        leaf, outer = x.to(dtype, copy=True).requires_grad_(), grad.to(dtype)
        inputs = [leaf, *conv.parameters()]

        def run() -> dict[str, Tensor]:
            count = {"num_edges": size} if other is None or name != "ours" else {"num_hyperedges": size}
            out = conv(leaf, members, **count)
            grads = torch.autograd.grad(out, inputs, outer)
            names = ["x", *(n for n, _ in conv.named_parameters())]
            return {"out": out.detach(), **dict(zip(names, grads, strict=True))}

        return run

    @functools.cache
    def expected(name: str) -> dict[str, reference.Expected]:
        with use_backend("reference") if other is not None else nullcontext():
            exact = start(DEFAULT if other is None else name, torch.float64)()
        # Each array on its own: the gradient of the map is a thousand times that of x.
        return {n: e for name, v in exact.items() for n, e in reference.gradients({name: v}).items()}

    def verify(name: str) -> str | None:
        got = start(name)()
        exact = expected(DEFAULT if other is None else name)
        return first(exact[n].disagreement(g) for n, g in got.items())

    there = rows_pass(graph.num_nodes, size, graph.num_edges, features)
    back = rows_pass(size, graph.num_nodes, graph.num_edges, features)
    return Problem(
        {n: functools.partial(start, n) for n in ("ours", DEFAULT)}, verify, there + back + there + back
    )


def adam_step(model: nn.Module, loss_now: Callable[[], Tensor], *, capturable: bool = False) -> Run:
    """A step of training: zeroed gradients, the loss, its backward and a step of Adam. Returns the loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, capturable=capturable)

    def run() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_now()
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.detach()

    return run


def training_step(
    graph: Graph,
    *,
    build: Build,
    in_channels: int,
    classes: int,
    passes: tuple[int, ...],
    arrays: tuple[int, int] = (0, 0),
    forms: tuple[str, ...] = ("pyg", "pyg-csr", "pyg-edgeindex"),
    variants: Mapping[str, Build] | None = None,
    fresh: bool = False,
    accelerated: bool = False,
    checked_at: float | None = None,
    edge_bytes: int = 0,
    graphed: bool = False,
) -> Problem:
    """Zeroed gradients, forward, cross entropy, backward and an Adam step, all nodes (or graphs) at once.

    Args:
        passes: width of every pass over the edges that the step cannot do without; its traffic counts
            these and ``arrays``.
        arrays: width and number of node arrays that the step cannot do without, beside them.
        forms: the forms of PyG that give this model's results, and are worth the time.
        variants: other models by peer, for forms of PyG that are options of a layer.
        fresh: every step sees a new ``edge_index``, as a loader delivers it, so nothing is reused.
        accelerated: ours is PyG's model after ``gnnlib.accelerate``.
        checked_at: results are checked on a draw of the same generator at this scale, where float64 on the
            graph itself would take minutes or more memory than there is.
        graphed: ours is the same step recorded as a CUDA graph, where the graph is on a CUDA device.
        edge_bytes: bytes per edge that PyG's step holds at its peak; 0 where any machine has the memory.
    """
    models = dict.fromkeys(("ours", *forms), build) | dict(variants or {})
    sample = graph
    if checked_at is not None and graph.num_edges > SMALL:
        sample = GRAPHS[graph.name](checked_at).to(graph.device)
    on_cuda = graph.device.type == "cuda"

    def inputs(of: Graph) -> tuple[Tensor, Tensor]:
        draw = torch.Generator().manual_seed(0)
        items = of.num_nodes if of.batch is None else of.num_graphs
        x = torch.randn(of.num_nodes, in_channels, generator=draw)
        return x.to(of.device), torch.randint(classes, (items,), generator=draw).to(of.device)

    def model_of(name: str, of: Graph) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            initial = copy.deepcopy(build(library(DEFAULT), of).state_dict())
            model = models[name](library(DEFAULT if accelerated else name), of)
        model.load_state_dict(initial)
        if accelerated and name == "ours":
            from gnnlib.accel import accelerate

            accelerate(model)
        return model.to(of.device)

    def called(name: str, model: nn.Module) -> Callable[..., Tensor]:
        return torch.compile(model) if name == "pyg-compiled" else model

    def loss_of(model: Callable[..., Tensor], adj: Any, of: Graph, x: Tensor, y: Tensor) -> Tensor:
        if fresh and isinstance(adj, Tensor) and adj.layout == torch.strided:
            adj = adj.clone()
        return F.cross_entropy(model(x, adj, of.batch, of.num_graphs), y)

    def start(name: str) -> Run:
        model, adj = model_of(name, graph), FORMS[name](graph)
        x, y = inputs(graph)
        call = called(name, model)
        run = adam_step(model, lambda: loss_of(call, adj, graph, x, y), capturable=on_cuda)
        if graphed and on_cuda and name == "ours":
            from gnnlib.accel.graphed import GraphedStep

            return GraphedStep(run)
        return run

    def gradients(name: str, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        model = model_of(name, sample).to(dtype)
        x, y = inputs(sample)
        loss = loss_of(called(name, model), FORMS[name](sample), sample, x.to(dtype), y)
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        grads = torch.autograd.grad(loss, [p for _, p in named])
        found = {"loss": loss.detach()} | {n: g for (n, _), g in zip(named, grads, strict=True)}
        return {n: g.cpu() for n, g in found.items()}

    @functools.cache
    def expected() -> dict[str, reference.Expected]:
        return reference.gradients(gradients(DEFAULT, torch.float64))

    def verify(name: str) -> str | None:
        got = gradients(name)
        if got.keys() != expected().keys():
            return f"trains {sorted(got)}, expected {sorted(expected())}"
        return first(expected()[n].disagreement(g) for n, g in got.items())

    traffic = sum((neighbor_pass(graph, w) for w in passes), NOTHING) + node_arrays(graph, *arrays)
    needs = {n: edge_bytes * graph.num_edges for n in models if n != "ours" and edge_bytes}
    return Problem(
        {n: functools.partial(start, n) for n in models}, verify, traffic, needs, sampled=sample is not graph
    )
