"""What loaders cannot read is told when they are made, and the caller's data stay as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_geometric.data.hypergraph_data import HyperGraphData

from gnnlib.loader import (
    ClusterData,
    EnclosingSubgraphs,
    GraphSAINTNodeSampler,
    HGTLoader,
    LinkNeighborLoader,
    NeighborLoader,
    ShaDowKHopSampler,
)
from tests.loader.graphs import KINDS, SIZES, plain, typed


@pytest.mark.parametrize(
    "make",
    [
        lambda d: NeighborLoader(d, [2]),
        lambda d: LinkNeighborLoader(d, [2]),
        lambda d: ShaDowKHopSampler(d, 1, 2),
        lambda d: GraphSAINTNodeSampler(d, 2),
        lambda d: EnclosingSubgraphs(d, torch.tensor([[0], [1]])),
        lambda d: ClusterData(d, 2),
    ],
)
def test_hypergraphs_are_not_read_as_graphs(make: Callable[[Any], Any]) -> None:
    incidences = torch.tensor([[0, 1, 2, 2, 3], [0, 0, 0, 1, 1]])
    with pytest.raises(TypeError, match=r"got a hypergraph .* star_expansion"):
        make(HyperGraphData(edge_index=incidences, num_nodes=4))


@pytest.mark.parametrize(
    ("input_nodes", "error", "message"),
    [
        ("foo", ValueError, "node type 'foo' is unknown; choose one of author, paper, venue"),
        (("foo", [0]), ValueError, "node type 'foo' is unknown"),
        (None, ValueError, "input_nodes is None; name a node type: author, paper, venue"),
        (torch.arange(3), TypeError, r"no node type and no \(type, numbers\)"),
        (("paper", [0, 40]), ValueError, "names node 40 but the graph has 40 nodes, 0 to 39"),
        (("paper", [-1]), ValueError, "names node -1"),
        (("paper", torch.ones(5, dtype=torch.bool)), ValueError, "has 5 entries but there are 40 nodes"),
        (("paper", [True] * 40), TypeError, "is a mask in a list; pass it as a tensor"),
        (("paper", torch.rand(3)), TypeError, "input_nodes is torch.float32"),
    ],
)
def test_seeds_of_typed_graphs(input_nodes: Any, error: type[Exception], message: str) -> None:
    data = typed()
    for make in (
        lambda: NeighborLoader(data, [3, 2], input_nodes=input_nodes),
        lambda: HGTLoader(data, [3, 2], input_nodes),
    ):
        with pytest.raises(error, match=message):
            make()
    assert set(data.node_types) == set(SIZES)
    assert len(next(iter(NeighborLoader(data, [3, 2], input_nodes="paper"))).node_types) == 3


def test_node_types_without_a_number_are_named() -> None:
    data = typed()
    data["ghost"].name = "no nodes"
    with pytest.raises(ValueError, match="node type 'ghost' has no features and no num_nodes"):
        NeighborLoader(data, [2], input_nodes="paper")
    data = typed()
    data["paper", "to", "ghost"].edge_index = torch.zeros(2, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"edges name the node types \['ghost'\]"):
        NeighborLoader(data, [2], input_nodes="paper")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"input_nodes": "paper"}, ValueError, "names a type but the graph has none"),
        ({"input_nodes": [60]}, ValueError, "names node 60 but the graph has 60 nodes"),
        (
            {"input_time": torch.zeros(3), "time_attr": "time"},
            ValueError,
            "input_time has 3 entries but there are 60 seeds",
        ),
    ],
)
def test_seeds_of_plain_graphs(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        NeighborLoader(plain(), [2], **options)


@pytest.mark.parametrize(
    ("links", "error", "message"),
    [
        (None, ValueError, "edge_label_index is None; name an edge type"),
        (("author", "likes", "paper"), ValueError, "'likes', 'paper'.* is unknown; choose one of"),
        ((("author", "likes", "paper"), None), ValueError, "is unknown; choose one of"),
        ([[0], [1]], TypeError, "edge_label_index begins with no edge type"),
        (torch.tensor([[0], [1]]), TypeError, r"no edge type and no \(type, links\)"),
        ((("author", "writes", "paper"), [[0], [1]]), TypeError, r"is a list; pass a tensor \[2, L\]"),
        ((("author", "writes", "paper"), torch.tensor([[30], [1]])), ValueError, "names node 30"),
    ],
)
def test_links_of_typed_graphs(links: Any, error: type[Exception], message: str) -> None:
    data = typed()
    with pytest.raises(error, match=message):
        LinkNeighborLoader(data, [2], edge_label_index=links)
    assert set(data.edge_types) == set(KINDS)
    assert set(data.node_types) == set(SIZES)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"edge_label_index": [[0], [1]]}, TypeError, r"is a list; pass a tensor \[2, L\]"),
        ({"edge_label_index": torch.zeros(3, 2, dtype=torch.int64)}, ValueError, r"shape \[3, 2\]; expected"),
        (
            {"edge_label_index": torch.tensor([[0], [60]])},
            ValueError,
            "names node 60 but the graph has 60 nodes",
        ),
        ({"edge_label": torch.zeros(7)}, ValueError, "edge_label has 7 entries but there are 300 links"),
        (
            {"edge_label_time": torch.zeros(7), "time_attr": "time"},
            ValueError,
            "edge_label_time has 7 entries but there are 300 links",
        ),
    ],
)
def test_links_of_plain_graphs(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LinkNeighborLoader(plain(), [2], **options)


@pytest.mark.parametrize("kind", ["directional", "bidirectional", "induced"])
def test_only_directional_samples_count_their_hops(kind: str) -> None:
    batch = next(iter(NeighborLoader(plain(), [2], subgraph_type=kind, batch_size=4)))
    assert (batch.get("num_sampled_nodes") is not None) == (kind == "directional")
    assert (batch.get("num_sampled_edges") is not None) == (kind == "directional")
