"""Generated long-range tasks: small cases by hand, structure, seeds, and what each task promises."""

from __future__ import annotations

import dataclasses
import json

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.utils import coalesce, to_networkx

from gnnlib.data import find_card, load
from gnnlib.data.card import cards
from gnnlib.data.longrange import city_network, glora, property_graphs, transfer, tree_neighbors_match
from gnnlib.data.longrange.city import quantile_classes
from gnnlib.data.longrange.properties import FAMILIES
from gnnlib.data.longrange.transfer import transfer_graph
from gnnlib.data.statistics import statistics

GENERATED = sorted(name for name, card in cards().items() if card.reader == "longrange")


def same(a: list, b: list) -> bool:
    return len(a) == len(b) and all(
        g[k].equal(h[k]) for g, h in zip(a, b, strict=True) for k in ("x", "edge_index", "y")
    )


def no_repeats(graphs: list) -> bool:
    return all(coalesce(g.edge_index).size(1) == g.edge_index.size(1) for g in graphs)


def test_tree_neighbors_match_of_depth_two() -> None:
    graphs = tree_neighbors_match(2)
    assert len(graphs) == 24 * 4  # 4! permutations, each with every key
    assert len({(*g.x.view(-1).tolist(),) for g in graphs}) == len(graphs)
    for g in graphs:
        assert g.edge_index.tolist() == [
            [1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6],
            [0, 0, 1, 1, 2, 2, 0, 1, 2, 3, 4, 5, 6],
        ]
        assert g.x[1:3].eq(0).all()
        assert g.x[3:, 0].tolist() == [1, 2, 3, 4]
        key = int(g.x[0, 0])
        assert g.mask.tolist() == [True] + [False] * 6
        assert int(g.y[0]) == int(g.x[2 + key, 1])
    assert len(tree_neighbors_match(3)) == 1000 * 8
    assert len(tree_neighbors_match(5, cap=320)) == 10 * 32
    with pytest.raises(ValueError, match="depth=0; pass 1 to 12"):
        tree_neighbors_match(0)


@pytest.mark.parametrize(
    ("shape", "size", "distance", "edges", "published"),
    [
        ("ring", 10, 5, 20, 20),
        ("crossed-ring", 10, 5, 32, 36),
        ("clique-path", 10, 6, 30, 50),
        ("tree", 3, 3, 28, 28),
    ],
)
def test_transfer_graphs(shape: str, size: int, distance: int, edges: int, published: int) -> None:
    edge_index, num_nodes, source = transfer_graph(shape, size)
    graph = nx.DiGraph(edge_index.t().tolist())
    assert nx.shortest_path_length(graph, source, 0) == distance
    assert edge_index.size(1) == edges == graph.number_of_edges()
    assert graph.number_of_nodes() == num_nodes
    assert transfer_graph(shape, size, compat=True)[0].size(1) == published
    graphs = transfer(shape, size, 10)
    assert [int(g.y[0]) for g in graphs] == [0, 1, 2, 3, 4] * 2
    for g in graphs:
        assert g.x[0].eq(0).all()
        assert int(g.x[source].argmax()) == int(g.y[0])
        assert g.x.sum() == 5 * (num_nodes - 2) + 1


def colours_after(graph: object, steps: int) -> str:
    """The 1-WL colour of node 0 along incoming edges."""
    colour = {i: str(row.tolist()) for i, row in enumerate(graph.x)}  # type: ignore[attr-defined]
    into = nx.DiGraph(graph.edge_index.t().tolist()).pred  # type: ignore[attr-defined]
    for _ in range(steps):
        colour = {i: str((c, sorted(colour[j] for j in into[i]))) for i, c in colour.items()}
    return colour[0]


@pytest.mark.parametrize("distance", [2, 5])
def test_glora_is_decided_exactly_d_steps_away(distance: int) -> None:
    graphs = glora(distance, 20, seed=1)
    assert no_repeats(graphs)
    for positive, negative in zip(graphs[::2], graphs[1::2], strict=True):
        assert (int(positive.y[0]), int(negative.y[0])) == (1, 0)
        assert positive.edge_index.equal(negative.edge_index)
        assert sorted(positive.x.tolist()) == sorted(negative.x.tolist())
        assert colours_after(positive, distance - 1) == colours_after(negative, distance - 1)
        assert colours_after(positive, distance) != colours_after(negative, distance)
    assert same(graphs, glora(distance, 20, seed=1))
    assert not same(graphs, glora(distance, 20, seed=2))


@pytest.mark.parametrize("branches", [0, 2, 5])
@pytest.mark.parametrize("distance", [2, 3, 5, 8])
def test_glora_labels_say_whether_the_coloured_path_is_there(distance: int, branches: int) -> None:
    graphs = glora(distance, 150, seed=3, branches=branches)
    ways = [paths_to_target(g, distance) for g in graphs]
    always = set.intersection(*map(set, ways[::2]))
    wanted = {way for way in always if not any(way in other for other in ways[1::2])}
    assert len(wanted) == 1  # the prescribed colours, which no negative graph has on any path
    assert all(way.count(next(iter(wanted))) == 1 for way in ways[::2])


def paths_to_target(graph: object, steps: int) -> list[tuple[int, ...]]:
    """The colours along every directed path of so many steps that ends at node 0."""
    colour = graph.x.argmax(1).tolist()  # type: ignore[attr-defined]
    into = nx.DiGraph(graph.edge_index.t().tolist()).pred  # type: ignore[attr-defined]
    paths: list[tuple[int, ...]] = [(0,)]
    for _ in range(steps):
        paths = [(*path, u) for path in paths for u in into[path[-1]]]
    return [tuple(colour[v] for v in path[1:]) for path in paths]


@pytest.mark.parametrize("wrong", [{"distance": 1}, {"count": -1}, {"decoys": 0}, {"branches": -1}])
def test_glora_says_what_is_out_of_range(wrong: dict[str, int]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"glora: .*{name}={value}.*; pass a distance of 2 or more"):
        glora(**{"distance": 3, "count": 2, **wrong})


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_properties_against_networkx(family: str) -> None:
    graphs = property_graphs([15, 16, 23], seed=4, families=[family])
    assert no_repeats(graphs)
    for g in graphs:
        graph = to_networkx(g, to_undirected=True)
        assert min(dict(graph.degree).values()) > 0
        lengths = dict(nx.all_pairs_shortest_path_length(graph))
        source = int(g.x[:, 0].argmax())
        n = g.num_nodes
        assert g.y[:, 0].tolist() == [lengths[source].get(i, 0) for i in range(n)]
        assert g.y[:, 1].tolist() == [max(lengths[i].values()) for i in range(n)]
        laplacian = nx.laplacian_matrix(graph, nodelist=range(n)).toarray()
        np.testing.assert_allclose(g.y[:, 2].numpy(), laplacian @ g.x[:, 1].numpy(), atol=1e-4)
        radius = np.abs(np.linalg.eigvalsh(nx.to_numpy_array(graph))).max()
        expected = [float(nx.is_connected(graph)), float(g.y[:, 1].max()), radius]
        np.testing.assert_allclose(g.graph_y[0].numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("family", "size", "edges"),
    [
        ("line", 9, 8),
        ("star", 9, 8),
        ("grid", 9, 12),
        ("ladder", 9, 11),
        ("tree", 9, 8),
        ("caterpillar", 9, 8),
        ("lobster", 9, 8),
    ],
)
def test_families_without_toggling(family: str, size: int, edges: int) -> None:
    for g in property_graphs([size] * 5, seed=0, families=[family], toggle=False):
        assert g.edge_index.size(1) == 2 * edges
        assert nx.is_connected(to_networkx(g, to_undirected=True))


def test_toggling_keeps_the_number_of_edges_on_average() -> None:
    graphs = property_graphs([20] * 300, seed=0, families=["grid"])
    mean = sum(g.edge_index.size(1) / 2 for g in graphs) / 300
    assert abs(mean - 31) < 1  # a 4 x 5 grid has 31 edges


def test_city_is_planar_and_connected() -> None:
    data = city_network(600, seed=2)
    graph = to_networkx(data, to_undirected=True)
    assert graph.number_of_nodes() == 600
    assert nx.is_connected(graph)
    assert nx.check_planarity(graph)[0]
    assert no_repeats([data])
    assert 2.4 < 2 * graph.number_of_edges() / 600 < 3.2
    assert same([data], [city_network(600, seed=2)])
    assert not city_network(600, seed=3).x.equal(data.x)
    ends = data.edge_index
    straight = (data.pos[ends[0]] - data.pos[ends[1]]).norm(dim=1)
    assert torch.allclose(straight, data.edge_length, rtol=1e-3, atol=0.05)
    assert data.y.bincount().tolist() == [61] * 9 + [51]
    for (a, b), w in zip(ends.t().tolist(), data.edge_length.tolist(), strict=True):
        graph[a][b]["w"] = w
    for v in (0, 77, 599):
        near = nx.ego_graph(graph, v, radius=16)
        far = max(nx.single_source_dijkstra_path_length(near, v, weight="w").values())
        assert float(data.eccentricity[v]) == pytest.approx(far, rel=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"num_nodes": 99}, {"classes": 0}, {"classes": -3}, {"radius": 0}, {"radius": -1}]
)
def test_city_and_transfer_say_what_is_out_of_range(wrong: dict[str, int]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"city_network: {name}={value}; pass"):
        city_network(**{"num_nodes": 200, **wrong})
    with pytest.raises(ValueError, match="transfer: count=-2, classes=5; pass 0 or more"):
        transfer("ring", 6, -2)
    with pytest.raises(ValueError, match="transfer: count=2, classes=0"):
        transfer("ring", 6, 2, classes=0)


def test_quantiles() -> None:
    assert quantile_classes(torch.arange(200), 10).bincount().tolist() == [21] * 9 + [11]
    assert quantile_classes(torch.arange(20), 10).bincount().tolist() == [3] * 6 + [2]
    assert quantile_classes(torch.tensor([3.0, 1.0, 2.0, 2.0, 5.0]), 2).tolist() == [1, 0, 0, 0, 1]


@pytest.mark.parametrize("name", GENERATED)
def test_cards_load_by_name_and_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    card = find_card(name)
    options = dict(card.options)
    if "parameter" in options:
        options |= {options["parameter"]: {"city": 200}.get(name, 5)}
    options |= {k: 10 for k in ("train", "val", "test") if k in options and options[k] > 10}
    if "sizes" in options:
        options["sizes"] = options["sizes"][:2]
    loaded = load(dataclasses.replace(card, options=options))
    assert loaded.num_outputs > 0
    assert {"graphs", "nodes", "diameter", "largest_diameter"} <= set(statistics(loaded))
    if "parameter" in card.options:
        sized = find_card(f"{name}-{200 if name == 'city' else 5}")
        assert sized.options[card.options["parameter"]] == (200 if name == "city" else 5)
        low, high = card.options["range"]
        with pytest.raises(ValueError, match=f"{name} is made from {low} to {high}"):
            find_card(f"{name}-{high + 1}")


def test_statistics() -> None:
    loaded = load("ring-transfer-8")
    found = statistics(loaded)
    assert (found["nodes"], found["diameter"], found["largest_diameter"], found["degree"]) == (8, 4, 4, 2)
    assert found["label_entropy"] == pytest.approx(np.log2(5), abs=1e-3)
    assert json.dumps(found)


def test_tree_neighbors_match_is_judged_by_its_fit_and_by_held_out_graphs() -> None:
    fit, apart = load("tree-neighbors-match-2").splits
    assert fit.train.equal(fit.test)
    assert fit.train.equal(apart.train)
    held = set(apart.test.tolist())
    assert not held & set(fit.train.tolist())
    assert (len(held), len(fit.train)) == (4 * 4, 4 * 20)
    keys = {int(load("tree-neighbors-match-2").dataset[k].x[0, 0]) for k in held}
    assert keys == {1, 2, 3, 4}


def test_a_name_that_only_looks_sized() -> None:
    with pytest.raises(ValueError, match="dataset 'cora-5' is unknown"):
        load("cora-5")
