"""Mini-batches of the subgraphs that enclose node pairs."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnlib.loader.seeded import SeededIndex, SeededLoader
from gnnlib.names import choose
from gnnlib.sparse import as_csr
from gnnlib.sparse.enclosing import LABELLINGS, Labelling, enclosing_subgraphs, label_nodes
from gnnlib.sparse.hypergraph import refuse_hypergraph

__all__ = ["EnclosingSubgraphs"]


class EnclosingSubgraphs(SeededLoader):
    """Mini-batches of the subgraphs around node pairs, for link prediction as the classification of graphs.

    The subgraph of a pair has the nodes within some hops of either end, and all edges among them but the
    pair's own. A batch is a ``Batch`` with ``ptr`` and ``batch``; ``z``, the structural labels; ``n_id``, the
    nodes' numbers in the graph; ``ends``, the places of both ends of each pair; ``y``, the pairs' own labels;
    and what the graph has for its nodes and edges.

    Zhang and Chen, Link Prediction Based on Graph Neural Networks, NeurIPS 2018 (SEAL).

    Args:
        data: an undirected graph with an ``edge_index``, of the edges that may be seen.
        pairs: the pairs, such as edges and non-edges.
        y: a label for each pair.
        hops: at least 1.
        label: ``"drnl"``, ``"zero-one"``, ``"hop"`` or ``"distance"``, see
            :func:`gnnlib.sparse.enclosing.label_nodes`.
        most: of more nodes than these at one distance from the nearer end, draw so many; None: keep all.
        seed: fixes the order of the pairs and what is drawn, for any number of workers.
        kwargs: of torch's ``DataLoader``.

    Shapes: pairs ``[2, P]``, y ``[P]``; in a batch of B pairs z ``[n, 1]`` (``[n, 2]`` for ``"distance"``),
        n_id ``[n]``, ends ``[2, B]``.
    Raises: ValueError for pairs that are none of nodes, labels of another number, or bad hops.
    """

    def __init__(
        self,
        data: Data,
        pairs: Tensor,
        y: Tensor | None = None,
        *,
        hops: int = 1,
        label: Labelling = "drnl",
        most: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("dataset", None)
        kwargs.pop("collate_fn", None)
        refuse_hypergraph("EnclosingSubgraphs", data)
        self.data, self.pairs, self.y = data, pairs.cpu(), y
        self.hops, self.label = hops, cast(Labelling, choose("label", label, LABELLINGS))
        self.most = most
        if y is not None and y.size(0) != self.pairs.size(1):
            raise ValueError(
                f"EnclosingSubgraphs: y has {y.size(0)} labels but pairs has {self.pairs.size(1)} columns; "
                "pass one label a pair"
            )
        self.adj = as_csr(data.edge_index.cpu(), int(data.num_nodes or 0))
        enclosing_subgraphs(
            self.adj, self.pairs[:, :1], hops, most=most
        )  # refuses what does not fit, before workers do
        super().__init__(range(self.pairs.size(1)), collate_fn=self.collate, seed=seed, **kwargs)

    def collate(self, index: SeededIndex) -> Batch:
        """The batch of the subgraphs around these pairs."""
        chosen = torch.tensor(list(index), dtype=torch.int64)
        pairs = self.pairs[:, chosen]
        found = enclosing_subgraphs(
            self.adj, pairs, self.hops, apart=self.label == "drnl", most=self.most, seed=index.seed
        )
        batch = Batch(batch=found.batch, ptr=found.ptr)
        for key, value in self.data:
            if key in ("edge_index", "adj_t", "num_nodes", "batch", "ptr", "y"):
                continue
            if self.data.is_node_attr(key):
                value = value[found.node]
            elif self.data.is_edge_attr(key):
                value = value[found.edge]
            batch[key] = value
        batch.edge_index, batch.z, batch.n_id = found.edge_index, label_nodes(found, self.label), found.node
        start = found.ptr[:-1]
        batch.ends = torch.stack([start, start + (pairs[0] != pairs[1])])
        if self.y is not None:
            batch.y = self.y[chosen]
        return batch

    def size_quantile(self, quantile: float = 0.6) -> int:
        """The number of nodes that this share of the subgraphs does not exceed: what SEAL sorts and keeps.

        Cost: finds all subgraphs once.
        """
        sizes = [
            enclosing_subgraphs(self.adj, c, self.hops).ptr.diff() for c in torch.split(self.pairs, 4096, 1)
        ]
        ordered = torch.cat(sizes).sort().values
        return int(ordered[math.ceil(quantile * ordered.numel()) - 1])

    def _sizes(self, pairs: Tensor) -> Tensor:
        return enclosing_subgraphs(self.adj, pairs, self.hops, most=self.most).ptr.diff()

    def _warm(self) -> None:
        self.collate(SeededIndex([0], 0))
