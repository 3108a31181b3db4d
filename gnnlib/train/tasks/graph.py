"""Graph classification and regression in shuffled mini-batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from gnnlib.data import Loaded
from gnnlib.models import registry
from gnnlib.train.config import TrainConfig
from gnnlib.train.guards import check_input
from gnnlib.train.losses import scores_of, targets_of
from gnnlib.train.selection import Evaluation
from gnnlib.train.tasks.base import (
    Arrays,
    Task,
    embedding_arrays,
    labels_of,
    numpy_of,
    part_names,
    parts_of,
    picture_sample,
    row_normalised,
    split_index,
)
from gnnlib.train.tasks.packing import GraphBatch, Labels, PackedGraphs

__all__ = ["GraphTask"]

EVAL_BATCH = 512  # graphs; only memory depends on it
KEPT_BATCHES = 64  # evaluation batches kept between epochs, so that their structure is built once


class GraphTask(Task):
    """Labels of whole graphs.

    Shapes: graphs with x ``[n, F]``, edge_index ``[2, e]``, y ``[C]`` or a class; the split holds graph
        numbers.
    Raises: ValueError when a graph has no features or labels, or features that hold NaN.
    """

    name = "graph"
    labels: ClassVar[Labels] = "graph"

    def __init__(self, loaded: Loaded, config: TrainConfig, device: torch.device) -> None:
        super().__init__(loaded, config, device)
        self.feature_sizes = list(loaded.feature_sizes)
        self.edge_feature_sizes = list(loaded.edge_feature_sizes)
        query = self.options().path_query
        self.graphs = PackedGraphs(loaded.dataset, device, self.dataset, labels=self.labels, query=query)
        check_input("x", self.graphs.x, self.dataset)
        if not self.feature_sizes:
            x = self.graphs.x.float()
            self.graphs.x = row_normalised(x) if config.normalize_features else x
        self.y = targets_of(self.kind, self.graphs.y)
        self.take(loaded)

    def take(self, loaded: Loaded) -> None:
        """Go over to another split of the same graphs."""
        self.index = split_index(loaded.split, torch.device("cpu"))
        self.counts = {part: index.numel() for part, index in self.index.items()}
        self._kept: dict[tuple[str, int], GraphBatch] = {}

    def facts(self) -> dict[str, Any]:
        """Integer features are categories: the encoder needs the number of values of each column."""
        found: dict[str, Any] = {}
        if self.feature_sizes:
            found = {"encoder": "atom", "feature_sizes": self.feature_sizes}
        if self._takes_edges and self.graphs.edge_attr is not None:
            found["edge_channels"] = int(self.graphs.edge_attr.size(1))
            found["edge_feature_sizes"] = self.edge_feature_sizes
        return found

    @property
    def _takes_edges(self) -> bool:
        return registry.takes_edges(self.config.model)

    def batches(self, generator: torch.Generator) -> Iterator[GraphBatch]:
        """The training graphs in a new random order, or blocks of them."""
        index = shuffled(self.index["train"], self.config.shuffle_block, generator)
        size = self.config.batch_size or index.numel()
        chunks = list(torch.split(index, size))
        if len(chunks) > 1 and chunks[-1].numel() == 1:  # batch norm cannot take a single graph
            chunks[-2:] = [torch.cat(chunks[-2:])]
        for chunk in chunks:
            yield self._cut(chunk)

    def loss(self, model: nn.Module, batch: GraphBatch) -> tuple[Tensor, int]:
        """The loss over the graphs of the batch, with what the model adds to it."""
        target = targets_of(self.kind, batch.y)
        if not getattr(model, "has_auxiliary", False):
            return self.criterion(self._forward(model, batch), target), batch.size
        inputs = (batch.x, batch.edge_index, batch.batch, batch.size, *self._edges(batch))
        logits, auxiliary = model(*inputs, auxiliary=True)
        return self.criterion(logits, target) + auxiliary, batch.size

    def evaluate(self, model: nn.Module, parts: Sequence[str]) -> dict[str, Evaluation]:
        """Every graph of each part once."""
        return {
            part: self.measured(self._logits(model, part), self._target(part))
            for part in parts
            if part in self.index
        }

    def predictions(self, model: nn.Module, parts: Sequence[str]) -> Arrays:
        """Scores of the graphs of each part, and the readout of the graphs in the picture."""
        arrays: Arrays = {}
        for part in parts:
            if part in self.index:
                arrays[f"{part}_index"] = numpy_of(self.index[part])
                arrays[f"{part}_label"] = labels_of(self.kind, self._target(part))
                arrays[f"{part}_score"] = numpy_of(scores_of(self.kind, self._logits(model, part)))
        shown = picture_sample(len(self.graphs))
        z = torch.cat([self._embed(model, self._cut(chunk)) for chunk in torch.split(shown, EVAL_BATCH)])
        single = self.y.dim() == 1 and self.kind in ("multiclass", "binary")
        labels = self.y.float().nan_to_num(-1) if single else None
        return arrays | embedding_arrays(z, shown, labels, parts_of(len(self.graphs), self.index))

    def rows(self, model: nn.Module) -> Arrays:
        """A row for each graph."""
        chunks = torch.split(torch.arange(len(self.graphs)), EVAL_BATCH)
        logits = torch.cat([self._forward(model, self._cut(chunk)) for chunk in chunks])
        return {
            "graph": np.arange(len(self.graphs)),
            "part": part_names(parts_of(len(self.graphs), self.index)),
            "label": labels_of(self.kind, self.y),
            **self.scored(logits),
        }

    def _target(self, part: str) -> Tensor:
        return self.y[self.index[part].to(self.device)]

    def _logits(self, model: nn.Module, part: str) -> Tensor:
        chunks = torch.split(self.index[part], EVAL_BATCH)
        return torch.cat([self._forward(model, self._kept_batch(part, n, c)) for n, c in enumerate(chunks)])

    def _kept_batch(self, part: str, number: int, chunk: Tensor) -> GraphBatch:
        key = (part, number)
        if key not in self._kept:
            if len(self._kept) >= KEPT_BATCHES:
                return self._cut(chunk)
            self._kept[key] = self._cut(chunk)
        return self._kept[key]

    def _cut(self, index: Tensor) -> GraphBatch:
        return self.graphs.batch(index)

    def _forward(self, model: nn.Module, batch: GraphBatch) -> Tensor:
        logits: Tensor = model(batch.x, batch.edge_index, batch.batch, batch.size, *self._edges(batch))
        return logits

    def _embed(self, model: nn.Module, batch: GraphBatch) -> Tensor:
        inputs = (batch.x, batch.edge_index, batch.batch, batch.size, *self._edges(batch))
        return self.call(model, "embed", *inputs)

    def _edges(self, batch: GraphBatch) -> tuple[Tensor, ...]:
        """The edge features, for a model that takes them."""
        return () if batch.edge_attr is None or not self._takes_edges else (batch.edge_attr,)


def shuffled(index: Tensor, block: int, generator: torch.Generator) -> Tensor:
    """The numbers in random order; those with the same multiple of ``block`` stay together.

    Shapes: ``[n]`` -> ``[n]``.
    """
    if block == 1:
        return index[torch.randperm(index.numel(), generator=generator)]
    found, owner = torch.unique(index // block, return_inverse=True)
    return index[torch.randperm(found.numel(), generator=generator)[owner].argsort(stable=True)]
