"""Node decimation: cuts and Kron reduction worked by hand, against dense algebra, and in resistances."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnlib.nn import NDPPooling
from gnnlib.nn.pool import SelectOutput, ndp
from gnnlib.nn.pool.ndp import cut_share, kron_reduction
from tests.tolerances import assert_close


def both(edges: list[tuple[int, int]]) -> Tensor:
    one = torch.tensor(edges).t()
    return torch.cat([one, one.flip(0)], dim=1)


def matrix(edge_index: Tensor, weight: Tensor | None, n: int) -> Tensor:
    weight = torch.ones(edge_index.shape[1], dtype=torch.float64) if weight is None else weight
    return torch.zeros(n, n, dtype=torch.float64).index_put(
        tuple(edge_index), weight.double(), accumulate=True
    )


def weighted(n: int, p: float, seed: int) -> Tensor:
    """A connected symmetric matrix without loops."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(n, n, generator=generator, dtype=torch.float64) + 0.1
    a = a * (torch.rand(n, n, generator=generator) < p)
    a = a.triu(1)
    a[torch.arange(n - 1), torch.arange(1, n)] += 0.3
    return a + a.t()


def resistances(a: Tensor) -> Tensor:
    inverse = torch.linalg.pinv(torch.diag(a.sum(1)) - a)
    d = inverse.diagonal()
    return d[:, None] + d - 2 * inverse


def test_an_even_ring_keeps_every_other_node() -> None:
    """Two resistors of 1 in a row are one of 2, whose weight is 1/2; the cut has all edges."""
    ring = both([(i, (i + 1) % 8) for i in range(8)])
    out = NDPPooling().coarsen(torch.eye(8), ring)
    nodes = out.select.node_index
    assert nodes.tolist() in ([0, 2, 4, 6], [1, 3, 5, 7])
    assert torch.equal(out.x, torch.eye(8)[nodes])
    expected = 0.5 * matrix(both([(i, (i + 1) % 4) for i in range(4)]), None, 4)
    assert_close(matrix(out.edge_index, out.edge_weight, 4), expected, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("given", [False, True])
def test_weights_are_of_the_kind_of_x(dtype: torch.dtype, given: bool) -> None:
    ring = both([(i, (i + 1) % 8) for i in range(8)])
    x, weight = torch.eye(8, dtype=dtype), torch.ones(16, dtype=dtype) if given else None
    out, expected = NDPPooling().coarsen(x, ring, weight), NDPPooling().coarsen(x.float(), ring)
    assert out.edge_weight is not None
    assert out.x.dtype == out.edge_weight.dtype == dtype
    assert torch.equal(out.edge_index, expected.edge_index)
    assert_close(out.edge_weight, expected.edge_weight)


def test_a_path_of_three_joins_its_ends() -> None:
    out = NDPPooling().coarsen(torch.eye(3), both([(0, 1), (1, 2)]), torch.tensor([2.0, 3, 2, 3]))
    if out.select.node_index.tolist() == [0, 2]:
        assert_close(out.edge_weight, torch.full((2,), 6 / 5))
    else:
        assert out.select.node_index.tolist() == [1]
        assert out.edge_index.numel() == 0


@pytest.mark.parametrize("seed", range(4))
def test_cut_and_reduction_are_dense_algebra(seed: int) -> None:
    n = 14
    a = weighted(n, 0.25, seed)
    index = a.nonzero().t()
    pool = NDPPooling(threshold=0.05)
    out = pool.coarsen(torch.randn(n, 2, dtype=torch.float64), index, a[index[0], index[1]])
    root = a.sum(1).rsqrt()
    v = torch.linalg.eigh(torch.eye(n, dtype=torch.float64) - root[:, None] * a * root).eigenvectors[:, -1]
    side = v >= 0 if v[v.abs().argmax()] > 0 else v <= 0
    assert cut_share(a, side) == pytest.approx(
        sum(float(a[i, j]) for i in range(n) for j in range(i) if side[i] != side[j]) / float(a.triu().sum())
    )
    assert cut_share(a, side) >= 0.5
    assert torch.equal(out.select.node_index, side.nonzero()[:, 0])
    laplacian = torch.diag(a.sum(1)) - a
    k = int(side.sum())
    centre = torch.eye(k, dtype=torch.float64) - 1 / k
    parts = centre @ torch.linalg.pinv(laplacian)[side][:, side] @ centre
    whole = torch.linalg.pinv(parts)
    expected = -whole + torch.diag(whole.diagonal())
    expected = torch.where(expected > 0.05, expected, 0)
    assert_close(matrix(out.edge_index, out.edge_weight, k), expected)


def test_the_reduction_keeps_resistances_and_is_a_graph() -> None:
    a = weighted(16, 0.2, 9)
    kept = torch.zeros(16, dtype=torch.bool).index_fill(0, torch.tensor([0, 3, 4, 9, 15]), True)
    reduced = kron_reduction(a, kept)
    assert_close(resistances(reduced), resistances(a)[kept][:, kept])
    assert float(reduced.min()) >= -1e-12
    assert_close(reduced, reduced.t())
    assert_close(reduced.diagonal(), torch.zeros(5, dtype=torch.float64))
    assert_close(kron_reduction(a, torch.ones(16, dtype=torch.bool)), a)


def test_a_poor_cut_is_replaced_by_a_random_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_apart(a: Tensor) -> Tensor:
        return torch.ones(a.shape[0]).index_fill(0, torch.tensor([0]), -1.0)

    monkeypatch.setattr(ndp, "_largest", one_apart)
    complete = both([(i, j) for i in range(12) for j in range(i)])
    kept = [NDPPooling(seed=s).coarsen(torch.eye(12), complete).select.node_index.tolist() for s in range(8)]
    assert kept == [
        NDPPooling(seed=s).coarsen(torch.eye(12), complete).select.node_index.tolist() for s in range(8)
    ]
    assert len({tuple(k) for k in kept}) > 4
    assert all(1 <= len(k) <= 11 for k in kept)
    assert any(0 in k for k in kept)
    star = both([(0, i) for i in range(1, 6)])  # all of its edges are cut: no need of another one
    out = NDPPooling().coarsen(torch.eye(6), star)
    assert out.select.node_index.tolist() == [1, 2, 3, 4, 5]


def test_a_component_without_a_kept_node_does_no_harm() -> None:
    edge_index = both([(0, 1), (1, 2), (3, 4), (4, 5), (3, 5)])
    so = SelectOutput(torch.tensor([0, 2]), 6, torch.arange(2), 2)
    coarse = NDPPooling().connect(so, edge_index)
    assert_close(
        matrix(coarse.edge_index, coarse.edge_attr, 2), 0.5 * matrix(both([(0, 1)]), None, 2), torch.float32
    )


def test_cuts_are_kept_by_the_content_of_the_graph() -> None:
    pool, ring = NDPPooling(), both([(i, (i + 1) % 6) for i in range(6)])
    pool.coarsen(torch.eye(6), ring)
    twice = torch.cat([ring, ring + 6], dim=1)
    pool.coarsen(torch.eye(12), twice, None, torch.arange(12) // 6)
    assert len(pool._known) == 1
    with pytest.raises(ValueError, match="threshold=-1; pass 0 or more"):
        NDPPooling(-1)
    with pytest.raises(ValueError, match=r"edge weights have shape \[12, 2\]"):
        pool.coarsen(torch.eye(6), ring, torch.ones(12, 2))
