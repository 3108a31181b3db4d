"""Attention with queries and keys, as in transformers, over the edges of a graph."""

from __future__ import annotations

from typing import Unpack, overload

import torch
from torch import Tensor

from gnnlib.nn.conv.attention import AttentionConv
from gnnlib.nn.conv.base import Adj, Channels, ConvOptions, Pair
from gnnlib.nn.conv.messages import maps_first
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, edge_attention, sddmm, spmm


class TransformerConv(AttentionConv):
    r"""Scaled dot-product attention over the neighbours.

    .. math:: x'_i = W_1 x_i + \sum_{j \to i} \alpha_{ij} (W_2 x_j + W_6 e_{ij}), \qquad
        \alpha_{ij} = \operatorname{softmax}_j
        \frac{(W_3 x_i)^\top (W_4 x_j + W_6 e_{ij})}{\sqrt{C}}

    for each head; with ``beta`` the first term is mixed in by a gate
    :math:`\beta_i = \sigma(w_5^\top [m_i, r_i, m_i - r_i])` of the aggregate m and the root r.

    Shi et al., Masked Label Prediction: Unified Message Passing Model for Semi-Supervised Classification,
    IJCAI 2021.

    Args:
        in_channels: width of x, or of (sources, targets); -1 takes it from the first call.
        out_channels: width C of the output of one head.
        heads: number of heads H.
        concat: concatenate the heads; otherwise average them.
        beta: gate the root term; it needs ``root_weight``.
        dropout: probability in [0, 1] of dropping an attention weight in training.
        edge_dim: width of the edge features, if there are any.
        bias: biases of the maps of nodes.
        root_weight: add the term of the node itself.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]`` or (``[N_src, in_src]``, ``[N_dst, in_dst]``), edge_index ``[2, E]`` or any form
        that :func:`as_csr` takes, edge_attr ``[E, edge_dim]`` -> ``[N_dst, H C]``, or ``[N_dst, C]`` without
        concat.
    Cost: three products over nodes and one attention op. Narrow edge features stay ``[E, edge_dim]``: W_6
        acts on queries and on sums of them, N x H x edge_dim; those of 16 channels or more that are at least
        a quarter as wide as H C are mapped first, E x H C. The weights of the edges are then kept, E x H.
    Raises: ValueError when x, edge_index and edge_attr do not fit.
    """

    def __init__(
        self,
        in_channels: Channels,
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        beta: bool = False,
        dropout: float = 0.0,
        edge_dim: int | None = None,
        bias: bool = True,
        root_weight: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(in_channels, out_channels, heads, concat, dropout, False, edge_dim, "mean", **kwargs)
        if self.aggr != "sum":
            raise NotImplementedError(
                f"TransformerConv: aggr={self.aggr!r} is not offered; its weights make a sum, leave aggr out"
            )
        self.beta = beta and root_weight
        self.root_weight = root_weight
        src, dst = (in_channels, in_channels) if isinstance(in_channels, int) else in_channels
        inner, width = heads * out_channels, out_channels * (heads if concat else 1)
        self.lin_key = Linear(src, inner, bias=bias)
        self.lin_query = Linear(dst, inner, bias=bias)
        self.lin_value = Linear(src, inner, bias=bias)
        self.lin_edge = None if edge_dim is None else Linear(edge_dim, inner, bias=False)
        self.lin_skip = Linear(dst, width, bias=bias)
        self.lin_beta = Linear(3 * width, 1, bias=False) if self.beta else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        super().reset_parameters()
        maps = (self.lin_key, self.lin_query, self.lin_value, self.lin_edge, self.lin_skip, self.lin_beta)
        for lin in maps:
            if lin is not None:
                lin.reset_parameters()

    @overload
    def forward(
        self,
        x: Tensor | Pair,
        edge_index: Adj,
        edge_attr: Tensor | None = None,
        return_attention_weights: None = None,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        x: Tensor | Pair,
        edge_index: Adj,
        edge_attr: Tensor | None = None,
        *,
        return_attention_weights: bool,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]: ...

    def forward(
        self,
        x: Tensor | Pair,
        edge_index: Adj,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attend over the graph.

        Args:
            x: node features, or those of sources and targets.
            edge_index: the graph.
            edge_attr: edge features.
            return_attention_weights: also return ``(edge_index, alpha)``: the edges ``[2, E]`` and their
                weights before dropout ``[E, H]``, also where the graph came as a matrix (PyG then gives a
                matrix).
        """
        x_src, x_dst = self._pair(x)
        if x_dst is None:
            raise ValueError("TransformerConv: x has no features of the targets; its queries come from them")
        adj = self._graph(edge_index, x_src, x_dst)
        edge_attr = self._edge_features(adj, edge_attr)
        if (edge_attr is None) != (self.lin_edge is None):
            raise ValueError(
                f"TransformerConv: edge_dim={self.edge_dim} but edge_attr is missing; pass [E, edge_dim]"
            )
        shape = (-1, self.heads, self.out_channels)
        query = self.lin_query(x_dst).view(shape)
        key = self.lin_key(x_src).view(shape)
        value = self.lin_value(x_src).view(shape)
        edges = None
        if edge_attr is not None:
            edges = adj.to_slots(edge_attr)
        out, alpha = self._messages(adj.slot_order, query, key, value, edges, bool(return_attention_weights))
        out = self._heads(out)
        if self.root_weight:
            root = self.lin_skip(x_dst)
            if self.lin_beta is None:
                out = out + root
            else:
                gate = self.lin_beta(torch.cat([out, root, out - root], dim=-1)).sigmoid()
                out = gate * root + (1 - gate) * out
        return (out, self._weights(adj, alpha)) if return_attention_weights else out

    def _messages(
        self, adj: CSR, query: Tensor, key: Tensor, value: Tensor, edges: Tensor | None, weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Aggregate ``[N_dst, H, C]`` and, if asked for, the weights before dropout; edges by slot."""
        if edges is None or self.lin_edge is None:
            out, alpha = self._attend(adj, query, key, value, "dot", None, weights)
            if weights and self.training and self.dropout > 0:
                alpha = edge_attention(adj, query, key, value, "dot", return_attention_weights=True)[1]
            return out, alpha
        self.lin_edge.expect(edges.size(1))
        by_edge, scale = _by_edge(adj), self.out_channels**-0.5
        first = maps_first(edges.size(1), self.heads * self.out_channels) or self.lin_edge.hooked
        if first:
            edges = self.lin_edge(edges).view(-1, self.heads, self.out_channels)
            score = sddmm(by_edge, query, edges)
        else:
            # q^T (W e) = (W^T q)^T e, and the sum of alpha W e is W times that of alpha e.
            by_head = self.lin_edge.weight.view(self.heads, self.out_channels, -1)  # [H, C, K]
            asked = torch.einsum("nhc,hck->nhk", query, by_head)
            score = torch.stack([sddmm(by_edge, asked[:, h], edges) for h in range(self.heads)], dim=1)
        score = scale * score  # [E, H]
        out, alpha = self._attend(adj, query, key, value, "dot", score, True, scale=scale)
        assert alpha is not None
        if first:
            out = out + spmm(by_edge, edges, alpha)
        else:
            sums = torch.stack([spmm(by_edge, edges, alpha[:, h]) for h in range(self.heads)], dim=1)
            out = out + torch.einsum("nhk,hck->nhc", sums, by_head)
        if weights and self.training and self.dropout > 0:
            alpha = edge_attention(
                adj, query, key, value, "dot", edge=score, scale=scale, return_attention_weights=True
            )[1]
        return out, alpha


def _by_edge(adj: CSR) -> CSR:
    """The graph from edges to targets: slot e of a row has the edge e as its source."""
    return CSR.trusted(adj.indptr, torch.arange(adj.num_edges, device=adj.device), adj.num_edges)
