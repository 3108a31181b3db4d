"""gated_sum: its kernels by themselves, saturated gates, errors, memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gnnlib.sparse import gated_sum, registry
from gnnlib.sparse.registry import Kernel
from tests.sparse import oracle
from tests.sparse.graphs import HUBS, MIXED, TINY
from tests.sparse.test_kernels import SORTED, both_types, kernels, normal, spare
from tests.tolerances import assert_close

ROOT = Path(__file__).resolve().parents[2]


def inputs(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """k, q, v, edge, gate_map, value_map of the sorted graph; 9 features are no whole vector."""
    g = SORTED
    shapes = ((g.num_rows, 9), (g.num_cols, 9), (g.num_cols, 9), (g.num_edges, 4), (4, 9), (4, 9))
    return [normal(*s, dtype=dtype) for s in shapes]


@both_types("gated_sum")
def test_forward(kernel: Kernel, index_type: torch.dtype) -> None:
    k, q, v, e, a, b = inputs()
    p, i = SORTED.adj.indptr, SORTED.adj.indices.to(index_type)
    wide = [t.double() for t in (k, q, v, e, a, b)]
    assert_close(kernel.fn(p, i, None, k, q, v, None, e, a, b, False)[0], oracle.gated_sum(SORTED, *wide))
    out, slope = kernel.fn(p, i, None, k, q, v, None, None, None, None, True)
    assert_close(out, oracle.gated_sum(SORTED, *wide[:3]))
    gate = (wide[0][SORTED.edge_index[1]] + wide[1][SORTED.edge_index[0]]).sigmoid()
    message = gate * (1 - gate) * wide[2][SORTED.edge_index[0]]
    assert_close(slope, oracle.reduce(SORTED.edge_index[1], SORTED.num_rows, message, "sum"))


@both_types("gated_sum")
def test_backward_form(kernel: Kernel, index_type: torch.dtype) -> None:
    """With a factor for each row, and edges that are not in the order of the slots."""
    k, q, v, e, a, b = inputs()
    p, i = SORTED.adj.indptr, SORTED.adj.indices.to(index_type)
    slot = torch.randperm(SORTED.num_edges)
    factor = normal(SORTED.num_rows, 9)
    out, slope = kernel.fn(p, i, slot, k, q, v, factor, e, a, b, True)
    source, target = SORTED.edge_index
    e = e.double()[slot]
    gate = (k.double()[target] + q.double()[source] + e @ a.double()).sigmoid()
    message = gate * v.double()[source]
    assert_close(out, oracle.reduce(target, SORTED.num_rows, message, "sum"))
    rate = message * (1 - gate) * (factor.double()[target] + e @ b.double())
    assert_close(slope, oracle.reduce(target, SORTED.num_rows, rate, "sum"))


@both_types("gated_sum_edge")
def test_edge_gradients(kernel: Kernel, index_type: torch.dtype) -> None:
    k, q, v, *edges = inputs()
    grad = normal(SORTED.num_rows, 9)
    p, i = SORTED.adj.indptr, SORTED.adj.indices.to(index_type)
    found = kernel.fn(p, i, k, q, v, grad, *edges)
    held = [t.double().requires_grad_() for t in edges]
    out = oracle.gated_sum(SORTED, k.double(), q.double(), v.double(), *held)
    assert_close(list(found), list(torch.autograd.grad(out, held, grad.double())))
    empty = kernel.fn(p * 0, i, k, q, v, grad, *edges)  # all slots are spare
    assert not any(t.any() for t in empty)


@both_types("gated_sum")
def test_mapped_edges(kernel: Kernel, index_type: torch.dtype) -> None:
    """What edges add may come mapped, in the forward and in the form that the backward takes."""
    k, q, v, e, a, b = inputs()
    p, i = SORTED.adj.indptr, SORTED.adj.indices.to(index_type)
    slot, factor = torch.randperm(SORTED.num_edges), normal(SORTED.num_rows, 9)
    both = torch.cat([e @ a, e @ b], 1)
    for order, by in ((None, None), (slot, factor)):
        found = kernel.fn(p, i, order, k, q, v, by, both, None, None, True)
        assert_close(list(found), list(kernel.fn(p, i, order, k, q, v, by, e, a, b, True)))


@both_types("gated_sum_edge")
def test_gradients_of_mapped_edges(kernel: Kernel, index_type: torch.dtype) -> None:
    k, q, v, e, a, b = inputs()
    grad, both = normal(SORTED.num_rows, 9), torch.cat([e @ a, e @ b], 1)
    p, i = SORTED.adj.indptr, SORTED.adj.indices.to(index_type)
    found = kernel.fn(p, i, k, q, v, grad, both, None, None)
    held, eye = both.double().requires_grad_(), torch.eye(18, dtype=torch.float64)
    out = oracle.gated_sum(SORTED, k.double(), q.double(), v.double(), held, eye[:, :9], eye[:, 9:])
    assert_close(found[0], torch.autograd.grad(out, held, grad.double())[0])
    assert [t.numel() for t in found[1:]] == [0, 0]
    longer = kernel.fn(p, spare(SORTED.adj), k, q, v, grad, torch.cat([both, both[:3]]), None, None)[0]
    assert torch.equal(longer[:-3], found[0])
    assert not longer[-3:].any()


@pytest.mark.parametrize("op", ["gated_sum", "gated_sum_edge"])
def test_spare_slots_belong_to_no_row(op: str) -> None:
    k, q, v, e, a, b = inputs()
    p, i, longer = SORTED.adj.indptr, SORTED.adj.indices, spare(SORTED.adj)
    more = torch.cat([e, e[:3]])
    for kernel in registry.load(op):
        if op == "gated_sum":
            whole = kernel.fn(p, i, None, k, q, v, None, e, a, b, True)
            padded = kernel.fn(p, longer, None, k, q, v, None, more, a, b, True)
        else:
            whole = kernel.fn(p, i, k, q, v, k, e, a, b)
            padded = kernel.fn(p, longer, k, q, v, k, more, a, b)
            assert not padded[0][-3:].any()
            padded = (padded[0][:-3], *padded[1:])
        assert all(torch.equal(s, t) for s, t in zip(whole, padded, strict=True))


@kernels("gated_sum")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gates_over_the_whole_range(kernel: Kernel, dtype: torch.dtype) -> None:
    """One edge a node: the logistic function itself, from 0 to 1, to a few roundings."""
    z = torch.cat([torch.linspace(-120, 120, 4001), torch.tensor([torch.inf, -torch.inf, torch.nan])])
    z = torch.cat([z, torch.tensor([-800.0, 800.0, -1e-30, 0.0])]).to(dtype)[:, None]
    n = z.shape[0]
    one, zero = torch.ones_like(z), torch.zeros_like(z)
    p, i = torch.arange(n + 1), torch.arange(n, dtype=torch.int32)
    out, slope = kernel.fn(p, i, None, z, zero, one, None, None, None, None, True)
    exact = z.double().sigmoid()
    normal_range = ~(exact < torch.finfo(dtype).tiny)  # NaN too
    error = ((out.double() - exact).abs() / exact)[normal_range]
    assert error.nan_to_num().max() < 4 * torch.finfo(dtype).eps
    assert torch.equal(out.isnan(), z.isnan())
    assert (out[~normal_range] <= torch.finfo(dtype).tiny).all()
    assert_close(slope, (exact * (1 - exact)).to(dtype))
    assert out[z == torch.inf] == 1
    assert out[z == -torch.inf] == 0


def test_hubs_in_any_width(backend: str) -> None:
    for width in (1, 8, 17, 40):
        k, q, v = normal(HUBS.num_rows, width), normal(HUBS.num_cols, width), normal(HUBS.num_cols, width)
        out = gated_sum(HUBS.adj, k, q, v)
        assert_close(out, oracle.gated_sum(HUBS, k.double(), q.double(), v.double()))


def test_narrow_edges(backend: str) -> None:
    """Edge features of width 0 add nothing; their maps have a gradient of the same shape."""
    k, q, v = normal(4, 3).requires_grad_(), normal(5, 3), normal(5, 3)
    edges = normal(TINY.num_edges, 0).requires_grad_(), normal(0, 3).requires_grad_(), normal(0, 3)
    out = gated_sum(TINY.adj, k, q, v, *edges)
    assert_close(out, gated_sum(TINY.adj, k, q, v))
    out.sum().backward()
    assert edges[1].grad is not None
    assert edges[1].grad.shape == (0, 3)


def test_gradients_by_need(backend: str) -> None:
    """Any one input may be the only one that learns."""
    held = [t[:n].double() for t, n in zip(inputs(), (37, 37, 37, 211, 4, 4), strict=True)]
    wanted = [t.clone().requires_grad_() for t in held]
    expected = torch.autograd.grad(oracle.gated_sum(SORTED, *wanted).square().sum(), wanted)
    for place in range(6):
        given = [t.clone().requires_grad_(n == place) for n, t in enumerate(held)]
        (found,) = torch.autograd.grad(gated_sum(SORTED.adj, *given).square().sum(), given[place])
        assert_close(found, expected[place])


def test_wrong_inputs_fail_clearly() -> None:
    k, q, v, e, a, b = (t.clone() for t in inputs())
    adj = MIXED.adj
    for call, kind, message in (
        (lambda: gated_sum(adj, k.long(), q, v), TypeError, "gated_sum: k is torch.int64"),
        (lambda: gated_sum(adj, k, q, v[:, :5]), ValueError, r"expected \[R, F\], \[C, F\] and \[C, F\]"),
        (lambda: gated_sum(adj, k, q[:, :5], v[:, :5]), ValueError, "k has shape"),
        (lambda: gated_sum(adj, k[0], q, v), ValueError, "targets"),
        (lambda: gated_sum(adj, k, q, v, e), ValueError, "expected 18 columns"),
        (lambda: gated_sum(adj, k, q, v, e, a), ValueError, "belong together"),
        (lambda: gated_sum(adj, k, q, v, e, a, b[:, :3]), ValueError, "expected .*from the width of edge"),
        (lambda: gated_sum(adj, k, q, v, e[:9], a, b), ValueError, "9 edge values .* 211 edges"),
        (lambda: gated_sum(adj, k, q, v, e[:, 0], a, b), ValueError, "expected two dimensions"),
        (lambda: gated_sum(adj, k.to("meta"), q, v), ValueError, "k is on meta"),
    ):
        with pytest.raises(kind, match=message):
            call()


MEASURE = """
import resource, sys, torch
torch.set_num_threads(1)
from gnnlib.sparse import as_csr, gated_sum
n, e, f, k = 2_000, 400_000, 64, 4
edge_index = torch.randint(0, n, (2, e))
adj = as_csr(edge_index, n)
adj.transposed
def step(wide):
    kqv = [torch.randn(n, f, requires_grad=True) for _ in range(3)]
    edges = [torch.randn(*s, requires_grad=True) for s in ((e, k), (k, f), (k, f))] if wide else []
    gated_sum(adj, *kqv, *edges).square().sum().backward()
small = as_csr(edge_index[:, :100], n)
for wide in (False, True):  # compiles, and touches what is touched once
    kqv = [torch.randn(n, f, requires_grad=True) for _ in range(3)]
    edges = [torch.randn(*s, requires_grad=True) for s in ((100, k), (k, f), (k, f))] if wide else []
    gated_sum(small, *kqv, *edges).square().sum().backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step(True)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(grown / (e * f * 4))
"""


def test_memory_holds_no_array_of_edges_times_features() -> None:
    """Forward and backward grow by less than half of one such array; edge features are its 16th part."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(run.stdout) < 0.5
