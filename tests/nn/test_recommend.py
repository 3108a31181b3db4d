"""Low frequencies against dense eigenvectors, and what filters of them must be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnlib.nn import LCFNConv, interaction_basis
from gnnlib.sparse import as_csr
from gnnlib.sparse.csr import CSR
from tests.tolerances import assert_close


def interactions(users: int, items: int, seed: int = 0, share: float = 0.2) -> CSR:
    """Random pairs, one of them twice; the first user and the last item have none."""
    draw = torch.Generator().manual_seed(seed)
    taken = torch.rand(users, items, generator=draw) < share
    taken[0], taken[:, -1] = False, False
    user, item = taken.nonzero().t()
    user, item = torch.cat([user, user[:1]]), torch.cat([item, item[:1]])
    return as_csr(torch.stack([item, user]), (items, users))


def dense_laplacian(r: Tensor) -> Tensor:
    rows, cols = r.sum(1), r.sum(0)
    left = torch.where(rows > 0, rows.clamp(min=1e-9).rsqrt(), 0.0)
    right = torch.where(cols > 0, 1 / cols.clamp(min=1e-9), 0.0)
    return torch.eye(len(r), dtype=r.dtype) - left[:, None] * r @ torch.diag(right) @ r.t() * left


@pytest.mark.parametrize(("users", "items", "count"), [(12, 30, 5), (90, 40, 6), (90, 130, 20), (70, 30, 70)])
@pytest.mark.parametrize("side", ["users", "items"])
def test_basis_holds_the_lowest_eigenvectors(users: int, items: int, count: int, side: str) -> None:
    adj = interactions(users, items)
    adj = adj if side == "users" else adj.transposed
    count = min(count, adj.num_rows)
    values, vectors = interaction_basis(adj, count)
    one = torch.ones(adj.num_values, dtype=torch.float64)
    laplacian = dense_laplacian(adj.to_dense(one))
    expected, dense = torch.linalg.eigh(laplacian)
    assert_close(values, expected[:count].clamp(min=0))
    assert_close(laplacian @ vectors, vectors * values)
    assert_close(vectors.t() @ vectors, torch.eye(count, dtype=torch.float64))
    gap = float(expected[count] - expected[count - 1]) if count < adj.num_rows else 1.0
    if gap > 1e-6:  # else the cut goes through an eigenspace
        low = dense[:, :count]
        assert_close(vectors @ vectors.t(), low @ low.t())
    assert torch.equal(interaction_basis(adj, count)[1], vectors)


def test_large_interactions_are_only_multiplied_with(monkeypatch: pytest.MonkeyPatch) -> None:
    import gnnlib.nn.recommend.basis as module

    def no_matrix(*_: object) -> None:
        raise AssertionError("a dense matrix was formed")

    monkeypatch.setattr(module._Scaled, "dense", no_matrix)
    values, vectors = interaction_basis(interactions(400, 300, share=0.02), 8)
    assert vectors.shape == (400, 8)
    assert float(values[0]) == pytest.approx(0.0, abs=1e-9)  # one community at least


@pytest.mark.parametrize("count", [0, 13])
def test_basis_refuses(count: int) -> None:
    with pytest.raises(ValueError, match=f"count={count}; pass 1 to 12"):
        interaction_basis(interactions(12, 30), count)


def plain(layer: LCFNConv) -> LCFNConv:
    with torch.no_grad():
        layer.weight.copy_(torch.eye(layer.channels))
        layer.user_filter.fill_(1.0)
        layer.item_filter.fill_(1.0)
    return layer


def test_all_frequencies_with_equal_weights_are_the_identity() -> None:
    adj = interactions(12, 15)
    p, q = interaction_basis(adj, 12)[1], interaction_basis(adj.transposed, 15)[1]
    assert_close(p @ p.t(), torch.eye(12, dtype=torch.float64))
    layer = plain(LCFNConv(4, 12, 15)).double()
    users, items = torch.randn(12, 4, dtype=torch.float64), torch.randn(15, 4, dtype=torch.float64)
    u, v = layer(users, items, p, q)
    assert_close(u, users.sigmoid())
    assert_close(v, items.sigmoid())


def test_layer_is_its_equation_and_signs_do_not_matter() -> None:
    adj = interactions(12, 15)
    p, q = interaction_basis(adj, 5)[1], interaction_basis(adj.transposed, 3)[1]
    layer = LCFNConv(4, 5, 3).double()
    users, items = torch.randn(12, 4, dtype=torch.float64), torch.randn(15, 4, dtype=torch.float64)
    u, v = layer(users, items, p, q)
    assert_close(u, (p @ torch.diag(layer.user_filter) @ p.t() @ users @ layer.weight).sigmoid())
    assert_close(v, (q @ torch.diag(layer.item_filter) @ q.t() @ items @ layer.weight).sigmoid())
    flipped = layer(users, items, p * torch.tensor([1, -1, 1, -1, -1]), -q)
    assert_close(flipped, (u, v))


def test_filters_start_near_one_and_the_map_near_the_identity() -> None:
    layer = LCFNConv(50, 400, 300)
    for noise in (layer.user_filter - 1, layer.item_filter - 1, layer.weight - torch.eye(50)):
        noise = noise.detach()
        assert abs(float(noise.std()) - 1e-3) < 1e-4
        assert abs(float(noise.mean())) < 3e-4


def test_layer_refuses() -> None:
    layer = LCFNConv(4, 5, 3)
    users, items, p, q = torch.randn(12, 4), torch.randn(15, 4), torch.randn(12, 5), torch.randn(15, 3)
    with pytest.raises(ValueError, match=r"items have 3 features in \[15, 3\] but channels=4"):
        layer(users, items[:, :3], p, q)
    with pytest.raises(ValueError, match=r"basis of users has shape \[12, 4\]; expected \[12, 5\]"):
        layer(users, items, p[:, :4], q)
    with pytest.raises(ValueError, match="item_frequencies=0"):
        LCFNConv(4, 5, 0)
