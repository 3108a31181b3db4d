"""Paths against networkx, against closed forms, and on each backend."""

from __future__ import annotations

import itertools
import math
import time
from pathlib import Path

import networkx as nx
import pytest
import torch
from torch import Tensor

from gnnlib.sparse import CSR, PathQuery, Paths, as_csr, enumerate_paths, use_backend
from gnnlib.sparse.ops.enumerate_paths import PathKind
from tests.sparse.graphs import LARGE, MIXED, ZOO, Graph, draw

KINDS: tuple[PathKind, ...] = ("shortest", "all_shortest", "simple")
SQUARE = [g for g in [*ZOO, MIXED] if g.num_rows == g.num_cols]
kinds = pytest.mark.parametrize("kind", KINDS)


def listed(paths: Paths) -> list[list[tuple[int, ...]]]:
    return [[tuple(row) for row in nodes.tolist()] for nodes in paths.nodes]


def directed(graph: Graph) -> nx.DiGraph:
    out = nx.DiGraph()
    out.add_nodes_from(range(graph.num_rows))
    out.add_edges_from((u, v) for u, v in graph.edge_index.t().tolist() if u != v)
    return out


def both_ways(graph: nx.Graph) -> Tensor:
    pairs = [(u, v) for a, b in graph.edges for u, v in ((a, b), (b, a))]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t().contiguous()


def check(graph: Graph, kind: PathKind, length: int) -> None:
    paths = enumerate_paths(graph.adj, length, kind, distance=True)
    g = directed(graph)
    steps = {u: nx.single_source_shortest_path_length(g, u) for u in g}
    expected: list[list[tuple[int, ...]]] = [[] for _ in range(length)]
    for u, v in itertools.permutations(g, 2):
        if kind == "simple":
            for p in nx.all_simple_paths(g, u, v, cutoff=length):
                expected[len(p) - 2].append(tuple(p))
        elif 0 < steps[u].get(v, 0) <= length:
            every = [tuple(p) for p in nx.all_shortest_paths(g, u, v)]
            if kind == "shortest":
                every = [min(every, key=lambda p: p if p[0] < p[-1] else p[::-1])]
            expected[len(every[0]) - 2] += every
    found = listed(paths)
    assert [sorted(f) for f in found] == [sorted(e) for e in expected]
    assert paths.num_paths == sum(map(len, expected))
    assert paths.distance is not None
    for nodes, indptr, distance in zip(paths.nodes, paths.indptr, paths.distance, strict=True):
        assert nodes[:, -1].diff().ge(0).all()
        count = nodes[:, -1].long().bincount(minlength=graph.num_rows)
        assert torch.equal(indptr, torch.cat([count.new_zeros(1), count.cumsum(0)]))
        for row, steps_to in zip(nodes.tolist(), distance.tolist(), strict=True):
            assert steps_to == [steps[u][row[-1]] for u in row]


@kinds
@pytest.mark.parametrize("graph", SQUARE, ids=repr)
def test_against_networkx(graph: Graph, kind: PathKind, backend: str) -> None:
    check(graph, kind, 2 if graph is MIXED else 3)


@kinds
@pytest.mark.parametrize("seed", range(4))
def test_random_graphs_against_networkx(kind: PathKind, seed: int, backend: str) -> None:
    g = nx.gnp_random_graph(11, 0.22, seed=seed, directed=seed % 2 == 1)
    edge_index = torch.tensor(list(g.edges)).t() if g.is_directed() else both_ways(g)
    check(Graph("random", edge_index, 11, 11), kind, 5)


@kinds
@pytest.mark.parametrize("most", [None, 4])
def test_backends_give_the_same_in_the_same_order(kind: PathKind, most: int | None) -> None:
    found = []
    for name in ("cpu", "reference"):
        with use_backend(name):
            found.append(enumerate_paths(MIXED.adj, 3, kind, max_per_node=most, seed=3, distance=True))
    one, other = found
    assert one.distance is not None
    assert other.distance is not None
    for a, b in zip(
        one.nodes + one.indptr + one.distance, other.nodes + other.indptr + other.distance, strict=True
    ):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


def test_complete_graphs(backend: str) -> None:
    n, length = 6, 4
    paths = enumerate_paths(both_ways(nx.complete_graph(n)), length, "simple")
    for k in range(1, length + 1):  # (n - 1) ... (n - k) from each node
        assert torch.equal(paths.indptr[k - 1].diff(), torch.full((n,), math.perm(n - 1, k)))
    shortest = enumerate_paths(both_ways(nx.complete_graph(n)), length, "all_shortest")
    assert [len(p) for p in shortest.nodes] == [n * (n - 1), 0, 0, 0]


def test_cycles(backend: str) -> None:
    edge_index = both_ways(nx.cycle_graph(8))
    count = {kind: [len(p) for p in enumerate_paths(edge_index, 6, kind).nodes] for kind in KINDS}
    assert count == {
        "shortest": [16, 16, 16, 8, 0, 0],  # one of the two ways to the opposite node
        "all_shortest": [16, 16, 16, 16, 0, 0],
        "simple": [16, 16, 16, 16, 16, 16],
    }


def test_grids_have_binomially_many_shortest_paths(backend: str) -> None:
    grid = nx.convert_node_labels_to_integers(nx.grid_2d_graph(4, 4))
    (*_, last) = enumerate_paths(both_ways(grid), 6, "all_shortest").nodes
    assert len(last) == 4 * math.comb(6, 3)  # between opposite corners


def test_on_trees_all_kinds_agree(backend: str) -> None:
    edge_index = both_ways(nx.random_labeled_tree(15, seed=4))
    one, *others = (listed(enumerate_paths(edge_index, 5, kind)) for kind in KINDS)
    for other in others:
        assert [sorted(p) for p in other] == [sorted(p) for p in one]


@kinds
def test_in_an_undirected_graph_paths_come_in_both_directions(kind: PathKind, backend: str) -> None:
    edge_index = both_ways(nx.gnp_random_graph(14, 0.3, seed=1))
    for paths in listed(enumerate_paths(edge_index, 4, kind)):
        assert {p[::-1] for p in paths} == set(paths)


def test_shortest_paths_do_not_depend_on_other_graphs_of_a_batch(backend: str) -> None:
    one, other = both_ways(nx.gnp_random_graph(14, 0.3, seed=1)), both_ways(nx.cycle_graph(5))
    alone = enumerate_paths(as_csr(one, 14), 4)
    both = enumerate_paths(torch.cat([other, one + 5], 1), 4)
    for a, b, first in zip(alone.nodes, both.nodes, both.indptr, strict=True):
        assert torch.equal(a, b[first[5] :] - 5)


@kinds
def test_a_choice_is_seeded_and_of_the_asked_size(kind: PathKind, backend: str) -> None:
    def chosen(seed: int) -> list[list[tuple[int, ...]]]:
        return listed(enumerate_paths(MIXED.adj, 2, kind, max_per_node=5, seed=seed))

    every = enumerate_paths(MIXED.adj, 2, kind)
    capped = enumerate_paths(MIXED.adj, 2, kind, max_per_node=5)
    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)
    for full, kept in zip(every.indptr, capped.indptr, strict=True):
        assert torch.equal(kept.diff(), full.diff().clamp(max=5))
    for full_paths, some in zip(listed(every), chosen(3), strict=True):
        assert set(some) <= set(full_paths)
        assert len(set(some)) == len(some)


def test_each_path_is_as_likely() -> None:
    star = torch.stack([torch.arange(1, 11), torch.zeros(10, dtype=torch.int64)])
    drawn = [
        enumerate_paths(as_csr(star, 11), 1, "simple", max_per_node=3, seed=s).nodes[0][:, 0]
        for s in range(2000)
    ]
    count = torch.cat(drawn).long().bincount(minlength=11)[1:]
    assert (count - 600).abs().max() < 5 * math.sqrt(2000 * 0.3 * 0.7)


@kinds
def test_any_number_of_threads(kind: PathKind) -> None:
    threads, found = torch.get_num_threads(), []
    big = Graph("big", torch.cat([LARGE.edge_index + 301 * i for i in range(12)], 1), 3612, 3612)
    for n in (1, 2):
        torch.set_num_threads(n)
        found.append(enumerate_paths(big.adj, 2, kind, max_per_node=40, distance=True))
    torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(found[0].nodes, found[1].nodes, strict=True))


def test_edges_of_paths(backend: str) -> None:
    for graph in SQUARE:
        paths = enumerate_paths(graph.adj, 3, "simple")
        for nodes, edges in zip(paths.nodes, paths.edges(graph.adj), strict=True):
            assert torch.equal(graph.edge_index[0][edges], nodes[:, :-1].long())
            assert torch.equal(graph.edge_index[1][edges], nodes[:, 1:].long())
    with pytest.raises(ValueError, match="no edge of adj; pass the graph that was searched"):
        enumerate_paths(torch.tensor([[0], [1]]), 1).edges(torch.tensor([[1], [0]]))


@kinds
def test_taking_graphs_out_of_a_batch(kind: PathKind) -> None:
    graphs = [nx.gnp_random_graph(n, 0.4, seed=n) for n in (7, 1, 9, 4, 0)]
    sizes = torch.tensor([7, 1, 9, 4, 0])
    start = sizes.cumsum(0) - sizes
    whole = as_csr(torch.cat([both_ways(g) + s for g, s in zip(graphs, start, strict=True)], 1), 21)
    wanted = [3, 2, 4, 1, 2]
    taken = enumerate_paths(whole, 3, kind, distance=True).take(start[wanted], sizes[wanted])
    fresh = sizes[wanted].cumsum(0) - sizes[wanted]
    again = as_csr(torch.cat([both_ways(graphs[i]) + s for i, s in zip(wanted, fresh, strict=True)], 1), 23)
    expected = enumerate_paths(again, 3, kind, distance=True)
    assert taken.distance is not None
    assert expected.distance is not None
    for a, b in zip(
        taken.nodes + taken.indptr + taken.distance,
        expected.nodes + expected.indptr + expected.distance,
        strict=True,
    ):
        assert torch.equal(a, b)


def test_a_query_is_answered_once_and_its_answer_can_be_given() -> None:
    adj = as_csr(both_ways(nx.cycle_graph(6)), 6)
    query = PathQuery(3, "simple", distance=True)
    found = query.of(adj)
    assert query.of(adj) is found
    assert [len(nodes) for nodes in found.nodes] == [12, 12, 12]
    assert [len(nodes) for nodes in PathQuery(2, "simple").of(adj).nodes] == [12, 12]
    assert PathQuery(3, "simple", max_per_node=1).of(adj).num_paths == 18
    fresh = CSR(adj.indptr, adj.indices)
    query.keep(fresh, found)
    assert query.of(fresh) is found


def test_paths_move_to_a_device() -> None:
    found = enumerate_paths(both_ways(nx.cycle_graph(6)), 3, "simple", distance=True)
    moved = found.to("meta")
    assert found.distance is not None
    assert moved.distance is not None
    before = found.nodes + found.indptr + found.distance
    after = moved.nodes + moved.indptr + moved.distance
    assert [(t.shape, t.dtype) for t in after] == [(t.shape, t.dtype) for t in before]
    assert {t.device.type for t in after} == {"meta"}
    plain = enumerate_paths(both_ways(nx.cycle_graph(6)), 3, "simple")
    assert plain.to("meta").distance is None


def test_the_count_is_told_before_memory_is_taken(backend: str) -> None:
    edge_index = both_ways(nx.complete_graph(7))
    entries = sum(7 * math.perm(6, k) * (k + 1) for k in (1, 2, 3))
    assert enumerate_paths(edge_index, 3, "simple", limit=entries).num_paths == 7 * (6 + 30 + 120)
    with pytest.raises(
        ValueError,
        match=rf"enumerate_paths: 1,092 simple paths of up to 3 edges hold {entries:,} node numbers but "
        rf"limit={entries - 1:,}; lower length, set max_per_node, or raise limit",
    ):
        enumerate_paths(edge_index, 3, "simple", limit=entries - 1)
    assert enumerate_paths(edge_index, 3, "simple", limit=7 * 2 * 9, max_per_node=2).num_paths == 42


def test_counting_stops_when_there_is_far_too_much() -> None:
    edge_index = both_ways(nx.complete_graph(40))
    with pytest.raises(ValueError, match=r"more than .* simple paths of up to 20 edges"):
        enumerate_paths(edge_index, 20, "simple", limit=10_000)


def test_errors() -> None:
    pair = torch.tensor([[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="adj is 3 x 2; pass a graph whose sources and"):
        enumerate_paths(as_csr(pair, (2, 3)), 2)
    for length in (0, 255):
        with pytest.raises(ValueError, match=f"length={length}; pass 1 to 254 edges"):
            enumerate_paths(pair, length)
    with pytest.raises(ValueError, match="max_per_node=0; pass 1 or more"):
        enumerate_paths(pair, 2, max_per_node=0)
    with pytest.raises(ValueError, match="kind of path 'simpel' is unknown; did you mean 'simple'"):
        enumerate_paths(pair, 2, "simpel")  # type: ignore[arg-type]


@kinds
def test_nci1_takes_seconds(kind: PathKind, data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All paths of up to five edges in NCI1's 4,110 graphs; the rate is printed."""
    from gnnlib import data

    dataset = data.load("nci1", data_root).dataset
    edges = dataset.slices["edge_index"].diff()
    sizes = dataset.slices["x"].diff()
    shift = (sizes.cumsum(0) - sizes).repeat_interleave(edges)
    adj = as_csr(dataset._data.edge_index + shift, int(sizes.sum()))
    enumerate_paths(draw(9, 9, 30), 2, kind)  # compiles
    begin = time.process_time()
    paths = enumerate_paths(adj, 5, kind)
    seconds = time.process_time() - begin
    with capsys.disabled():
        print(f"\nNCI1, K = 5, {kind}: {paths.num_paths:,} paths, {paths.num_paths / seconds:,.0f} a second")
    assert len(paths.nodes[0]) == 265_506
    assert seconds < 10
