"""Each loaded kernel called by itself, with either index type and with spare slots past the last offset."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib.sparse import CSR, as_csr, registry
from gnnlib.sparse.registry import Kernel
from tests.sparse import oracle
from tests.sparse.graphs import MIXED, ZOO, Graph
from tests.tolerances import assert_close

Expected = tuple[Any, ...]
INDEX_TYPES = (torch.int32, torch.int64)


#: Interpreted kernels are tried here too; ``tests/gpu`` tries compiled ones, on their device.
ON_CPU = {"cpu", "reference", "torch_scatter"} | (
    {"gpu"} if os.environ.get("TRITON_INTERPRET") == "1" else set()
)


def here(op: str) -> list[Kernel]:
    return [k for k in registry.load(op) if k.backend in ON_CPU]


def kernels(op: str) -> Any:
    return pytest.mark.parametrize("kernel", here(op), ids=lambda k: k.backend)


def both_types(*ops: str) -> Any:
    found = [
        pytest.param(k, t, id=f"{k.op}-{k.backend}-{t}".replace("torch.", ""))
        for op in ops
        for k in here(op)
        for t in INDEX_TYPES
    ]
    return pytest.mark.parametrize(("kernel", "index_type"), found)


def in_rows(graph: Graph) -> Graph:
    """The same graph with its edges sorted by target, so that slots and edges are one."""
    order = graph.edge_index[1].argsort(stable=True)
    return Graph(graph.name, graph.edge_index[:, order], graph.num_cols, graph.num_rows)


SORTED = in_rows(MIXED)


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, dtype=dtype)


def first_winner(graph: Graph, message: Tensor, largest: bool) -> Tensor:
    """The first slot of each row that has its extreme value, -1 for an empty row."""
    arg = torch.full((graph.num_rows, *message.shape[1:]), -1)
    for i in range(graph.num_rows):
        slots = (graph.edge_index[1] == i).nonzero()[:, 0]
        if slots.numel():
            v = message[slots].double()
            best = v.amax(0) if largest else v.amin(0)
            arg[i] = slots[(v == best).int().argmax(0)]
    return arg


def test_every_op_has_the_definition_and_a_cpu_kernel() -> None:
    for op in registry.ops():
        assert {"cpu", "reference"} <= {k.backend for k in registry.load(op)}, op


@both_types("spmm")
def test_spmm(kernel: Kernel, index_type: torch.dtype) -> None:
    g, indices = SORTED, SORTED.adj.indices.to(index_type)
    x, w = normal(g.num_cols, 2, 9), normal(g.num_edges, 2)
    r, c = normal(g.num_rows), normal(g.num_cols)
    out = kernel.fn(g.adj.indptr, indices, w, x, r, c)
    assert_close(out, oracle.spmm(g, x.double(), w.double(), "sum", r.double(), c.double()))
    assert_close(kernel.fn(g.adj.indptr, indices, None, x, None, None), oracle.spmm(g, x.double()))


@both_types("spmm_arg")
@pytest.mark.parametrize("largest", [True, False])
def test_spmm_arg(kernel: Kernel, index_type: torch.dtype, largest: bool) -> None:
    g = SORTED
    x = torch.randint(-2, 3, (g.num_cols, 2, 9)).float()  # many ties
    w = torch.randint(-1, 2, (g.num_edges, 2)).float()
    for weight in (None, w):
        out, arg = kernel.fn(g.adj.indptr, g.adj.indices.to(index_type), weight, x, largest)
        message = x[g.edge_index[0]] * (1 if weight is None else weight[:, :, None])
        assert_close(out, oracle.reduce(g.edge_index[1], g.num_rows, message, "max" if largest else "min"))
        assert torch.equal(arg.long(), first_winner(g, message, largest))


@both_types("arg_scatter")
def test_arg_scatter(kernel: Kernel, index_type: torch.dtype) -> None:
    g = SORTED
    x, w = normal(g.num_cols, 2, 9), normal(g.num_edges, 2)
    grad = normal(g.num_rows, 2, 9)
    arg = first_winner(g, x[g.edge_index[0]] * w[:, :, None], True)
    for weight in (None, w):
        out = kernel.fn(arg.int(), g.adj.indptr, g.adj.indices.to(index_type), weight, grad, g.num_cols)
        wanted = torch.zeros(g.num_cols, 2, 9, dtype=torch.float64)
        for i, h, f in (arg >= 0).nonzero().tolist():
            e = int(arg[i, h, f])
            factor = 1.0 if weight is None else float(weight[e, h])
            wanted[g.edge_index[0, e], h, f] += factor * float(grad[i, h, f])
        assert_close(out, wanted)


@kernels("arg_to_slots")
def test_arg_to_slots(kernel: Kernel) -> None:
    g = SORTED
    x, value = normal(g.num_cols, 2, 9), normal(g.num_rows, 2, 9)
    arg = first_winner(g, x[g.edge_index[0]], True)
    wanted = torch.zeros(g.num_edges + 3, 2, dtype=torch.float64)
    for i, h, f in (arg >= 0).nonzero().tolist():
        wanted[arg[i, h, f], h] += float(value[i, h, f])
    assert_close(kernel.fn(arg.int(), g.adj.indptr, value, g.num_edges + 3), wanted)


@both_types("sddmm")
@pytest.mark.parametrize("op", ["dot", "add", "sub"])
def test_sddmm(kernel: Kernel, index_type: torch.dtype, op: str) -> None:
    g = SORTED
    a, b = normal(g.num_rows, 2, 9), normal(g.num_cols, 2, 9)
    out = kernel.fn(g.adj.indptr, g.adj.indices.to(index_type), a, b, op)
    assert_close(out, oracle.sddmm(g, a.double(), b.double(), op))


@kernels("segment_softmax")
def test_segment_softmax(kernel: Kernel) -> None:
    s = normal(SORTED.num_edges, 3)
    assert_close(kernel.fn(SORTED.adj.indptr, s), oracle.softmax(SORTED, s.double()))


@kernels("segment_softmax_grad")
@pytest.mark.parametrize("width", [1, 3, 21])
def test_segment_softmax_gradient(kernel: Kernel, width: int) -> None:
    """From the result and its gradient, also where slots past the last offset belong to no row."""
    s, grad = normal(SORTED.num_edges, width), normal(SORTED.num_edges, width)
    held = s.double().requires_grad_()
    out = oracle.softmax(SORTED, held)
    (expected,) = torch.autograd.grad(out, held, grad.double())
    found = kernel.fn(SORTED.adj.indptr, out.detach().float(), grad)
    assert_close(found, expected)
    zeros, ones = torch.zeros(3, width), torch.ones(3, width)
    padded = kernel.fn(SORTED.adj.indptr, torch.cat([out.detach().float(), zeros]), torch.cat([grad, ones]))
    assert torch.equal(padded, torch.cat([found, zeros]))


@kernels("segment_reduce")
@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
def test_segment_reduce(kernel: Kernel, reduce: str) -> None:
    g = SORTED
    s = torch.randint(-3, 4, (g.num_edges, 5)).float()
    out, arg = kernel.fn(g.adj.indptr, s, reduce)
    assert_close(out, oracle.reduce(g.edge_index[1], g.num_rows, s.double(), reduce))
    if reduce in ("max", "min"):
        assert torch.equal(arg, first_winner(g, s, reduce == "max"))


@kernels("scatter")
@pytest.mark.parametrize("index_type", [torch.uint8, torch.int16, torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
def test_scatter(kernel: Kernel, index_type: torch.dtype, reduce: str) -> None:
    g = MIXED
    s = torch.randint(-3, 4, (g.num_edges, 5)).float()
    out, arg = kernel.fn(g.edge_index[1].to(index_type), s, g.num_rows, reduce)
    assert_close(out, oracle.reduce(g.edge_index[1], g.num_rows, s.double(), reduce))
    if reduce in ("max", "min"):
        assert torch.equal(arg, first_winner(g, s, reduce == "max"))


@both_types("propagate")
@pytest.mark.parametrize("every", [False, True])
def test_propagate(kernel: Kernel, index_type: torch.dtype, every: bool) -> None:
    g, indices = SORTED, SORTED.adj.indices.to(index_type)
    x, w, r, c = (normal(n, *t) for n, t in ((37, (9,)), (g.num_edges, ()), (37, ()), (37, ())))
    out = kernel.fn(g.adj.indptr, indices, w, x, r, c, 3, 0.8, 0.2, every)
    exact = [t.double() for t in (x, w, r, c)]
    assert_close(out, oracle.propagate(g, exact[0], 3, *exact[1:], 0.2, 0.8, every))


@both_types("propagate_inject")
def test_propagate_inject(kernel: Kernel, index_type: torch.dtype) -> None:
    g, indices = SORTED, SORTED.adj.indices.to(index_type)
    sources, w, r, c = normal(4, 37, 9), normal(g.num_edges), normal(37), normal(37)
    out = kernel.fn(g.adj.indptr, indices, w, sources, r, c, 0.8)
    wanted = [sources[0].double()]
    for own in sources[1:].double():
        step = oracle.spmm(g, wanted[-1], w.double(), "sum", r.double(), c.double())
        wanted.append(0.8 * step + own)
    assert_close(out, torch.stack(wanted))


@both_types("spgemm_pattern")
def test_spgemm(kernel: Kernel, index_type: torch.dtype) -> None:
    """Places, values at them, and the sampled product, which is their adjoint."""
    a, b = SORTED.adj, SORTED.adj.transposed.slot_order
    values, sampled = (
        next(k for k in registry.load(op) if k.backend == kernel.backend)
        for op in ("spgemm_values", "spgemm_sampled")
    )
    left, right = ((m.indptr, m.indices.to(index_type)) for m in (a, b))
    u, v = normal(a.num_edges), normal(b.num_edges)
    indptr, indices = kernel.fn(*left, *right, 37)
    c = CSR(indptr, indices, 37)
    product = values.fn(*left, u, *right, v, indptr, indices.to(index_type), 37)
    dense = a.to_dense(u.double()) @ b.to_dense(v.double())
    assert_close(c.to_dense(product), dense)
    g = normal(c.num_edges)
    found = sampled.fn(*left, indptr, indices.to(index_type), g, *right, v, 37)
    wanted = c.to_dense(g.double()) @ b.to_dense(v.double()).t()
    assert_close(found, wanted[a.rows, a.indices.long()])


@both_types("common_neighbors")
def test_common_neighbors(kernel: Kernel, index_type: torch.dtype) -> None:
    """Rows of sorted and unique columns, long enough for blocks, searches and bits."""
    rows = [list(range(0, 400, 2)), list(range(0, 400, 3)), [7, 8, 12], [], list(range(398))]
    indptr = torch.tensor([0, *(len(r) for r in rows)]).cumsum(0)
    indices = torch.tensor([j for r in rows for j in r], dtype=index_type)
    pairs = torch.cartesian_prod(torch.arange(5), torch.arange(5)).t().contiguous()
    out_indptr, out_indices = kernel.fn(indptr, indices, pairs, 400)
    assert out_indices.dtype == index_type
    for p, (u, v) in enumerate(pairs.t().tolist()):
        found = out_indices[out_indptr[p] : out_indptr[p + 1]].tolist()
        assert found == sorted(set(rows[u]) & set(rows[v]))


@kernels("coo_to_csr")
@pytest.mark.parametrize("graph", ZOO, ids=repr)
def test_coo_to_csr(kernel: Kernel, graph: Graph) -> None:
    source, target = graph.edge_index
    for index_type in INDEX_TYPES:
        indptr, indices, perm = kernel.fn(
            target.to(index_type).contiguous(),
            source.to(index_type).contiguous(),
            graph.num_rows,
            graph.num_cols,
        )
        assert (indptr.dtype, indices.dtype, perm.dtype) == (torch.int64, torch.int32, torch.int64)
        assert indptr.tolist() == [int((target < i).sum()) for i in range(graph.num_rows + 1)]
        assert perm.tolist() == sorted(range(graph.num_edges), key=lambda e: int(target[e]))  # stable
        assert indices.tolist() == source[perm].tolist()


@kernels("csr_transpose")
@pytest.mark.parametrize("graph", ZOO, ids=repr)
def test_csr_transpose(kernel: Kernel, graph: Graph) -> None:
    adj = graph.adj.slot_order
    row = adj.rows.tolist()
    for index_type in INDEX_TYPES:
        indptr, indices, perm = kernel.fn(adj.indptr, adj.indices.to(index_type), adj.num_cols)
        col = adj.indices.tolist()
        assert perm.tolist() == sorted(range(adj.num_edges), key=lambda s: col[s])  # stable
        assert indices.tolist() == [row[s] for s in perm.tolist()]
        assert indptr.tolist() == [sum(c < j for c in col) for j in range(adj.num_cols + 1)]


# Compiled code cannot know how many self-loops a graph had, so its arrays end in slots of no row.


def spare(adj: CSR) -> Tensor:
    return torch.cat([adj.indices, adj.indices.new_tensor([0, 1, 0])])


def calls() -> dict[str, tuple[Callable[[Tensor], tuple[Any, ...]], bool]]:
    """Arguments by op, as a function of the indices, and whether the result has a row for each slot."""
    g = SORTED
    x, w = normal(g.num_cols, 2, 9), normal(g.num_edges + 3, 2)
    a, src = normal(g.num_rows, 2, 9), normal(g.num_edges + 3, 4)
    p = g.adj.indptr
    return {
        "spmm": (lambda i: (p, i, w[: len(i)], x, None, None), False),
        "spmm_arg": (lambda i: (p, i, w[: len(i)], x, True), False),
        "sddmm": (lambda i: (p, i, a, x, "dot"), True),
        "segment_softmax": (lambda i: (p, src[: len(i)]), True),
        "segment_reduce": (lambda i: (p, src[: len(i)], "max"), False),
        "csr_transpose": (lambda i: (p, i, g.num_cols), True),
        "propagate": (lambda i: (p, i, w[: len(i), 0], x[:, 0], None, None, 2, 0.8, 0.2, False), False),
    }


@pytest.mark.parametrize(
    "op", ["spmm", "spmm_arg", "sddmm", "segment_softmax", "segment_reduce", "csr_transpose", "propagate"]
)
def test_spare_slots_belong_to_no_row(op: str) -> None:
    args, by_slot = calls()[op]
    adj = SORTED.adj
    for kernel in here(op):
        whole, padded = kernel.fn(*args(adj.indices)), kernel.fn(*args(spare(adj)))
        whole, padded = (o if isinstance(o, tuple) else (o,) for o in (whole, padded))
        for a, b in zip(whole, padded, strict=True):
            assert torch.equal(b[: a.shape[0]], a)
            assert b.shape[0] == a.shape[0] or (by_slot and bool((b[a.shape[0] :] == 0).all()))


def test_refusals_name_the_reason() -> None:
    adj = as_csr(MIXED.edge_index, 37)
    x = torch.zeros(37, 1, 3)
    for op in ("spmm", "segment_reduce", "scatter", "sddmm", "spmm_arg", "segment_softmax"):
        kernel = next(k for k in registry.load(op) if k.backend == "cpu")
        args: dict[str, tuple[Any, ...]] = {
            "spmm": (adj.indptr, adj.indices, None, x, None, None),
            "spmm_arg": (adj.indptr, adj.indices, None, x, True),
            "sddmm": (adj.indptr, adj.indices, x, x, "dot"),
            "segment_softmax": (adj.indptr, x[:, 0]),
            "segment_reduce": (adj.indptr, x[:, 0], "sum"),
            "scatter": (adj.indices[:37], x[:, 0], 37, "sum"),
        }
        given = args[op]
        assert kernel.refuse(*given) is None
        floats8 = [
            t.to(torch.float8_e4m3fn) if isinstance(t, Tensor) and t.is_floating_point() else t for t in given
        ]
        assert kernel.refuse(*floats8) == "does not take torch.float8_e4m3fn"
        away = [t.to("meta") if isinstance(t, Tensor) else t for t in given]
        assert kernel.refuse(*away) == "takes cpu tensors, got one on meta"
