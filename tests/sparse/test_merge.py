"""Merging nodes that are alike: the classes of a naive refinement, and codes and gradients of all nodes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gnnlib.data.longrange import tree_neighbors_match
from gnnlib.nn import MLP, GATConv, GatedGraphConv, GCNConv, GINConv, GINEConv, SAGEConv
from gnnlib.sparse import merge_nodes
from tests.tolerances import assert_close


def drawn(seed: int, nodes: int = 40, edges: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    """A directed multigraph with few values of features, so that many nodes are alike."""
    generator = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(nodes, (2, edges), generator=generator)
    x = torch.randint(2, (nodes, 1), generator=generator)
    return edge_index, x, torch.randint(2, (edges, 1), generator=generator)


def naive(edge_index: Tensor, x: Tensor, edge_attr: Tensor | None) -> list[int]:
    """Classes by nested tuples of what each node has seen, numbered in the order of their first node."""
    count = x.shape[0]
    colour = list(map(str, x.tolist()))
    told = [""] * edge_index.shape[1] if edge_attr is None else list(map(str, edge_attr.tolist()))
    for _ in range(count):
        around: list[list[tuple[str, str]]] = [[] for _ in range(count)]
        for e, (u, v) in enumerate(edge_index.t().tolist()):
            around[v].append((colour[u], f"{told[e]} {u == v}"))
        finer = [str((own, sorted(seen))) for own, seen in zip(colour, around, strict=True)]
        number = {c: str(k) for k, c in enumerate(dict.fromkeys(finer))}
        colour = [number[c] for c in finer]
    return [int(c) for c in colour]


def in_order(classes: Tensor) -> list[int]:
    number = {c: k for k, c in enumerate(dict.fromkeys(classes.tolist()))}
    return [number[c] for c in classes.tolist()]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("with_edges", [False, True])
def test_the_classes_are_those_of_a_naive_refinement(seed: int, with_edges: bool) -> None:
    edge_index, x, edge_attr = drawn(seed)
    merged = merge_nodes(edge_index, x, edge_attr if with_edges else None)
    wanted = naive(edge_index, x, edge_attr if with_edges else None)
    assert in_order(merged.node_class) == wanted
    count = max(wanted) + 1
    assert 1 < count < 40
    assert merged.node_class[merged.nodes[:count]].tolist() == list(range(count))
    assert merged.edge_index[1].tolist() == sorted(merged.edge_index[1].tolist())


def test_numbers_of_nodes_do_not_matter() -> None:
    edge_index, x, edge_attr = drawn(7)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    place = torch.empty_like(order)
    place[order] = torch.arange(40)
    one = merge_nodes(edge_index, x, edge_attr)
    other = merge_nodes(place[edge_index], x[order], edge_attr)
    assert in_order(one.node_class) == in_order(other.node_class[place])


def test_known_cases() -> None:
    full = (1 - torch.eye(5)).nonzero().t()
    same = merge_nodes(full, torch.ones(5, 3))
    assert same.nodes.tolist() == [0, 0]
    assert same.edge_index.tolist() == [[1] * 4 + [0] * 4, [0] * 4 + [1] * 4]  # a class and its copy, no loop
    loops = merge_nodes(torch.cat([full, torch.arange(5).expand(2, 5)], 1), torch.ones(5, 3))
    assert loops.edge_index.tolist() == [[1] * 4 + [0] + [0] * 4 + [1], [0] * 5 + [1] * 5]
    path = torch.tensor([[0, 1, 2, 1, 2, 3], [1, 2, 3, 0, 1, 2]])
    assert in_order(merge_nodes(path, torch.ones(4)).node_class) == [0, 1, 1, 0]
    single = merge_nodes(torch.empty(2, 0, dtype=torch.int64), torch.tensor([1.0, 2.0, 1.0]))
    assert in_order(single.node_class) == [0, 1, 0]
    none = merge_nodes(torch.empty(2, 0, dtype=torch.int64), torch.empty(0, 2))
    assert none.nodes.numel() == 0
    # depth 2: 16 leaves (place, value), 12 pairs of values on each side, all 96 roots
    trees = tree_neighbors_match(2)
    x = torch.cat([t.x for t in trees])
    edge_index = torch.cat([t.edge_index + 7 * k for k, t in enumerate(trees)], 1)
    assert merge_nodes(edge_index, x).nodes.numel() == 16 + 24 + 96


def test_features_are_compared_by_their_bits() -> None:
    none = torch.empty(2, 0, dtype=torch.int64)
    one = torch.tensor([1.0, 1.0 + 2**-23, -1.0, 1.0])
    for x in (one, one.double(), torch.tensor([1, 2, 3, 1]), torch.tensor([1, 2, 3, 1], dtype=torch.uint8)):
        assert in_order(merge_nodes(none, x).node_class) == [0, 1, 2, 0]
    assert in_order(merge_nodes(none, torch.tensor([True, False, True])).node_class) == [0, 1, 0]
    assert in_order(merge_nodes(none, torch.tensor([1j, 1 + 1j, 1j])).node_class) == [0, 1, 0]
    half = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]], dtype=torch.float16)
    assert in_order(merge_nodes(none, half).node_class) == [0, 1, 0]


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "gcn": lambda: GCNConv(4, 4),
    "gat": lambda: GATConv(4, 2, heads=2),
    "sage": lambda: SAGEConv(4, 4),
    "sage max": lambda: SAGEConv(4, 4, aggr="max"),
    "gin": lambda: GINConv(MLP([4, 4, 4], norm=None)),
    "ggnn": lambda: GatedGraphConv(4, 1),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("seed", range(3))
def test_codes_and_gradients_are_those_of_all_nodes(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    edge_index, kind, _ = drawn(seed, nodes=60)
    x = torch.randn(2, 4, dtype=torch.float64)[kind.view(-1)]
    layers = nn.ModuleList(LAYERS[name]() for _ in range(3)).double()
    weight = torch.randn(60, 4, dtype=torch.float64)

    def codes(x: Tensor, edge_index: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x, edge_index).tanh()
        return x

    merged = merge_nodes(edge_index, x)
    assert merged.nodes.numel() < 60
    whole = codes(x, edge_index)
    less = codes(x[merged.nodes], merged.edge_index)[merged.node_class]
    assert_close(less, whole)
    parameters = list(layers.parameters())
    for one, other in zip(
        torch.autograd.grad((less * weight).sum(), parameters),
        torch.autograd.grad((whole * weight).sum(), parameters),
        strict=True,
    ):
        assert_close(one, other)


def test_edges_bring_their_features() -> None:
    torch.manual_seed(0)
    edge_index, kind, edge_kind = drawn(3, nodes=60)
    x = torch.randn(2, 4, dtype=torch.float64)[kind.view(-1)]
    edge_attr = torch.randn(2, 3, dtype=torch.float64)[edge_kind.view(-1)]
    layer = GINEConv(nn.Sequential(nn.Linear(4, 4)), edge_dim=3).double()
    merged = merge_nodes(edge_index, x, edge_attr)
    less = layer(x[merged.nodes], merged.edge_index, edge_attr[merged.edges])
    assert_close(less[merged.node_class], layer(x, edge_index, edge_attr))
    blind = merge_nodes(edge_index, x)
    assert blind.nodes.numel() < merged.nodes.numel()
    with pytest.raises(ValueError, match="edge_attr has 59 rows but there are 60 edges"):
        merge_nodes(edge_index, x, edge_attr[1:])
