"""Graph attention."""

from __future__ import annotations

from typing import Unpack, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.conv.attention import AttentionConv
from gnnlib.nn.conv.base import Adj, Channels, ConvOptions, Pair, Size
from gnnlib.nn.init import glorot, zeros
from gnnlib.sparse import CSR


class GATConv(AttentionConv):
    r"""Graph attention with additive scores.

    .. math:: x'_i = \Big\Vert_k \sum_{j \to i} \alpha^k_{ij}\, W^k x_j + b, \qquad
        \alpha_{ij} = \operatorname{softmax}_j \mathrm{LeakyReLU}\big(
        a_{dst}^\top W x_i + a_{src}^\top W x_j + a_{edge}^\top W_e e_{ij}\big)

    Velickovic et al., Graph Attention Networks, ICLR 2018, Eqs. 1 to 6; edge features as in PyG.

    Args:
        in_channels: width of x, or of (sources, targets), which then have a map each; -1 takes it from
            the first call.
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
        bias: learn b.
        residual: add a learned map of the target's x.
        **kwargs: ``aggr`` (``"sum"``) and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]`` or (``[N_src, in_src]``, ``[N_dst, in_dst]`` or None), edge_index ``[2, E]`` or any
        form that :func:`as_csr` takes (the values of a sparse matrix have no part in it), edge_attr
        ``[E, edge_dim]``, size ``(N_src, N_dst)`` -> ``[N_dst, H out]``, or ``[N_dst, out]`` without concat.
    Cost: two products over nodes and one attention op; no array of E x H x out.
    Raises: ValueError when x, edge_index, edge_attr and size do not fit.
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
        residual: bool = False,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(
            in_channels, out_channels, heads, concat, dropout, add_self_loops, edge_dim, fill_value, **kwargs
        )
        self.negative_slope = negative_slope
        self.residual = residual
        self.lin = self.lin_src = self.lin_dst = None
        if isinstance(in_channels, int):
            dst = in_channels
            self.lin = self._map(in_channels, heads * out_channels)
        else:
            src, dst = in_channels
            self.lin_src = self._map(src, heads * out_channels)
            self.lin_dst = self._map(dst, heads * out_channels)
        self.att_src = nn.Parameter(torch.empty(1, heads, out_channels))
        self.att_dst = nn.Parameter(torch.empty(1, heads, out_channels))
        self.lin_edge = None if edge_dim is None else self._map(edge_dim, heads * out_channels)
        self.att_edge = None if edge_dim is None else nn.Parameter(torch.empty(1, heads, out_channels))
        width = out_channels * (heads if concat else 1)
        self.res = self._map(dst, width) if residual else None
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for lin in (self.lin, self.lin_src, self.lin_dst, self.lin_edge, self.res):
            if lin is not None:
                lin.reset_parameters()
        glorot(self.att_src)
        glorot(self.att_dst)
        glorot(self.att_edge)
        zeros(self.bias)

    @overload
    def forward(
        self,
        x: Tensor | Pair,
        edge_index: Adj,
        edge_attr: Tensor | None = None,
        size: Size = None,
        return_attention_weights: None = None,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        x: Tensor | Pair,
        edge_index: Adj,
        edge_attr: Tensor | None = None,
        size: Size = None,
        *,
        return_attention_weights: bool,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]: ...

    def forward(
        self,
        x: Tensor | Pair,
        edge_index: Adj,
        edge_attr: Tensor | None = None,
        size: Size = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attend over the graph.

        Args:
            x: node features, or those of sources and targets.
            edge_index: the graph.
            edge_attr: edge features.
            size: number of sources and targets.
            return_attention_weights: also return ``(edge_index, alpha)``: the edges attended over,
                ``[2, E']``, added loops last, and their weights ``[E', H]``, also where the graph came as a
                matrix (PyG then gives a matrix).
        """
        x_src, x_dst = self._pair(x)
        adj = self._graph(edge_index, x_src, x_dst, size)
        lin_src = self.lin_src if self.lin is None else self.lin
        lin_dst = self.lin_dst if self.lin is None else self.lin
        assert lin_src is not None
        assert lin_dst is not None
        shape = (-1, self.heads, self.out_channels)
        h_src = lin_src(x_src).view(shape)
        if x_dst is None:
            h_dst = None
        else:
            h_dst = h_src if lin_src is lin_dst and x_dst is x_src else lin_dst(x_dst).view(shape)

        edge_score = self._edge_score(adj, edge_attr)
        if self.add_self_loops:
            adj = adj.add_self_loops(remaining=False)
        if h_dst is None:
            (score_src,) = _scores(h_src, self.att_src)  # [N_src, H]
            score_dst = score_src.new_zeros(adj.num_rows, self.heads)
        elif h_dst is h_src:
            score_src, score_dst = _scores(h_src, self.att_src, self.att_dst)
        else:
            (score_src,), (score_dst,) = _scores(h_src, self.att_src), _scores(h_dst, self.att_dst)
        out, alpha = self._attend(
            adj,
            score_dst,
            score_src,
            h_src,
            "additive",
            edge_score,
            bool(return_attention_weights),
            negative_slope=self.negative_slope,
        )
        out = self._heads(out)
        if self.res is not None and x_dst is not None:
            out = out + self.res(x_dst)
        if self.bias is not None:
            out = out + self.bias
        return (out, self._weights(adj, alpha)) if return_attention_weights else out

    def _edge_score(self, adj: CSR, edge_attr: Tensor | None) -> Tensor | None:
        """The edges' part of the scores, added loops last, ``[E', H]``."""
        edge_attr = self._edge_features(adj, edge_attr)
        if edge_attr is None or self.lin_edge is None or self.att_edge is None:
            return None
        # a^T (W e) = (a^T W) e: a vector for each head instead of an [E, H, C] tensor.
        self.lin_edge.expect(edge_attr.size(1))
        folded = (
            self.lin_edge.weight.view(self.heads, self.out_channels, -1) * self.att_edge[0, :, :, None]
        ).sum(1)
        return F.linear(edge_attr, folded)


def _scores(h: Tensor, *atts: Tensor) -> tuple[Tensor, ...]:
    """Product of each head of h ``[N, H, C]`` with each of the vectors ``[1, H, C]``, ``[N, H]`` for each.

    One product with a block-diagonal matrix reads h once; so does its backward. In a mixed precision the
    products are taken in the longer type, as the sum over a product of tensors is.
    """
    if any(att.dtype != h.dtype for att in atts):
        return tuple((h * att).sum(-1) for att in atts)
    heads = h.size(1)
    eye = torch.eye(heads, dtype=h.dtype, device=h.device)
    blocks = torch.cat([(att[0, :, :, None] * eye[:, None]).flatten(0, 1) for att in atts], dim=1)
    return (h.flatten(1) @ blocks).chunk(len(atts), dim=1)
