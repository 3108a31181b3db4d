"""multi_reduce and edge_relu_sum: their kernels by themselves, cancellation, NaN, errors, memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gnnlib.bench import memory
from gnnlib.sparse import as_csr, edge_relu_sum, multi_reduce, registry, spmm
from gnnlib.sparse.registry import Kernel
from tests.sparse import oracle
from tests.sparse.cases import ALL_MOMENTS
from tests.sparse.graphs import HUBS, MIXED
from tests.sparse.test_kernels import SORTED, both_types, normal, spare
from tests.tolerances import assert_close

ROOT = Path(__file__).resolve().parents[2]
EVERY = ",".join(ALL_MOMENTS)
PNA = ("mean", "min", "max", "std")


def features(width: int = 9) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, edge, edge_map and target of the sorted graph; 9 features are no whole vector."""
    g = SORTED
    return normal(g.num_cols, width), normal(g.num_edges, 4), normal(4, width), normal(g.num_rows, width)


@both_types("multi_reduce")
def test_multi_reduce(kernel: Kernel, index_type: torch.dtype) -> None:
    g, indices = SORTED, SORTED.adj.indices.to(index_type)
    x, e, m, t = features()
    out, mean, arg = kernel.fn(g.adj.indptr, indices, x, e, m, None, t, EVERY)
    wide = [v.double() for v in (x, e, m, t)]
    assert_close(out, oracle.multi_reduce(g, ALL_MOMENTS, *wide))
    assert_close(mean, oracle.multi_reduce(g, ("mean",), *wide[:3])[:, 0])
    assert arg.dtype == torch.int32
    assert arg.shape == (g.num_rows, 2, 9)
    out, mean, arg = kernel.fn(g.adj.indptr, indices, x, e @ m, None, None, None, "std,min")
    assert_close(out, oracle.multi_reduce(g, ("std", "min"), *wide[:3]))
    assert_close(mean, oracle.multi_reduce(g, ("mean",), *wide[:3])[:, 0])
    assert arg.shape == (g.num_rows, 1, 9)


@both_types("edge_relu_sum")
def test_edge_relu_sum(kernel: Kernel, index_type: torch.dtype) -> None:
    g, indices = SORTED, SORTED.adj.indices.to(index_type)
    x, e, m, _ = features()
    wanted = oracle.edge_relu_sum(g, x.double(), e.double(), m.double())
    assert_close(kernel.fn(g.adj.indptr, indices, x, e, m, None), wanted)
    assert_close(kernel.fn(g.adj.indptr, indices, x, e @ m, None, None), wanted)


def grads_of(op: str, kernel: Kernel, index_type: torch.dtype) -> tuple[Tensor, ...]:
    g, (x, e, m, t) = SORTED, features()
    p, i = g.adj.indptr, g.adj.indices.to(index_type)
    back = g.adj.transposed
    ends = (p, i, back.indptr, back.indices.to(index_type), g.adj.transpose_perm, x, e, m, None)
    torch.manual_seed(3)
    if op == "edge_relu_sum_grad":
        return tuple(kernel.fn(*ends, normal(g.num_rows, 9), [True] * 3))
    reference = next(k for k in registry.load("multi_reduce") if k.backend == "reference")
    results = reference.fn(p, i, x, e, m, None, t, EVERY)
    grad = torch.randn_like(results[0])
    return tuple(kernel.fn(*ends, t, grad, *results, EVERY, [True] * 4))


@pytest.mark.parametrize("op", ["multi_reduce_grad", "edge_relu_sum_grad"])
@pytest.mark.parametrize("index_type", [torch.int32, torch.int64], ids=str)
def test_gradients_of_both_kernels(op: str, index_type: torch.dtype) -> None:
    torch.manual_seed(0)
    wanted = grads_of(op, next(k for k in registry.load(op) if k.backend == "reference"), torch.int64)
    for kernel in registry.load(op):
        torch.manual_seed(0)
        assert_close(list(grads_of(op, kernel, index_type)), list(wanted))


@pytest.mark.parametrize("op", ["multi_reduce", "edge_relu_sum"])
def test_spare_slots_belong_to_no_row(op: str) -> None:
    x, e, m, t = features()
    p, i, longer = SORTED.adj.indptr, SORTED.adj.indices, spare(SORTED.adj)
    rest = (t, EVERY) if op == "multi_reduce" else ()
    for kernel in registry.load(op):
        whole = kernel.fn(p, i, x, e, m, None, *rest)
        padded = kernel.fn(p, longer, x, torch.cat([e, e[:3]]), m, None, *rest)
        for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (whole, padded)), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("width", [16, 41])
@pytest.mark.parametrize("names", [PNA, ALL_MOMENTS, ("var",)], ids=str)
def test_special_values_in_wide_rows(names: Any, width: int, backend: str) -> None:
    """The tiles that take the short comparisons fall back on the careful ones."""
    for value in (torch.nan, torch.inf, -torch.inf):
        for graph in (MIXED, HUBS):
            x = torch.randn(graph.num_cols, width, dtype=torch.float64)
            x.view(-1)[3::47] = value
            out = multi_reduce(graph.adj, x, names)
            assert_close(out, oracle.multi_reduce(graph, names, x))
    x = torch.randn(MIXED.num_cols, width, dtype=torch.float64)
    x[5] = torch.nan
    held, wanted = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.manual_seed(0)
    grad = torch.randn(MIXED.num_rows, len(names), width, dtype=torch.float64)
    multi_reduce(MIXED.adj, held, names).backward(grad)
    oracle.multi_reduce(MIXED, names, wanted).backward(grad)
    assert held.grad is not None
    assert wanted.grad is not None
    finite = wanted.grad.isfinite()
    assert_close(held.grad[finite], wanted.grad[finite])


def test_values_far_from_zero_do_not_cancel(backend: str) -> None:
    """Variance and its gradient in float32 with features a thousand deviations from 0."""
    offset = torch.tensor([1e3, -1e3, 0.0]).repeat(7)
    x = (normal(MIXED.num_cols, 21) + offset).requires_grad_()
    exact = x.detach().double().requires_grad_()
    grad = normal(MIXED.num_rows, 2, 21)
    out = multi_reduce(MIXED.adj, x, ("var", "std"))
    wanted = oracle.multi_reduce(MIXED, ("var", "std"), exact)
    assert_close(out, wanted)
    # The mean is kept in float32, so that a deviation is off by 6e-5; E[x^2] - E[x]^2 would be off by 0.06.
    (found,), (best,) = torch.autograd.grad(out, x, grad), torch.autograd.grad(wanted, exact, grad.double())
    assert (found - best).abs().max() < 1e-3 * best.abs().max()


def test_equal_neighbours_have_no_spread(backend: str) -> None:
    """Exactly 0 whatever the value, and a standard deviation that takes no gradient."""
    x = torch.full((MIXED.num_cols, 19), 0.1).mul_(torch.arange(1, 20)).requires_grad_()
    out = multi_reduce(MIXED.adj, x, ("var", "std"))
    assert_close(out, torch.zeros_like(out))
    out[:, 1].sum().backward()
    assert x.grad is not None
    assert not x.grad.any()


def test_extremes_equal_those_of_spmm(backend: str) -> None:
    x = normal(HUBS.num_cols, 37)
    out = multi_reduce(HUBS.adj, x, ("sum", *PNA))
    assert torch.equal(out[:, 3], spmm(HUBS.adj, x, None, "max"))
    assert torch.equal(out[:, 2], spmm(HUBS.adj, x, None, "min"))


def test_a_name_may_come_twice() -> None:
    x = normal(MIXED.num_cols, 5)
    out = multi_reduce(MIXED.edge_index, x, ["max", "sum", "max"])
    assert torch.equal(out[:, 0], out[:, 2])
    assert_close(out, oracle.multi_reduce(MIXED, ("max", "sum", "max"), x.double()))


def test_bias_is_a_shift_of_every_message() -> None:
    x, b = normal(MIXED.num_cols, 5), normal(5)
    e = normal(MIXED.num_edges, 5)
    assert_close(edge_relu_sum(MIXED.adj, x, e, bias=b), edge_relu_sum(MIXED.adj, x, e + b))


def test_mixed_dtypes_meet_in_the_wider() -> None:
    x = normal(MIXED.num_cols, 5, dtype=torch.bfloat16)
    e, m = normal(MIXED.num_edges, 3), normal(3, 5)
    for out in (
        multi_reduce(MIXED.adj, x, PNA, edge=e, edge_map=m),
        edge_relu_sum(MIXED.adj, x, e, m),
    ):
        assert out.dtype == torch.float32
    assert multi_reduce(MIXED.adj, x, PNA).dtype == torch.bfloat16


def test_wrong_inputs_fail_clearly() -> None:
    adj, x = MIXED.adj, normal(37, 5)
    e, m = normal(211, 3), normal(3, 5)
    bad: list[tuple[Any, type[Exception], str]] = [
        (lambda: multi_reduce(adj, x, ()), ValueError, "reduces is empty"),
        (lambda: multi_reduce(adj, x, ("mode",)), ValueError, "reduces has 'mode', which is unknown"),  # type: ignore[arg-type]
        (lambda: multi_reduce(adj, x.long(), PNA), TypeError, r"x is torch.int64; .*x.float\(\)"),
        (lambda: multi_reduce(adj, x[0], PNA), ValueError, r"expected \[C, F\]"),
        (lambda: multi_reduce(adj, x[:9], PNA), ValueError, "9 rows but adj has 37 columns"),
        (lambda: multi_reduce(adj, x, PNA, edge=e), ValueError, r"expected \[211, 5\], or pass an edge_map"),
        (lambda: multi_reduce(adj, x, PNA, edge_map=m), ValueError, "edge_map came without edge features"),
        (lambda: multi_reduce(adj, x, PNA, edge=e, edge_map=m.t()), ValueError, r"expected \[3, 5\]"),
        (lambda: multi_reduce(adj, x, PNA, edge=e[:9], edge_map=m), ValueError, "9 edge values .* 211"),
        (lambda: multi_reduce(adj, x, PNA, target=x[:9]), ValueError, r"target has .*expected \[37, 5\]"),
        (lambda: multi_reduce(adj, x, PNA, target=x.to("meta")), ValueError, "target is on meta"),
        (lambda: edge_relu_sum(adj, x, e), ValueError, "edge_relu_sum: edge has shape"),
        (lambda: edge_relu_sum(adj, x, e.long(), m), TypeError, "edge_relu_sum: edge is torch.int64"),
    ]
    for call, kind, message in bad:
        with pytest.raises(kind, match=message):
            call()


# -- memory -------------------------------------------------------------------------------------------


class _Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any op of torch gives back."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(t, Tensor):
                self.elements = max(self.elements, t.untyped_storage().nbytes() // max(t.itemsize, 1))
        return out


@pytest.mark.parametrize("wide", [False, True])
def test_no_tensor_of_edges_times_features(wide: bool) -> None:
    n, e, f = 50, 20_000, 32
    adj = as_csr(torch.randint(0, n, (2, e)), n)
    adj.transposed  # noqa: B018 - made once for the graph
    x, t = (torch.randn(n, f, requires_grad=True) for _ in range(2))
    more: dict[str, Tensor] = {}
    if wide:
        more = {"edge": torch.randn(e, 3).requires_grad_(), "edge_map": torch.randn(3, f).requires_grad_()}
    with _Largest() as largest:
        multi_reduce(adj, x, ALL_MOMENTS, target=t, **more).square().sum().backward()
        edge_relu_sum(adj, x, **more).square().sum().backward()
    assert largest.elements <= (4 * e if wide else 64 * n * f)  # edge features are [E, 3]


MEASURE = """
import sys, torch
torch.set_num_threads(1)
from gnnlib.bench import memory
from gnnlib.sparse import as_csr, edge_relu_sum, multi_reduce
n, e, f, k, wide = 2_000, 400_000, 64, 4, sys.argv[1] == "wide"
edge_index = torch.randint(0, n, (2, e))
def step(adj):
    rows = adj.num_edges
    x, t = (torch.randn(n, f, requires_grad=True) for _ in range(2))
    more = {}
    if wide:
        more = {"edge": torch.randn(rows, k).requires_grad_(), "edge_map": torch.randn(k, f).requires_grad_()}
    names = ("sum", "mean", "max", "min", "var", "std")
    multi_reduce(adj, x, names, target=t, **more).square().sum().backward()
    edge_relu_sum(adj, x, **more).square().sum().backward()
step(as_csr(edge_index[:, :100], n))  # compiles, and touches what is touched once
adj = as_csr(edge_index, n)
adj.transposed
print(memory.peak(lambda: step(adj)) / (e * f * 4))
"""


@pytest.mark.skipif(memory.why_not() is not None, reason="needs the high-water mark of Linux")
@pytest.mark.parametrize("form", ["plain", "wide"])
def test_peak_memory_is_of_the_size_of_nodes(form: str) -> None:
    """Forward and backward of both ops stay below half of one array of edges times features."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, form],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(run.stdout) < 0.5, run.stdout


def test_refusals_name_the_reason() -> None:
    x, e, m, t = features()
    p, i = SORTED.adj.arrays
    for op, rest in (("multi_reduce", (t, EVERY)), ("edge_relu_sum", ())):
        kernel = next(k for k in registry.load(op) if k.backend == "cpu")
        args = (p, i, x, e, m, None, *rest)
        assert kernel.refuse(*args) is None
        away = [v.to("meta") if isinstance(v, Tensor) else v for v in args]
        assert kernel.refuse(*away) == "takes cpu tensors, got one on meta"
