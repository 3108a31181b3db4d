"""Local extremum convolution."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from gnnlib.nn.conv.base import Adj, Channels, Conv, ConvOptions, Pair
from gnnlib.nn.linear import Linear
from gnnlib.sparse import spmm


class LEConv(Conv):
    r"""A node against the sum of its differences to its neighbours.

    .. math:: x'_i = W_3 x_i + b_3 + \sum_{j \to i} e_{ji} \,(W_1 x_j + b_1 - W_2 x_i)

    Ranjan et al., ASAP: Adaptive Structure Aware Pooling, AAAI 2020.

    Args:
        in_channels: width of x, or of (sources, targets); -1 takes it from the first call.
        out_channels: width of the output.
        bias: learn b.
        **kwargs: ``aggr`` (sum, or its other name add) and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]`` or (``[N_src, in_src]``, ``[N_dst, in_dst]``), edge_index ``[2, E]`` or any form
        that :func:`as_csr` takes, edge_weight ``[E]`` -> ``[N_dst, out]``.
    Cost: one SpMM of the output's width.
    Raises: ValueError when x, edge_index and edge_weight do not fit; NotImplementedError for another
        ``aggr``.
    """

    takes_edge_weight = True

    def __init__(
        self, in_channels: Channels, out_channels: int, bias: bool = True, **kwargs: Unpack[ConvOptions]
    ) -> None:
        kwargs.setdefault("aggr", "sum")
        super().__init__(**kwargs)
        if self.aggr != "sum":
            raise NotImplementedError(
                f"LEConv: aggr={self.aggr!r} is not offered; the layer is a sum of differences"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        src, dst = (in_channels, in_channels) if isinstance(in_channels, int) else in_channels
        self.lin1 = Linear(src, out_channels, bias=bias)
        self.lin2 = Linear(dst, out_channels, bias=False)
        self.lin3 = Linear(dst, out_channels, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        super().reset_parameters()
        for lin in (self.lin1, self.lin2, self.lin3):
            lin.reset_parameters()

    def forward(self, x: Tensor | Pair, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Convolve x over the graph -> ``[N_dst, out]``."""
        x_src, x_dst = self._pair(x)
        x_dst = x_src if x_dst is None else x_dst
        adj = self._graph(edge_index, x_src, x_dst)
        weight = self._edge_weight(adj, edge_weight, x_src)
        total = spmm(adj, x_src.new_ones(x_src.size(0), 1), weight)  # [N_dst, 1]
        near = spmm(adj, self.lin1(x_src), weight)
        out: Tensor = torch.addcmul(near + self.lin3(x_dst), total, self.lin2(x_dst), value=-1)
        return out
