"""Negative pairs: no edge, no node with itself, uniform over what is left, fixed by the generator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnlib.loader import structured_negatives, uniform_negatives
from gnnlib.sparse import as_csr

N = 9


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def graph() -> tuple[Tensor, set[tuple[int, int]]]:
    """A directed graph with duplicates, a loop and a node without edges; the pairs that are free."""
    dense = torch.rand(N, N, generator=draw(5)) < 0.4
    dense[N - 1], dense[:, N - 1] = False, False
    edge_index = dense.nonzero().t()
    edge_index = torch.cat([edge_index, edge_index[:, :4], torch.tensor([[2], [2]])], dim=1)
    edges = set(map(tuple, edge_index.t().tolist()))
    return edge_index, {(u, v) for u in range(N) for v in range(N) if u != v and (u, v) not in edges}


def pairs_of(found: Tensor) -> list[tuple[int, int]]:
    return [(int(u), int(v)) for u, v in found.t().tolist()]


def test_without_replacement_all_free_pairs_come_once() -> None:
    edge_index, free = graph()
    adj = as_csr(edge_index, N)
    found = pairs_of(uniform_negatives(adj, len(free), draw(), replace=False))
    assert len(found) == len(free)
    assert set(found) == free
    few = pairs_of(uniform_negatives(adj, len(free) // 2, draw(), replace=False))
    assert len(set(few)) == len(few) == len(free) // 2
    assert set(few) <= free
    with pytest.raises(ValueError, match=f"count is {len(free) + 1} but {len(free)} pairs are no edges"):
        uniform_negatives(adj, len(free) + 1, draw(), replace=False)


@pytest.mark.parametrize("replace", [True, False])
def test_free_pairs_are_equally_likely(replace: bool) -> None:
    edge_index, free = graph()
    adj, rounds = as_csr(edge_index, N), 400
    found = [
        p for seed in range(rounds) for p in pairs_of(uniform_negatives(adj, 10, draw(seed), replace=replace))
    ]
    assert set(found) == free
    expected = len(found) / len(free)
    chi2 = sum((found.count(p) - expected) ** 2 / expected for p in free)
    degrees = len(free) - 1
    assert chi2 < degrees + 5 * (2 * degrees) ** 0.5


def test_pairs_of_two_sets() -> None:
    """Three sources and four targets; equal numbers are no loop."""
    taken = {(0, 1), (2, 2), (1, 0)}
    source, target = torch.tensor(sorted(taken)).t()
    adj = as_csr(torch.stack([source, target]), (3, 4))
    found = pairs_of(uniform_negatives(adj, 9, draw(), replace=False, bipartite=True))
    assert set(found) == {(u, v) for u in range(3) for v in range(4)} - taken


def test_structured_negatives_keep_the_source_and_are_equally_likely() -> None:
    edge_index, free = graph()
    found = structured_negatives(as_csr(edge_index, N), edge_index, draw(), 500)
    assert found.shape == (edge_index.shape[1], 500)
    for u, row in zip(edge_index[0].tolist(), found, strict=True):
        allowed = sorted(v for s, v in free if s == u)
        counts = torch.bincount(row, minlength=N)
        assert counts.nonzero().flatten().tolist() == allowed
        expected = 500 / len(allowed)
        assert ((counts[allowed] - expected) ** 2 / expected).sum() < len(allowed) + 8 * len(allowed) ** 0.5


def test_users_and_items_are_numbered_apart() -> None:
    pairs = torch.tensor([[0, 0, 1, 1, 2], [0, 2, 1, 3, 3]])  # users 0 to 2, items 0 to 3
    adj = as_csr(pairs, (3, 4))
    found = structured_negatives(adj, pairs, draw(), 200, bipartite=True)
    allowed = {0: [1, 3], 1: [0, 2], 2: [0, 1, 2]}
    for u, row in zip(pairs[0].tolist(), found, strict=True):
        assert row.unique().tolist() == allowed[u]  # item 2 for user 2 too


def test_the_generator_fixes_them() -> None:
    edge_index, _ = graph()
    adj = as_csr(edge_index, N)
    assert torch.equal(uniform_negatives(adj, 30, draw(1)), uniform_negatives(adj, 30, draw(1)))
    assert not torch.equal(uniform_negatives(adj, 30, draw(1)), uniform_negatives(adj, 30, draw(2)))
    again = structured_negatives(adj, edge_index, draw(1), 3)
    assert torch.equal(structured_negatives(adj, edge_index, draw(1), 3), again)


def test_errors_name_the_fault() -> None:
    full = as_csr((1 - torch.eye(3)).nonzero().t(), 3)
    with pytest.raises(ValueError, match="uniform_negatives: count is 1 but 0 pairs are no edges"):
        uniform_negatives(full, 1, draw())
    with pytest.raises(ValueError, match="structured_negatives: node 1 has edges to all others"):
        structured_negatives(full, torch.tensor([[1], [0]]), draw())
    with pytest.raises(
        ValueError, match="structured_negatives: pairs names nodes 0 to 7 but the graph has 3"
    ):
        structured_negatives(full, torch.tensor([[0, 7], [1, 0]]), draw())
