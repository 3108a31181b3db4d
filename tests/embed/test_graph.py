"""The door of the embedding methods: what is no graph, or no weight, does not come through."""

from __future__ import annotations

from typing import Any

import networkx
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.data.hypergraph_data import HyperGraphData

from gnnlib import data
from gnnlib.embed import FastRP, HyperbolicMDS, predict_links
from gnnlib.embed.graph import as_graph
from gnnlib.nn.hyper import clique_expansion, star_expansion
from gnnlib.sparse import Hypergraph, as_hypergraph

INCIDENCES = torch.tensor([[0, 1, 2, 2, 3], [0, 0, 0, 1, 1]])


@pytest.mark.parametrize(
    "graph",
    [
        HyperGraphData(edge_index=INCIDENCES, num_nodes=4),
        Data(edge_index=INCIDENCES, num_nodes=4, num_hyperedges=2),
        Hypergraph(INCIDENCES, 4),
        data.load("davis").dataset[0],
    ],
    ids=["HyperGraphData", "Data", "Hypergraph", "davis"],
)
def test_hypergraphs_are_not_read_as_graphs(graph: Any) -> None:
    for call in (FastRP(4).fit, HyperbolicMDS(2).fit, lambda g: predict_links(FastRP(4), g)):
        with pytest.raises(TypeError, match=r"got a hypergraph .* clique_expansion\(.* or star_expansion"):
            call(graph)


def test_the_expansions_that_the_message_names_are_embedded() -> None:
    graph = HyperGraphData(edge_index=INCIDENCES, num_nodes=4)
    h = as_hypergraph(graph, graph.num_nodes)
    assert FastRP(4).fit_transform(clique_expansion(h)).shape == (4, 4)
    assert FastRP(4).fit_transform(star_expansion(h)).shape == (6, 4)
    assert as_graph(clique_expansion(h)).num_edges == 8


@pytest.mark.parametrize("wrong", [torch.inf, -torch.inf, torch.nan, -1.0])
def test_weights_are_finite_and_not_negative(wrong: float) -> None:
    weight = torch.tensor([1.0, wrong])
    graph = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=weight, num_nodes=2)
    with pytest.raises(ValueError, match="an edge weight is negative, infinite or no number"):
        FastRP(4).fit(graph)
    with pytest.raises(ValueError, match=r"edge_weight has shape \[1\] but there are 2 edges"):
        as_graph(Data(edge_index=graph.edge_index, edge_weight=weight[:1], num_nodes=2))


def test_the_number_of_nodes_counts_for_every_form() -> None:
    index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    for graph in (index, Data(edge_index=index, num_nodes=3), networkx.path_graph(3)):
        method = FastRP(4).fit(graph, num_nodes=5)
        assert method.isolated_.tolist() == [False] * 3 + [True] * 2
        with pytest.raises(ValueError, match=r"num_nodes=2 but the graph has 3 nodes|the graph has 2 source"):
            FastRP(4).fit(graph, num_nodes=2)
