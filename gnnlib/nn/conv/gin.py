"""Graph isomorphism layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions, Pair, Size
from gnnlib.nn.init import reset


class GINConv(Conv):
    r"""Graph isomorphism layer.

    .. math:: x'_i = h\big((1 + \epsilon)\, x_i + \sum_{j \to i} x_j\big)

    Xu et al., How Powerful are Graph Neural Networks?, ICLR 2019, Eq. 4.1.

    Args:
        nn: the network h, ``[N, in] -> [N, out]``.
        eps: initial epsilon, dimensionless.
        train_eps: learn epsilon.
        **kwargs: ``aggr`` (``"sum"``, or any aggregation that keeps the width of x, see :class:`Conv`),
            ``aggr_kwargs`` and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]`` or (``[N_src, in]``, ``[N_dst, in]`` or None), edge_index ``[2, E]`` or any form
        that :func:`as_csr` takes, size ``(N_src, N_dst)`` -> ``[N_dst, out]``. The values of a sparse
        matrix weigh its edges if ``aggr`` is a plain reduction, as in PyG.
    Cost: one SpMM, no per-edge tensor; another aggregation than a plain one sees a message on each edge.
    Raises: ValueError when x, edge_index and size do not fit.
    """

    eps: Tensor
    takes_modules = True

    def __init__(
        self,
        nn: Callable[[Tensor], Tensor],
        eps: float = 0.0,
        train_eps: bool = False,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.nn = nn
        self.initial_eps = eps
        if train_eps:
            self.eps = torch.nn.Parameter(torch.empty(1))
        else:
            self.register_buffer("eps", torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters of h and set epsilon back."""
        super().reset_parameters()
        reset(self.nn)
        nn.init.constant_(self.eps, self.initial_eps)

    def forward(self, x: Tensor | Pair, edge_index: Adj, size: Size = None) -> Tensor:
        """Convolve x over the graph -> ``[N_dst, out]``."""
        x_src, x_dst = self._pair(x)
        adj = self._graph(edge_index, x_src, x_dst, size)
        weight = self._edge_weight(adj, None, x_src) if self.reduces else None
        out = self._aggregate(adj, x_src, weight)
        if x_dst is not None:
            if x_dst.size(1) != x_src.size(1):
                raise ValueError(
                    f"GINConv: sources have {x_src.size(1)} features but targets {x_dst.size(1)}; they are "
                    "added, so pass equal widths or (x_src, None)"
                )
            out = out + (1 + self.eps) * x_dst
        return self.nn(out)

    def __repr__(self) -> str:
        return f"GINConv(nn={self.nn})"
