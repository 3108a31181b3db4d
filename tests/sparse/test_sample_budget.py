"""Budget samples: the kernel against the definition, and the law of the first draw worked by hand."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from gnnlib.sparse import HeteroSample, sample_budget, use_backend
from tests.sparse.graphs import draw
from tests.sparse.test_sample_neighbors import same

SIZES = {"paper": 40, "author": 30, "venue": 4}
KINDS = {
    ("author", "writes", "paper"): draw(30, 40, 120, seed=1),
    ("paper", "written", "author"): draw(40, 30, 110, seed=2),
    ("paper", "cites", "paper"): draw(40, 40, 100, seed=3),
    ("venue", "has", "paper"): draw(4, 40, 40, seed=4),
}
SEEDS = {"paper": torch.tensor([3, 9, 3, 20])}


def sample(num_samples: Any, seed: int = 0, seeds: dict[str, Tensor] = SEEDS) -> HeteroSample:
    return sample_budget(KINDS, seeds, num_samples, num_nodes=SIZES, seed=seed)


@pytest.mark.parametrize(
    "seeds", [SEEDS, {}, {"venue": torch.arange(4), "author": torch.tensor([7])}], ids=len
)
@pytest.mark.parametrize(
    "num_samples", [[4, 3, 2], [0], [100], {"paper": [2, 2], "author": [3], "venue": [0, 1]}, []], ids=str
)
def test_kernel_draws_what_the_definition_draws(num_samples: Any, seeds: dict[str, Tensor]) -> None:
    for seed in range(3):
        ours = sample(num_samples, seed, seeds)
        with use_backend("reference"):
            same(ours, sample(num_samples, seed, seeds))


def test_structure() -> None:
    s = sample([4, 3])
    for name, nodes in s.node.items():
        given = SEEDS.get(name, torch.empty(0, dtype=torch.int64))
        assert torch.equal(nodes[: given.numel()], given)
        later = nodes[given.numel() :].tolist()
        assert len(set(later)) == len(later)
        assert s.num_sampled_nodes[name][0] == given.numel()
        assert all(k <= n for k, n in zip(s.num_sampled_nodes[name][1:], [4, 3], strict=True))
    assert s.num_sampled_edges is None
    for kind, edge_index in KINDS.items():
        src, dst = s.node[kind[0]], s.node[kind[-1]]
        ends = torch.stack([src[s.row[kind]], dst[s.col[kind]]])
        assert torch.equal(ends, edge_index[:, s.edge[kind]])
        inside = torch.isin(edge_index[0], src) & torch.isin(edge_index[1], dst)
        assert set(s.edge[kind].tolist()) == set(inside.nonzero()[:, 0].tolist())


def test_the_whole_neighbourhood_is_taken_when_it_fits() -> None:
    s = sample([1000])
    for name in SIZES:
        wanted = set(SEEDS.get(name, torch.empty(0)).tolist())
        for (src, _, dst), (row, col) in KINDS.items():
            if src == name and dst == "paper":
                wanted |= set(row[torch.isin(col, SEEDS["paper"])].tolist())
        assert set(s.node[name].tolist()) == wanted


def test_probabilities() -> None:
    """Edges 2, 3, 4, 5 -> 0 and 4, 5 -> 1: of the seeds 0 and 1, nodes 4 and 5 are owed 1/4 + 1/2."""
    cites = torch.tensor([[2, 3, 4, 5, 4, 5], [0, 0, 0, 0, 1, 1]])
    budget = {2: 1 / 4, 3: 1 / 4, 4: 3 / 4, 5: 3 / 4}
    kind = ("paper", "cites", "paper")
    trials = 6000
    counts: Counter[tuple[int, ...]] = Counter()
    for seed in range(trials):
        s = sample_budget(
            {kind: cites}, {"paper": torch.tensor([0, 1])}, [2], num_nodes={"paper": 6}, seed=seed
        )
        counts[tuple(s.node["paper"][2:].tolist())] += 1
    square = {v: b * b for v, b in budget.items()}
    total = sum(square.values())
    p = {
        (a, b): square[a] / total * square[b] / (total - square[a])
        for a, b in itertools.permutations(budget, 2)
    }
    assert set(counts) <= set(p)
    found = [counts[k] for k in p]
    assert stats.chisquare(found, [trials * v for v in p.values()]).pvalue > 1e-3


def test_errors() -> None:
    with pytest.raises(ValueError, match="num_samples of the unknown node types"):
        sample({"book": [1]})
    with pytest.raises(ValueError, match="each is a number of nodes, 0 or more"):
        sample([-1])
    with pytest.raises(ValueError, match="seeds of the unknown node types"):
        sample([1], seeds={"book": torch.tensor([0])})
    with pytest.raises(ValueError, match="names node 99 but the graph has 40 nodes"):
        sample([1], seeds={"paper": torch.tensor([99])})
    with pytest.raises(ValueError, match="num_nodes lacks an end of"):
        sample_budget(KINDS, SEEDS, [1], num_nodes={"paper": 40})
