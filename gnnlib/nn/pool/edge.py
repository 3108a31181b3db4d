"""Pooling that contracts a matching of the edges: EdgePooling and Graclus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gnnlib.nn.check import check_choice, check_share
from gnnlib.nn.pool.base import Pooling, check_edges
from gnnlib.nn.pool.connect import contract_edges
from gnnlib.nn.pool.outputs import ConnectOutput, PoolingOutput, SelectOutput
from gnnlib.sparse import as_csr, edge_matching, scatter, segment_softmax, spmm
from gnnlib.sparse.dropout import dropout
from gnnlib.sparse.ops.spmm import Reduce

EdgeScore = Callable[[Tensor, Tensor, int], Tensor]


def clusters_of(taken: Tensor, score: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Number the pairs of a matching and the nodes left over: clusters of nodes, and edges of clusters.

    Graph by graph, the pairs of a graph by decreasing score, then its other nodes by number; a cluster of one
    node without an edge has -1. ``[N]``, ``[E]``, ``[N]`` -> ``[N]``, ``[K]``.
    """
    n, num_edges = taken.shape[0], score.shape[0]
    order = score.detach().argsort(descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(num_edges, device=order.device))
    node = torch.arange(n, device=taken.device)
    alone = taken < 0
    key = torch.where(alone, num_edges + node, rank[taken.clamp(min=0)] if num_edges else node)
    place = key + batch * (num_edges + n)  # the two nodes of a pair have the same
    found, cluster = place.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    edge = taken.new_empty(found.shape[0]).scatter_(0, cluster, taken)
    return cluster, edge


class UnpoolInfo(NamedTuple):
    """What :meth:`EdgePooling.unpool` needs to undo a step."""

    edge_index: Tensor
    cluster: Tensor
    batch: Tensor
    new_edge_score: Tensor


@dataclass(frozen=True, eq=False)
class _Contracted(PoolingOutput):
    unpool_info: UnpoolInfo | None = None


class EdgePooling(Pooling):
    r"""The edges with the best learned scores contracted, each node in one of them at most.

    .. math:: r_{ij} = w^\top [x_i \,\Vert\, x_j] + b, \quad
        s_{ij} = 0.5 + \operatorname{softmax}_{i \to j}(r_{ij}), \quad x'_{ij} = s_{ij}\, (x_i + x_j)

    Diehl et al., Towards Graph Pooling by Edge Contraction, 2019; Diehl, Edge Contraction Pooling for Graph
    Neural Networks, 2019. Edges are taken from the best score down; of equal ones the first. Nodes that no
    edge takes stay as they are.

    The results are PyG's, but for the numbers of the clusters in a batch of several graphs: here they go
    graph by graph, so that ``batch`` stays sorted; PyG mixes the graphs, and what expects a sorted batch then
    computes something else. Edges inside a cluster become loops, as there.

    Args:
        in_channels: width of x.
        edge_score_method: makes scores of raw scores ``[E]``, edge_index and the number of nodes; the softmax
            over the edges that enter a node if None.
        dropout: probability in [0, 1] of dropping a raw score in training.
        add_to_edge_score: added to each score.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, batch ``[N]`` or None, edge_weight ``[E]`` or None ->
        :class:`PoolingOutput` that unpacks into x, edge_index, batch, unpool_info.
    Cost: O(N F + E log E) time, O(N F + E) memory.
    Raises: ValueError for a dropout outside [0, 1], or inputs that do not fit each other.
    """

    order = ("x", "edge_index", "batch", "unpool_info")

    def __init__(
        self,
        in_channels: int,
        edge_score_method: EdgeScore | None = None,
        dropout: float = 0.0,
        add_to_edge_score: float = 0.5,
    ) -> None:
        super().__init__()
        check_share(self._who, dropout=dropout)
        self.in_channels = in_channels
        self.compute_edge_score: EdgeScore = edge_score_method or self.compute_edge_score_softmax
        self.add_to_edge_score = add_to_edge_score
        self.dropout = dropout
        self.lin = nn.Linear(2 * in_channels, 1)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin.reset_parameters()

    @staticmethod
    def compute_edge_score_softmax(raw_edge_score: Tensor, edge_index: Tensor, num_nodes: int) -> Tensor:
        """The softmax of raw scores ``[E]`` over the edges that enter a node."""
        adj = as_csr(edge_index, num_nodes)
        return adj.from_slots(segment_softmax(adj.to_slots(raw_edge_score), adj.indptr))

    @staticmethod
    def compute_edge_score_tanh(
        raw_edge_score: Tensor, edge_index: Tensor | None = None, num_nodes: int | None = None
    ) -> Tensor:
        """The hyperbolic tangent of raw scores ``[E]``."""
        return raw_edge_score.tanh()

    @staticmethod
    def compute_edge_score_sigmoid(
        raw_edge_score: Tensor, edge_index: Tensor | None = None, num_nodes: int | None = None
    ) -> Tensor:
        """The logistic function of raw scores ``[E]``."""
        return raw_edge_score.sigmoid()

    def assign(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None, batch: Tensor
    ) -> SelectOutput:
        """Score the edges and contract a matching."""
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f"{self._who}: x has {x.shape[1]} features but in_channels={self.in_channels}; pass "
                f"{self.in_channels} features"
            )
        source, target = (x @ w for w in self.lin.weight.reshape(2, -1))  # the map of a pair, end by end
        raw = source[edge_index[0]] + target[edge_index[1]] + self.lin.bias
        raw = dropout(raw, self.dropout, self.training)
        score = self.compute_edge_score(raw, edge_index, x.shape[0]) + self.add_to_edge_score
        taken = edge_matching(edge_index, score, x.shape[0])
        cluster, edge = clusters_of(taken, score, batch)
        by_cluster = score.new_ones(edge.shape[0])
        pairs = (edge >= 0).nonzero()[:, 0]
        by_cluster = by_cluster.index_copy(0, pairs, score[edge[pairs]])
        nodes = torch.arange(x.shape[0], device=x.device)
        return SelectOutput(nodes, x.shape[0], cluster, edge.shape[0], by_cluster[cluster])

    def connect(
        self,
        so: SelectOutput,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> ConnectOutput:
        """The edges between clusters, each once, with the loops that contraction makes."""
        graph = None if batch is None else so.reduce_batch(batch)
        return ConnectOutput(*contract_edges(so, edge_index, edge_attr, keep_loops=True), graph)

    def coarsen(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        batch_size: int | None = None,
    ) -> PoolingOutput:
        """Select, reduce and connect; arguments as in :class:`Pooling`."""
        out = super().coarsen(x, edge_index, edge_weight, batch)
        so = out.select
        graphs = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device) if batch is None else batch
        score = spmm(so.adj, so.weight[:, None], None, "mean").squeeze(-1)  # the two of a pair are equal
        info = UnpoolInfo(edge_index, so.cluster_index, graphs, score)
        return _Contracted(
            out.x, out.edge_index, out.edge_attr, out.batch, so, order=self.order, unpool_info=info
        )

    def forward(  # type: ignore[override]  # PyG's order of the arguments
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        edge_weight: Tensor | None = None,
    ) -> PoolingOutput:
        """Contract the best edges of each graph."""
        return self.coarsen(x, edge_index, edge_weight, batch)

    def unpool(self, x: Tensor, unpool_info: UnpoolInfo) -> tuple[Tensor, Tensor, Tensor]:
        """Features, edges and graphs of the nodes: each gets the row of its cluster over its score."""
        rows = (x / unpool_info.new_edge_score[:, None])[unpool_info.cluster]
        return rows, unpool_info.edge_index, unpool_info.batch

    def __repr__(self) -> str:
        return f"{self._who}({self.in_channels})"


def graclus(edge_index: Tensor, weight: Tensor | None = None, num_nodes: int | None = None) -> Tensor:
    """Match each node with one neighbour at most, along the heaviest edges.

    Dhillon et al., Weighted Graph Cuts without Eigenvectors, TPAMI 2007, coarsening by heavy-edge matching.
    PyG needs a compiled package for it and visits nodes at random; here the heaviest edge of the graph comes
    first, and of equal ones the first, so that the result is the same every time.

    Args:
        edge_index: sources and targets; loops are not looked at.
        weight: of each edge; 1 for all if None.
        num_nodes: number of nodes N; the largest one plus one when omitted.

    Shapes: edge_index ``[2, E]``, weight ``[E]`` -> int64 ``[N]``, the lower number of a node and its match.
    Cost: O(E log E).
    Raises: TypeError for a matrix in place of the edges.
    """
    check_edges(edge_index, "graclus")
    if num_nodes is None:
        num_nodes = as_csr(edge_index).num_rows
    kept = (edge_index[0] != edge_index[1]).nonzero()[:, 0]
    edges = edge_index[:, kept].to(torch.int64)
    weight = torch.ones(kept.shape[0], device=edges.device) if weight is None else weight.reshape(-1)[kept]
    taken = edge_matching(edges, weight, num_nodes)
    node = torch.arange(num_nodes, device=edges.device)
    if kept.numel() == 0:
        return node
    lower = edges.amin(dim=0)[taken.clamp(min=0)]
    return torch.where(taken < 0, node, lower)


class GraclusPooling(Pooling):
    r"""Pairs of nodes along the edges of the largest normalised cut, without parameters.

    .. math:: c_{ij} = w_{ij} \left(\frac{1}{d_i} + \frac{1}{d_j}\right), \qquad d_i = \sum_j w_{ij}

    Dhillon et al., TPAMI 2007; as pooling, Defferrard et al., Convolutional Neural Networks on Graphs with
    Fast Localized Spectral Filtering, NeurIPS 2016. Edges are taken by decreasing c, of equal
    ones the first; nodes that no edge takes stay alone.

    Args:
        aggr: how the features of a pair are reduced: ``"max"`` as in Defferrard et al., ``"sum"``,
            ``"mean"``, ``"min"``.
        normalize: take edges by the normalised cut, otherwise by their weight.

    Shapes: x ``[N, F]``, edge_index ``[2, E]``, edge_weight ``[E]`` or None, batch ``[N]`` ->
        :class:`PoolingOutput` with x ``[K, F]``, N / 2 <= K <= N.
    Cost: O(N F + E log E) time, O(N F + E) memory.
    Raises: ValueError for an unknown ``aggr``, or inputs that do not fit each other.
    """

    def __init__(self, aggr: Reduce = "max", *, normalize: bool = True) -> None:
        super().__init__()
        check_choice(self._who, ("sum", "mean", "max", "min"), aggr=aggr)
        self.aggr = aggr
        self.normalize = normalize

    def assign(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None, batch: Tensor
    ) -> SelectOutput:
        """Match nodes; no gradient reaches the weights."""
        n = x.shape[0]
        source, target = edge_index
        weight = x.new_ones(source.shape[0]) if edge_weight is None else edge_weight.detach()
        weight = torch.where(source == target, 0, weight)
        score = weight
        if self.normalize:
            degree = scatter(weight, target, n)
            inverse = torch.where(degree > 0, 1 / torch.where(degree > 0, degree, 1), 0)
            score = weight * (inverse[source] + inverse[target])
        cluster = graclus(edge_index, score, n)
        first = cluster == torch.arange(n, device=x.device)
        number = batch.argsort(stable=True)  # clusters go graph by graph
        lead = number[first[number]]
        place = torch.zeros_like(cluster).index_copy(0, lead, torch.arange(lead.shape[0], device=x.device))
        nodes = torch.arange(n, device=x.device)
        return SelectOutput(nodes, n, place[cluster], lead.shape[0])

    def reduce(self, x: Tensor, so: SelectOutput) -> Tensor:
        """Features of the pairs: ``[N, F]`` -> ``[K, F]``."""
        return so.reduce(x, self.aggr)

    def __repr__(self) -> str:
        return f"{self._who}({self.aggr!r})"
