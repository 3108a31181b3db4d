"""Scores of node pairs against networkx and against dense matrices in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor

from gnnlib.nn import link
from gnnlib.sparse import as_csr
from tests.tolerances import assert_close

N = 90  # more than a block of start nodes
F64 = torch.float64


def graph() -> tuple[nx.Graph, Tensor, Tensor]:
    """A random graph with an isolated node; its edges with loops and duplicates; all pairs of two nodes."""
    found = nx.gnp_random_graph(N - 1, 0.06, seed=3)
    found.add_node(N - 1)
    edges = torch.tensor(list(found.edges)).t()
    loops = torch.arange(0, N - 1, 7).expand(2, -1)
    edge_index = torch.cat([edges, edges.flip(0), edges[:, :9], loops], dim=1)
    pairs = torch.combinations(torch.arange(N)).t()
    return found, edge_index, pairs[:, torch.randperm(pairs.shape[1], generator=torch.manual_seed(0))]


def dense(found: nx.Graph) -> Tensor:
    return torch.from_numpy(nx.to_numpy_array(found, nodelist=range(N))).to(F64)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (link.adamic_adar, nx.adamic_adar_index),
        (link.common_neighbor_count, nx.common_neighbor_centrality),
        (link.jaccard, nx.jaccard_coefficient),
        (link.preferential_attachment, nx.preferential_attachment),
        (link.resource_allocation, nx.resource_allocation_index),
    ],
)
def test_local_scores_equal_networkx(ours: Callable[..., Tensor], theirs: Callable[..., Any]) -> None:
    found, edge_index, pairs = graph()
    options = {"alpha": 1.0} if theirs is nx.common_neighbor_centrality else {}
    expected = torch.tensor([s for *_, s in theirs(found, pairs.t().tolist(), **options)], dtype=F64)
    adj = as_csr(edge_index, N)
    assert_close(ours(adj, pairs, dtype=F64), expected)
    assert_close(ours(adj, pairs.flip(0), dtype=F64), expected)
    assert_close(ours(adj, pairs), expected.float())


def test_katz_equals_powers_and_tends_to_the_inverse() -> None:
    found, edge_index, pairs = graph()
    a, adj = dense(found), as_csr(edge_index, N)
    beta = 0.5 / float(torch.linalg.eigvalsh(a).max())
    three = beta * a + beta**2 * a @ a + beta**3 * a @ a @ a
    assert_close(link.katz(adj, pairs, beta, 3, dtype=F64), three[pairs[0], pairs[1]])
    exact = torch.linalg.inv(torch.eye(N, dtype=F64) - beta * a) - torch.eye(N, dtype=F64)
    assert_close(link.katz(adj, pairs, beta, 50, dtype=F64), exact[pairs[0], pairs[1]])


def test_katz_reads_direction_from_the_second_node_to_the_first() -> None:
    adj = as_csr(torch.tensor([[0, 1], [1, 2]]), 3)
    assert link.katz(adj, torch.tensor([[2, 0], [0, 2]]), 0.5, 2).tolist() == [0.25, 0.0]


def test_pagerank_equals_the_inverse_and_sums_to_one() -> None:
    found, edge_index, pairs = graph()
    a = dense(found)
    step = a / a.sum(1, keepdim=True).clamp(min=1)
    stuck = a.sum(1) == 0
    step[stuck, stuck] = 1  # restarting at an isolated start is staying there
    pi = 0.15 * torch.linalg.inv(torch.eye(N, dtype=F64) - 0.85 * step)
    keep = ~stuck[pairs].any(0)
    adj = as_csr(edge_index, N)
    got = link.personalized_pagerank(adj, pairs, tol=1e-13, dtype=F64)
    assert_close(got[keep], (pi + pi.t())[pairs[0], pairs[1]][keep])
    assert got[~keep].abs().max() == 0
    loose = link.personalized_pagerank(adj, pairs, tol=1e-3, dtype=F64)
    assert 0 < (loose - got).abs().max() <= 2e-3


def test_a_directed_walk_that_ends_restarts() -> None:
    edge_index = torch.tensor([[0, 1], [1, 2]])
    there, back = torch.tensor([[0, 0], [1, 2]]), torch.tensor([[0], [0]])
    others = link.personalized_pagerank(as_csr(edge_index, 3), there, tol=1e-12, dtype=F64)
    own = link.personalized_pagerank(as_csr(edge_index, 3), back, tol=1e-12, dtype=F64) / 2
    # From node 0 alone: nothing leads back from 1 or 2 but the restart, which goes to the start.
    from_others = link.personalized_pagerank(as_csr(edge_index, 3), there.flip(0), tol=1e-12, dtype=F64)
    assert_close(others, from_others)
    assert_close(own + others.sum(), torch.ones(1, dtype=F64))


def test_a_pair_of_a_leaf_with_itself_adds_nothing_to_adamic_adar() -> None:
    edge_index = torch.tensor([[0, 1], [1, 0]])
    assert link.adamic_adar(edge_index, torch.tensor([[0], [0]])).tolist() == [0.0]


def test_errors_name_the_fault() -> None:
    adj = as_csr(torch.tensor([[0, 1], [1, 0]]), 2)
    with pytest.raises(ValueError, match=r"jaccard: pairs has shape \[3, 2\]; expected \[2, P\]"):
        link.jaccard(adj, torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="preferential_attachment: pairs names nodes 0 to 5 but the graph"):
        link.preferential_attachment(adj, torch.tensor([[0], [5]]))
    with pytest.raises(ValueError, match="katz: beta is 0 and length 3; expected beta > 0"):
        link.katz(adj, torch.tensor([[0], [1]]), 0)
    with pytest.raises(ValueError, match=r"alpha is 1.0 and tol 1e-06; expected both in \(0, 1\)"):
        link.personalized_pagerank(adj, torch.tensor([[0], [1]]), 1.0)
