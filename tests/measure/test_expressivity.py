"""Which graphs 1-WL, and the refinement by paths of each kind, tell apart: exact counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gnnlib.data import load
from gnnlib.measure import count_classes, counterexamples, distinguished, path_classes, wl_classes
from gnnlib.nn import MLP, GINConv, PathNN, global_add_pool

Batch = tuple[Tensor, Tensor]


def side_by_side(graphs: Iterable[nx.Graph]) -> Batch:
    edges, owner, first = [], [], 0
    for i, named in enumerate(graphs):
        g = nx.convert_node_labels_to_integers(named)
        one_way = torch.tensor(list(g.edges), dtype=torch.int64).reshape(-1, 2).t() + first
        edges.append(torch.cat([one_way, one_way.flip(0)], 1))
        owner += [i] * len(g)
        first += len(g)
    return torch.cat(edges, 1), torch.tensor(owner)


def joined(one: nx.Graph, other: nx.Graph, *bond: int) -> nx.Graph:
    out = nx.disjoint_union(one, other)
    if bond:
        out.add_edge(*bond)
    return out


RING = nx.cycle_graph
HEXAGON, DECALIN, CSL = (family[:2] for family in counterexamples().values())


def test_counterexamples() -> None:
    """Two rings of six with a common bond, and two rings of five with a bond between them; and the others."""
    drawn = {
        "hexagon": [RING(6), joined(RING(3), RING(3))],
        "decalin": [nx.compose(RING(10), nx.Graph([(0, 5)])), joined(RING(5), RING(5), 0, 5)],
        "csl": [nx.circulant_graph(41, [1, r]) for r in (2, 3, 4, 5, 6, 9, 11, 12, 13, 16)],
    }
    given = counterexamples()
    assert given.keys() == drawn.keys()
    for name, graphs in drawn.items():
        edge_index, batch = side_by_side(graphs)
        assert given[name].num_graphs == len(graphs)
        assert given[name].batch.equal(batch)
        theirs, ours = (sorted(map(tuple, e.t().tolist())) for e in (edge_index, given[name].edge_index))
        assert ours == theirs


def number(classes: Tensor) -> int:
    return int(classes.unique().numel())


def shortest(batch: Batch, length: int) -> int:
    return number(path_classes(*batch, length))


def simple(batch: Batch, length: int) -> int:
    return number(path_classes(*batch, length, "simple"))


def simple_with_distance(batch: Batch, length: int) -> int:
    return number(path_classes(*batch, length, "simple", distance=True))


@pytest.mark.parametrize(
    ("batch", "count", "told"),
    [
        (HEXAGON, shortest, {2: 2, 3: 2}),
        (HEXAGON, simple, {2: 1, 3: 2}),
        (HEXAGON, simple_with_distance, {2: 2, 3: 2}),
        (DECALIN, shortest, {2: 1, 3: 2}),
        (DECALIN, simple, {2: 1, 3: 1, 4: 1}),
        (DECALIN, simple_with_distance, {2: 1, 3: 2, 4: 2}),
        (CSL, shortest, {2: 2, 3: 4, 5: 8, 10: 10}),
        (CSL, simple, {2: 1, 3: 2, 4: 3}),
        (CSL, simple_with_distance, {2: 2, 3: 5, 4: 9, 5: 10}),
    ],
)
def test_what_paths_tell_apart(
    batch: Batch, count: Callable[[Batch, int], int], told: dict[int, int]
) -> None:
    assert {length: count(batch, length) for length in told} == told
    assert number(wl_classes(*batch)) == 1


def family(data_root: Path, name: str) -> Batch:
    return side_by_side(nx.read_graph6(data_root / "expressivity" / "SR" / f"{name}.g6"))


def test_shrikhande_and_rook(data_root: Path) -> None:
    batch = family(data_root, "sr16622")
    assert number(wl_classes(*batch)) == 1
    assert [shortest(batch, length) for length in (2, 10)] == [1, 1]
    assert [simple(batch, length) for length in (3, 4)] == [1, 1]
    assert [simple_with_distance(batch, length) for length in (3, 4)] == [1, 2]


def test_strongly_regular_families(data_root: Path) -> None:
    """1-WL and shortest paths see one class in every family; eight of SR25 differ in their simple paths."""
    for name in ("sr251256", "sr261034", "sr281264", "sr291467"):
        batch = family(data_root, name)
        assert number(wl_classes(*batch)) == 1
        assert shortest(batch, 4) == 1
    assert [simple_with_distance(family(data_root, "sr251256"), k) for k in (3, 4)] == [1, 8]


@pytest.fixture(scope="module")
def exp(data_root: Path) -> tuple[Tensor, Tensor, Tensor]:
    with np.load(data_root / "expressivity" / "EXP.npz") as z:
        arrays = {k: torch.from_numpy(z[k]).long() for k in ("x", "edge_index", "num_nodes", "num_edges")}
    start = arrays["num_nodes"].cumsum(0) - arrays["num_nodes"]
    edge_index = arrays["edge_index"] + start.repeat_interleave(arrays["num_edges"])
    return edge_index, torch.repeat_interleave(arrays["num_nodes"]), arrays["x"].flatten()


def pairs_apart(classes: Tensor) -> int:
    first, second = classes.view(-1, 2).unbind(1)
    return int((first != second).sum())


def test_exp(exp: tuple[Tensor, Tensor, Tensor]) -> None:
    """1-WL tells none of the 600 pairs apart; shortest paths of up to ten edges tell all."""
    edge_index, batch, x = exp
    assert int(batch.max()) == 1199
    assert pairs_apart(wl_classes(edge_index, batch, x=x)) == 0
    assert pairs_apart(path_classes(edge_index, batch, 10, x=x)) == 600


def codes(network: nn.Module, batch: Batch) -> Tensor:
    edge_index, owner = batch
    x = torch.ones(owner.shape[0], 1, dtype=torch.float64)
    with torch.no_grad():
        return global_add_pool(network.double().eval()(x, edge_index), owner)


def test_networks_tell_apart_what_the_refinement_does() -> None:
    gin = GINConv(MLP([1, 16, 16]))
    for batch in (HEXAGON, DECALIN, CSL):
        assert count_classes(codes(gin, batch)) == 1

    def told(batch: Batch, length: int, **options: bool | str) -> int:
        torch.manual_seed(0)
        net = PathNN(1, 16, None, length, norm=None, normalize=True, act="tanh", **options)  # type: ignore[arg-type]
        return count_classes(codes(net, batch))

    assert [told(HEXAGON, k, variant="ap") for k in (2, 3)] == [1, 2]
    assert told(HEXAGON, 2, variant="ap", distance=True) == 2
    assert [told(DECALIN, k) for k in (2, 3)] == [1, 2]
    assert told(DECALIN, 4, variant="ap") == 1
    assert told(DECALIN, 3, variant="ap", distance=True) == 2
    assert [told(CSL, k) for k in (2, 3, 5)] == [2, 4, 8]


def test_relabelling_changes_no_class_of_all_shortest_or_simple_paths() -> None:
    """One shortest path of each pair is a choice by number; all of them are none."""
    g = nx.gnp_random_graph(14, 0.3, seed=3)
    copies = [nx.relabel_nodes(g, dict(enumerate(torch.randperm(14).tolist()))) for _ in range(10)]
    batch = side_by_side([nx.Graph(sorted(c.edges)) for c in copies])
    relabelled = []
    for copy in copies:  # numbers kept as they were drawn
        edge_index = torch.tensor(list(copy.edges)).t()
        relabelled.append(torch.cat([edge_index, edge_index.flip(0)], 1) + 14 * len(relabelled))
    batch = torch.cat(relabelled, 1), torch.arange(140) // 14
    assert number(path_classes(*batch, 4)) == 1
    assert number(path_classes(*batch, 4, "simple", distance=True)) == 1
    assert number(path_classes(*batch, 4, "shortest")) > 1
    tree = nx.random_labeled_tree(14, seed=1)
    both = side_by_side([tree, nx.relabel_nodes(tree, dict(enumerate(reversed(range(14)))))])
    assert number(path_classes(*both, 4, "shortest")) == 1


def test_count_classes() -> None:
    rows = torch.tensor([[1.0, 2.0], [1.0, 2.0 + 1e-9], [1.0, 2.1], [0.0, 0.0]], dtype=torch.float64)
    assert count_classes(rows) == 3
    assert count_classes(rows, tolerance=0.1) == 2
    assert count_classes(rows[:1]) == 1


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNLIB_CACHE", str(tmp_path))


def test_table_of_what_is_told_apart(data_root: Path, empty_cache: None) -> None:
    """What the page of the method says: SP+ needs three edges for decalin, AP its distances too."""
    net = PathNN(1, 16, None, 3, norm=None, normalize=True, act="tanh").double().eval()
    gin = GINConv(MLP([1, 16, 16])).double().eval()

    def network(layer: nn.Module) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        return lambda x, edge_index, batch: global_add_pool(layer(x, edge_index), batch)

    families = {**counterexamples(), "sr16": load("sr16", data_root).dataset}
    rows = distinguished(families, (3, 4), {"GIN": network(gin), "PathNN": network(net)})
    told = {(r.family, r.method, r.length): r.classes for r in rows}
    assert len(told) == 4 * (1 + 3 * 2 + 2)
    assert {r.family: r.num_graphs for r in rows} == {"hexagon": 2, "decalin": 2, "csl": 10, "sr16": 2}
    for family in families:
        assert told[family, "1-WL", None] == told[family, "GIN", None] == 1
        assert told[family, "PathNN", None] == told[family, "SP+", 3]
    assert [told["decalin", m, 3] for m in ("SP+", "AP", "AP + distance")] == [2, 1, 2]
    assert [told["csl", m, 4] for m in ("AP", "AP + distance")] == [3, 9]
    assert [told["sr16", "AP + distance", k] for k in (3, 4)] == [1, 2]
    (alone,) = distinguished({"exp": load("exp", data_root).dataset[:20]}, ())
    assert (alone.method, alone.classes) == ("1-WL", 10)  # ten pairs with features, none told apart
