"""Random walks: frequencies against the exact probabilities, on each backend, and what a walk may be."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from gnnlib.sparse import CSR, as_csr, random_walk, use_backend
from gnnlib.sparse.native.launch import SMALL
from gnnlib.sparse.ops import random_walk as op
from gnnlib.sparse.ops.alias import STEPS, alias_draw, alias_table
from gnnlib.sparse.registry import dispatch
from tests.sparse.graphs import ZOO, Graph, draw

SETTINGS = [(1.0, 1.0), (0.25, 4.0), (4.0, 0.25), (0.25, 0.25), (0.05, 1.0)]


def small_graph(directed: bool, seed: int = 3) -> Tensor:
    """Nine nodes with triangles, one leaf and, directed, a few edges without a way back."""
    pairs = torch.tensor(
        [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 2), (4, 5), (5, 6), (6, 7), (7, 5), (0, 7), (7, 8)]
    ).t()
    both = torch.cat([pairs, pairs.flip(0)], dim=1)
    if not directed:
        return both
    generator = torch.Generator().manual_seed(seed)
    kept = torch.rand(both.shape[1], generator=generator) < 0.75
    return both[:, kept]


def exact(
    edge_index: Tensor, weight: Tensor, p: float, q: float, adjacency: str
) -> dict[tuple[int, int], np.ndarray]:
    """The probability of each next node, for every pair of previous and current node."""
    n = int(edge_index.max()) + 1
    w = np.zeros((n, n))
    np.add.at(w, (edge_index[0].numpy(), edge_index[1].numpy()), weight.double().numpy())
    found = {}
    for t, v in zip(*np.nonzero(w), strict=True):
        near = (w[t] > 0) if adjacency == "out" else (w[:, t] > 0)
        bias = np.where(near, 1.0, 1 / q)
        bias[t] = 1 / p
        mass = w[v] * bias
        if mass.sum() > 0:
            found[int(t), int(v)] = mass / mass.sum()
    return found


def check_steps(walks: Tensor, wanted: dict[tuple[int, int], np.ndarray]) -> None:
    """Chi-square of every pair that is met often enough, against a level corrected for their number."""
    steps = torch.stack([walks[:, i : walks.shape[1] - 2 + i].reshape(-1) for i in range(3)])
    met, times = steps[:, steps[2] >= 0].unique(dim=1, return_counts=True)
    counts: dict[tuple[int, int], dict[int, int]] = {}
    for (t, v, x), number in zip(met.t().tolist(), times.tolist(), strict=True):
        counts.setdefault((t, v), {})[x] = number
    tested = 0
    for pair, seen in counts.items():
        share = wanted[pair]
        total, allowed = sum(seen.values()), np.flatnonzero(share)
        assert set(seen) <= set(allowed.tolist())
        if total * share[allowed].min() < 8 or allowed.size == 1:
            continue
        observed = [seen.get(int(x), 0) for x in allowed]
        tested += 1
        assert scipy.stats.chisquare(observed, total * share[allowed]).pvalue > 1e-4 / len(counts), pair
    assert tested > 8


@pytest.mark.parametrize("directed", [False, True], ids=["undirected", "directed"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("p", "q"), SETTINGS)
def test_second_order_frequencies(p: float, q: float, weighted: bool, directed: bool, backend: str) -> None:
    edge_index = small_graph(directed)
    generator = torch.Generator().manual_seed(1)
    weight = torch.rand(edge_index.shape[1], generator=generator) + 0.1
    start = torch.arange(9).repeat(400 if backend == "reference" else 2500)
    for adjacency in ("out", "in") if directed else ("out",):
        walks = random_walk(
            as_csr(edge_index, 9), start, 12, p=p, q=q, seed=5, weight=weight if weighted else None,
            adjacency=adjacency,
        )  # fmt: skip
        wanted = exact(edge_index, weight if weighted else torch.ones_like(weight), p, q, adjacency)
        check_steps(walks, wanted)


def test_first_step_follows_the_weights(backend: str) -> None:
    edge_index = torch.tensor([[0, 0, 0, 0], [1, 2, 3, 3]])
    weight = torch.tensor([1.0, 2.0, 0.0, 5.0])
    walks = random_walk(edge_index, torch.zeros(40_000, dtype=torch.int64), 2, weight=weight, p=0.1, q=9)
    seen = walks[:, 1].bincount(minlength=4)[1:]
    assert scipy.stats.chisquare(seen, 40_000 * weight[[0, 1, 3]] / 8).pvalue > 1e-4


def test_parallel_edges_count_as_often_as_they_occur(backend: str) -> None:
    edge_index = torch.tensor([[0, 0, 0, 1, 1, 2], [1, 1, 2, 0, 0, 0]])
    walks = random_walk(edge_index, torch.zeros(30_000, dtype=torch.int64), 2)
    assert scipy.stats.chisquare(walks[:, 1].bincount()[1:], [20_000, 10_000]).pvalue > 1e-4
    returned = random_walk(edge_index, torch.ones(20_000, dtype=torch.int64), 3, p=0.25, q=1)[:, 2]
    # from 1 over 0: two edges back to 1 with bias 4, one to 2 with bias 1
    assert scipy.stats.chisquare(returned.bincount()[1:], [20_000 * 8 / 9, 20_000 / 9]).pvalue > 1e-4


def test_long_run_visits_are_in_proportion_to_the_degree() -> None:
    edge_index = small_graph(directed=False)
    walks = random_walk(edge_index, torch.arange(9).repeat(200), 500)[:, 100:]
    share = walks.reshape(-1).bincount(minlength=9) / walks.numel()
    degree = edge_index[0].bincount() / edge_index.shape[1]
    assert float((share - degree).abs().max()) < 0.004


def test_proposals_are_as_many_as_rejection_needs() -> None:
    """Expected proposals of a step: the mass of the envelope over that of the target."""
    edge_index = small_graph(directed=False)
    p, q = 4.0, 0.25
    out = as_csr(edge_index).transposed
    start, length = torch.arange(9).repeat(20_000), 3
    walks, proposals = dispatch(
        "random_walk", *out.arrays, None, None, None, None, start, length, p, q, op.EITHER, True, 0, 0
    )
    adjacent = out.to_dense() > 0
    t, v = walks[:, 0].long(), walks[:, 1].long()
    bias = torch.where(adjacent[t], 1.0, 1 / q)
    bias[torch.arange(t.numel()), t] = 1 / p
    target = (adjacent[v] * bias).sum(1)
    wanted = max(1 / q, 1) * adjacent[v].sum(1) / target
    extra = (proposals - 1).double()  # the first step takes one
    error = (extra - wanted).mean() / (extra.std() / math.sqrt(extra.numel()))
    assert abs(float(error)) < 4


@pytest.mark.parametrize("graph", [g for g in ZOO if g.num_cols == g.num_rows], ids=repr)
@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (0.25, 4.0)])
def test_walks_on_awkward_graphs(graph: Graph, p: float, q: float, backend: str) -> None:
    start = torch.arange(graph.num_rows)
    walks = random_walk(graph.adj, start, 7, p=p, q=q)
    assert walks.shape == (graph.num_rows, 7)
    assert walks.dtype == torch.int32
    edges = set(zip(*graph.edge_index.tolist(), strict=True))
    sinks = set(range(graph.num_rows)) - {u for u, _ in edges}
    for first, walk in enumerate(walks.tolist()):
        assert walk[0] == first
        for u, v in itertools.pairwise(walk):
            assert (u, v) in edges if v >= 0 else u < 0 or u in sinks


def test_both_backends_give_the_same_walks() -> None:
    edge_index = draw(60, 60, 500, seed=2)
    weight = torch.rand(500)
    start = torch.arange(60).repeat(4)
    for p, q in SETTINGS:
        for w in (None, weight):
            found = []
            for backend in ("cpu", "reference"):
                with use_backend(backend):
                    found.append(random_walk(as_csr(edge_index, 60), start, 9, p=p, q=q, weight=w, seed=-7))
            assert torch.equal(*found)


def test_any_number_of_threads_gives_the_same_walks(two_threads: None) -> None:
    edge_index = draw(500, 500, 4000)
    start = torch.arange(500).repeat(3)
    assert start.numel() * 20 * 16 > SMALL
    walks = random_walk(edge_index, start, 20, p=0.5, q=2.0, seed=9)
    torch.set_num_threads(1)
    assert torch.equal(walks, random_walk(edge_index, start, 20, p=0.5, q=2.0, seed=9))
    parts = [random_walk(edge_index, part, 20, p=0.5, q=2.0, seed=9, first=k) for k, part in
             zip((0, 700), (start[:700], start[700:]), strict=True)]  # fmt: skip
    assert torch.equal(walks, torch.cat(parts))
    assert not torch.equal(walks, random_walk(edge_index, start, 20, p=0.5, q=2.0, seed=10))


def test_a_matrix_brings_its_weights() -> None:
    adj = CSR(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0]), 3, value=torch.tensor([1.0, 0.0]))
    walks = random_walk(adj, torch.zeros(50, dtype=torch.int64), 3)
    assert walks.tolist() == [[0, 1, -1]] * 50


def test_the_alias_table_holds_the_weights(backend: str) -> None:
    weight = torch.tensor([0.0, 3.0, 1e-3, 7.5, 2.0, 0.0, 0.0, 4.0])
    indptr = torch.tensor([0, 5, 5, 7, 8])
    threshold, alias, total = alias_table(indptr, weight)
    assert total.tolist() == pytest.approx([12.501, 0, 0, 4])
    assert threshold[5:7].tolist() == [0, 0]
    for lo, hi in ((0, 5), (7, 8)):
        share = torch.zeros(hi - lo, dtype=torch.float64)
        keep = threshold[lo:hi].double() / STEPS / (hi - lo)
        share += keep
        share.index_add_(0, alias[lo:hi].long(), 1 / (hi - lo) - keep)
        assert torch.allclose(share, weight[lo:hi].double() / weight[lo:hi].sum(), atol=1e-6)
    drawn = alias_draw(threshold[:5], alias[:5], 50_000, seed=1)
    seen = drawn.bincount(minlength=5)
    assert seen[0] == 0
    wanted = 50_000 * weight[1:5].double() / weight[1:5].double().sum()
    assert scipy.stats.chisquare(seen[1:5].double(), wanted.double()).pvalue > 1e-4
    assert torch.equal(drawn[100:], alias_draw(threshold[:5], alias[:5], 49_900, seed=1, first=100))


START = torch.zeros(3, dtype=torch.int64)
EDGES = torch.tensor([[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((EDGES, START.float(), 4, {}), TypeError, "start is torch.float32; pass node numbers"),
        ((EDGES, START + 2, 4, {}), ValueError, "start names node 2 but the graph has 2 nodes, 0 to 1"),
        ((EDGES, START[None], 4, {}), ValueError, r"start has shape \[1, 3\]; expected \[S\]"),
        ((EDGES, START, 0, {}), ValueError, "length=0 nodes; a walk has at least 1, its start"),
        ((EDGES, START, 4, {"p": 0}), ValueError, "p=0; expected a number above 0"),
        ((EDGES, START, 4, {"q": -1.0}), ValueError, "q=-1.0; expected a number above 0"),
        ((EDGES, START, 4, {"weight": torch.tensor([1.0, -2])}), ValueError, "weights run from -2 to 1;"),
        ((EDGES, START, 4, {"weight": torch.tensor([1.0, torch.nan])}), ValueError, "weights run from nan"),
        ((EDGES, START, 4, {"weight": torch.tensor([1.0, torch.inf])}), ValueError, "from 1 to inf"),
        ((EDGES, START, 4, {"weight": torch.ones(3)}), ValueError, "3 edge values came but"),
        ((EDGES, START, 4, {"adjacency": "inn"}), ValueError, "did you mean 'in'"),
        ((as_csr(EDGES, (2, 3)), START, 4, {}), ValueError, "3 targets and 2 sources; a walk needs one set"),
    ],
)  # fmt: skip
def test_bad_arguments_are_told(arguments: tuple, error: type[Exception], message: str) -> None:
    adj, start, length, options = arguments
    with pytest.raises(error, match=message):
        random_walk(adj, start, length, **options)
