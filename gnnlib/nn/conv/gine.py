"""Graph isomorphism layer with edge features."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions, Pair, Size
from gnnlib.nn.conv.messages import edge_features, maps_first, reduce_messages
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, edge_relu_sum, multi_reduce


class GINEConv(Conv):
    r"""Graph isomorphism layer with edge features.

    .. math:: x'_i = h\Big((1 + \epsilon)\, x_i + \sum_{j \to i} \max(0, x_j + e_{ij})\Big)

    Hu et al., Strategies for Pre-training Graph Neural Networks, ICLR 2020, Appendix A (as PyG has it).

    Args:
        nn: the network h, ``[N, in] -> [N, out]``.
        eps: initial epsilon, dimensionless.
        train_eps: learn epsilon.
        edge_dim: width of edge features, which a linear map then brings to the width of x; None for edge
            features of that width.
        **kwargs: ``aggr`` (``"sum"``, or any aggregation that keeps the width of x, see :class:`Conv`),
            ``aggr_kwargs`` and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]`` or (``[N_src, in]``, ``[N_dst, in]`` or None), edge_index ``[2, E]`` or any form
        that :func:`as_csr` takes, edge_attr ``[E, in]`` or ``[E, edge_dim]``, size ``(N_src, N_dst)`` ->
        ``[N_dst, out]``. Rows of values of a sparse matrix stand in for edge_attr.
    Cost: one pass over the gathered neighbours; messages are made and rectified inside it, and narrow edge
        features are widened there too; those of at least 16 channels and a quarter of the width of x are
        widened before, E x in. An aggregation that is not sum, mean, max or min sees a message on
        each edge.
    Raises: ValueError when x, edge_index, edge_attr and size do not fit.
    """

    eps: Tensor
    takes_modules = True

    def __init__(
        self,
        nn: nn.Module,
        eps: float = 0.0,
        train_eps: bool = False,
        edge_dim: int | None = None,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.nn = nn
        self.initial_eps = eps
        if train_eps:
            self.eps = torch.nn.Parameter(torch.empty(1))
        else:
            self.register_buffer("eps", torch.empty(1))
        self.lin = None if edge_dim is None else Linear(edge_dim, _input_width(nn))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters of h and of the map of edges, and set epsilon back."""
        super().reset_parameters()
        reset(self.nn)
        nn.init.constant_(self.eps, self.initial_eps)
        if self.lin is not None:
            self.lin.reset_parameters()

    def forward(
        self, x: Tensor | Pair, edge_index: Adj, edge_attr: Tensor | None = None, size: Size = None
    ) -> Tensor:
        """Convolve x over the graph -> ``[N_dst, out]``."""
        x_src, x_dst = self._pair(x)
        adj = self._graph(edge_index, x_src, x_dst, size)
        if edge_attr is None:
            edge_attr = adj.value
        if edge_attr is None:
            raise ValueError("GINEConv: edge_attr is missing; pass edge features, or take GINConv")
        out = rectified(self, adj, x_src, edge_attr, self.lin)
        if x_dst is not None:
            if x_dst.size(1) != x_src.size(1):
                raise ValueError(
                    f"GINEConv: sources have {x_src.size(1)} features but targets {x_dst.size(1)}; they are "
                    "added, so pass equal widths or (x_src, None)"
                )
            out = out + (1 + self.eps) * x_dst
        mapped: Tensor = self.nn(out)
        return mapped

    def __repr__(self) -> str:
        return f"GINEConv(nn={self.nn})"


def rectified(
    conv: Conv, adj: CSR, x: Tensor, edge_attr: Tensor, lin: Linear | None, eps: float = 0.0
) -> Tensor:
    """Aggregate ``max(0, x_j + e_ij) + eps``, e of the width of x or brought to it by ``lin``."""
    who, bias, edge_map = type(conv).__name__, None, None
    if lin is not None and lin.hooked:
        edge, lin = lin(edge_attr), None
    elif lin is not None:
        lin.expect(edge_attr.shape[1] if edge_attr.dim() > 1 else 1)
        if lin.out_channels != x.size(1):
            raise ValueError(
                f"{who}: x has {x.size(1)} features but edge features are mapped to width={lin.out_channels}"
            )
        edge = edge_features(who, adj, edge_attr, lin.in_channels)
        if maps_first(lin.in_channels, lin.out_channels):
            edge = lin(edge if edge.is_floating_point() else edge.to(x.dtype))
        else:
            edge_map, bias = lin.weight.t(), lin.bias
    else:
        edge = edge_features(who, adj, edge_attr, x.size(1))
    edge = edge if edge.is_floating_point() else edge.to(x.dtype)
    count = adj.degree[:, None]
    if conv.reduces and conv.aggr in ("sum", "mean"):
        out = edge_relu_sum(adj, x, edge, edge_map, bias=bias)
        if conv.aggr == "mean":
            out = out / count.clamp(min=1)
            count = count.clamp(max=1)
        return out + eps * count.to(out.dtype) if eps else out
    if conv.reduces:
        # The rectifier keeps the order, so it may follow the maximum or minimum.
        shifted = x if bias is None else x + bias
        name: Any = conv.aggr
        out = multi_reduce(adj, shifted, (name,), edge=edge, edge_map=edge_map)[:, 0].relu()
        return out + eps * count.clamp(max=1).to(out.dtype) if eps else out
    rows = adj.to_slots(edge)
    rows = rows if edge_map is None else torch.nn.functional.linear(rows, edge_map.t(), bias)
    message = (x.index_select(0, adj.indices) + rows).relu() + eps
    return reduce_messages(adj, message, conv.aggr, conv.aggr_module)


def _input_width(network: nn.Module) -> int:
    """Width that a network, or the first map of a sequence, asks for."""
    first = network[0] if isinstance(network, nn.Sequential) else network
    for name in ("in_features", "in_channels"):
        if hasattr(first, name):
            return int(getattr(first, name))
    raise ValueError(
        "GINEConv: the input width of nn is not known from its first map; pass edge features as wide as x "
        "and leave edge_dim=None"
    )
