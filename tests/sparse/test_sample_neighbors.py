"""Neighbour samples: the kernel against the definition, their structure, and their distribution."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch_geometric.sampler import SamplerOutput

from gnnlib.sparse import (
    CSR,
    HeteroSample,
    Sample,
    as_csr,
    sample_hetero_neighbors,
    sample_neighbors,
    use_backend,
)
from gnnlib.sparse.counter import child
from gnnlib.sparse.native import launch
from gnnlib.sparse.ops.sample_neighbors import cpu
from tests.sparse.graphs import HUBS, LARGE, MIXED, ZOO, Graph, draw

SQUARE = [g for g in ZOO if g.num_rows == g.num_cols] + [MIXED, LARGE]
FANOUTS = ([], [3, 2], [-1, 4], [1, 1, 1], [0, 3])


def same(a: Any, b: Any) -> None:
    """Equal in every field."""
    assert type(a) is type(b)
    for name, x in vars(a).items():
        y = getattr(b, name)
        for p, q in zip(*((v.values() if isinstance(v, dict) else [v]) for v in (x, y)), strict=True):
            assert torch.equal(p, q) if isinstance(p, Tensor) else p == q, name


def some_seeds(num_nodes: int) -> Tensor:
    """A few nodes, one of them twice."""
    seeds = torch.randperm(num_nodes)[:5]
    return torch.cat([seeds, seeds[:1]])


def option_sets(graph: Graph, seeds: Tensor) -> list[dict[str, Any]]:
    """Options in all combinations that are allowed."""
    weight = torch.rand(graph.num_edges)
    weight[::4] = 0
    times: list[dict[str, Any]] = [
        {},
        {"node_time": torch.randint(9, (graph.num_rows,)), "seed_time": torch.randint(9, seeds.shape)},
        {"edge_time": torch.rand(graph.num_edges), "seed_time": torch.rand(seeds.shape)},
    ]
    return [
        {"replace": r, "weight": w, "disjoint": d, "subgraph": s, "strategy": st, **t}
        for r, w, d, s, st, t in itertools.product(
            (False, True),
            (None, weight),
            (False, True),
            ("directional", "induced", "bidirectional"),
            ("uniform", "last"),
            times,
        )
        if (d or not t) and (t or st == "uniform")
    ]


@pytest.mark.parametrize("graph", SQUARE, ids=repr)
def test_kernel_draws_what_the_definition_draws(graph: Graph) -> None:
    seeds = some_seeds(graph.num_rows)
    for k, options in enumerate(option_sets(graph, seeds)):
        fanouts = FANOUTS[k % len(FANOUTS)]
        ours = sample_neighbors(graph.adj, seeds, fanouts, seed=k, **options)
        with use_backend("reference"):
            same(ours, sample_neighbors(graph.adj, seeds, fanouts, seed=k, **options))


def test_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = torch.randperm(301)[:200]
    options = option_sets(LARGE, seeds)
    alone = [sample_neighbors(LARGE.adj, seeds, [4, 3], **o) for o in options]
    monkeypatch.setattr(launch, "SMALL", 0)
    torch.set_num_threads(2)
    for o, expected in zip(options, alone, strict=True):
        same(sample_neighbors(LARGE.adj, seeds, [4, 3], **o), expected)


def check_structure(graph: Graph, seeds: Tensor, fanouts: list[int], s: Sample, replace: bool) -> None:
    n, size = s.node.numel(), seeds.numel()
    assert torch.equal(s.node[:size], seeds)
    assert sum(s.num_sampled_nodes) == n
    assert s.num_sampled_edges is not None
    assert sum(s.num_sampled_edges) == s.edge.numel()
    # Every sampled edge is the caller's edge of that number.
    assert torch.equal(torch.stack([s.node[s.row], s.node[s.col]]), graph.edge_index[:, s.edge])
    tags = torch.zeros(n, dtype=torch.int64) if s.batch is None else s.batch
    assert torch.equal(tags[s.row], tags[s.col])
    later = list(zip(tags[size:].tolist(), s.node[size:].tolist(), strict=True))
    assert len(set(later)) == len(later), "a node came twice"
    degree = graph.edge_index[1].bincount(minlength=graph.num_rows)
    first_node, first_edge = [0], [0]
    for k in s.num_sampled_nodes:
        first_node.append(first_node[-1] + k)
    for hop, (k, fanout) in enumerate(zip(s.num_sampled_edges, fanouts, strict=True)):
        first_edge.append(first_edge[-1] + k)
        frontier = torch.arange(first_node[hop], first_node[hop + 1])
        drawn = s.col[first_edge[-2] : first_edge[-1]].bincount(minlength=n)
        wanted = degree[s.node[frontier]]
        if fanout >= 0:
            wanted = (wanted > 0) * fanout if replace else wanted.clamp(max=fanout)
        assert torch.equal(drawn[frontier], wanted)
        assert drawn.sum() == wanted.sum(), "an edge into a node that was not of this hop"
        if not replace:
            pairs = torch.stack([s.col, s.edge])[:, first_edge[-2] : first_edge[-1]]
            assert pairs.unique(dim=1).shape[1] == pairs.shape[1], "an edge was drawn twice"


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("graph", SQUARE, ids=repr)
def test_structure(graph: Graph, disjoint: bool, replace: bool) -> None:
    seeds = torch.randperm(graph.num_rows)[:6]
    for fanouts in FANOUTS:
        s = sample_neighbors(graph.adj, seeds, fanouts, disjoint=disjoint, replace=replace)
        check_structure(graph, seeds, fanouts, s, replace)


def test_rows_with_hubs() -> None:
    """Long rows, of which few or most edges are drawn."""
    size = max(HUBS.num_rows, HUBS.num_cols)
    graph = Graph("hubs", HUBS.edge_index, size, size)
    for k in (1, 5, 300, 4095, 4096, 5000, -1):
        s = sample_neighbors(graph.adj, torch.arange(size), [k], seed=k + 1)
        check_structure(graph, torch.arange(size), [k], s, False)


def test_everything_is_the_neighbourhood() -> None:
    """All neighbours over two hops: the nodes at distance two or less, against powers of the matrix."""
    seeds = torch.tensor([4, 20])
    s = sample_neighbors(MIXED.adj, seeds, [-1, -1])
    reach = torch.zeros(37, dtype=torch.bool)
    reach[seeds] = True
    adj = MIXED.adj.to_dense().t() > 0  # [source, target]
    for _ in range(2):
        reach = reach | adj[:, reach].any(1)
    assert sorted(s.node.tolist()) == reach.nonzero()[:, 0].tolist()


def test_what_is_drawn_for_a_node_depends_on_no_other_seed() -> None:
    alone = sample_neighbors(MIXED.adj, torch.tensor([7]), [3])
    together = sample_neighbors(MIXED.adj, torch.tensor([2, 7, 30]), [3])
    assert torch.equal(together.edge[together.col == 1], alone.edge)
    other = sample_neighbors(MIXED.adj, torch.tensor([7]), [3], seed=1)
    assert not torch.equal(other.edge, alone.edge)


@pytest.mark.parametrize("disjoint", [False, True])
def test_induced_has_every_edge_between_sampled_nodes(disjoint: bool) -> None:
    seeds = torch.tensor([1, 5, 9])
    s = sample_neighbors(MIXED.adj, seeds, [2, 2], disjoint=disjoint, subgraph="induced")
    place = {(0 if s.batch is None else int(s.batch[i]), int(v)): i for i, v in enumerate(s.node)}
    wanted = {
        (place[t, a], place[t, b], e)
        for e, (a, b) in enumerate(MIXED.edge_index.t().tolist())
        for t in range(3)
        if (t, a) in place and (t, b) in place
    }
    assert set(zip(s.row.tolist(), s.col.tolist(), s.edge.tolist(), strict=True)) == wanted
    assert s.row.numel() == len(wanted)
    assert s.num_sampled_edges is None


def test_bidirectional_is_as_pyg_makes_it() -> None:
    seeds = torch.tensor([1, 5, 9])
    one = sample_neighbors(MIXED.adj, seeds, [3, 2])
    both = sample_neighbors(MIXED.adj, seeds, [3, 2], subgraph="bidirectional")
    pyg = SamplerOutput(one.node, one.row, one.col, one.edge).to_bidirectional()
    assert torch.equal(both.edge_index, torch.stack([pyg.row, pyg.col]))
    drawn = {(a, b): e for a, b, e in zip(*(t.tolist() for t in (one.row, one.col, one.edge)), strict=True)}
    for a, b, e in zip(*(t.tolist() for t in (both.row, both.col, both.edge)), strict=True):
        ends = tuple(MIXED.edge_index[:, e].tolist())
        here = (int(both.node[a]), int(both.node[b]))
        assert ends == (here if (a, b) in drawn else here[::-1])


# -- times --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["node", "edge"])
def test_nothing_is_later_than_its_seed(by: str) -> None:
    seeds, limit = torch.arange(30), torch.randint(20, (30,))
    time = torch.randint(20, (MIXED.num_edges if by == "edge" else 37,))
    s = sample_neighbors(MIXED.adj, seeds, [4, 4], disjoint=True, seed_time=limit, **{f"{by}_time": time})
    assert s.batch is not None
    seen = time[s.edge] if by == "edge" else time[s.node[s.row]]
    assert bool((seen <= limit[s.batch[s.row]]).all())
    allowed = (time if by == "edge" else time[MIXED.edge_index[0]])[:, None] <= limit
    wanted = ((MIXED.edge_index[1][:, None] == seeds) & allowed).sum(0).clamp(max=4)
    assert s.num_sampled_edges is not None
    assert torch.equal(s.col[: s.num_sampled_edges[0]].bincount(minlength=30)[:30], wanted)


def test_last_takes_the_latest() -> None:
    seeds, limit = torch.arange(30), torch.full((30,), 0.7)
    time = torch.rand(MIXED.num_edges)
    for replace in (False, True):
        s = sample_neighbors(
            MIXED.adj,
            seeds,
            [3],
            disjoint=True,
            edge_time=time,
            seed_time=limit,
            strategy="last",
            replace=replace,
        )
        for v in range(30):
            into = (MIXED.edge_index[1] == v).nonzero()[:, 0]
            into = into[time[into] <= 0.7]
            latest = into[time[into].argsort(descending=True)][:3]
            assert sorted(s.edge[s.col == v].tolist()) == sorted(latest.tolist())


def test_seeds_have_their_own_time() -> None:
    time = torch.randint(20, (37,))
    options: dict[str, Any] = {"disjoint": True, "node_time": time}
    seeds = torch.arange(37)
    same(
        sample_neighbors(MIXED.adj, seeds, [3], **options),
        sample_neighbors(MIXED.adj, seeds, [3], seed_time=time, **options),
    )


# -- distributions ------------------------------------------------------------------------------------

TRIALS = 20_000


def fan(degree: int) -> CSR:
    """Edges 0 to degree - 1, from each node to a node of its own number more."""
    return as_csr(torch.stack([torch.arange(degree), torch.full((degree,), degree)]), degree + 1)


def draws(degree: int, k: int, **options: Any) -> Tensor:
    """Edges of many independent draws, ``[TRIALS, k]``."""
    s = sample_neighbors(fan(degree), torch.full((TRIALS,), degree), [k], disjoint=True, seed=11, **options)
    assert torch.equal(s.col, torch.arange(TRIALS).repeat_interleave(k))
    return s.edge.view(TRIALS, k)


def fits(counts: dict[Any, int], probability: dict[Any, float]) -> None:
    """A chi-square test; seeds are fixed, so it cannot fail by chance one day."""
    assert set(counts) <= {key for key, p in probability.items() if p > 0}
    keys = [key for key, p in probability.items() if p > 0]
    expected = [TRIALS * probability[key] for key in keys]
    assert min(expected) > 5
    assert stats.chisquare([counts.get(key, 0) for key in keys], expected).pvalue > 1e-3


def sets_of(edges: Tensor) -> Counter[tuple[int, ...]]:
    return Counter(tuple(sorted(row)) for row in edges.tolist())


@pytest.mark.parametrize(("degree", "k"), [(6, 3), (7, 1), (5, 4), (40, 2)])
def test_every_set_is_equally_likely(degree: int, k: int) -> None:
    every = list(itertools.combinations(range(degree), k))
    fits(sets_of(draws(degree, k)), dict.fromkeys(every, 1 / len(every)))


def test_most_of_a_long_row() -> None:
    """Enough of the row that one pass over it serves: each edge with probability k / d, and each pair."""
    d, k = 41, 38
    left_out = torch.ones(TRIALS, d, dtype=torch.bool).scatter_(1, draws(d, k), False)
    every = list(itertools.combinations(range(d), d - k))
    triples = sets_of(left_out.nonzero()[:, 1].view(TRIALS, d - k))
    first = Counter(row[0] for row in triples.elements())
    p = {v: sum(e[0] == v for e in every) / len(every) for v in range(20)}
    p[-1] = 1 - sum(p.values())
    fits(Counter(v if v < 20 else -1 for v in first.elements()), p)


def test_with_replacement() -> None:
    edges = draws(5, 2, replace=True)
    fits(Counter(map(tuple, edges.tolist())), dict.fromkeys(itertools.product(range(5), repeat=2), 1 / 25))


WEIGHT = [1.0, 2.0, 0.0, 4.0, 0.5, 2.5]


def test_weighted_with_replacement() -> None:
    edges = draws(6, 2, replace=True, weight=torch.tensor(WEIGHT))
    p = {(a, b): WEIGHT[a] * WEIGHT[b] / 100 for a in range(6) for b in range(6)}
    fits(Counter(map(tuple, edges.tolist())), p)


def test_weighted_without_replacement() -> None:
    """One draw after another among those that are left, in that order."""
    edges = draws(6, 3, weight=torch.tensor(WEIGHT))
    p = {}
    for order in itertools.permutations(range(6), 3):
        left, chance = 10.0, 1.0
        for e in order:
            chance *= WEIGHT[e] / left
            left -= WEIGHT[e]
        p[order] = chance
    fits(Counter(map(tuple, edges.tolist())), p)


def test_uniform_within_the_time() -> None:
    edges = draws(8, 2, edge_time=torch.tensor([5, 1, 9, 3, 2, 8, 4, 7]), seed_time=torch.full((TRIALS,), 5))
    every = list(itertools.combinations([0, 1, 3, 4, 6], 2))
    fits(sets_of(edges), dict.fromkeys(every, 1 / len(every)))


def test_draws_of_different_nodes_are_independent() -> None:
    into = torch.stack([torch.arange(600), torch.arange(600) % 150])  # 150 nodes with 4 edges each
    s = sample_neighbors(into, torch.arange(150), [1], num_nodes=600, seed=3)
    picked = s.edge // 150
    pairs = Counter(zip(picked[:-1].tolist(), picked[1:].tolist(), strict=True))
    assert stats.chisquare([pairs[a, b] for a in range(4) for b in range(4)]).pvalue > 1e-3


# -- several kinds ------------------------------------------------------------------------------------

SIZES = {"paper": 30, "author": 20, "venue": 3}
KINDS = {
    ("author", "writes", "paper"): draw(20, 30, 90, seed=1),
    ("paper", "written", "author"): draw(30, 20, 70, seed=2),
    ("paper", "cites", "paper"): draw(30, 30, 80, seed=3),
    ("venue", "has", "paper"): draw(3, 30, 30, seed=4),
}
SEEDS = {"paper": torch.tensor([3, 9, 3, 20]), "venue": torch.tensor([1])}


def hetero(**options: Any) -> HeteroSample:
    return sample_hetero_neighbors(KINDS, SEEDS, [3, 2, 2], num_nodes=SIZES, **options)


def hetero_options() -> list[dict[str, Any]]:
    weight = {k: torch.rand(e.shape[1]) for k, e in KINDS.items() if k[1] != "cites"}
    late = {name: torch.randint(9, (size,)) for name, size in SIZES.items() if name != "venue"}
    when = {k: torch.rand(e.shape[1]) for k, e in KINDS.items()}
    at = {name: torch.full(s.shape, 5) for name, s in SEEDS.items()}
    soon = {name: torch.full(s.shape, 0.5) for name, s in SEEDS.items()}
    return [
        {},
        {"replace": True},
        {"subgraph": "induced"},
        {"disjoint": True, "subgraph": "induced"},
        {"weight": weight},
        {"disjoint": True},
        {"disjoint": True, "node_time": late, "seed_time": at},
        {"disjoint": True, "edge_time": when, "seed_time": soon, "strategy": "last"},
    ]


@pytest.mark.parametrize("options", hetero_options(), ids=lambda o: "-".join(o) or "plain")
def test_kinds_are_drawn_as_defined(options: dict[str, Any]) -> None:
    ours = hetero(**options)
    with use_backend("reference"):
        same(ours, hetero(**options))
    for kind, edge_index in KINDS.items():
        found = torch.stack([ours.node[kind[0]][ours.row[kind]], ours.node[kind[-1]][ours.col[kind]]])
        assert torch.equal(found, edge_index[:, ours.edge[kind]])
    if ours.batch is not None:
        assert ours.batch["paper"][:4].tolist() == [0, 1, 2, 3]
        assert ours.batch["venue"][:1].tolist() == [4]
        for kind in KINDS:
            tags = ours.batch[kind[0]][ours.row[kind]], ours.batch[kind[-1]][ours.col[kind]]
            assert torch.equal(*tags)


def test_hops_of_kinds() -> None:
    s = hetero()
    assert s.num_sampled_nodes["paper"][0] == 4
    assert s.num_sampled_nodes["author"][0] == 0
    assert s.num_sampled_edges is not None
    for name, nodes in s.node.items():
        assert sum(s.num_sampled_nodes[name]) == nodes.numel()
    degree = KINDS["author", "writes", "paper"][1].bincount(minlength=30)[SEEDS["paper"]].clamp(max=3)
    assert s.num_sampled_edges["author", "writes", "paper"][0] == degree.sum()
    assert s.num_sampled_edges["paper", "written", "author"][0] == 0  # no author was a seed


def test_one_kind_is_the_plain_sample() -> None:
    kind = ("node", "to", "node")
    seeds = torch.tensor([4, 8])
    s = sample_hetero_neighbors({kind: MIXED.edge_index}, {"node": seeds}, [3, 3], num_nodes={"node": 37})
    plain = sample_neighbors(MIXED.adj, seeds, [3, 3])
    assert torch.equal(s.node["node"], plain.node)
    assert torch.equal(s.edge[kind], plain.edge)


def test_fanouts_by_kind() -> None:
    fanouts = {kind: [0, 0] for kind in KINDS}
    fanouts["paper", "cites", "paper"] = [-1, 1]
    s = sample_hetero_neighbors(KINDS, SEEDS, fanouts, num_nodes=SIZES)
    assert [k for k, e in s.edge.items() if e.numel()] == [("paper", "cites", "paper")]


# -- errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"seeds": torch.tensor([1.0])}, TypeError, "seeds is torch.float32; pass node numbers"),
        ({"seeds": torch.tensor([[1]])}, ValueError, r"seeds has shape \[1, 1\]; expected one dimension"),
        ({"seeds": torch.tensor([40])}, ValueError, "names node 40 but the graph has 37 nodes, 0 to 36"),
        ({"fanouts": [3, -2]}, ValueError, r"fanouts=\[3, -2\]; each is a number of neighbours, or -1"),
        ({"weight": torch.ones(3)}, ValueError, r"weight has shape \[3\] but the graph has 211 edges"),
        ({"weight": -torch.ones(211)}, ValueError, "weights run from -1.0 to -1.0; they must be finite"),
        ({"node_time": torch.ones(37)}, ValueError, "times need disjoint=True"),
        ({"edge_time": torch.ones(211), "disjoint": True}, ValueError, "no seed_time; pass the time of each"),
        ({"strategy": "first"}, ValueError, "strategy is 'first'; choose 'uniform' or 'last'"),
        ({"subgraph": "all"}, ValueError, "subgraph is 'all'; choose 'directional'"),
    ],
)
def test_errors(change: dict[str, Any], error: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"adj": MIXED.adj, "seeds": torch.tensor([1]), "fanouts": [2], **change}
    with pytest.raises(error, match=message):
        sample_neighbors(**given)


def test_errors_of_kinds() -> None:
    with pytest.raises(ValueError, match="seeds of the unknown node types"):
        sample_hetero_neighbors(KINDS, {"book": torch.tensor([0])}, [1], num_nodes=SIZES)
    with pytest.raises(ValueError, match="num_nodes lacks an end of"):
        sample_hetero_neighbors(KINDS, SEEDS, [1], num_nodes={"paper": 30})
    with pytest.raises(ValueError, match=r"fanouts of \[1, 2\] hops"):
        sample_hetero_neighbors(
            KINDS, SEEDS, {k: [1] * (1 + (k[1] == "cites")) for k in KINDS}, num_nodes=SIZES
        )
    with pytest.raises(ValueError, match="adj is 4 x 5"):
        sample_neighbors(as_csr(draw(5, 4, 6), (5, 4)), torch.tensor([0]), [1])


def test_a_fault_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an interrupted call wrote into the array over all nodes must not reach the next."""
    seeds = torch.arange(10)
    wanted = sample_neighbors(MIXED.adj, seeds, [3, 3])
    with monkeypatch.context() as patch:

        def stop(seed: int, hop: int, relation: int) -> int:
            if hop:
                raise KeyboardInterrupt
            return child(seed, hop, relation)

        patch.setattr(cpu, "child", stop)
        with pytest.raises(KeyboardInterrupt):
            sample_neighbors(MIXED.adj, seeds, [3, 3])
    same(sample_neighbors(MIXED.adj, seeds, [3, 3]), wanted)
