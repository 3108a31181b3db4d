"""Batches of graphs in which nodes that are alike stand once."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse import merge_nodes
from gnnlib.train.tasks.packing import GraphBatch, PackedGraphs, ranges, starts

__all__ = ["MergedGraphs"]


class MergedGraphs:
    """Graphs with labels of nodes, of which a batch computes what its labels depend on, and that once.

    Nodes of all graphs are merged once by :func:`gnnlib.sparse.merge_nodes`. A batch has the classes of its
    labelled nodes and those from which edges lead to them.

    Args:
        graphs: whose labels are those of nodes.

    Shapes: see :class:`GraphBatch`; ``labelled`` may hold a node several times, and ``batch`` is None, since
        a node belongs to many graphs.
    """

    def __init__(self, graphs: PackedGraphs) -> None:
        assert graphs.mask is not None
        merged = merge_nodes(graphs.side_by_side(), graphs.x, graphs.edge_attr)
        self.graphs = graphs
        self.x = graphs.x[merged.nodes]
        self.edge_attr = None if graphs.edge_attr is None else graphs.edge_attr[merged.edges]
        self.source, target = merged.edge_index
        self.degree = torch.bincount(target, minlength=merged.nodes.numel())
        self.start = starts(self.degree)
        # the labelled nodes of all graphs, one graph after another
        self.labelled = graphs.mask.nonzero().view(-1)
        self.labelled_class = merged.node_class[self.labelled]
        owner = torch.repeat_interleave(graphs.node_count)[self.labelled]
        self.labelled_count = torch.bincount(owner, minlength=len(graphs))
        self.labelled_start = starts(self.labelled_count)

    def batch(self, index: Tensor) -> GraphBatch:
        """What the labels of the graphs of these numbers depend on, in this order."""
        index = index.to(self.start.device)
        labels, _ = ranges(self.labelled_start[index], self.labelled_count[index])
        wanted = self.labelled_class[labels]
        node = self._closed(wanted)
        place = torch.empty_like(self.degree)
        place[node] = torch.arange(node.numel(), device=node.device)
        edges, target = ranges(self.start[node], self.degree[node])
        return GraphBatch(
            self.x[node],
            torch.stack([place[self.source[edges]], target]),
            None,
            self.graphs.y[self.labelled[labels]],
            index.numel(),
            None if self.edge_attr is None else self.edge_attr[edges],
            place[wanted],
        )

    def _closed(self, wanted: Tensor) -> Tensor:
        """These classes and all from which edges lead to them, in increasing order."""
        found = torch.zeros(self.degree.numel(), dtype=torch.bool, device=wanted.device)
        newest = torch.unique(wanted)
        while newest.numel():
            found[newest] = True
            edges, _ = ranges(self.start[newest], self.degree[newest])
            sources = self.source[edges]
            newest = torch.unique(sources[~found[sources]])
        return found.nonzero().view(-1)
