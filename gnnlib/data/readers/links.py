"""Link prediction on a graph made for another task: a share of its edges is held out."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import is_undirected

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.readers import Source, reader_module
from gnnlib.data.splits import link_split


def read(source: Source) -> Parts:
    """Hold out edges of the graph that the reader named by ``reader`` in the card's options opens.

    Options: ``reader``, what it needs, ``val`` and ``test`` shares, ``returned``, the share of the validation
    edges that go back to training, ``splits``, how many seeded splits.
    """
    options = source.card.options
    inner = dataclasses.replace(source.card, reader=options["reader"], metric="accuracy")
    graph = reader_module(inner.reader).read(dataclasses.replace(source, card=inner)).dataset[0]
    return link_parts(
        graph,
        source.card.name,
        float(options["val"]),
        float(options["test"]),
        int(options["splits"]),
        source.split,
        float(options.get("returned", 0.0)),
    )


def link_parts(
    graph: Data, name: str, val: float, test: float, num_splits: int, split: int, returned: float = 0.0
) -> Parts:
    """Split the undirected edges of a graph, seed k for split k, self-loops left out.

    The graph of the result holds the training edges of ``split``, in both directions, and the
    ``edge_weight`` of each where the graph has weights; labels are kept, masks are not.
    """
    if not is_undirected(graph.edge_index, num_nodes=graph.num_nodes):
        raise ValueError(
            f"dataset '{name}': the graph is directed; its edges cannot be held out as undirected ones"
        )
    pairs = _once(graph.edge_index)
    size = (graph.num_nodes, graph.num_nodes)
    splits = [link_split(pairs, size, val, test, seed, returned=returned) for seed in range(num_splits)]
    kept = splits[min(split, num_splits - 1)].train_edges
    message = Data(x=graph.x, y=graph.y, edge_index=torch.cat([kept, kept.flip(0)], dim=1))
    message.num_nodes = graph.num_nodes
    if graph.edge_weight is not None:
        message.edge_weight = _weights(graph, kept).repeat(2)
    return Parts(Graphs([message], name), splits, [f"seed-{seed}" for seed in range(num_splits)])


def _once(edge_index: Tensor) -> Tensor:
    """Each undirected edge once, smaller end first, in order; self-loops left out."""
    pairs: Tensor = torch.unique(edge_index[:, edge_index[0] < edge_index[1]], dim=1)
    return pairs


def _weights(graph: Data, pairs: Tensor) -> Any:
    key = graph.edge_index[0] * graph.num_nodes + graph.edge_index[1]
    order = key.argsort()
    position = torch.searchsorted(key[order], pairs[0] * graph.num_nodes + pairs[1])
    return graph.edge_weight[order][position]
