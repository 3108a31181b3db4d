"""Labels of nodes of many graphs, such as the root of each tree, in shuffled mini-batches of graphs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gnnlib.train.losses import scores_of
from gnnlib.train.tasks.base import (
    Arrays,
    embedding_arrays,
    labels_of,
    numpy_of,
    part_names,
    parts_of,
    picture_sample,
)
from gnnlib.train.tasks.graph import EVAL_BATCH, GraphTask
from gnnlib.train.tasks.packing import GraphBatch

__all__ = ["NodesTask"]


class NodesTask(GraphTask):
    """Labels of the nodes of graphs, of which some are for training.

    Shapes: graphs with x ``[n, F]``, edge_index ``[2, e]``, y ``[n]`` or ``[n, C]``, and ``mask`` ``[n]``
        where only some nodes count; the split holds graph numbers.
    Raises: ValueError when a graph has no features or not one label for each node.
    """

    name = "node"
    labels = "node"

    def predictions(self, model: nn.Module, parts: Sequence[str]) -> Arrays:
        """Scores of the labelled nodes of each part by their number over all graphs, and some codes."""
        arrays: Arrays = {}
        for part in parts:
            if part in self.index:
                arrays[f"{part}_index"] = numpy_of(self._nodes(self.index[part]))
                arrays[f"{part}_label"] = labels_of(self.kind, self._target(part))
                arrays[f"{part}_score"] = numpy_of(scores_of(self.kind, self._logits(model, part)))
        shown = picture_sample(len(self.graphs))
        chunks = [self.graphs.batch(chunk) for chunk in torch.split(shown, EVAL_BATCH)]
        z, node = torch.cat([self._embed(model, chunk) for chunk in chunks]), self._nodes(shown).cpu()
        keep = picture_sample(node.numel())
        labels = self.y if self.y.dim() == 1 and self.kind in ("multiclass", "binary") else None
        return arrays | embedding_arrays(z[keep.to(z.device)], node[keep], labels, self._parts())

    def rows(self, model: nn.Module) -> Arrays:
        """A row for each labelled node: its number over all graphs, and its graph."""
        every = torch.arange(len(self.graphs))
        chunks = [self.graphs.batch(chunk) for chunk in torch.split(every, EVAL_BATCH)]
        node = self._nodes(every)
        owner = torch.repeat_interleave(self.graphs.node_count)
        return {
            "node": numpy_of(node),
            "graph": numpy_of(owner[node]),
            "part": part_names(self._parts()[node.cpu()]),
            "label": labels_of(self.kind, self.y[node]),
            **self.scored(torch.cat([self._forward(model, chunk) for chunk in chunks])),
        }

    def _nodes(self, graphs: Tensor) -> Tensor:
        """Numbers over all graphs of the labelled nodes of these graphs."""
        count, start = self.graphs.node_count[graphs], self.graphs.node_start[graphs]
        owner = torch.repeat_interleave(count)
        node = torch.arange(owner.numel(), device=count.device) + (start - (count.cumsum(0) - count))[owner]
        assert self.graphs.mask is not None
        return node[self.graphs.mask[node]]

    def _parts(self) -> Tensor:
        of_graphs = parts_of(len(self.graphs), self.index)
        return of_graphs[torch.repeat_interleave(self.graphs.node_count).cpu()]

    def _target(self, part: str) -> Tensor:
        return self.y[self._nodes(self.index[part].to(self.device))]

    def _forward(self, model: nn.Module, batch: GraphBatch) -> Tensor:
        logits: Tensor = model(batch.x, batch.edge_index, None, *self._edges(batch))
        return logits[batch.labelled]

    def _embed(self, model: nn.Module, batch: GraphBatch) -> Tensor:
        return self.call(model, "embed", batch.x, batch.edge_index, None, *self._edges(batch))[batch.labelled]
