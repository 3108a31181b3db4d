"""What poolings share: select, reduce, connect and lift, and the checks at the door."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gnnlib.nn.pool.connect import contract_edges
from gnnlib.nn.pool.outputs import ConnectOutput, Inverse, PoolingOutput, SelectOutput
from gnnlib.sparse import as_csr
from gnnlib.sparse.convert import is_edge_index
from gnnlib.sparse.sets import check_index, check_not_negative


def check_edges(edge_index: Any, who: str) -> None:
    """Refuse what is no list of edges, whose order a pooling answers in."""
    if not is_edge_index(edge_index):
        kind = "a sparse matrix" if isinstance(edge_index, Tensor) else type(edge_index).__name__
        raise TypeError(
            f"{who}: edge_index is {kind}; pass sources and targets [2, E], which "
            "gnnlib.sparse.as_csr(adj).edge_index are those of a matrix"
        )


class Pooling(nn.Module):
    r"""Base of the poolings: a coarser graph from a graph, in four parts: select, reduce, connect, lift.

    .. math:: S = \mathrm{assign}(X, A), \quad X' = \mathrm{reduce}(X, S), \quad
        A' = \mathrm{connect}(A, S), \quad \tilde X = \mathrm{lift}(X', S)

    Grattarola et al., Understanding Pooling in Graph Neural Networks, TNNLS 2022. What a graph gives depends
    on that graph alone, whatever else is in the batch. A class of one's own overrides :meth:`assign`, which
    is their select (a name that PyG's TopK and SAG give to a module with a parameter), and :meth:`reduce` or
    :meth:`connect` where sums over clusters and contracted edges are not what it wants.

    Shapes: x ``[N, F]``, edge_index ``[2, E]``, edge_weight ``[E]`` or None, batch ``[N]`` or None for one
        graph -> :class:`PoolingOutput` with x ``[K, F']``.
    Raises: ValueError for x, edge_index, edge_weight or batch that do not fit each other; TypeError for x
        that is not floating, or an edge_index or batch that is no integer tensor.
    """

    order: tuple[str, ...] = ("x", "edge_index", "edge_attr", "batch")  # what its output unpacks into

    @property
    def _who(self) -> str:
        return type(self).__name__

    def reset_parameters(self) -> None:
        """Draw new parameters; a pooling without any has nothing to do."""

    def assign(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None, batch: Tensor
    ) -> SelectOutput:
        """Assign nodes to clusters."""
        raise NotImplementedError(f"{self._who}: override assign(x, edge_index, edge_weight, batch)")

    def reduce(self, x: Tensor, so: Any) -> Tensor:
        """Features of the clusters: ``[N, F]`` -> ``[K, F]``."""
        out: Tensor = so.reduce(x)
        return out

    def connect(
        self, so: Any, edge_index: Tensor, edge_attr: Tensor | None = None, batch: Tensor | None = None
    ) -> ConnectOutput:
        """Edges among the clusters, those between the same two added up and loops left out."""
        graph = None if batch is None else so.reduce_batch(batch)
        return ConnectOutput(*contract_edges(so, edge_index, edge_attr), graph)

    def lift(self, x: Tensor, so: Any, how: Inverse = "inverse") -> Tensor:
        """Features of the nodes from those of the clusters: ``[K, F]`` -> ``[N, F]``."""
        out: Tensor = so.lift(x, how)
        return out

    def coarsen(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        batch_size: int | None = None,
    ) -> PoolingOutput:
        """Select, reduce and connect; every pooling answers this call, whatever PyG's forward is like.

        Args:
            x: node features.
            edge_index: sources and targets.
            edge_weight: a value for each edge (a row for those that keep edges or contract them).
            batch: graph of each node.
            batch_size: number of graphs, for poolings with a fixed number of clusters in each; the largest
                entry of ``batch`` plus one when omitted.
        """
        x, batch = self._door(x, edge_index, edge_weight, batch)
        return self._made(x, self.assign(x, edge_index, edge_weight, batch), edge_index, edge_weight, batch)

    def _made(
        self, x: Tensor, so: Any, edge_index: Tensor, edge_weight: Tensor | None, batch: Tensor
    ) -> PoolingOutput:
        """Reduce and connect what was selected."""
        coarse = self.connect(so, edge_index, edge_weight, batch)
        assert coarse.batch is not None
        return PoolingOutput(
            self.reduce(x, so), coarse.edge_index, coarse.edge_attr, coarse.batch, so, order=self.order
        )

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> PoolingOutput:
        """Coarsen the graphs, see :meth:`coarsen`."""
        return self.coarsen(x, edge_index, edge_weight, batch)

    def _door(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None, batch: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Features as a matrix, and the graph of each node."""
        x = x.unsqueeze(-1) if x.dim() == 1 else x
        if x.dim() != 2:
            raise ValueError(f"{self._who}: x has shape {list(x.shape)}; expected [N, F], one row a node")
        if not x.is_floating_point():
            raise TypeError(f"{self._who}: x is {x.dtype}; pass floating features, for example x.float()")
        check_edges(edge_index, self._who)
        as_csr(edge_index, x.shape[0])  # checks it, and is kept for the layers of this level
        if edge_weight is not None and edge_weight.shape[0] != edge_index.shape[1]:
            raise ValueError(
                f"{self._who}: {edge_weight.shape[0]} edge values came with {edge_index.shape[1]} edges; "
                "one for each"
            )
        if batch is None:
            batch = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
            return x, batch
        check_index("batch", batch, x, self._who)
        if batch.shape != x.shape[:1]:
            raise ValueError(
                f"{self._who}: batch has shape {list(batch.shape)} but x has {x.shape[0]} rows; pass the "
                "graph of each node"
            )
        check_not_negative("batch", batch, self._who)
        return x, batch

    def __repr__(self) -> str:
        return f"{self._who}()"
