"""Adaptive structure aware pooling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.check import check_share
from gnnlib.nn.conv.le import LEConv
from gnnlib.nn.init import reset
from gnnlib.nn.pool.base import Pooling
from gnnlib.nn.pool.connect import triple_product
from gnnlib.nn.pool.outputs import ConnectOutput, PoolingOutput, SelectOutput
from gnnlib.nn.pool.topk import ScoreSelect
from gnnlib.sparse import CSR, as_csr, segment_softmax, spmm
from gnnlib.sparse.dropout import dropout


@dataclass(frozen=True, eq=False)
class _Ego(PoolingOutput):
    centres: Tensor | None = None

    @property
    def perm(self) -> Tensor:
        """The node at the centre of each cluster."""
        assert self.centres is not None
        return self.centres


class ASAPooling(Pooling):
    r"""The fittest neighbourhoods of a graph, each summed by attention, with the edges of their product.

    .. math:: m_i = \max_{j \in c(i)} x_j, \quad
        \alpha_{ij} = \operatorname{softmax}_j \mathrm{LeakyReLU}\big(w^\top [W m_i \,\Vert\, x_j] + b\big),
        \quad x^c_i = \sum_j \alpha_{ij}\, x_j

    .. math:: \varphi = \operatorname{sigmoid}(\mathrm{LEConv}(X^c, A)), \quad i = \mathrm{top}_k(\varphi),
        \quad X' = (\varphi \odot X^c)_i, \quad A' = S^\top (A + I)\, S, \quad S = \alpha^\top_{:, i}

    Ranjan et al., ASAP: Adaptive Structure Aware Pooling, AAAI 2020; c(i) is a node with its
    neighbours.

    The coarse edges always have the weights of the product; PyG gives them up where the graph came without
    weights. PyG also multiplies the fitness by the sign of a number that is drawn once and never learned, so
    that a layer may keep the worst neighbourhoods; here the number is 1, and a checkpoint of PyG brings its
    own. Ties and a ratio of 1.0 as in :class:`TopKPooling`.

    Args:
        in_channels: width of x.
        ratio: share of the neighbourhoods of a graph that are kept, in (0, 1.0], or, as a whole number, how
            many.
        GNN: class of a convolution of x before the attention looks at it, called with ``(in_channels,
            in_channels, **kwargs)``; it must take ``edge_weight``.
        dropout: probability in [0, 1] of dropping an attention weight in training; the others are not scaled
            to sum to 1 again.
        negative_slope: of the LeakyReLU.
        add_self_loops: the coarse graph has a loop on each node, of weight 1 where the product has none;
            otherwise it has no loops.
        **kwargs: arguments of the convolution.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_weight ``[E]`` or None, batch ``[N]`` ->
        :class:`PoolingOutput` that unpacks into x, edge_index, edge_weight, batch, perm.
    Cost: O(N F + E F) time and O(N F + E) memory, and two sparse products; two steps from a node of many
        neighbours are many edges.
    Raises: ValueError for a ratio or dropout outside its range, or inputs that do not fit each other.
    """

    order = ("x", "edge_index", "edge_weight", "batch", "perm")

    def __init__(
        self,
        in_channels: int,
        ratio: float = 0.5,
        GNN: Callable[..., nn.Module] | None = None,
        dropout: float = 0.0,
        negative_slope: float = 0.2,
        add_self_loops: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        check_share(self._who, dropout=dropout)
        self.in_channels = in_channels
        self.ratio = ratio
        self.negative_slope = negative_slope
        self.dropout = dropout
        self.add_self_loops = add_self_loops
        self.lin = nn.Linear(in_channels, in_channels)
        self.att = nn.Linear(2 * in_channels, 1)
        self.gnn_score = LEConv(in_channels, 1)
        self.gnn_intra_cluster = None if GNN is None else GNN(in_channels, in_channels, **kwargs)
        self.select = ScoreSelect(1, ratio, None, "tanh", learn=False)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in self.children():
            reset(part)

    def coarsen(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        batch_size: int | None = None,
    ) -> PoolingOutput:
        """Select, reduce and connect; arguments as in :class:`Pooling`."""
        x, batch = self._door(x, edge_index, edge_weight, batch)
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f"{self._who}: x has {x.shape[1]} features but in_channels={self.in_channels}; pass "
                f"{self.in_channels} features"
            )
        adj = as_csr(edge_index, x.shape[0]).add_self_loops()  # values: those of the edges, then of the loops
        weight = None if edge_weight is None else torch.cat([edge_weight, edge_weight.new_ones(x.shape[0])])
        alpha = self._attend(x, adj, weight)  # a slot
        inside = spmm(adj.slot_order, x, alpha)
        fitness = self.gnn_score(inside, adj).sigmoid().squeeze(-1)
        best: SelectOutput = self.select(fitness[:, None], batch)
        so = self._clusters(adj, alpha, best)
        filled = adj.filled
        looped = adj.slot_order.edge_index[:, filled]
        values = None if weight is None else adj.to_slots(weight)[filled]
        graph = ConnectOutput(*self._product(so, looped, values), batch[best.node_index])
        assert graph.batch is not None
        out = inside.index_select(0, best.node_index) * fitness[best.node_index][:, None]
        return _Ego(
            out, graph.edge_index, graph.edge_attr, graph.batch, so, order=self.order, centres=best.node_index
        )

    def _attend(self, x: Tensor, adj: CSR, weight: Tensor | None) -> Tensor:
        """The attention of each slot."""
        near = x
        if self.gnn_intra_cluster is not None:
            index, value = adj.slot_order.edge_index, None if weight is None else adj.to_slots(weight)
            near = self.gnn_intra_cluster(x, index, value)
        query = self.lin(spmm(adj, near, None, "max"))
        to, source = self.att.weight.reshape(2, -1)  # the map of a pair, end by end
        raw = (query @ to + self.att.bias)[adj.rows] + (near @ source)[adj.indices.long()]
        alpha = segment_softmax(F.leaky_relu(raw, self.negative_slope), adj.indptr)
        return dropout(alpha, self.dropout, self.training)

    @staticmethod
    def _clusters(adj: CSR, alpha: Tensor, best: SelectOutput) -> SelectOutput:
        """The assignment: a node is in the clusters of the chosen nodes among its targets."""
        new = best.node_index.new_full((best.num_nodes,), -1)
        new[best.node_index] = best.cluster_index
        cluster = new[adj.rows]
        kept = (cluster >= 0) & adj.filled
        return SelectOutput(
            adj.indices[kept].long(), best.num_nodes, cluster[kept], best.num_clusters, alpha[kept]
        )

    def _product(
        self, so: SelectOutput, edge_index: Tensor, edge_weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        index, weight = triple_product(so, edge_index, edge_weight, keep_loops=self.add_self_loops)
        if not self.add_self_loops:
            return index, weight
        looped = torch.zeros(so.num_clusters, dtype=torch.bool, device=index.device)
        looped[index[0, index[0] == index[1]]] = True
        missing = (~looped).nonzero()[:, 0].repeat(2, 1)
        return torch.cat([index, missing], dim=1), torch.cat([weight, weight.new_ones(missing.shape[1])])

    def __repr__(self) -> str:
        return f"{self._who}({self.in_channels}, ratio={self.ratio})"
