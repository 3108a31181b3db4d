"""Node classification and regression on one graph: the whole of it in each step, or sampled parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from gnnlib.data import Loaded
from gnnlib.loader import NeighborLoader, NeighborSampler
from gnnlib.models import Part, registry
from gnnlib.train.config import TrainConfig
from gnnlib.train.guards import check_input, check_rows
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

__all__ = ["NodeTask"]

NODES = 1024  # training nodes in a step of sampled neighbours


class NodeTask(Task):
    """Labels of nodes.

    Shapes: x ``[N, F]``, edge_index ``[2, E]``, edge_weight ``[E]`` or None, y ``[N]`` or ``[N, C]``; the
        split holds node numbers.
    Raises: ValueError when features and graph disagree or hold NaN.
    """

    name = "node"

    def __init__(self, loaded: Loaded, config: TrainConfig, device: torch.device) -> None:
        super().__init__(loaded, config, device)
        data = loaded.dataset[0]
        if data.x is None or data.y is None:
            lacks = "features x" if data.x is None else "labels y"
            raise ValueError(f"{self.dataset}: the graph has no {lacks}; choose a dataset that has them")
        num_nodes = int(data.y.size(0))
        check_rows("x", data.x, num_nodes, self.dataset)
        check_input("x", data.x, self.dataset)
        check_input("edge_weight", data.edge_weight, self.dataset)
        x = data.x.float()
        self.x = (row_normalised(x) if config.normalize_features else x).to(device)
        self.edge_index = self._structure(data)
        self.edge_weight = None if data.edge_weight is None else data.edge_weight.float().to(device)
        self.y = targets_of(self.kind, data.y).to(device)
        self.in_parts = registry.takes_parts(config.model)
        self.sampler = None if config.fanout is None else self._sampler(config.fanout)
        self.take(loaded)

    def _structure(self, data: Any) -> Any:
        """What the model gets beside the features."""
        return data.edge_index.to(self.device)

    def take(self, loaded: Loaded) -> None:
        """Go over to another split of the same graph."""
        self.index = split_index(loaded.split, self.device)
        self.counts = {part: index.numel() for part, index in self.index.items()}
        self.target = {part: self.y[index] for part, index in self.index.items()}

    def batches(self, generator: torch.Generator) -> Iterator[Any]:
        """The whole graph, once; or, with a fan-out, every training node once with sampled neighbours."""
        if self.sampler is None:
            yield None
            return
        yield from NeighborLoader(
            self.sampled,
            list(self.config.fanout or ()),
            self.index["train"].cpu(),
            subgraph_type="induced" if self.in_parts else "directional",
            neighbor_sampler=self.sampler,
            batch_size=self.config.batch_size or NODES,
            shuffle=True,
            generator=generator,
        )

    def _graph(self) -> Data:
        graph = Data(x=self.x, y=self.y, edge_index=self.edge_index)
        if self.edge_weight is not None:
            graph.edge_weight = self.edge_weight
        return graph

    def _sampler(self, fanout: tuple[int, ...]) -> NeighborSampler:
        self.sampled = self._graph()
        if not self.in_parts:
            return NeighborSampler(self.sampled, list(fanout))
        if any(k >= 0 for k in fanout):
            raise ValueError(
                f"option fanout is {fanout} but {self.config.model} remembers all nodes and takes all "
                "neighbours; pass -1 for each of its steps"
            )
        graph = self.sampled
        graph.edge_index, graph.edge_weight = gcn_norm(
            graph.edge_index, graph.edge_weight, self.y.size(0), dtype=self.x.dtype
        )
        return NeighborSampler(graph, list(fanout), subgraph_type="induced")

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, int]:
        """The loss over the training nodes, or over those that the batch was sampled for."""
        if batch is not None and self.in_parts:
            part = Part(batch.n_id, int(batch.batch_size), self.y.size(0))
            logits = model(batch.x, batch.edge_index, batch.edge_weight, part=part)
            return self.criterion(logits, batch.y[: part.targets]), part.targets
        if batch is not None:
            logits = model(batch.x, batch.edge_index, batch.get("edge_weight"))[: batch.batch_size]
            return self.criterion(logits, batch.y[: batch.batch_size]), int(batch.batch_size)
        logits = model(self.x, self.edge_index, self.edge_weight)
        return self.criterion(logits[self.index["train"]], self.target["train"]), self.counts["train"]

    def evaluate(self, model: nn.Module, parts: Sequence[str]) -> dict[str, Evaluation]:
        """One forward pass, measured over each part."""
        logits = model(self.x, self.edge_index, self.edge_weight)
        return {p: self.measured(logits[self.index[p]], self.target[p]) for p in parts if p in self.index}

    def predictions(self, model: nn.Module, parts: Sequence[str]) -> Arrays:
        """Scores of the nodes of each part, and the last hidden layer of the nodes in the picture."""
        scores = scores_of(self.kind, model(self.x, self.edge_index, self.edge_weight))
        arrays: Arrays = {}
        for part in parts:
            if part in self.index:
                arrays[f"{part}_index"] = numpy_of(self.index[part])
                arrays[f"{part}_label"] = labels_of(self.kind, self.target[part])
                arrays[f"{part}_score"] = numpy_of(scores[self.index[part]])
        shown = picture_sample(self.y.size(0))
        z = self.call(model, "embed", self.x, self.edge_index, self.edge_weight)
        labels = self.y if self.y.dim() == 1 and self.kind in ("multiclass", "binary") else None
        return arrays | embedding_arrays(
            z[shown.to(z.device)], shown, labels, parts_of(self.y.size(0), self.index)
        )

    def rows(self, model: nn.Module) -> Arrays:
        """A row for each node."""
        logits = model(self.x, self.edge_index, self.edge_weight)
        return {
            "node": np.arange(self.y.size(0)),
            "part": part_names(parts_of(self.y.size(0), self.index)),
            "label": labels_of(self.kind, self.y),
            **self.scored(logits),
        }
