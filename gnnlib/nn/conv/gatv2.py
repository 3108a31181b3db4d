"""Graph attention with dynamic scores."""

from __future__ import annotations

from typing import Unpack, overload

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.attention import AttentionConv
from gnnlib.nn.conv.base import Adj, Channels, ConvOptions, Pair
from gnnlib.nn.conv.messages import maps_first
from gnnlib.nn.init import glorot, zeros


class GATv2Conv(AttentionConv):
    r"""Graph attention whose scores rank the neighbours differently for each node.

    .. math:: x'_i = \Big\Vert_k \sum_{j \to i} \alpha^k_{ij}\, (W_l^k x_j + b_l^k) + b, \qquad
        \alpha_{ij} = \operatorname{softmax}_j a^\top \mathrm{LeakyReLU}\big(
        W_r x_i + b_r + W_l x_j + b_l + W_e e_{ij}\big)

    Brody et al., How Attentive are Graph Attention Networks?, ICLR 2022, Eq. 7; edge features and the biases
    of both maps as in PyG.

    Args:
        in_channels: width of x, or of (sources, targets); -1 takes it from the first call.
        out_channels: width of the output of one head.
        heads: number of heads H.
        concat: concatenate the heads; otherwise average them.
        negative_slope: slope of the LeakyReLU below 0.
        dropout: probability in [0, 1] of dropping an attention weight in training.
        add_self_loops: drop the loops of the graph and give each node one.
        edge_dim: width of the edge features, if there are any.
        fill_value: edge features of the added loops: a number, a tensor ``[edge_dim]``, or a reduction
            (``"mean"``, ``"add"``, ``"max"``, ``"min"``) of the edges whose messages the node gets (in PyG
            of those into ``edge_index[1]``, whatever the flow).
        bias: learn b, b_l and b_r.
        share_weights: one map for sources and targets.
        residual: add a learned map of the target's x.
        **kwargs: ``aggr`` (``"sum"``) and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]`` or (``[N_src, in_src]``, ``[N_dst, in_dst]``), edge_index ``[2, E]`` or any form
        that :func:`as_csr` takes (the values of a sparse matrix have no part in it), edge_attr
        ``[E, edge_dim]`` -> ``[N_dst, H out]``, or ``[N_dst, out]`` without concat.
    Cost: two products over nodes and one attention op, which applies W_e on the way, and keeps no array of
        E x H x out; W_e comes first for 16 channels or more that are at least a quarter as wide as that.
    Raises: ValueError when x, edge_index and edge_attr do not fit.
    """

    def __init__(
        self,
        in_channels: Channels,
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        add_self_loops: bool = True,
        edge_dim: int | None = None,
        fill_value: float | Tensor | str = "mean",
        bias: bool = True,
        share_weights: bool = False,
        residual: bool = False,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(
            in_channels, out_channels, heads, concat, dropout, add_self_loops, edge_dim, fill_value, **kwargs
        )
        self.negative_slope = negative_slope
        self.share_weights = share_weights
        self.residual = residual
        src, dst = (in_channels, in_channels) if isinstance(in_channels, int) else in_channels
        inner, width = heads * out_channels, out_channels * (heads if concat else 1)
        self.lin_l = self._map(src, inner, bias)
        self.lin_r = self.lin_l if share_weights else self._map(dst, inner, bias)
        self.att = nn.Parameter(torch.empty(1, heads, out_channels))
        self.lin_edge = None if edge_dim is None else self._map(edge_dim, inner)
        self.res = self._map(dst, width) if residual else None
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        super().reset_parameters()
        for lin in (self.lin_l, self.lin_r, self.lin_edge, self.res):
            if lin is not None:
                lin.reset_parameters()
        glorot(self.att)
        zeros(self.bias)

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
            return_attention_weights: also return ``(edge_index, alpha)``: the edges attended over,
                ``[2, E']``, added loops last, and their weights ``[E', H]``, also where the graph came as a
                matrix (PyG then gives a matrix).
        """
        x_src, x_dst = self._pair(x)
        if x_dst is None:
            raise ValueError("GATv2Conv: x has no features of the targets; its scores need both sides")
        adj = self._graph(edge_index, x_src, x_dst)
        shape = (-1, self.heads, self.out_channels)
        h_src = self.lin_l(x_src).view(shape)
        h_dst = h_src if self.lin_l is self.lin_r and x_dst is x_src else self.lin_r(x_dst).view(shape)
        edge_attr = self._edge_features(adj, edge_attr)
        edge_map = None
        if edge_attr is not None and self.lin_edge is not None:
            self.lin_edge.expect(edge_attr.size(1))
            if self.lin_edge.hooked or maps_first(edge_attr.size(1), self.heads * self.out_channels):
                edge_attr = self.lin_edge(edge_attr).view(shape)
            else:
                edge_map = self.lin_edge.weight.t().reshape(-1, self.heads, self.out_channels)
        if self.add_self_loops:
            adj = adj.add_self_loops(remaining=False)
        out, alpha = self._attend(
            adj,
            h_dst,
            h_src,
            h_src,
            "gatv2",
            edge_attr,
            bool(return_attention_weights),
            att=self.att[0],
            edge_map=edge_map,
            negative_slope=self.negative_slope,
        )
        out = self._heads(out)
        if self.res is not None:
            out = out + self.res(x_dst)
        if self.bias is not None:
            out = out + self.bias
        return (out, self._weights(adj, alpha)) if return_attention_weights else out
