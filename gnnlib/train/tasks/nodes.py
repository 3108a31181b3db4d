"""Labels of nodes of many graphs, such as the root of each tree, in shuffled mini-batches of graphs."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gnnlib.data import Loaded
from gnnlib.train.config import TrainConfig
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
from gnnlib.train.tasks.merging import MergedGraphs
from gnnlib.train.tasks.packing import GraphBatch, ranges

__all__ = ["NodesTask"]

COMPARED = 16  # graphs on which merged nodes are compared with all of them


class NodesTask(GraphTask):
    """Labels of the nodes of graphs, of which some are for training.

    Shapes: graphs with x ``[n, F]``, edge_index ``[2, e]``, y ``[n]`` or ``[n, C]``, and ``mask`` ``[n]``
        where only some nodes count; the split holds graph numbers.
    Raises: ValueError when a graph has no features or not one label for each node.
    """

    name = "node"
    labels = "node"

    def __init__(self, loaded: Loaded, config: TrainConfig, device: torch.device) -> None:
        super().__init__(loaded, config, device)
        self.merged: MergedGraphs | None = None
        if config.merge_nodes:
            if self.graphs.query is not None:
                raise ValueError(f"option merge_nodes: {config.model} reads paths of its graphs; drop it")
            self.merged = MergedGraphs(self.graphs)

    def build(self) -> nn.Module:
        """The model, which gives merged nodes the scores that they have by themselves.

        Raises: ValueError when it does not.
        """
        model = super().build()
        if self.merged is not None:
            self._compare(model, self.merged)
        return model

    def _cut(self, index: Tensor) -> GraphBatch:
        return self.graphs.batch(index) if self.merged is None else self.merged.batch(index)

    def _compare(self, model: nn.Module, merged: MergedGraphs) -> None:
        """Merging is for models that take in-edges alone: see, in float64 on the CPU, that this one is."""
        some = self.index["train"][:COMPARED]
        exact = copy.deepcopy(model).cpu().double().eval()
        with torch.no_grad():
            own, whole = (self._forward(exact, _exact(g.batch(some))) for g in (merged, self.graphs))
        worst, size = float((own - whole).abs().max()), float(whole.abs().max())
        if worst > 1e-8 * size:
            raise ValueError(
                f"option merge_nodes: scores of {self.config.model} differ by up to {worst:.2g} (they are up "
                f"to {size:.2g}) when nodes with the same in-neighbourhood are merged, so it sees more than "
                "in-edges; drop the option"
            )

    def predictions(self, model: nn.Module, parts: Sequence[str]) -> Arrays:
        """Scores of the labelled nodes of each part by their number over all graphs, and some codes."""
        arrays: Arrays = {}
        for part in parts:
            if part in self.index:
                arrays[f"{part}_index"] = numpy_of(self._nodes(self.index[part]))
                arrays[f"{part}_label"] = labels_of(self.kind, self._target(part))
                arrays[f"{part}_score"] = numpy_of(scores_of(self.kind, self._logits(model, part)))
        shown = picture_sample(len(self.graphs))
        chunks = [self._cut(chunk) for chunk in torch.split(shown, EVAL_BATCH)]
        z, node = torch.cat([self._embed(model, chunk) for chunk in chunks]), self._nodes(shown).cpu()
        keep = picture_sample(node.numel())
        labels = self.y if self.y.dim() == 1 and self.kind in ("multiclass", "binary") else None
        return arrays | embedding_arrays(z[keep.to(z.device)], node[keep], labels, self._parts())

    def rows(self, model: nn.Module) -> Arrays:
        """A row for each labelled node: its number over all graphs, and its graph."""
        every = torch.arange(len(self.graphs))
        chunks = [self._cut(chunk) for chunk in torch.split(every, EVAL_BATCH)]
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
        node, _ = ranges(self.graphs.node_start[graphs], self.graphs.node_count[graphs])
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


def _exact(batch: GraphBatch) -> GraphBatch:
    """The batch on the CPU, with real features in float64."""

    def moved(value: Tensor) -> Tensor:
        return value.cpu().double() if value.is_floating_point() else value.cpu()

    assert isinstance(batch.edge_index, Tensor)
    assert batch.labelled is not None
    return dataclasses.replace(
        batch,
        x=moved(batch.x),
        edge_index=batch.edge_index.cpu(),
        edge_attr=None if batch.edge_attr is None else moved(batch.edge_attr),
        labelled=batch.labelled.cpu(),
    )
