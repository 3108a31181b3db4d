"""What the attention layers share: heads, loops with edge features, dropout and the end of the layer."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from gnnlib.nn.conv.base import Channels, Conv, ConvOptions
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, edge_attention, segment_reduce, spmm
from gnnlib.sparse.ops.edge_attention import Score

__all__: list[str] = []

_FILLS = ("add", "sum", "mean", "max", "min")


class AttentionConv(Conv):
    """Base of the layers that weigh neighbours by a softmax.

    Args:
        in_channels: width of x, or of (sources, targets).
        out_channels: width of the output of one head.
        heads: number of heads H.
        concat: concatenate the heads; otherwise average them.
        dropout: probability in [0, 1] of dropping an attention weight in training.
        add_self_loops: drop the loops of the graph and give each node one.
        edge_dim: width of the edge features, if there are any.
        fill_value: edge features of the added loops.
    """

    def __init__(
        self,
        in_channels: Channels,
        out_channels: int,
        heads: int,
        concat: bool,
        dropout: float,
        add_self_loops: bool,
        edge_dim: int | None,
        fill_value: float | Tensor | str,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(fill_value, str) and fill_value not in _FILLS:
            raise NotImplementedError(
                f"{self._who}: fill_value={fill_value!r} is not offered; choose one of {', '.join(_FILLS)}, "
                "or a number or tensor"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads
        self.concat = concat
        self.dropout = dropout
        self.add_self_loops = add_self_loops
        self.edge_dim = edge_dim
        self.fill_value = fill_value

    @staticmethod
    def _map(in_channels: int, out_channels: int, bias: bool = False) -> Linear:
        return Linear(in_channels, out_channels, bias=bias, weight_initializer="glorot")

    def _edge_features(self, adj: CSR, edge_attr: Tensor | None) -> Tensor | None:
        """The edge features with those of the added loops last, ``[E', edge_dim]``."""
        if edge_attr is None:
            return None
        if self.edge_dim is None:
            raise ValueError(
                f"{self._who}: edge_attr came but edge_dim is None; build the layer with its width"
            )
        edge_attr = edge_attr.reshape(-1, 1) if edge_attr.dim() == 1 else edge_attr
        if edge_attr.shape != (adj.num_values, self.edge_dim):
            raise ValueError(
                f"{self._who}: edge_attr has shape {list(edge_attr.shape)}; expected "
                f"[{adj.num_values}, {self.edge_dim}], one row an edge"
            )
        if not self.add_self_loops:
            return edge_attr
        return torch.cat([edge_attr, self._loop_attr(adj, edge_attr)])

    def _loop_attr(self, adj: CSR, edge_attr: Tensor) -> Tensor:
        """Features of the added loops, ``[N, edge_dim]``."""
        fill, n = self.fill_value, min(adj.shape)
        shape = (n, edge_attr.size(1))
        if isinstance(fill, Tensor):
            return fill.to(edge_attr).expand(shape)
        if not isinstance(fill, str):
            return edge_attr.new_full(shape, fill)
        # Reduce over the graph with loops, where the new loop holds the neutral element: the loops of the
        # caller are left out already, and no shape depends on how many there were.
        looped = adj.add_self_loops(remaining=False)
        neutral = {"max": -torch.inf, "min": torch.inf}.get(fill, 0.0)
        rows = looped.to_slots(torch.cat([edge_attr, edge_attr.new_full(shape, neutral)]))
        reduce = fill if fill in ("max", "min") else "sum"
        out = segment_reduce(rows, looped.indptr, reduce)[:n]
        others = (looped.degree[:n] - 1)[:, None]
        if fill == "mean":
            out = out / others.clamp(min=1)
        return torch.where(others > 0, out, 0)

    def _attend(
        self,
        adj: CSR,
        x_dst: Tensor,
        x_src: Tensor,
        value: Tensor,
        score: Score,
        edge: Tensor | None,
        weights: bool,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Result ``[N_dst, H, C]``, and the weights by slot where they are asked for or needed."""
        slots = adj.slot_order
        options["edge"] = None if edge is None else adj.to_slots(edge)
        rate = self.dropout if self.training else 0.0
        if 0 < rate < 1:
            options |= {"dropout": rate, "seed": torch.randint(2**62, (1,), device=value.device)}
        alpha = None
        if weights or self.aggr != "sum":
            out, alpha = edge_attention(
                slots, x_dst, x_src, value, score, **options, return_attention_weights=True
            )
            if self.aggr != "sum":
                out = spmm(slots, value, alpha, self.aggr)
        else:
            out = edge_attention(slots, x_dst, x_src, value, score, **options)
        if rate >= 1:
            out, alpha = out * 0, None if alpha is None else alpha * 0
        return out, alpha

    def _heads(self, out: Tensor) -> Tensor:
        return out.flatten(1) if self.concat else out.mean(1)

    def _weights(self, adj: CSR, alpha: Tensor | None) -> tuple[Tensor, Tensor]:
        """The edges attended over, added loops last, and their weights, both in the caller's order."""
        assert alpha is not None
        if adj.perm is not None:
            alpha = alpha[adj.perm.argsort()]
        edges = adj.edge_index
        return (edges if self.flow == "source_to_target" else edges.flip(0)), alpha

    def __repr__(self) -> str:
        return f"{self._who}({self.in_channels}, {self.out_channels}, heads={self.heads})"
