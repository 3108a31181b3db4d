"""Greedy matchings and k-independent sets, against plain Python."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnlib.nn.pool import GraclusPooling, graclus
from gnnlib.sparse import edge_matching, independent_set
from tests.sparse.graphs import MIXED, TINY, ZOO, Graph

SQUARE = [*(g for g in ZOO if g.num_rows == g.num_cols), MIXED]


def greedy(edge_index: Tensor, score: Tensor, n: int) -> list[int]:
    taken = [-1] * n
    for e in sorted(range(score.numel()), key=lambda e: (-float(score[e]), e)):
        i, j = edge_index[:, e].tolist()
        if taken[i] < 0 and taken[j] < 0:
            taken[i] = taken[j] = e
    return taken


def distances(edge_index: Tensor, n: int) -> Tensor:
    far = torch.full((n, n), 10**6)
    far[edge_index[0], edge_index[1]] = 1
    far[edge_index[1], edge_index[0]] = 1
    far.fill_diagonal_(0)
    for k in range(n):
        far = torch.minimum(far, far[:, k : k + 1] + far[k : k + 1])
    return far


def centres(edge_index: Tensor, score: Tensor, n: int, k: int) -> list[int]:
    near = (distances(edge_index, n) <= k).tolist()
    chosen: list[int] = []
    order = sorted(range(n), key=lambda i: (-float(score[i]), i))
    for i in order:
        if not any(near[i][c] for c in chosen):
            chosen.append(i)
    return [next(c for c in chosen if near[i][c]) for i in range(n)]


@pytest.mark.parametrize("graph", SQUARE, ids=repr)
@pytest.mark.parametrize("tied", [False, True])
def test_matching(graph: Graph, tied: bool, backend: str) -> None:
    score = torch.randint(0, 3, (graph.num_edges,)).float() if tied else torch.rand(graph.num_edges)
    found = edge_matching(graph.edge_index, score, graph.num_rows)
    assert found.dtype == torch.int64
    assert found.tolist() == greedy(graph.edge_index, score, graph.num_rows)
    assert torch.equal(edge_matching(graph.edge_index.int(), score, graph.num_rows), found)


@pytest.mark.parametrize("graph", SQUARE, ids=repr)
@pytest.mark.parametrize("k", [0, 1, 2, 3])
@pytest.mark.parametrize("tied", [False, True])
def test_independent_set(graph: Graph, k: int, tied: bool, backend: str) -> None:
    n = graph.num_rows
    score = torch.randint(0, 3, (n,)).float() if tied else torch.rand(n)
    centre = independent_set(graph.edge_index, score, k)
    assert centre.dtype == torch.int64
    assert centre.tolist() == centres(graph.edge_index, score, n, k)
    far = distances(graph.edge_index, n)
    chosen = centre.unique()
    assert (far[torch.arange(n), centre] <= k).all()
    assert (far[chosen][:, chosen].fill_diagonal_(10**6) > k).all()


@pytest.mark.parametrize("graph", SQUARE, ids=repr)
def test_graclus(graph: Graph) -> None:
    weight = torch.rand(graph.num_edges)
    cluster = graclus(graph.edge_index, weight, graph.num_rows)
    loops = graph.edge_index[0] == graph.edge_index[1]
    taken = greedy(graph.edge_index, torch.where(loops, -1, weight), graph.num_rows)
    for i, e in enumerate(taken):
        alone = e < 0 or bool(loops[e])
        assert cluster[i] == (i if alone else int(graph.edge_index[:, e].min()))


def test_graclus_pooling_takes_the_largest_normalised_cut() -> None:
    edge_index = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
    edge_index = torch.cat([edge_index, edge_index.flip(0)], dim=1)
    weight = torch.tensor([1.0, 1.0, 1.2, 4.0]).repeat(2)  # a path: degrees 1, 2, 2.2, 5.2, 4
    x = torch.arange(5.0)[:, None]
    cut = GraclusPooling("sum")(x, edge_index, weight)  # cuts 1.5, 0.95, 0.78, 1.77
    assert cut.select.cluster_index.tolist() == [0, 0, 1, 2, 2]
    assert cut.x.squeeze(1).tolist() == [1.0, 2.0, 7.0]
    assert GraclusPooling()(x, edge_index, weight).x.squeeze(1).tolist() == [1.0, 2.0, 4.0]


def test_wrong_inputs_fail_clearly() -> None:
    with pytest.raises(ValueError, match="edge_matching: score has shape"):
        edge_matching(TINY.edge_index, torch.ones(2), 5)
    score = torch.ones(2)
    for edges, kind, message in (
        ([[0, 200_000_000], [1, 1]], ValueError, "edge_matching: edge_index names source node 200000000"),
        ([[0, 1], [1, -1]], ValueError, "edge_matching: edge_index names target node -1"),
        ([[0.0, 1.0], [1.0, 1.0]], TypeError, "edge_matching: edge_index is torch.float32"),
        ([0, 1], ValueError, r"edge_matching: edge_index has shape \[2\]"),
    ):
        with pytest.raises(kind, match=message):
            edge_matching(torch.tensor(edges), score, 3)
    with pytest.raises(ValueError, match="independent_set: k=-1 is negative"):
        independent_set(MIXED.edge_index, torch.ones(37), -1)
    with pytest.raises(ValueError, match="independent_set: score has shape"):
        independent_set(MIXED.edge_index, torch.ones(37, 1))
