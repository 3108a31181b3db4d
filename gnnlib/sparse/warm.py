"""Compiles every CPU kernel into numba's disk cache, so that no later run waits for a compiler."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gnnlib.sparse import (
    CSR,
    as_csr,
    common_neighbors,
    edge_attention,
    edge_matching,
    edge_relu_sum,
    enumerate_paths,
    fps,
    gated_sum,
    independent_set,
    lstm_step,
    multi_reduce,
    propagate,
    random_walk,
    registry,
    sample_budget,
    sample_neighbors,
    scatter,
    sddmm,
    segment_reduce,
    segment_softmax,
    spgemm,
    spmm,
)
from gnnlib.sparse.ops.alias import alias_draw, alias_table
from gnnlib.sparse.ops.common_neighbors import rows_without, sorted_rows
from gnnlib.sparse.ops.dropout import counted_dropout
from gnnlib.sparse.ops.edge_attention import Score
from gnnlib.sparse.ops.enumerate_paths import PathKind
from gnnlib.sparse.ops.leading_sum import leading_sum
from gnnlib.sparse.ops.multi_reduce import Moment
from gnnlib.sparse.ops.sddmm import EdgeOp
from gnnlib.sparse.ops.skipgram import UNIT, skipgram, walk_windows
from gnnlib.sparse.ops.sparse_projection import sparse_projection
from gnnlib.sparse.ops.spmm import Reduce

#: Shorter types are summed in float32, by its kernels.
_DTYPES = (torch.float32, torch.float64)
_REDUCTIONS: tuple[Reduce, ...] = ("sum", "mean", "max", "min")
_MOMENTS: tuple[Moment, ...] = ("sum", "mean", "max", "min", "var", "std")
_EDGE_OPS: tuple[EdgeOp, ...] = ("dot", "add", "sub")
_NODES, _EDGES, _HEADS, _WIDTH = 8, 24, 2, 5


@dataclass(frozen=True)
class Warmed:
    """What was done: kernels by name, compiled forms, and how long it took."""

    kernels: tuple[str, ...]
    forms: int
    seconds: float


def _differentiate(out: Tensor) -> None:
    if out.requires_grad:
        out.sum().backward()  # type: ignore[no-untyped-call]


def _attend(adj: CSR, score: Score, leaf: Callable[..., Tensor]) -> Tensor:
    wide, value = (_HEADS,) if score == "additive" else (_HEADS, _WIDTH), leaf(_NODES, _HEADS, _WIDTH)
    ends = leaf(_NODES, *wide), leaf(_NODES, *wide)
    if score == "gatv2":
        return edge_attention(adj, *ends, score=score, att=leaf(_HEADS, _WIDTH))
    return edge_attention(adj, *ends, value, score)


def _sample(adj: CSR, when: torch.dtype | None) -> Tensor:
    seeds = torch.arange(_NODES)
    if when is None:
        return sample_neighbors(adj, seeds, [1], subgraph="induced").node
    time = torch.arange(_NODES).to(when)
    return sample_neighbors(adj, seeds, [1], disjoint=True, node_time=time, subgraph="induced").node


def _listed(adj: CSR, kind: PathKind) -> Tensor:
    return enumerate_paths(adj, 2, kind).indptr[0]


def _train(adj: CSR, draw: torch.Generator) -> Tensor:
    """A block of skip-gram on walks, with negatives from an alias table."""
    walks = random_walk(adj, torch.arange(_NODES), 4, seed=0)
    ptr, context, centre = walk_windows(walks, 2, 0)
    whole = torch.tensor([0, _NODES])
    threshold, alias, _ = alias_table(whole, torch.rand(_NODES, generator=draw))
    negative = alias_draw(threshold, alias, centre.shape[0], 0)
    table = torch.rand(_NODES, UNIT, generator=draw)
    out = torch.stack([centre.int(), negative], dim=1)
    skipgram(table, table.clone(), ptr, context, out, 0.1, 0.01, 0.0, 100.0, 4)
    return table


def _uses(dtype: torch.dtype) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Small calls of every public op, in each of the forms that compile apart."""
    draw = torch.Generator().manual_seed(0)
    edge_index = torch.randint(_NODES, (2, _EDGES), generator=draw)
    adj = as_csr(edge_index, _NODES)

    def leaf(*shape: int) -> Tensor:
        return torch.rand(shape, generator=draw, dtype=dtype).requires_grad_()

    def heads(count: int) -> tuple[int, ...]:
        return () if count == 0 else (count,)

    for index in (torch.int64, torch.int32):
        yield f"as_csr {index}", partial(lambda i: as_csr(edge_index.to(i), _NODES).transposed.indptr, index)
    scale = torch.rand(_NODES, dtype=dtype, generator=draw)
    for reduce, h, weighted in itertools.product(_REDUCTIONS, (0, _HEADS), (False, True)):
        x, w = leaf(_NODES, *heads(h), _WIDTH), leaf(_EDGES, *heads(h)) if weighted else None
        yield f"spmm {reduce}", partial(spmm, adj, x, w, reduce, row_scale=scale, col_scale=scale)
        yield f"spmm {reduce}", partial(spmm, adj, x, w, reduce)
    for op, h in itertools.product(_EDGE_OPS, (0, _HEADS)):
        target, source = leaf(_NODES, *heads(h), _WIDTH), leaf(_NODES, *heads(h), _WIDTH)
        yield f"sddmm {op}", partial(sddmm, adj, target, source, op)
    for form in ("additive", "dot", "gatv2"):
        yield "edge_attention", partial(_attend, adj, form, leaf)
    blocks, first = leaf(_NODES, 2, _WIDTH).detach(), edge_index[0, :_NODES]
    for w, by in ((None, None), (torch.rand(_EDGES, dtype=dtype), torch.rand(_NODES, _WIDTH, dtype=dtype))):
        yield "leading_sum", partial(leading_sum, adj, blocks, _NODES, w, by, first)
    term = leaf(_EDGES, _HEADS)
    ends, value = (leaf(_NODES, _HEADS), leaf(_NODES, _HEADS)), leaf(_NODES, _HEADS, _WIDTH)
    yield "edge_attention", partial(edge_attention, adj, *ends, value, edge=term)
    for edges in ((), (leaf(_EDGES, 2 * _WIDTH),), (leaf(_EDGES, 2), leaf(2, _WIDTH), leaf(2, _WIDTH))):
        kqv = [leaf(_NODES, _WIDTH) for _ in range(3)]
        yield "gated_sum", partial(gated_sum, adj, *kqv, *edges)
    gates, cells = [leaf(_NODES, 4 * _WIDTH) for _ in range(2)], leaf(_NODES, _WIDTH)
    yield "lstm_step", lambda: lstm_step(gates[:1], [edge_index[0]], gates[1], cells, edge_index[1])[0]
    for k, width in ((0, 0), (0, _WIDTH), (2, _WIDTH)):
        rows = leaf(_NODES, _WIDTH)
        more: dict[str, Tensor] = {"edge": leaf(_EDGES, k or width)} if width else {}
        more |= {"edge_map": leaf(k, width)} if k else {}
        yield "edge_relu_sum", partial(edge_relu_sum, adj, rows, **more)
        yield "multi_reduce", partial(multi_reduce, adj, rows, _MOMENTS, **more)
    for h in (0, _HEADS):
        yield "segment_softmax", partial(segment_softmax, leaf(_EDGES, *heads(h)), adj.indptr)
        for reduce in _REDUCTIONS:
            src = leaf(_EDGES, *heads(h))
            yield f"segment_reduce {reduce}", partial(segment_reduce, src, adj.indptr, reduce)
            yield f"scatter {reduce}", partial(scatter, src, edge_index[1], _NODES, reduce)
    for w, every in itertools.product((None, leaf(_EDGES)), (False, True)):
        yield "propagate", partial(propagate, adj, leaf(_NODES, _WIDTH), 2, weight=w, every=every)

    def product(a: Tensor, b: Tensor) -> Tensor:
        value = spgemm(adj.with_value(a), adj.with_value(b)).value
        return adj.indptr if value is None else value

    yield "spgemm", partial(product, leaf(_EDGES), leaf(_EDGES))
    for when in (None, torch.int64, torch.float64):
        yield "sample_neighbors", partial(_sample, adj, when)
    kind, sizes = ("", "", ""), {"": _NODES}
    seeds = {"": torch.arange(2)}
    points = torch.rand(_NODES, _WIDTH, generator=draw)
    yield "fps", partial(fps, points, random_start=False)
    yield "sample_budget", lambda: sample_budget({kind: adj}, seeds, [2], num_nodes=sizes).node[""]
    for which in ("shortest", "simple"):
        yield "enumerate_paths", partial(_listed, adj, which)
    common = common_neighbors(adj, edge_index)
    yield "common_neighbors", lambda: common_neighbors(adj, edge_index).indptr
    yield "rows_without", lambda: rows_without(sorted_rows(adj), edge_index[0], common).indptr
    for w in (None, torch.rand(_EDGES, generator=draw)):
        yield "random_walk", partial(random_walk, adj, torch.arange(_NODES), 4, p=0.5, weight=w)
    yield "skipgram", partial(_train, adj, draw)
    yield "sparse_projection", partial(sparse_projection, torch.ones(_NODES), 64, 3.0, 0)
    yield "dropout", partial(counted_dropout, leaf(_NODES, _WIDTH), 0.5, 0)
    yield "edge_matching", lambda: edge_matching(edge_index, scale.repeat(3), _NODES)
    yield "independent_set", lambda: independent_set(adj, scale, 2)


def warm(
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    *,
    dtypes: tuple[torch.dtype, ...] = _DTYPES,
) -> Warmed:
    """Compile every CPU kernel for each form of its arguments.

    Args:
        progress: called with what comes next, the steps done and their number.
        dtypes: the dtypes to compile for.

    Raises:
        ImportError: without numba.
    """
    from gnnlib.sparse.native.launch import Launcher

    start = time.perf_counter()
    for op in registry.ops():
        registry.load(op)
    uses = [(f"{name} {dtype}", call) for dtype in dtypes for name, call in _uses(dtype)]
    for done, (name, call) in enumerate(uses):
        progress(name, done, len(uses))
        _differentiate(call())
    progress("done", len(uses), len(uses))
    forms = sum(len(k.compiled.signatures) for k in Launcher.kernels)
    return Warmed(tuple(k.name for k in Launcher.kernels), forms, time.perf_counter() - start)
