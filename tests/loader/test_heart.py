"""Hard negatives against ranks that numpy and scipy compute one row at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from torch import Tensor

from gnnlib.loader import heart_negatives
from gnnlib.sparse import as_csr

N, ALPHA, TOL = 45, 0.15, 1e-4


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def graph() -> tuple[Tensor, Tensor, Tensor]:
    """A sparse undirected graph with nodes without edges; training edges and held-out ones, one way each."""
    pairs = torch.randint(N - 5, (2, 75), generator=draw(3))
    pairs = torch.unique(pairs.sort(0).values[:, pairs[0] != pairs[1]], dim=1)
    pairs = pairs[:, torch.randperm(pairs.size(1), generator=draw(4))]
    train, held = pairs[:, 8:], pairs[:, :8]
    return torch.cat([train, train.flip(0)], dim=1), held, torch.rand(N, 6, generator=draw(5))


def one_row(scores: list[Any], taken: Any, combine: str) -> Any:
    """Combined ranks of the nodes that are not taken, by the rule in words."""
    ranks = []
    for score in scores:
        free = score[~taken]
        rank = np.zeros(free.shape)
        some = free > 0
        if some.any():
            ascending = rankdata(free[some], method="min")
            rank[some] = ascending.max() - ascending + 1
        rank[~some] = rank.max() + 1
        ranks.append(rank)
    return np.min(ranks, axis=0) if combine == "min" else np.mean(ranks, axis=0)


def dense_scores(edge_index: Tensor, x: Tensor | None, common: str) -> list[Any]:
    a = np.zeros((N, N))
    a[edge_index[0], edge_index[1]] = 1
    degree = a.sum(1)
    weight = 1 / np.maximum(degree, 1) if common == "ra" else np.ones(N)
    step = a / np.maximum(degree, 1)  # column stochastic but where there are no edges
    step[:, degree == 0] = np.eye(N)[:, degree == 0]  # a walk that restarts where it began stays there
    visits = ALPHA * np.linalg.inv(np.eye(N) - (1 - ALPHA) * step)
    visits[visits <= TOL * np.maximum(degree, 1)[:, None]] = 0
    scores = [(a * weight) @ a, visits.T]
    if x is not None:
        unit = x.double().numpy() / np.linalg.norm(x.double().numpy(), axis=1, keepdims=True)
        scores.append(unit @ unit.T)
    return scores


@pytest.mark.parametrize("common", ["ra", "cn"])
@pytest.mark.parametrize("combine", ["min", "mean"])
@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("count", [12, 60])  # 60: more than there are nodes with a score
def test_the_best_ranks_are_taken(common: Any, combine: Any, features: bool, count: int) -> None:
    edge_index, held, x = graph()
    known = torch.cat([edge_index, held[:, 4:], held[:, 4:].flip(0)], dim=1)
    found = heart_negatives(
        as_csr(edge_index, N), held, draw(), x=x if features else None, count=count, combine=combine,
        exclude=known, common=common, alpha=ALPHA, tol=TOL,
    )  # fmt: skip
    assert found.shape == (2, held.size(1), count)
    scores = dense_scores(edge_index, x if features else None, common)
    matrix = np.zeros((N, N), dtype=bool)
    matrix[known[0], known[1]] = True
    for p, (u, v) in enumerate(held.t().tolist()):
        for stays, goes, pairs in (
            (u, v, found[:, p, : count // 2]),
            (v, u, found[:, p, count // 2 :].flip(0)),
        ):
            assert (pairs[0] == stays).all()
            chosen = pairs[1].tolist()
            assert len(set(chosen)) == count // 2
            taken = matrix[stays].copy()
            taken[[stays, goes]] = True
            assert not taken[chosen].any()
            rank = np.full(N, np.inf)
            rank[~taken] = one_row([s[stays] for s in scores], taken, combine)
            left = np.setdiff1d(np.flatnonzero(~taken), chosen)
            assert rank[chosen].max() <= rank[left].min()
            scored = np.any([s[stays] > 0 for s in scores], axis=0)
            same = rank[left] == rank[chosen].max()
            if not scored[chosen].all():  # nodes without a score come last
                assert not scored[left[same]].any()


def test_the_generator_fixes_the_nodes() -> None:
    edge_index, held, x = graph()
    adj = as_csr(edge_index, N)
    first, again, other = (heart_negatives(adj, held, draw(s), x=x, count=40) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert heart_negatives(adj, held[:, :0], draw(), count=4).shape == (2, 0, 4)


def test_known_edges_are_those_of_the_graph_unless_others_are_named() -> None:
    edge_index, held, _ = graph()
    adj = as_csr(edge_index, N)
    edges = set(map(tuple, edge_index.t().tolist()))
    found = heart_negatives(adj, held, draw(), count=40)
    assert not edges & set(map(tuple, found.flatten(1).t().tolist()))
    allowed = heart_negatives(adj, held, draw(), count=40, exclude=edge_index[:, :0])
    assert edges & set(map(tuple, allowed.flatten(1).t().tolist()))


def test_what_does_not_fit_is_refused() -> None:
    edge_index, held, x = graph()
    adj = as_csr(edge_index, N)
    for options, message in (
        ({"count": 5}, "count is 5; pass an even number"),
        ({"count": 2 * N}, r"only \d+ nodes are left for an end of a pair but 45 are wanted"),
        ({"combine": "max"}, "combine='max' is unknown; choose min or mean"),
        ({"common": "aa"}, "common='aa' is unknown; choose ra or cn"),
        ({"alpha": 1.0}, "alpha is 1.0"),
        ({"x": x[:9]}, r"x has shape \[9, 6\] but the graph has 45 nodes"),
    ):
        with pytest.raises(ValueError, match=message):
            heart_negatives(adj, held, draw(), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="names nodes 0 to 45 but the graph has 45"):
        heart_negatives(adj, torch.tensor([[0], [N]]), draw())
    with pytest.raises(ValueError, match=r"positives has shape \[3, 2\]; expected \[2, P\]"):
        heart_negatives(adj, torch.zeros(3, 2, dtype=torch.int64), draw())
