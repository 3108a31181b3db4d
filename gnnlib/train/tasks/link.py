"""Link prediction: score node pairs, message passing over the training edges only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gnnlib.data import Loaded
from gnnlib.loader import uniform_negatives
from gnnlib.models import registry
from gnnlib.models.heads import LinkModel
from gnnlib.sparse.convert import Adj
from gnnlib.train.config import TrainConfig
from gnnlib.train.guards import check_input, check_rows
from gnnlib.train.losses import loss_of
from gnnlib.train.selection import Evaluation
from gnnlib.train.tasks.base import (
    Arrays,
    Task,
    embedding_arrays,
    labels_of,
    numpy_of,
    picture_sample,
    row_normalised,
)
from gnnlib.train.tasks.messages import MessageGraph, check_no_leak

__all__ = ["LinkTask"]

MOST_NODES = 20_000  # for negatives=all: 1.6 GB a matrix of scores


@dataclass(frozen=True)
class _Pairs:
    """Positive pairs, then negative ones.

    Shapes: pairs ``[2, P]``, label ``[P]``.
    """

    pairs: Tensor
    label: Tensor


class LinkTask(Task):
    """Edges against non-edges, by binary cross-entropy with as many uniform negatives as positives.

    A model whose class says ``uses_graph = True`` is called as ``decode(z, pairs, graph)``, with the graph
    that its codes were made on: the training edges in both directions, each once, as a CSR. In a training
    step, ``forward(x, graph, pairs)`` does the same. ``remove_targets`` takes the positive pairs of a
    training batch out of the graph, before messages pass.

    Shapes: x ``[N, F]``, pairs ``[2, P]``.
    Raises: ValueError when features and graph disagree or hold NaN, or when the graph that messages pass over
        holds a validation or test edge.
    """

    name = "link"

    def __init__(self, loaded: Loaded, config: TrainConfig, device: torch.device) -> None:
        super().__init__(loaded, config, device)
        data = loaded.dataset[0]
        self.num_nodes = int(data.num_nodes)
        options = registry.config_class(config.model)(**config.model_options)
        if data.x is None and options.needs_features:
            raise ValueError(
                f"{self.dataset}: the graph has no features x, which model '{config.model}' needs; choose a "
                "dataset that has them, or a model that takes none"
            )
        decoder = config.model_options.get("decoder", "dot")
        if config.negatives == "all" and (self.num_nodes > MOST_NODES or decoder != "dot"):
            raise ValueError(
                f"{self.dataset}: negatives=all needs inner products and at most {MOST_NODES} nodes, but the "
                f"decoder is {decoder} and the graph has {self.num_nodes} nodes; take negatives=uniform"
            )
        x = torch.empty(self.num_nodes, 0) if data.x is None else data.x
        check_rows("x", x, self.num_nodes, self.dataset)
        check_input("x", x, self.dataset)
        x = x.float()
        self.x = (row_normalised(x) if config.normalize_features else x).to(device)
        self.take(loaded)

    def take(self, loaded: Loaded) -> None:
        """Go over to another split, and so to the graph of its training edges."""
        split, data, device = loaded.split, loaded.dataset[0], self.device
        self.positives = split.train_edges.to(device)
        self.edge_index = data.edge_index.to(device)
        self.messages = MessageGraph(self.edge_index, self.num_nodes)
        check_no_leak(self.dataset, self.messages, split)
        loops = torch.arange(self.num_nodes, device=device).expand(2, -1)
        self.both_ways_and_loops = torch.cat([self.messages.adj.edge_index, loops], dim=1)
        self.held = {"train": self._train_pairs()} | {
            part: labelled(getattr(split, f"{part}_pos").to(device), getattr(split, f"{part}_neg").to(device))
            for part in ("val", "test")
        }
        self.counts = {part: held.label.numel() for part, held in self.held.items()}
        self.counts["train"] = self.positives.size(1)

    def _train_pairs(self) -> _Pairs:
        """The training edges against a fixed sample of negatives, to measure the training metric."""
        fixed = torch.Generator().manual_seed(0)
        return labelled(self.positives, self._negatives(self.positives.size(1), fixed))

    def _negatives(self, count: int, generator: torch.Generator) -> Tensor:
        return uniform_negatives(self.messages.adj, count, generator)

    def build(self) -> nn.Module:
        """A new model, initialised from torch's global generator.

        Raises: ValueError where the targets leave it no graph, or ``negatives=all`` has no pairs to decode.
        """
        model = super().build()
        count = self.positives.size(1)
        if self.config.epochs and self._removes(model) and (self.config.batch_size or count) >= count:
            raise ValueError(
                f"{self.dataset}: remove_targets takes the edges of a batch out of the graph, and a batch of "
                f"batch_size={self.config.batch_size} holds all {count}; pass a smaller batch_size, such as "
                f"{max(count // 8, 1)}, or remove_targets=false"
            )
        if self.config.negatives == "all" and _looks(model):
            raise ValueError(
                f"{self.dataset}: negatives=all needs inner products, but the decoder of model "
                f"'{self.config.model}' looks at the graph; take negatives=uniform"
            )
        return model

    def batches(self, generator: torch.Generator) -> Iterator[_Pairs | None]:
        """The training edges in a new random order, each batch with its own negatives; None for all pairs."""
        if self.config.negatives == "all":
            yield None
            return
        count = self.positives.size(1)
        size = self.config.batch_size or count
        order = torch.randperm(count, generator=generator).to(self.device)
        whole = count - count % size if self.config.drop_last and count > size else count
        for chunk in torch.split(order[:whole], size):
            positives = self.positives[:, chunk]
            yield labelled(positives, self._negatives(positives.size(1), generator))

    def loss(self, model: nn.Module, batch: _Pairs | None) -> tuple[Tensor, int]:
        """Binary cross-entropy over the pairs of the batch, with what the model adds to it."""
        graph = self.edge_index if batch is None else self._graph(model, batch)
        adds = getattr(model, "has_auxiliary", False)
        if batch is not None and not adds:
            scores = model(self.x, graph, batch.pairs)
            return loss_of("binary", scores, batch.label), batch.label.numel()
        found: Any = self.call(model, "encode_with_loss" if adds else "encode", self.x, graph)
        z, auxiliary = found if adds else (found, 0.0)
        if batch is None:
            return all_pairs_loss(z, self.both_ways_and_loops) + auxiliary, 1
        scores = self._decoded(model, z, batch.pairs, graph)
        return loss_of("binary", scores, batch.label) + auxiliary, batch.label.numel()

    def evaluate(self, model: nn.Module, parts: Sequence[str]) -> dict[str, Evaluation]:
        """Scores of the fixed positives and negatives of each part, from one encoding."""
        scores = self._of_parts(model, parts, *self._codes(model))
        return {part: self.measured(score, self.held[part].label) for part, score in scores.items()}

    def predictions(self, model: nn.Module, parts: Sequence[str]) -> Arrays:
        """Scores of the pairs of each part, and the codes of the nodes in the picture."""
        z, graph = self._codes(model)
        arrays: Arrays = {}
        for part, score in self._of_parts(model, parts, z, graph).items():
            held = self.held[part]
            arrays[f"{part}_index"] = numpy_of(held.pairs)
            arrays[f"{part}_label"] = labels_of(self.kind, held.label)
            arrays[f"{part}_score"] = numpy_of(score)
        shown = picture_sample(self.num_nodes)
        parts_of_nodes = torch.full((self.num_nodes,), -1, dtype=torch.int8)
        return arrays | embedding_arrays(z[shown.to(z.device)], shown, None, parts_of_nodes)

    def rows(self, model: nn.Module) -> Arrays:
        """A row for each held-out pair of validation and test."""
        z, graph = self._codes(model)
        scores = self._of_parts(model, ("val", "test"), z, graph)
        held = [self.held[part] for part in scores]
        pairs = torch.cat([h.pairs for h in held], dim=1)
        return {
            "source": numpy_of(pairs[0]),
            "target": numpy_of(pairs[1]),
            "part": np.concatenate([np.full(score.numel(), part) for part, score in scores.items()]),
            "label": labels_of(self.kind, torch.cat([h.label for h in held])),
            **self.scored(torch.cat(list(scores.values()))),
        }

    def _removes(self, model: nn.Module) -> bool:
        removes = self.config.remove_targets
        return _looks(model) if removes is None else removes

    def _graph(self, model: nn.Module, batch: _Pairs | None = None) -> Adj:
        """What messages pass over, in training less the targets of the batch where they are removed."""
        if not self._removes(model):
            return self.messages.adj if _looks(model) else self.edge_index
        return self.messages.adj if batch is None else self.messages.without(batch.pairs[:, batch.label > 0])

    def _codes(self, model: nn.Module) -> tuple[Tensor, Adj]:
        graph = self._graph(model)
        return self.call(model, "encode", self.x, graph, full=True), graph

    def _decoded(
        self, model: nn.Module, z: Tensor, pairs: Tensor, graph: Adj, *, full: bool = False
    ) -> Tensor:
        seen = (graph,) if _looks(model) else ()
        return self.call(model, "decode", z, pairs, *seen, full=full)

    def _of_parts(self, model: nn.Module, parts: Sequence[str], z: Tensor, graph: Adj) -> dict[str, Tensor]:
        """Scores of the pairs of each part, asked for together: a decoder may share work among all pairs."""
        if not parts:
            return {}
        pairs = [self.held[part].pairs for part in parts]
        scores = self._scores(model, z, torch.cat(pairs, dim=1), graph)
        return dict(zip(parts, torch.split(scores, [p.size(1) for p in pairs]), strict=True))

    def _scores(self, model: nn.Module, z: Tensor, pairs: Tensor, graph: Adj) -> Tensor:
        size = getattr(model, "pairs_at_once", LinkModel.pairs_at_once)
        chunks = torch.split(pairs, size or max(pairs.size(1), 1), dim=1)
        return torch.cat([self._decoded(model, z, chunk, graph, full=True) for chunk in chunks]).float()


def _looks(model: nn.Module) -> bool:
    """Whether the decoder of a model looks at the graph."""
    return bool(getattr(model, "uses_graph", False))


def all_pairs_loss(z: Tensor, positives: Tensor) -> Tensor:
    r"""Cross-entropy of the inner products of all pairs, the two classes weighing half each.

    .. math:: \tfrac{1}{2 |P|} \sum_{ij \in P} \log(1 + e^{-z_i^T z_j})
        + \tfrac{1}{2 (N^2 - |P|)} \sum_{ij \notin P} \log(1 + e^{z_i^T z_j})

    Kipf and Welling, Variational Graph Auto-Encoders, 2016: with their weights of classes and of the loss.

    Shapes: z ``[N, d]``, positives ``[2, P]``, distinct -> a scalar. Cost: ``N^2`` numbers.
    """
    scores = z @ z.t()
    found = scores[positives[0], positives[1]]
    others = F.softplus(scores).sum() - F.softplus(found).sum()
    return F.softplus(-found).mean() / 2 + others / (2 * (scores.numel() - found.numel()))


def labelled(positives: Tensor, negatives: Tensor) -> _Pairs:
    label = torch.zeros(positives.size(1) + negatives.size(1), device=positives.device)
    label[: positives.size(1)] = 1.0
    return _Pairs(torch.cat([positives, negatives], dim=1), label)
