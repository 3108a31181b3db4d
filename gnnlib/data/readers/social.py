"""The small real social networks that ship with networkx."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.hypergraph_data import HyperGraphData
from torch_geometric.utils import to_undirected

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.readers import Source
from gnnlib.data.readers.links import link_parts
from gnnlib.data.splits import Split, link_split, stratified_split


def read(source: Source) -> Parts:
    """Build the network that the card's option ``graph`` names; features are one-hot node numbers."""
    graph = source.card.options["graph"]
    if graph == "karate":
        return _karate(source)
    if graph == "les-miserables":
        return _les_miserables(source)
    if graph == "davis":
        return _davis(source)
    raise ValueError(
        f"card '{source.card.name}': graph '{graph}' is unknown; take karate, les-miserables or davis"
    )


def _karate(source: Source) -> Parts:
    import networkx

    graph = networkx.karate_club_graph()
    clubs = ["Mr. Hi", "Officer"]
    y = np.array([clubs.index(graph.nodes[node]["club"]) for node in range(len(graph))])
    data = _weighted(graph, list(range(len(graph))))
    data.y = torch.from_numpy(y)
    splits = [_leaders_split(y, seed) for seed in range(int(source.card.options["splits"]))]
    return Parts(Graphs([data], source.card.name), splits, [f"seed-{seed}" for seed in range(len(splits))])


def _leaders_split(y: np.ndarray, seed: int) -> Split:
    """Train on the two leaders, members 0 and 33; validate on four others of each club."""
    leaders = np.array([0, len(y) - 1])
    others = np.setdiff1d(np.arange(len(y)), leaders)
    drawn = stratified_split(y[others], train_per_class=4, num_val=0, seed=seed)
    return Split(
        torch.from_numpy(leaders), torch.from_numpy(others)[drawn.train], torch.from_numpy(others)[drawn.test]
    )


def _les_miserables(source: Source) -> Parts:
    import networkx

    graph = networkx.les_miserables_graph()
    options = source.card.options
    data = _weighted(graph, sorted(graph))
    return link_parts(
        data,
        source.card.name,
        float(options["val"]),
        float(options["test"]),
        int(options["splits"]),
        source.split,
    )


def _davis(source: Source) -> Parts:
    import networkx

    graph = networkx.davis_southern_women_graph()
    options = source.card.options
    women, events = graph.graph["top"], graph.graph["bottom"]
    pairs = torch.tensor(
        sorted((women.index(a), events.index(b)) for a, b in _ordered(graph.edges, women)), dtype=torch.int64
    ).t()
    size = (len(women), len(events))
    splits = [
        link_split(pairs, size, float(options["val"]), float(options["test"]), seed, undirected=False)
        for seed in range(int(options["splits"]))
    ]
    kept = splits[min(source.split, len(splits) - 1)].train_edges
    data = HyperGraphData(x=torch.eye(len(women)), edge_index=kept.contiguous())
    data.num_hyperedges = len(events)
    return Parts(Graphs([data], source.card.name), splits, [f"seed-{seed}" for seed in range(len(splits))])


def _ordered(edges: Any, women: list[str]) -> list[tuple[str, str]]:
    return [(a, b) if a in women else (b, a) for a, b in edges]


def _weighted(graph: Any, nodes: list[Any]) -> Data:
    """The graph with both directions of each edge, its weights, and one-hot features."""
    number = {node: i for i, node in enumerate(nodes)}
    triples = sorted((number[a], number[b], float(weight)) for a, b, weight in graph.edges(data="weight"))
    edges: Tensor = torch.tensor([(a, b) for a, b, _ in triples]).t()
    weights = torch.tensor([weight for _, _, weight in triples])
    edge_index, edge_weight = to_undirected(edges, weights, num_nodes=len(nodes))
    return Data(x=torch.eye(len(nodes)), edge_index=edge_index, edge_weight=edge_weight)
