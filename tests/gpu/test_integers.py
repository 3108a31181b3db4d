"""Walks, samples, common neighbours, merged nodes on the gpu backend: the numbers of the definitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnlib.sparse import (
    as_csr,
    common_neighbors,
    merge_nodes,
    random_walk,
    sample_hetero_neighbors,
    sample_neighbors,
    use_backend,
)
from tests.sparse.graphs import HUBS, LARGE, MIXED, ZOO, Graph
from tests.sparse.test_random_walk import small_graph
from tests.sparse.test_sample_neighbors import FANOUTS, option_sets, same, some_seeds

SQUARE = [g for g in ZOO if g.num_rows == g.num_cols]


def on(device: torch.device, graph: Graph) -> torch.Tensor:
    return graph.edge_index.to(device)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("directed", [False, True], ids=["undirected", "directed"])
@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (0.25, 4.0), (4.0, 0.25), (0.05, 1.0)])
def test_walks(p: float, q: float, directed: bool, weighted: bool, device: torch.device) -> None:
    edge_index = small_graph(directed)
    edge_index = torch.cat([edge_index, edge_index[:, :3], torch.tensor([[0], [0]])], dim=1)
    weight = torch.rand(edge_index.shape[1]) if weighted else None
    start = torch.arange(9).repeat(4)
    for adjacency in ("out", "in") if directed else ("out",):
        options = {"p": p, "q": q, "seed": 7, "first": 3, "adjacency": adjacency}
        with use_backend("reference"):
            expected = random_walk(as_csr(edge_index, 9), start, 5, weight=weight, **options)
        there = None if weight is None else weight.to(device)
        walks = random_walk(as_csr(edge_index.to(device), 9), start.to(device), 5, weight=there, **options)
        assert torch.equal(walks.cpu(), expected)
        assert walks.dtype == expected.dtype


def test_walks_end_where_no_edge_leaves(device: torch.device) -> None:
    path = torch.tensor([[0, 1], [1, 2]], device=device)
    walks = random_walk(as_csr(path, 4), torch.tensor([0, 3, 2], device=device), 5, p=0.3, q=2.0)
    assert walks.tolist() == [[0, 1, 2, -1, -1], [3, -1, -1, -1, -1], [2, -1, -1, -1, -1]]
    assert random_walk(as_csr(path, 4), torch.tensor([], dtype=torch.int64, device=device), 5).shape == (0, 5)
    assert random_walk(as_csr(path, 4), torch.tensor([2], device=device), 1).tolist() == [[2]]


@pytest.mark.parametrize("graph", [*SQUARE, MIXED, LARGE, HUBS], ids=repr)
def test_common_neighbors(graph: Graph, device: torch.device) -> None:
    pairs = torch.randint(max(graph.num_rows, 1), (2, 200 if graph.num_rows else 0))
    pairs = torch.cat([pairs, pairs[:1].expand(2, -1)], dim=1)
    with use_backend("reference"):
        expected = common_neighbors(graph.adj, pairs)
    found = common_neighbors(graph.to(device).adj, pairs.to(device))
    for ours, theirs in zip(found.arrays, expected.arrays, strict=True):
        assert torch.equal(ours.cpu(), theirs)
        assert ours.dtype == theirs.dtype
    assert found.shape == expected.shape


@pytest.mark.parametrize("graph", [*SQUARE, MIXED], ids=repr)
def test_samples(graph: Graph, device: torch.device) -> None:
    seeds = some_seeds(graph.num_rows)
    adj = graph.to(device).adj
    for k, options in enumerate(option_sets(graph, seeds)):
        fanouts = FANOUTS[k % len(FANOUTS)]
        there = {n: o.to(device) if isinstance(o, Tensor) else o for n, o in options.items()}
        ours = sample_neighbors(adj, seeds.to(device), fanouts, seed=k, **there)
        with use_backend("reference"):
            expected = sample_neighbors(graph.adj, seeds, fanouts, seed=k, **options)
        for name, value in vars(ours).items():
            if isinstance(value, Tensor):
                object.__setattr__(ours, name, value.cpu())
        same(ours, expected)


@pytest.mark.parametrize("k", [1, 5, 70, 300, 4500, -1])
def test_samples_of_hubs(k: int, device: torch.device) -> None:
    """Few and most of the edges of a long row: both ways of choosing."""
    size = max(HUBS.num_rows, HUBS.num_cols)
    seeds = torch.arange(0, size, 7)
    with use_backend("cpu"):
        expected = sample_neighbors(as_csr(HUBS.edge_index, size), seeds, [k], seed=k + 1)
    ours = sample_neighbors(as_csr(on(device, HUBS), size), seeds.to(device), [k], seed=k + 1)
    assert torch.equal(ours.edge.cpu(), expected.edge)
    assert torch.equal(ours.node.cpu(), expected.node)


def test_samples_of_several_kinds(device: torch.device) -> None:
    writes = torch.randint(12, (2, 60))
    cites = torch.randint(12, (2, 40))
    sizes = {"author": 12, "paper": 12}
    seeds = {"paper": torch.tensor([3, 1, 3])}

    def drawn(there: torch.device) -> list[Tensor]:
        sample = sample_hetero_neighbors(
            {
                ("author", "writes", "paper"): writes.to(there),
                ("paper", "by", "author"): writes.flip(0).to(there),
                ("paper", "cites", "paper"): cites.to(there),
            },
            {name: s.to(there) for name, s in seeds.items()},
            [3, 2],
            num_nodes=sizes,
            seed=5,
        )
        parts = (sample.node, sample.row, sample.col, sample.edge)
        return [t.cpu() for part in parts for t in part.values()]

    ours = drawn(device)
    with use_backend("reference"):
        expected = drawn(torch.device("cpu"))
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


def test_merged_nodes(device: torch.device) -> None:
    if device.type == "cpu":
        pytest.skip("merge_nodes has no kernel to interpret")
    for graph in SQUARE:
        x = torch.arange(graph.num_rows) % 2
        kind = torch.arange(graph.edge_index.shape[1]) % 3
        ours = merge_nodes(on(device, graph), x.to(device), kind.to(device))
        expected = merge_nodes(graph.edge_index, x, kind)
        for name in ("node_class", "nodes", "edges", "edge_index"):
            assert torch.equal(getattr(ours, name).cpu(), getattr(expected, name)), (graph, name)
