"""Many small graphs as a few long arrays, from which a batch is cut without touching graph objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from gnnlib.sparse import CSR, PathQuery, Paths, as_csr

__all__ = ["GraphBatch", "Labels", "PackedGraphs", "ranges", "starts"]

Labels: TypeAlias = Literal["graph", "node", "pair"]


@dataclass(frozen=True)
class GraphBatch:
    """B graphs side by side, without an edge between them.

    Shapes: x ``[N, F]``, edge_index ``[2, E]``, or a CSR that keeps the paths of its graphs where the model
        reads some; batch ``[N]`` (the graph of each node), or None where nodes of several are merged; y
        ``[B, ...]``, or ``[P, ...]`` for the P nodes ``labelled`` where labels are those of nodes, or for the
        P ``pairs`` ``[2, P]`` where they are theirs; edge_attr ``[E, D]``.
    """

    x: Tensor
    edge_index: Tensor | CSR
    batch: Tensor | None
    y: Tensor
    size: int
    edge_attr: Tensor | None = None
    labelled: Tensor | None = None
    pairs: Tensor | None = None


class PackedGraphs:
    """All graphs of a dataset, concatenated, on one device.

    Args:
        graphs: data objects with ``x``, ``edge_index`` (ids from 0 in each graph) and ``y``.
        device: where the arrays go.
        name: the dataset's, for messages.
        labels: those of a ``graph``; of a ``node``, where ``mask`` of a graph says which nodes have one, all
            without it; or of a ``pair``, in ``edge_label`` of the pairs ``edge_label_index``.
        query: paths that are found here, once for all graphs, and come with each batch.

    Shapes: x ``[N, F]`` and edge_index ``[2, E]`` over all graphs, y ``[B, ...]``, ``[N, ...]`` or ``[P]``;
        edge_attr ``[E, D]`` where every graph has edge features.
    Raises: ValueError when a graph lacks features or labels.
    """

    def __init__(
        self,
        graphs: Iterable[Any],
        device: torch.device,
        name: str,
        *,
        labels: Labels = "graph",
        query: PathQuery | None = None,
    ) -> None:
        xs, edges, ys, nodes, attrs, masks, pairs = [], [], [], [], [], [], []
        told = "edge_label" if labels == "pair" else "y"
        for number, graph in enumerate(graphs):
            if graph.x is None or graph.get(told) is None:
                lacks = "features x" if graph.x is None else f"label {told}"
                raise ValueError(f"{name}: graph {number} has no {lacks}; choose a dataset that has them")
            if graph.x.size(0) != graph.num_nodes:
                raise ValueError(
                    f"{name}: x of graph {number} has {graph.x.size(0)} rows but the graph has "
                    f"{graph.num_nodes} nodes; pass one row of features for each node"
                )
            xs.append(graph.x)
            edges.append(graph.edge_index)
            ys.append(graph.y.reshape(1, -1) if labels == "graph" else graph[told])
            attrs.append(graph.edge_attr)
            if labels == "pair":
                pairs.append(graph.edge_label_index)
            if labels == "node":
                if graph.y.size(0) != graph.x.size(0):
                    raise ValueError(
                        f"{name}: y of graph {number} has {graph.y.size(0)} rows but the graph has "
                        f"{graph.num_nodes} nodes; pass one label for each node"
                    )
                mask = graph.get("mask")
                masks.append(torch.ones(graph.x.size(0), dtype=torch.bool) if mask is None else mask)
            nodes.append(graph.x.size(0))
        self.x = torch.cat(xs).to(device)
        self.edge_index = torch.cat(edges, dim=1).to(device)
        self.y = torch.cat(ys).to(device)
        self.edge_attr = None if any(a is None for a in attrs) else torch.cat(attrs).to(device)
        self.mask = torch.cat(masks).to(device) if labels == "node" else None
        self.pairs = torch.cat(pairs, dim=1).to(device) if labels == "pair" else None
        self.pair_count = torch.tensor([p.size(1) for p in pairs], device=device)
        self.pair_start = starts(self.pair_count)
        self.node_count = torch.tensor(nodes, device=device)
        self.edge_count = torch.tensor([e.size(1) for e in edges], device=device)
        self.node_start = starts(self.node_count)
        self.edge_start = starts(self.edge_count)
        self.query = query
        self.paths = None if query is None else self._found(query)

    def __len__(self) -> int:
        return self.node_count.numel()

    def batch(self, index: Tensor) -> GraphBatch:
        """The graphs of these numbers, in this order."""
        index = index.to(self.node_count.device)
        node_count, edge_count = self.node_count[index], self.edge_count[index]
        rows, owner = ranges(self.node_start[index], node_count)
        new_start = starts(node_count)
        columns, edge_owner = ranges(self.edge_start[index], edge_count)
        edge_index: Tensor | CSR = self.edge_index[:, columns] + new_start[edge_owner]
        if self.query is not None and self.paths is not None:
            edge_index = as_csr(edge_index, owner.numel())
            self.query.keep(edge_index, self.paths.take(self.node_start[index], node_count))
        edge_attr = None if self.edge_attr is None else self.edge_attr[columns]
        size, labelled, pairs = index.numel(), None, None
        if self.mask is not None:
            labelled = self.mask[rows].nonzero().view(-1)
            index = rows[labelled]
        if self.pairs is not None:
            index, pair_owner = ranges(self.pair_start[index], self.pair_count[index])
            pairs = self.pairs[:, index] + new_start[pair_owner]
        return GraphBatch(self.x[rows], edge_index, owner, self.y[index], size, edge_attr, labelled, pairs)

    def side_by_side(self) -> Tensor:
        """The edges between the nodes of all graphs, ``[2, E]``."""
        return self.edge_index + torch.repeat_interleave(self.node_start, self.edge_count)

    def _found(self, query: PathQuery) -> Paths:
        """The paths of all graphs side by side; the compiled search runs on a CPU, wherever they go then."""
        return query.of(as_csr(self.side_by_side().cpu(), self.x.size(0))).to(self.x.device)


def starts(count: Tensor) -> Tensor:
    """Where each range of these lengths starts when they follow one another.

    Shapes: ``[B]`` -> ``[B]``.
    """
    return count.cumsum(0) - count


def ranges(start: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """``start[b], start[b] + 1, ...``, ``count[b]`` numbers for each b, one after another; and b of each.

    Shapes: ``[B]``, ``[B]`` -> ``[sum(count)]`` twice.
    """
    owner = torch.repeat_interleave(count)
    return torch.arange(owner.numel(), device=start.device) + (start - starts(count))[owner], owner
