"""Graph convolution of higher-order GNNs."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from gnnlib.nn.conv.base import Adj, Aggr, Channels, Conv, FlowOptions, Pair, Size
from gnnlib.nn.linear import Linear


class GraphConv(Conv):
    r"""A node and the weighted sum of its neighbours, each through its own map.

    .. math:: x'_i = W_2\, x_i + W_1 \sum_{j \to i} e_{ji}\, x_j + b

    Morris et al., Weisfeiler and Leman Go Neural, AAAI 2019.

    Args:
        in_channels: width of x, or of (sources, targets); -1 takes it from the first call.
        out_channels: width of the output.
        aggr: ``"add"`` (or ``"sum"``), ``"mean"``, ``"max"``, ``"min"``; or any other aggregation that keeps
            the width of x: a name, a module or a list of them, see :class:`Conv`.
        bias: learn b.
        **kwargs: ``flow`` and ``aggr_kwargs`` of PyG's base class.

    Shapes: x ``[N, in]`` or (``[N_src, in_src]``, ``[N_dst, in_dst]`` or None), edge_index ``[2, E]`` or any
        form that :func:`as_csr` takes, edge_weight ``[E]``, size ``(N_src, N_dst)`` -> ``[N_dst, out]``.
        The values of a sparse matrix are its edge weights.
    Cost: one SpMM; add and mean run on the narrower side of W1. Another aggregation sees a message on each
        edge, E x in, unless it is made of plain reductions and there are no weights.
    Raises: ValueError when x, edge_index, edge_weight and size do not fit.
    """

    takes_edge_weight = True
    takes_modules = True

    def __init__(
        self,
        in_channels: Channels,
        out_channels: int,
        aggr: Aggr = "add",
        bias: bool = True,
        **kwargs: Unpack[FlowOptions],
    ) -> None:
        super().__init__(aggr, **kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        src, dst = (in_channels, in_channels) if isinstance(in_channels, int) else in_channels
        self.lin_rel = Linear(src, out_channels, bias=bias)
        self.lin_root = Linear(dst, out_channels, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        super().reset_parameters()
        self.lin_rel.reset_parameters()
        self.lin_root.reset_parameters()

    def forward(
        self, x: Tensor | Pair, edge_index: Adj, edge_weight: Tensor | None = None, size: Size = None
    ) -> Tensor:
        """Convolve x over the graph -> ``[N_dst, out]``."""
        x_src, x_dst = self._pair(x)
        adj = self._graph(edge_index, x_src, x_dst, size)
        weight = self._edge_weight(adj, edge_weight, x_src)
        return self._aggregate_then(self.lin_rel, adj, x_src, weight, self.aggr, self.lin_root, x_dst)
