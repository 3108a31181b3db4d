"""What the parts of a pooling hand to each other: the selection, the coarse graph, and both together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from gnnlib.nn.pool.grouped import gram, rows_times
from gnnlib.sparse import CSR, as_csr, segment_reduce, spmm
from gnnlib.sparse.ops.spmm import Reduce
from gnnlib.sparse.sets import Sets

Inverse: TypeAlias = Literal["transpose", "inverse"]


@dataclass(frozen=True, eq=False)
class SelectOutput:
    r"""A sparse assignment S of nodes to clusters, one entry for each node that a cluster takes.

    .. math:: S_{\mathrm{node\_index}_m,\, \mathrm{cluster\_index}_m} = w_m

    Args:
        node_index: node of each entry.
        num_nodes: number of nodes N.
        cluster_index: cluster of each entry.
        num_clusters: number of clusters K.
        weight: w; 1 everywhere if None.

    Shapes: node_index, cluster_index and weight ``[M]``.
    Raises: ValueError when they differ in length.
    """

    node_index: Tensor
    num_nodes: int
    cluster_index: Tensor
    num_clusters: int
    weight: Tensor | None = None

    def __post_init__(self) -> None:
        lengths = [t.shape for t in (self.node_index, self.cluster_index, self.weight) if t is not None]
        if len(set(lengths)) != 1 or len(lengths[0]) != 1:
            raise ValueError(
                f"SelectOutput: node_index, cluster_index and weight have the shapes "
                f"{[list(s) for s in lengths]}; pass one number of each for every entry"
            )

    @cached_property
    def adj(self) -> CSR:
        """The structure of the transpose of S as a CSR ``[K, N]``; entries are its edges."""
        return as_csr(torch.stack([self.node_index, self.cluster_index]), (self.num_nodes, self.num_clusters))

    @property
    def matrix(self) -> CSR:
        """S as a CSR ``[N, K]`` with its values, for sparse products."""
        return self.adj.transposed.with_value(self._values())

    @property
    def one_each(self) -> bool:
        """Whether no node lies in several clusters; reads the indices."""
        return self.node_index.numel() == 0 or int(self.node_index.bincount().max()) <= 1

    def reduce(self, x: Tensor, aggr: Reduce = "sum") -> Tensor:
        """Reduce the weighted features of each cluster, for the sum ``S.T @ x``: ``[N, F]`` -> ``[K, F]``."""
        return spmm(self.adj, x, self.weight, aggr)

    def reduce_batch(self, batch: Tensor) -> Tensor:
        """The graph of each cluster, ``[K]``, from that of each node."""
        out = batch.new_zeros(self.num_clusters)
        return out.index_copy(0, self.cluster_index, batch[self.node_index])

    def lift(self, x: Tensor, how: Inverse = "inverse") -> Tensor:
        r"""Give the features of clusters back to their nodes: ``[K, F]`` -> ``[N, F]``.

        Args:
            x: features of the clusters.
            how: ``"transpose"`` is :math:`S x`; ``"inverse"`` is the pseudo-inverse of the reduction,
                :math:`S (S^\top S)^{-1} x`, which undoes a sum of equal features. A node that no cluster
                takes gets 0.

        Raises: NotImplementedError for the inverse of clusters that share nodes.
        """
        weight = self._values(x.dtype)
        if how == "inverse":
            if not self.one_each:
                raise NotImplementedError(
                    "SelectOutput: clusters that share nodes have no cheap inverse; lift with how='transpose'"
                )
            square = segment_reduce(self.adj.to_slots(weight.square()), self.adj.indptr)  # S^T S is diagonal
            x = x / torch.where(square == 0, 1, square)[:, None]
        elif how != "transpose":
            raise ValueError(f"SelectOutput: how={how!r} is unknown; choose 'inverse' or 'transpose'")
        return spmm(self.adj.transposed, x, weight)

    def to_dense(self) -> Tensor:
        """S as a dense matrix ``[N, K]``, for small graphs and tests."""
        return self.matrix.to_dense()

    def _values(self, dtype: torch.dtype | None = None) -> Tensor:
        if self.weight is not None:
            return self.weight
        dtype = torch.get_default_dtype() if dtype is None else dtype
        return torch.ones(self.node_index.shape[0], dtype=dtype, device=self.node_index.device)


@dataclass(frozen=True, eq=False)
class SoftSelectOutput:
    r"""A dense assignment S of the nodes of each graph to that graph's K clusters.

    Cluster k of graph b has the number ``b K + k`` in the coarse batch.

    Args:
        s: weight of each node in each of its graph's clusters.
        sets: the nodes of each graph.

    Shapes: s ``[N, K]``.
    """

    s: Tensor
    sets: Sets

    @property
    def num_nodes(self) -> int:
        """Number of nodes N."""
        return self.s.shape[0]

    @property
    def num_clusters(self) -> int:
        """Number of clusters of all graphs, B K."""
        return self.sets.num_sets * self.s.shape[1]

    def reduce(self, x: Tensor) -> Tensor:
        """Sum the weighted features of each cluster: ``[N, F]`` -> ``[B K, F]``."""
        return gram(self.s, x, self.sets).flatten(0, 1)

    def reduce_batch(self) -> Tensor:
        """The graph of each cluster, ``[B K]``."""
        graphs = torch.arange(self.sets.num_sets, device=self.s.device)
        return graphs.repeat_interleave(self.s.shape[1])

    def lift(self, x: Tensor, how: Inverse = "inverse") -> Tensor:
        r"""Give the features of clusters back to their nodes: ``[B K, F]`` -> ``[N, F]``.

        Args:
            x: features of the clusters.
            how: ``"transpose"`` is :math:`S x`; ``"inverse"`` is :math:`S (S^\top S)^+ x` in each graph.
        """
        blocks = x.reshape(self.sets.num_sets, self.s.shape[1], -1)
        if how == "inverse":
            blocks = torch.linalg.pinv(gram(self.s, self.s, self.sets), hermitian=True) @ blocks
        elif how != "transpose":
            raise ValueError(f"SoftSelectOutput: how={how!r} is unknown; choose 'inverse' or 'transpose'")
        return rows_times(self.s, blocks, self.sets)


@dataclass(frozen=True, eq=False)
class ConnectOutput:
    """The edges among clusters.

    Args:
        edge_index: sources and targets.
        edge_attr: a value or a row for each, or None where the graph had none.
        batch: graph of each cluster, or None.

    Shapes: edge_index ``[2, E]``, edge_attr ``[E, ...]``, batch ``[K]``.
    """

    edge_index: Tensor
    edge_attr: Tensor | None = None
    batch: Tensor | None = None


@dataclass(frozen=True, eq=False)
class PoolingOutput:
    """A coarse graph, how it came about, and what the pooling asks to be minimised.

    It unpacks into what PyG's layer of the same name returns: ``x, edge_index, edge_attr, batch, perm, score
    = TopKPooling(...)(x, edge_index)``.

    Args:
        x: features of the clusters.
        edge_index: sources and targets of the edges among them.
        edge_attr: a value or a row for each edge, or None.
        batch: graph of each cluster.
        select: the assignment.
        loss: auxiliary losses by name, each a scalar; empty for most poolings.
        order: the fields that it unpacks into.

    Shapes: x ``[K, F]``, edge_index ``[2, E]``, edge_attr ``[E, ...]``, batch ``[K]``.
    """

    x: Tensor
    edge_index: Tensor
    edge_attr: Tensor | None
    batch: Tensor
    select: Any
    loss: dict[str, Tensor] = field(default_factory=dict)
    order: tuple[str, ...] = ("x", "edge_index", "edge_attr", "batch")

    @property
    def edge_weight(self) -> Tensor | None:
        """``edge_attr`` under the name that it has as a number."""
        return self.edge_attr

    @property
    def perm(self) -> Tensor:
        """The nodes that were taken, in the order of the entries of the selection."""
        nodes: Tensor = self.select.node_index
        return nodes

    @property
    def score(self) -> Tensor | None:
        """The weights of the selection."""
        weight: Tensor | None = self.select.weight
        return weight

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, name) for name in self.order)

    def __getitem__(self, place: int) -> Any:
        return getattr(self, self.order[place])

    def __len__(self) -> int:
        return len(self.order)
