"""What is special about propagation; the table of cases holds the rest."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from gnnlib.sparse import as_csr, propagate, spmm
from tests.sparse.graphs import LARGE, MIXED, TINY, draw
from tests.tolerances import assert_close

N = 7
EDGES = torch.cat([draw(6, 6, 12, seed=11), torch.tensor([[2, 0], [2, 3]])], dim=1)
ADJ = as_csr(EDGES, N)


def leaf(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("restart", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_derivatives_of_scales(every: bool, restart: float, weighted: bool, backend: str) -> None:
    """Scales that ask for a gradient, which weights bring with them, are differentiable too."""
    leaves = [leaf(N, 2), leaf(N), leaf(N), *([leaf(14)] if weighted else [])]

    def run(x: Tensor, r: Tensor, c: Tensor, w: Tensor | None = None) -> Tensor:
        options: dict[str, Any] = {"row_scale": r, "col_scale": c, "restart": restart, "every": every}
        return propagate(ADJ, x, 3, weight=w, **options)

    assert gradcheck(run, leaves)
    assert gradgradcheck(run, leaves, fast_mode=True)


def test_one_scale_that_asks_for_a_gradient() -> None:
    x, r = leaf(N, 2), leaf(N)
    for name in ("row_scale", "col_scale"):
        steps = [propagate(ADJ, x, 2, **{name: r}), spmm(ADJ, spmm(ADJ, x, **{name: r}), **{name: r})]
        assert_close(steps[0], steps[1])
        assert_close(*(torch.autograd.grad(s.square().sum(), (x, r)) for s in steps))


def test_constant_scales_get_no_gradient() -> None:
    x, scale = leaf(N, 2), torch.rand(N, dtype=torch.float64)
    propagate(ADJ, x, 2, row_scale=scale, col_scale=scale).sum().backward()
    assert scale.grad is None
    assert x.grad is not None


def test_the_last_hop_is_the_last_of_all() -> None:
    x, w = leaf(37, 5), leaf(211)
    for weight in (None, w):
        hops = propagate(MIXED.adj, x, 4, weight=weight, restart=0.2, every=True)
        last = propagate(MIXED.adj, x, 4, weight=weight, restart=0.2)
        assert hops.shape == (5, 37, 5)
        assert torch.equal(hops[0], x)
        assert torch.equal(hops[-1], last)
        wanted = [x] if weight is None else [x, weight]
        assert_close(*(torch.autograd.grad(out.square().sum(), wanted) for out in (hops[-1], last)))


def test_short_types_are_rounded_at_the_end_alone() -> None:
    """Ten roundings of 2^-8 in a row would show."""
    x = torch.rand(301, 9).bfloat16()
    scale = (1 / LARGE.adj.degree.clamp(min=1)).float()
    out = propagate(LARGE.adj, x, 10, row_scale=scale)
    exact = propagate(LARGE.adj, x.double(), 10, row_scale=scale.double())
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, exact.bfloat16()) or bool(((out.double() / exact - 1).abs() <= 2**-8).all())


def test_pagerank_has_a_fixed_point() -> None:
    """A distribution stays one, and many steps solve the linear system."""
    edge_index = torch.cat([EDGES, torch.stack([torch.arange(N), (torch.arange(N) + 1) % N])], dim=1)
    adj = as_csr(edge_index, N)
    out_degree = 1 / adj.col_degree.double()
    start = torch.zeros(N, 1, dtype=torch.float64)
    start[3] = 1
    rank = propagate(adj, start, 300, col_scale=out_degree, restart=0.15)
    assert_close(rank.sum(), torch.ones((), dtype=torch.float64))
    matrix = adj.to_dense(torch.ones(adj.num_values, dtype=torch.float64)) * out_degree
    assert_close(rank, 0.15 * torch.linalg.solve(torch.eye(N) - 0.85 * matrix, start))


def test_no_steps() -> None:
    x = leaf(N, 2)
    assert propagate(ADJ, x, 0, restart=0.2) is x
    assert_close(propagate(ADJ, x, 0, every=True), x[None])


def test_features_of_any_layout() -> None:
    x = torch.rand(5, 37, dtype=torch.float64).t()
    assert_close(
        propagate(MIXED.edge_index, x, 2, restart=0.1), propagate(MIXED.adj, x.contiguous(), 2, restart=0.1)
    )


def test_wrong_inputs_fail_clearly() -> None:
    x = torch.rand(N, 2)
    for arguments, kind, message in (
        ((TINY.adj, x, 2), ValueError, "adj has 4 rows and 5 columns; repeated steps need one set of nodes"),
        ((ADJ, x[:5], 2), ValueError, "x has 5 rows but adj has 7 nodes"),
        ((ADJ, x[:, 0], 2), ValueError, r"x has shape \[7\]; expected \[N, F\]"),
        ((ADJ, x.long(), 2), TypeError, r"x is torch\.int64; pass floating features"),
        ((ADJ, x, -1), ValueError, "steps=-1 is negative"),
    ):
        with pytest.raises(kind, match=f"propagate: {message}"):
            propagate(*arguments)
    for options, message in (
        ({"weight": torch.rand(14, 1)}, r"weight has shape \[14, 1\].*one weight an edge"),
        ({"row_scale": torch.rand(3)}, r"row_scale has shape \[3\]; expected \[7\]"),
        ({"col_scale": torch.rand(7, 1)}, r"col_scale has shape \[7, 1\]; expected \[7\]"),
    ):
        with pytest.raises(ValueError, match=f"propagate: {message}"):
            propagate(ADJ, x, 2, **options)
    with pytest.raises(ValueError, match="3 edge values came but the graph has 14 edges"):
        propagate(ADJ, x, 2, weight=torch.rand(3))
