"""The tasks on a hypergraph: labels of its nodes, and incidences that were held out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gnnlib.data import Loaded
from gnnlib.loader import uniform_negatives
from gnnlib.sparse import Hypergraph
from gnnlib.train.config import TrainConfig
from gnnlib.train.tasks.base import Arrays
from gnnlib.train.tasks.link import LinkTask, labelled
from gnnlib.train.tasks.node import NodeTask

__all__ = ["HypergraphTask", "IncidenceTask"]


class HypergraphTask(NodeTask):
    """Labels of the nodes of a hypergraph, the whole of it in each step.

    Shapes: x ``[N, F]``, incidences ``[2, nnz]``, y ``[N]``; the split holds node numbers.
    Raises: ValueError when features and hypergraph disagree or hold NaN.
    """

    name = "hypergraph"

    def _structure(self, data: Any) -> Any:
        return _view(data, data.edge_index).to(self.device)


class IncidenceTask(LinkTask):
    """Who belongs to which hyperedge: held-out incidences against pairs that are none.

    Codes and scores number hyperedge e as item N + e, so that a pair is scored as a link is. Messages pass
    over the training incidences only.

    Shapes: x ``[N, F]``, incidences ``[2, nnz]``, pairs of items ``[2, P]``.
    Raises: ValueError when features and hypergraph disagree or hold NaN, or for ``negatives=all`` and
        ``remove_targets``.
    """

    name = "incidence"

    def __init__(self, loaded: Loaded, config: TrainConfig, device: torch.device) -> None:
        if config.negatives == "all":
            raise ValueError(
                f"{loaded.name}: negatives=all is offered for links between nodes; take negatives=uniform"
            )
        if config.remove_targets:
            raise ValueError(
                f"{loaded.name}: remove_targets is offered for links between nodes; leave it out"
            )
        super().__init__(loaded, config, device)

    def take(self, loaded: Loaded) -> None:
        """Go over to another split, and so to the hypergraph of its training incidences."""
        split, data, device = loaded.split, loaded.dataset[0], self.device
        self.size = int(data.num_nodes), int(data.num_hyperedges)
        self.edge_index = _view(data, split.train_edges).to(device)
        self.positives = self._items(split.train_edges)
        self.num_nodes = sum(self.size)  # items
        self.held = {"train": self._train_pairs()} | {
            part: labelled(
                self._items(getattr(split, f"{part}_pos")), self._items(getattr(split, f"{part}_neg"))
            )
            for part in ("val", "test")
        }
        self.counts = {part: held.label.numel() for part, held in self.held.items()}
        self.counts["train"] = self.positives.size(1)

    def rows(self, model: nn.Module) -> Arrays:
        """A row for each held-out pair of validation and test, hyperedges by their own number."""
        found = super().rows(model)
        node, hyperedge = found.pop("source"), found.pop("target") - self.size[0]
        return {"node": node, "hyperedge": hyperedge, **found}

    def _removes(self, model: nn.Module) -> bool:
        return False

    def _graph(self, model: nn.Module, batch: Any = None) -> Any:
        return self.edge_index

    def _items(self, pairs: Tensor) -> Tensor:
        return (pairs + torch.tensor([[0], [self.size[0]]])).to(self.device)

    def _negatives(self, count: int, generator: torch.Generator) -> Tensor:
        return self._items(uniform_negatives(self.edge_index.v2e, count, generator, bipartite=True))


def _view(data: Any, incidences: Tensor) -> Hypergraph:
    return Hypergraph(incidences, int(data.num_nodes), int(data.num_hyperedges))
