"""Searches by hops against networkx, and distances inside a ball against Dijkstra on the induced subgraph."""

from __future__ import annotations

import networkx as nx
import pytest
import torch

from gnnlib.sparse import as_csr
from gnnlib.sparse.hops import (
    ball_eccentricity,
    ball_edges,
    balls,
    diameter_bound,
    hop_distance,
    hop_eccentricity,
    pack_balls,
    rows_in_use,
)


def random_graph(n: int = 40, p: float = 0.05, directed: bool = True) -> tuple[nx.DiGraph, torch.Tensor]:
    graph = nx.gnp_random_graph(n, p, seed=3, directed=directed).to_directed()
    return graph, torch.tensor(list(graph.edges)).t()


def test_balls_follow_incoming_edges() -> None:
    graph, edge_index = random_graph()
    adj = as_csr(edge_index, (40, 40))
    seeds = torch.tensor([7, 0, 31])
    found = balls(adj, seeds, 3)
    for s, seed in enumerate(seeds.tolist()):
        part = slice(int(found.ptr[s]), int(found.ptr[s + 1]))
        expected = nx.single_target_shortest_path_length(graph, seed, cutoff=3)
        assert dict(zip(found.node[part].tolist(), found.hop[part].tolist(), strict=True)) == dict(expected)
        assert bool((found.hop[part].diff() >= 0).all())
        inside = graph.subgraph(found.node[part].tolist())
        ends, edge = ball_edges(adj, balls(adj, torch.tensor([seed]), 3))
        node = found.node[part]
        assert {tuple(e) for e in node[ends].t().tolist()} == set(inside.edges)
        assert edge_index[:, edge].equal(node[ends])


def test_packed_balls_do_not_meet() -> None:
    _, edge_index = random_graph(directed=False)
    adj = as_csr(edge_index, (40, 40))
    found = balls(adj, torch.arange(40), 1)
    group = pack_balls(found, 40)
    for c in range(int(group.max()) + 1):
        nodes = torch.cat(
            [found.node[int(found.ptr[s]) : int(found.ptr[s + 1])] for s in (group == c).nonzero().view(-1)]
        )
        assert nodes.unique().numel() == nodes.numel()
    assert int(group.max()) + 1 < 40


def test_distances_from_sources() -> None:
    graph, edge_index = random_graph()
    adj = as_csr(edge_index, (40, 40))
    lengths = [nx.single_target_shortest_path_length(graph, s) for s in (2, 9)]
    expected = [min(dict(d).get(i, 99) for d in lengths) for i in range(40)]
    assert hop_distance(adj, torch.tensor([2, 9])).tolist() == [-1 if d == 99 else d for d in expected]
    assert hop_distance(adj, torch.tensor([2, 9]), 1).tolist() == [d if d < 2 else -1 for d in expected]
    assert hop_distance(adj, torch.tensor([], dtype=torch.int64)).tolist() == [-1] * 40
    assert hop_distance(adj, torch.tensor([5]), 0).tolist() == [0 if i == 5 else -1 for i in range(40)]


def test_eccentricity_and_diameter() -> None:
    graph = nx.disjoint_union(nx.path_graph(9), nx.cycle_graph(6))
    edge_index = torch.tensor(list(graph.to_directed().edges)).t()
    adj = as_csr(edge_index, (15, 15))
    ecc = hop_eccentricity(adj)
    assert ecc.tolist() == [8, 7, 6, 5, 4, 5, 6, 7, 8] + [3] * 6
    assert diameter_bound(adj) == 8
    assert diameter_bound(as_csr(torch.empty(2, 0, dtype=torch.int64), (0, 0))) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("radius", [0, 1, 3, 20])
def test_ball_eccentricity(dtype: torch.dtype, radius: int) -> None:
    graph, edge_index = random_graph(directed=False)
    length = torch.randint(1, 64, (edge_index.size(1),)).to(dtype) / 8  # sums are exact
    for (a, b), w in zip(edge_index.t().tolist(), length.tolist(), strict=True):
        graph[a][b]["w"] = w
    expected = []
    for v in range(40):
        near = nx.single_target_shortest_path_length(graph, v, cutoff=radius)
        reached = nx.single_source_dijkstra_path_length(graph.subgraph(dict(near)).reverse(), v, weight="w")
        expected.append(max(reached.values()))
    found = ball_eccentricity(as_csr(edge_index, (40, 40)), length, radius)
    assert found.dtype == dtype
    assert found.tolist() == expected


def test_rows_in_use() -> None:
    values = torch.zeros(9, 3)
    assert rows_in_use(values) == 0
    values[4, 2] = -1
    assert rows_in_use(values) == 5
    values[8, 0] = float("nan")
    assert rows_in_use(values) == 9


def test_errors() -> None:
    adj = as_csr(torch.tensor([[0], [1]]), (2, 2))
    with pytest.raises(ValueError, match="balls: radius=-1; pass 0 or more hops"):
        balls(adj, torch.tensor([0]), -1)
    with pytest.raises(ValueError, match="nodes from 0 to 2 came; the graph has 2"):
        balls(adj, torch.tensor([0, 2]), 1)
    with pytest.raises(ValueError, match="some length is negative"):
        ball_eccentricity(adj, torch.tensor([-1.0]), 1)
    with pytest.raises(ValueError, match=r"length has shape \[2\] but the graph has 1 edges"):
        ball_eccentricity(adj, torch.ones(2), 1)
    with pytest.raises(ValueError, match="pass a square adjacency"):
        hop_eccentricity(as_csr(torch.tensor([[0], [1]]), (3, 2)))
