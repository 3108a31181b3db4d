"""Sketches of balls against Python's sets: exact structure, estimates within their standard errors."""

from __future__ import annotations

import itertools

import networkx as nx
import pytest
import torch
from torch import Tensor

from gnnlib.nn.link import (
    BallSketches,
    ball_sketches,
    cardinality,
    intersection_features,
    unlinked_features,
)
from gnnlib.sparse import CSR, as_csr
from tests.tolerances import assert_close

N = 60


def graph() -> tuple[nx.Graph, Tensor]:
    """A random graph with an isolated node, loops and duplicates; its edges in both directions."""
    found = nx.gnp_random_graph(N - 1, 0.05, seed=4)
    found.add_node(N - 1)
    edges = torch.tensor(list(found.edges)).t()
    loops = torch.arange(0, N - 1, 7).expand(2, -1)
    return found, torch.cat([edges, edges.flip(0), edges[:, :9], loops], dim=1)


def ball(found: nx.Graph, node: int, radius: int) -> set[int]:
    return set(nx.single_source_shortest_path_length(found, node, radius))


def sets_of(sizes: list[int], permutations: int = 4, seed: int = 0) -> BallSketches:
    """Sketches of graph nodes whose balls of radius 1 are disjoint stars of these sizes."""
    rows = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes) - 1)
    total = sum(sizes)
    columns = torch.arange(len(sizes), total)
    return ball_sketches(as_csr(torch.stack([columns, rows]), total), 1, permutations=permutations, seed=seed)


def test_sketches_are_extremes_over_the_ball() -> None:
    found, edge_index = graph()
    sketches = ball_sketches(as_csr(edge_index, N), 3, permutations=70, precision=5)
    assert (sketches.hops, sketches.minhash[0].shape, sketches.registers[0].shape) == (3, (N, 70), (N, 32))
    for radius, node in itertools.product(range(4), range(N)):
        members = torch.tensor(sorted(ball(found, node, radius)))
        assert torch.equal(sketches.minhash[radius][node], sketches.minhash[0][members].amin(0))
        assert torch.equal(sketches.registers[radius][node], sketches.registers[0][members].amax(0))


def test_the_numbers_of_a_node_are_uniform_and_geometric() -> None:
    empty = as_csr(torch.empty(2, 0, dtype=torch.int64), 4000)
    sketches = ball_sketches(empty, 1, permutations=8, precision=6)
    low = sketches.minhash[0]
    small = low[low < 0.01]  # as minima are: float32 tells them apart
    assert small.unique().numel() == small.numel()
    assert low.min() > 0
    assert low.max() <= 1
    edges = torch.linspace(0, 1, 11)
    share = torch.histc(low.flatten(), 10, 0, 1) / low.numel()
    assert (share - edges.diff()).abs().max() < 5 * (0.09 / low.numel()) ** 0.5
    assert torch.corrcoef(low.t()).fill_diagonal_(0).abs().max() < 5 / 4000**0.5
    registers = sketches.registers[0]
    assert torch.equal((registers > 0).sum(1), torch.ones(4000, dtype=torch.int64))
    place, value = registers.argmax(1), registers.amax(1)
    expected = 4000 / 64
    assert ((torch.bincount(place, minlength=64) - expected).abs() < 5.5 * expected**0.5).all()
    for k in (1, 2, 3, 4):
        p = 2.0**-k
        assert abs(float((value == k).float().mean()) - p) < 5 * (p * (1 - p) / 4000) ** 0.5


def test_a_seed_fixes_the_sketches() -> None:
    edge_index = graph()[1]
    first, again, other = (ball_sketches(as_csr(edge_index.clone(), N), 2, seed=s) for s in (3, 3, 4))
    for a, b, c in zip(
        first.minhash + first.registers,
        again.minhash + again.registers,
        other.minhash + other.registers,
        strict=True,
    ):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
    adj = as_csr(edge_index, N)
    assert ball_sketches(adj, 2) is ball_sketches(adj, 2)


def test_jaccard_estimates_are_unbiased_with_the_stated_deviation() -> None:
    """Pairs of stars that share leaves: J = 20 / 60 and J = 5 / 75, over 200 seeds."""
    for shared, alone in ((20, 19), (5, 34)):
        size = shared + alone + 1
        first = torch.arange(2, 2 + shared + alone)
        second = torch.cat([first[:shared], first[-1] + 1 + torch.arange(alone)])
        ends = torch.tensor([0, 1]).repeat_interleave(shared + alone)
        adj = as_csr(torch.stack([torch.cat([first, second]), ends]), 2 + shared + 2 * alone)
        jaccard = shared / (2 * size - shared)
        found = torch.stack(
            [
                (low[0] == low[1]).float().mean()
                for low in (ball_sketches(adj, 1, seed=s, precision=4).minhash[1] for s in range(200))
            ]
        )
        deviation = (jaccard * (1 - jaccard) / 128) ** 0.5
        assert deviation < 0.045
        assert abs(float(found.mean()) - jaccard) < 4 * deviation / 200**0.5
        assert abs(float(found.std()) / deviation - 1) < 4 / 400**0.5


@pytest.mark.parametrize("size", [10, 100, 400, 2000])
def test_sizes_are_unbiased_with_the_stated_deviation(size: int) -> None:
    """m = 256: the relative deviation is 1.04 / 16 = 6.5 % of a large set, and less of a small one."""
    count = max(24_000 // size, 30)
    estimate = sets_of([size] * count, permutations=1).size[1][:count]
    relative = estimate / size - 1
    deviation = 1.04 / 16
    assert abs(float(relative.mean())) < 4 * deviation / count**0.5
    assert float(relative.std()) < deviation * (1 + 4 / (2 * count) ** 0.5)
    if size >= 2000:
        assert float(relative.std()) > deviation * (1 - 4 / (2 * count) ** 0.5)


def test_small_sets_are_nearly_exact() -> None:
    sketches = sets_of([1, 2, 3, 5] * 300, permutations=1)
    estimate = sketches.size[1][:1200].view(300, 4)
    assert (estimate[:, 0].round() == 1).all()
    right = (estimate.round() == torch.tensor([1, 2, 3, 5])).float().mean(0)
    # Wrong only where two elements meet in one of 256 registers: 1, 3 and 10 pairs of them.
    assert (right > 1 - torch.tensor([0.0001, 1, 3, 10]) / 256 * 2.5 - 0.0001).all()
    assert_close(cardinality(torch.zeros(3, 64, dtype=torch.uint8)), torch.zeros(3))


def exact_features(found: nx.Graph, u: int, v: int, hops: int) -> dict[tuple[int, int], int]:
    """Nodes at each pair of distances: a ring of radius 1 has its centre, 0 stands for beyond K."""

    def distance(node: int) -> dict[int, int]:
        return {k: max(d, 1) for k, d in nx.single_source_shortest_path_length(found, node, hops).items()}

    of_u, of_v = distance(u), distance(v)
    count = dict.fromkeys(itertools.product(range(hops + 1), repeat=2), 0)
    for node in found:
        count[of_u.get(node, 0), of_v.get(node, 0)] += 1
    return count


ORDER = {
    1: [(1, 1), (0, 1), (1, 0)],
    2: [(1, 1), (2, 1), (1, 2), (2, 2), (0, 1), (1, 0), (0, 2), (2, 0)],
    3: [
        (1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (1, 3), (3, 2), (2, 3), (3, 3),
        (0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (3, 0),
    ],
}  # fmt: skip


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_features_are_the_counts_of_sets_in_order(hops: int) -> None:
    """With 2^15 hash functions and registers the estimates are close to the counts."""
    found, edge_index = graph()
    pairs = torch.tensor([[0, 3, 5, 8, 59, 11], [1, 9, 31, 40, 2, 12]])
    linked = torch.tensor(list(found.edges)[:6]).t()
    pairs = torch.cat([pairs, linked], dim=1)
    sketches = ball_sketches(as_csr(edge_index, N), hops, permutations=1 << 15, precision=15)
    features = intersection_features(sketches, pairs, zero_one=True)
    for row, (u, v) in zip(features, pairs.t().tolist(), strict=True):
        counts = exact_features(found, u, v, hops)
        expected = torch.tensor([float(counts[key]) for key in ORDER[hops]])
        assert (row - expected).abs().max() < 1.2  # 5 standard errors of a Jaccard of half, times 60 nodes
    hidden = intersection_features(sketches, pairs)
    at = [ORDER[hops].index(key) for key in ((0, 1), (1, 0))]
    assert not hidden[:, at].any()
    rest = [k for k in range(hops * (hops + 2)) if k not in at]
    assert torch.equal(hidden[:, rest], features[:, rest])


def test_features_of_the_turned_pair_are_turned() -> None:
    edge_index = graph()[1]
    sketches = ball_sketches(as_csr(edge_index, N), 2)
    pairs = torch.randint(N, (2, 50))
    turned = [0, 2, 1, 3, 5, 4, 7, 6]
    features = intersection_features(sketches, pairs, zero_one=True)
    assert_close(intersection_features(sketches, pairs.flip(0), zero_one=True), features[:, turned])


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    sketches = ball_sketches(as_csr(graph()[1], N), 2)
    pairs = torch.randint(N, (2, 50))
    whole = intersection_features(sketches, pairs)
    monkeypatch.setattr("gnnlib.nn.link.sketches.CHUNK", 7)
    assert torch.equal(intersection_features(sketches, pairs), whole)
    assert intersection_features(sketches, pairs[:, :0]).shape == (0, 8)


@pytest.mark.parametrize("hops", [1, 2])
def test_a_pair_without_its_edge_is_that_of_the_graph_without_it(hops: int) -> None:
    found, edge_index = graph()
    adj = as_csr(edge_index, N)
    leaf = next(node for node, degree in found.degree if degree == 1)
    edges = [*list(found.edges)[::4], (leaf, next(iter(found[leaf])))]
    pairs = torch.tensor([*edges, (0, 1), (59, 4), (7, 7)]).t()
    features = unlinked_features(ball_sketches(adj, hops), pairs, zero_one=True)
    for row, (u, v) in zip(features, pairs.t().tolist(), strict=True):
        less = found.copy()
        if less.has_edge(u, v):
            less.remove_edge(u, v)
        index = torch.tensor(list(less.edges)).t()
        other = ball_sketches(as_csr(torch.cat([index, index.flip(0)], dim=1), N), hops)
        expected = intersection_features(other, torch.tensor([[u], [v]]), zero_one=True)
        assert torch.equal(row[None], expected)
    linked = torch.tensor(edges).t()
    plain = intersection_features(ball_sketches(adj, hops), linked, zero_one=True)
    assert not torch.equal(plain, features[: len(edges)])


def test_relabelled_graphs_have_other_hashes_but_the_same_structure() -> None:
    """Directed edges count as they point: the ball of a node holds what reaches it."""
    adj: CSR = as_csr(torch.tensor([[0, 1, 2], [1, 2, 3]]), 5)
    sketches = ball_sketches(adj, 2)
    for node, members in enumerate(([0], [0, 1], [0, 1, 2], [1, 2, 3], [4])):
        assert torch.equal(sketches.minhash[2][node], sketches.minhash[0][members].amin(0))


def test_what_cannot_be_is_refused() -> None:
    adj = as_csr(graph()[1], N)
    for options in ({"hops": 0}, {"permutations": 0}, {"precision": 3}, {"precision": 17}):
        with pytest.raises(ValueError, match="pass at least 1 hop and 1 permutation"):
            ball_sketches(adj, **options)
    with pytest.raises(ValueError, match="ball_sketches: the graph is 2 x 3"):
        ball_sketches(as_csr(torch.tensor([[2], [1]]), (3, 2)))
    with pytest.raises(ValueError, match=r"pairs has shape \[3, 2\]"):
        intersection_features(ball_sketches(adj), torch.zeros(3, 2, dtype=torch.int64))
    edge = graph()[1][:, :1]
    with pytest.raises(NotImplementedError, match="hops=3; a pair's own edge"):
        unlinked_features(ball_sketches(adj, 3), edge)
