"""Residual gated graph convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Channels, Conv, ConvOptions, Pair
from gnnlib.nn.conv.messages import maps_first
from gnnlib.nn.init import zeros
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, gated_sum, segment_reduce

_SIGMOIDS = (torch.sigmoid, F.sigmoid)


class ResGatedGraphConv(Conv):
    r"""Neighbours through a learned gate on each feature.

    .. math:: x'_i = W_1 x_i + \sum_{j \to i} \eta_{ij} \odot W_2 [x_j \Vert e_{ij}] + b, \qquad
        \eta_{ij} = \sigma\big(W_3 [x_i \Vert e_{ij}] + W_4 [x_j \Vert e_{ij}]\big)

    Bresson and Laurent, Residual Gated Graph ConvNets, 2017, Eqs. 11 and 12, without edge features. The
    paper's activation, its batch normalisation and its residual connection belong to the model.

    Args:
        in_channels: width of x, or of (sources, targets); -1 takes it from the first call.
        out_channels: width of the output.
        act: the gate's function :math:`\sigma`, by default the logistic one.
        edge_dim: width of the edge features, if there are any.
        root_weight: add :math:`W_1 x_i`.
        bias: learn b.
        **kwargs: ``aggr`` (``"add"``) and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]`` or (``[N_src, in_src]``, ``[N_dst, in_dst]``), edge_index ``[2, E]`` or any form
        that :func:`as_csr` takes (the values of a sparse matrix have no part in it), edge_attr
        ``[E, edge_dim]`` -> ``[N_dst, out]``.
    Cost: four products over nodes and one :func:`gated_sum`, whose memory is that of nodes and edge_attr: the
        maps of edge features are applied on the way, or before, E x 2 out, to 16 channels or more that are at
        least half as wide as the output. Another ``act`` than the logistic function, or ``aggr``
        max or min, makes a message for each edge, E x out.
    Raises: ValueError when x, edge_index and edge_attr do not fit.
    """

    def __init__(
        self,
        in_channels: Channels,
        out_channels: int,
        act: Callable[[Tensor], Tensor] | None = None,
        edge_dim: int | None = None,
        root_weight: bool = True,
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.act = nn.Sigmoid() if act is None else act
        self.edge_dim = edge_dim
        self.root_weight = root_weight
        src, dst = (in_channels, in_channels) if isinstance(in_channels, int) else in_channels
        self.lin_key = self._map(dst)
        self.lin_query = self._map(src)
        self.lin_value = self._map(src)
        self.lin_skip = Linear(dst, out_channels, bias=False) if root_weight else None
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def _map(self, width: int) -> Linear:
        # PyG adds edge_dim to -1 as well, and so takes a wrong width for known.
        return Linear(width + (self.edge_dim or 0) if width > 0 else -1, self.out_channels)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for lin in (self.lin_key, self.lin_query, self.lin_value, self.lin_skip):
            if lin is not None:
                lin.reset_parameters()
        zeros(self.bias)

    def forward(self, x: Tensor | Pair, edge_index: Adj, edge_attr: Tensor | None = None) -> Tensor:
        """Convolve x over the graph -> ``[N_dst, out]``."""
        x_src, x_dst = self._pair(x)
        if x_dst is None:
            raise ValueError(
                "ResGatedGraphConv: x is (x_src, None) but the gates need the targets; pass (x_src, x_dst)"
            )
        adj = self._graph(edge_index, x_src, x_dst)
        edge_attr = self._edge_features(adj, edge_attr)
        key, key_edge = self._split(self.lin_key, x_dst)
        query, query_edge = self._split(self.lin_query, x_src)
        value, value_edge = self._split(self.lin_value, x_src)
        edges: tuple[Tensor, ...] = ()
        if edge_attr is not None:
            edges = edge_attr, key_edge + query_edge, value_edge
        logistic = isinstance(self.act, nn.Sigmoid) or self.act in _SIGMOIDS
        if logistic and self.aggr in ("sum", "mean"):
            if edge_attr is not None and maps_first(edge_attr.size(1), 2 * self.out_channels):
                edges = (edge_attr @ torch.cat(edges[1:], dim=1),)
            out = gated_sum(adj, key, query, value, *edges)
            if self.aggr == "mean":
                out = out / adj.degree.clamp(min=1)[:, None].to(out.dtype)
        else:
            out = self._by_edge(adj, key, query, value, *edges)
        if self.lin_skip is not None:
            out = out + self.lin_skip(x_dst)
        return out if self.bias is None else out + self.bias

    def _split(self, lin: Linear, x: Tensor) -> tuple[Tensor, Tensor]:
        """The map of nodes applied, and the map of edge features ``[edge_dim, out]``; one bias for both."""
        width = x.size(1) + (self.edge_dim or 0)
        if not lin.uninitialized and lin.in_channels != width:
            raise ValueError(
                f"{self._who}: x has {x.size(1)} features but the layer was built for "
                f"in_channels={lin.in_channels - (self.edge_dim or 0)}; pass that many"
            )
        lin.expect(width)
        return F.linear(x, lin.weight[:, : x.size(1)], lin.bias), lin.weight[:, x.size(1) :].t()

    def _by_edge(
        self,
        adj: CSR,
        key: Tensor,
        query: Tensor,
        value: Tensor,
        edge_attr: Tensor | None = None,
        gate_map: Tensor | None = None,
        value_map: Tensor | None = None,
    ) -> Tensor:
        source = adj.indices
        gate, message = key.index_select(0, adj.rows) + query.index_select(0, source), value[source]
        if edge_attr is not None and gate_map is not None and value_map is not None:
            e = adj.to_slots(edge_attr)
            gate, message = gate + e @ gate_map, message + e @ value_map
        return segment_reduce(self.act(gate) * message, adj.indptr, self.aggr)

    def _edge_features(self, adj: CSR, edge_attr: Tensor | None) -> Tensor | None:
        if (edge_attr is None) != (self.edge_dim is None):
            came = "no edge_attr came" if edge_attr is None else "edge_attr came"
            raise ValueError(f"{self._who}: {came} but edge_dim={self.edge_dim}; one goes with the other")
        if edge_attr is not None and edge_attr.shape != (adj.num_values, self.edge_dim):
            raise ValueError(
                f"{self._who}: edge_attr has shape {list(edge_attr.shape)}; expected "
                f"[{adj.num_values}, {self.edge_dim}], one row an edge"
            )
        return edge_attr
