"""Enclosing subgraphs and their labels against networkx."""

from __future__ import annotations

import math

import networkx as nx
import pytest
import torch
from torch import Tensor

from gnnlib.sparse import as_csr
from gnnlib.sparse.enclosing import LABELLINGS, Enclosed, Labelling, enclosing_subgraphs, label_nodes

N = 40


def graph() -> tuple[nx.Graph, Tensor]:
    """A random graph with an isolated node and a small component; its edges both ways, shuffled."""
    found = nx.gnp_random_graph(N - 4, 0.07, seed=2)
    found.add_nodes_from(range(N - 4, N))
    found.add_edges_from([(N - 4, N - 3), (N - 3, N - 2)])
    edges = torch.tensor(list(found.edges)).t()
    both = torch.cat([edges, edges.flip(0)], dim=1)
    return found, both[:, torch.randperm(both.size(1))]


def some_pairs(found: nx.Graph) -> Tensor:
    """Edges, non-edges, an isolated end, ends of two components, a loop."""
    edges = list(found.edges)[::3]
    return torch.tensor([*edges, (0, 1), (2, 30), (5, N - 1), (7, N - 4), (N - 4, N - 2), (9, 9)]).t()


def naive(found: nx.Graph, u: int, v: int, hops: int) -> nx.Graph:
    near = {u, v}
    for _ in range(hops):
        near |= {w for node in near for w in found[node]}
    inside = nx.Graph(found.subgraph(near))
    if inside.has_edge(u, v):
        inside.remove_edge(u, v)
    return inside


def from_end(inside: nx.Graph, end: int, without: int | None) -> dict[int, int]:
    """Hops from an end, where the other end may be missing; no entry where there is no way."""
    less = inside.copy()
    if without is not None and without != end:
        less.remove_node(without)
    return dict(nx.single_source_shortest_path_length(less, end))


def part(found: Enclosed, p: int) -> tuple[list[int], slice]:
    cut = slice(int(found.ptr[p]), int(found.ptr[p + 1]))
    return found.node[cut].tolist(), cut


@pytest.mark.parametrize("hops", [1, 2, 4])
def test_subgraphs_are_those_of_networkx(hops: int) -> None:
    whole, edge_index = graph()
    pairs = some_pairs(whole)
    found = enclosing_subgraphs(as_csr(edge_index, N), pairs, hops)
    ends = found.edge_index
    assert torch.equal(edge_index[:, found.edge], found.node[ends])  # the caller's edges
    for p, (u, v) in enumerate(pairs.t().tolist()):
        nodes, cut = part(found, p)
        inside = naive(whole, u, v, hops)
        assert len(nodes) == len(set(nodes))
        assert set(nodes) == set(inside.nodes)
        assert nodes[:2] == [u, v] if u != v else nodes[0] == u
        mine = (ends[0] >= cut.start) & (ends[0] < cut.stop)
        assert {tuple(e) for e in found.node[ends[:, mine]].t().tolist()} == set(nx.DiGraph(inside).edges)
        assert int(mine.sum()) == 2 * inside.number_of_edges()
    assert torch.equal(
        found.batch, torch.searchsorted(found.ptr, torch.arange(len(found.node)), right=True) - 1
    )


@pytest.mark.parametrize("apart", [True, False])
def test_distances_are_those_of_networkx(apart: bool) -> None:
    whole, edge_index = graph()
    pairs = some_pairs(whole)
    found = enclosing_subgraphs(as_csr(edge_index, N), pairs, 2, apart=apart)
    for p, (u, v) in enumerate(pairs.t().tolist()):
        nodes, cut = part(found, p)
        inside = naive(whole, u, v, 2)
        for side, (one, other) in enumerate(((u, v), (v, u))):
            expected = from_end(inside, one, other if apart else None)
            assert found.far[side, cut].tolist() == [expected.get(node, -1) for node in nodes]


def expected_labels(whole: nx.Graph, u: int, v: int, nodes: list[int], label: Labelling) -> list[list[int]]:
    inside = naive(whole, u, v, 2)
    x, y = (from_end(inside, a, b if label == "drnl" else None) for a, b in ((u, v), (v, u)))
    out = []
    for node in nodes:
        if label == "zero-one":
            out.append([int(node in (u, v))])
        elif label == "distance":
            out.append([min(d.get(node, 4), 3) if node in d else 4 for d in (x, y)])
        elif label == "hop":
            out.append([1 + min(d[node] for d in (x, y) if node in d)])
        elif node in (u, v):
            out.append([1])
        elif node not in x or node not in y:
            out.append([0])
        else:
            d = x[node] + y[node]
            out.append([1 + min(x[node], y[node]) + (d // 2) * (d // 2 + d % 2 - 1)])
    return out


@pytest.mark.parametrize("label", LABELLINGS)
def test_labels_are_those_of_their_definition(label: Labelling) -> None:
    whole, edge_index = graph()
    pairs = some_pairs(whole)
    found = enclosing_subgraphs(as_csr(edge_index, N), pairs, 2, apart=label == "drnl")
    labels = label_nodes(found, label)
    for p, (u, v) in enumerate(pairs.t().tolist()):
        nodes, cut = part(found, p)
        assert labels[cut].tolist() == expected_labels(whole, u, v, nodes, label)


def test_double_radius_labels_number_the_pairs_of_distances() -> None:
    """The function is a perfect hash: pairs {x, y} by their sum, then by the smaller one, from 2 on."""
    seen = {}
    for x in range(1, 12):
        for y in range(x, 12):
            far = torch.tensor([[0, 9, x], [9, 0, y]])
            seen[x, y] = int(label_nodes(Enclosed(far, far, far, far, far), "drnl")[2, 0])
    complete = [pair for pair in seen if sum(pair) <= 12]
    assert sorted(seen[pair] for pair in complete) == list(range(2, 2 + len(complete)))
    assert sorted(complete, key=lambda pair: (sum(pair), pair[0])) == sorted(complete, key=seen.__getitem__)
    assert seen[1, 1] == 2


def test_rings_are_cut_to_a_number_of_nodes() -> None:
    whole, edge_index = graph()
    adj, pairs = as_csr(edge_index, N), some_pairs(whole)
    free, cut = (enclosing_subgraphs(adj, pairs, 2, most=most, seed=5) for most in (None, 3))
    again, other = (enclosing_subgraphs(adj, pairs, 2, most=3, seed=seed) for seed in (5, 6))
    assert torch.equal(cut.node, again.node)
    assert not torch.equal(cut.node[: other.node.numel()], other.node[: cut.node.numel()])
    assert torch.equal(enclosing_subgraphs(adj, pairs, 2, most=N).node, free.node)
    for p, (u, v) in enumerate(pairs.t().tolist()):
        nodes, place = part(cut, p)
        assert len(nodes) == len(set(nodes)) <= len({u, v}) + 6
        ring = {w for end in (u, v) for w in whole[end]} - {u, v}
        kept = ring & set(nodes)
        assert len(kept) == min(3, len(ring))  # what was dropped is not met again a step later
        assert set(nodes) - kept - {u, v} <= {w for node in kept for w in whole[node]}
        inside = nx.Graph(whole.subgraph(nodes))
        inside.remove_edges_from([(u, v)])
        mine = (cut.edge_index[0] >= place.start) & (cut.edge_index[0] < place.stop)
        ends = cut.node[cut.edge_index[:, mine]]
        assert {tuple(e) for e in ends.t().tolist()} == set(nx.DiGraph(inside).edges)
        expected = from_end(inside, u, v)
        assert cut.far[0, place].tolist() == [expected.get(node, -1) for node in nodes]


def test_every_node_of_a_ring_is_as_likely() -> None:
    spokes = torch.arange(1, 11)
    edges = torch.stack([spokes, torch.zeros_like(spokes)])
    adj = as_csr(torch.cat([edges, edges.flip(0)], dim=1), 12)
    pair = torch.tensor([[0], [11]])
    drawn = [enclosing_subgraphs(adj, pair, 1, most=4, seed=s).node[2:] for s in range(1500)]
    count = torch.cat(drawn).bincount(minlength=11)[1:]
    assert ((count - 600).abs() < 5 * (1500 * 0.4 * 0.6) ** 0.5).all()


def test_no_pairs_and_bad_arguments() -> None:
    adj = as_csr(graph()[1], N)
    none = enclosing_subgraphs(adj, torch.empty(2, 0, dtype=torch.int64), 1)
    assert none.ptr.tolist() == [0]
    assert none.node.numel() == none.edge.numel() == 0
    assert math.prod(none.edge_index.shape) == 0
    pair = torch.tensor([[0], [1]])
    for arguments, message in (
        ((adj, pair, 0), "hops=0, most=None; pass 1 or more"),
        ((adj, pair.t(), 1), r"pairs has shape \[1, 2\]"),
        ((adj, pair + N, 1), f"pairs from {N} to {N + 1} came; the graph has {N} nodes"),
        ((as_csr(pair, (3, 2)), pair, 1), r"adj is \[2, 3\]; pass a square"),
    ):
        with pytest.raises(ValueError, match=message):
            enclosing_subgraphs(*arguments)
    with pytest.raises(ValueError, match="hops=1, most=0; pass 1 or more"):
        enclosing_subgraphs(adj, pair, 1, most=0)
    with pytest.raises(ValueError, match="label 'dnrl' is unknown; did you mean 'drnl'"):
        label_nodes(none, "dnrl")  # type: ignore[arg-type]
