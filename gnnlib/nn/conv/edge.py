"""Edge convolution of dynamic graph CNNs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Aggr, Conv, FlowOptions, Pair
from gnnlib.nn.conv.messages import hooked, reduce_messages
from gnnlib.nn.init import reset
from gnnlib.sparse import CSR, multi_reduce, sddmm


class EdgeConv(Conv):
    r"""Edge convolution: a network of a node and its difference to each neighbour.

    .. math:: x'_i = \operatorname{aggr}_{j \to i} h(x_i \,\Vert\, x_j - x_i)

    Wang et al., Dynamic Graph CNN for Learning on Point Clouds, ACM TOG 2019, Eq. 7.

    A linear h, ``A x_i + B (x_j - x_i) + b``, is ``(A - B) x_i + b`` and ``B x_j``, two products over nodes.

    Args:
        nn: the network h, ``[E, 2 in] -> [E, out]``.
        aggr: ``"max"``, ``"sum"`` (or ``"add"``), ``"mean"``, ``"min"``, or any other aggregation, see
            :class:`Conv`.
        **kwargs: ``aggr_kwargs`` and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]`` or (``[N_src, in]``, ``[N_dst, in]``), edge_index ``[2, E]`` or any form that
        :func:`as_csr` takes -> ``[N_dst, out]``. The values of a sparse matrix are left out.
    Cost: with a linear map and a plain ``aggr``, two products over nodes and one pass over the gathered
        neighbours. A sequence that begins with a linear map has that one on the nodes, and what follows sees
        a message on each edge. Any other network sees the two features themselves on each edge, E x 2 in.
    Raises: ValueError when x and edge_index do not fit.
    """

    takes_modules = True

    def __init__(
        self, nn: Callable[[Tensor], Tensor], aggr: Aggr = "max", **kwargs: Unpack[FlowOptions]
    ) -> None:
        super().__init__(aggr, **kwargs)
        self.nn = nn
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters of h."""
        super().reset_parameters()
        reset(self.nn)

    def forward(self, x: Tensor | Pair, edge_index: Adj) -> Tensor:
        """Convolve x over the graph -> ``[N_dst, out]``."""
        x_src, x_dst = self._pair(x)
        if x_dst is None:
            raise ValueError("EdgeConv: the targets have no features; pass (x_src, x_dst)")
        adj = self._graph(edge_index, x_src, x_dst)
        first, rest = _split(self.nn)
        width = x_src.size(1)
        if x_dst.size(1) != width:
            raise ValueError(
                f"EdgeConv: sources have {width} features but targets {x_dst.size(1)}; they are subtracted"
            )
        if first is None or first.weight.shape[1] != 2 * width:
            slots, away = adj.slot_order, adj.indices
            own = sddmm(slots, x_dst, torch.zeros_like(x_src), "add")
            message = self.nn(torch.cat([own, x_src.index_select(0, away) - own], dim=-1))
            return reduce_messages(adj, message, self.aggr, self.aggr_module)
        own = F.linear(x_dst, first.weight[:, :width] - first.weight[:, width:], first.bias)
        source = F.linear(x_src, first.weight[:, width:])
        return self._reduce(adj, own, source, rest)

    def _reduce(self, adj: CSR, own: Tensor, source: Tensor, rest: nn.Sequential | None) -> Tensor:
        if rest is None and self.reduces:
            return multi_reduce(adj, source, (self.aggr,), target=own)[:, 0]
        message = sddmm(adj.slot_order, own, source, "add")
        message = message if rest is None else rest(message)
        return reduce_messages(adj, message, self.aggr, self.aggr_module)

    def __repr__(self) -> str:
        return f"EdgeConv(nn={self.nn})"


def _split(network: Any) -> tuple[Any, nn.Sequential | None]:
    """The linear map that a network begins with, None for none, and what follows it."""
    parts = list(network) if type(network) is nn.Sequential and not hooked(network) else [network]
    if not parts or not _linear(parts[0]):
        return None, None
    return parts[0], nn.Sequential(*parts[1:]) if len(parts) > 1 else None


def _linear(part: Any) -> bool:
    """Whether a part is a plain linear map with its weight in place."""
    named = type(part).__name__ == "Linear" and isinstance(part, nn.Module)
    weight = getattr(part, "weight", None)
    lazy = isinstance(weight, nn.parameter.UninitializedParameter)
    return named and isinstance(weight, Tensor) and weight.dim() == 2 and not lazy and not hooked(part)
