"""PyG's hypergraph data with a number of hyperedges of its own."""

from __future__ import annotations

import torch
from torch_geometric.data.hypergraph_data import HyperGraphData

__all__ = ["SizedHyperGraphData"]


class SizedHyperGraphData(HyperGraphData):  # type: ignore[misc]  # PyG leaves it untyped
    """``HyperGraphData`` whose ``num_nodes`` and ``num_hyperedges`` are what it was told.

    PyG takes the largest hyperedge plus one for their number, so that in a ``Batch`` the hyperedges after
    some empty ones move into the places of these; it also forgets isolated nodes where there are as many
    nodes as hyperedges. Made by :func:`hypergraph_to_data`.
    """

    @property
    def num_edges(self) -> int:
        """Number of hyperedges; of all graphs in a batch."""
        return int(torch.as_tensor(self.num_hyperedges).sum())

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return int(self._store.num_nodes)

    @num_nodes.setter
    def num_nodes(self, num_nodes: int) -> None:
        self._store.num_nodes = num_nodes
