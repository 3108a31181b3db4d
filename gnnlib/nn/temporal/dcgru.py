"""The recurrent cell of DCRNN: a gated recurrent unit whose products are diffusion convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj
from gnnlib.nn.temporal.diffusion import DiffusionConv, Walks
from gnnlib.nn.temporal.series import fold, unfold


class DCGRUCell(nn.Module):
    r"""Gated recurrent unit over a graph.

    .. math:: r, u = \sigma(\Theta_{r,u} \star [X \,\|\, H] + b), \qquad
        C = \tanh(\Theta_C \star [X \,\|\, r \odot H] + b_C), \qquad H' = u \odot H + (1 - u) \odot C

    where the star is :class:`DiffusionConv`. Li et al., Diffusion Convolutional Recurrent Neural Network,
    ICLR 2018. The reset gate stands inside the product, as in Cho et al. (2014); :class:`torch.nn.GRUCell`
    has it outside. The gates' bias starts at 1, as in the authors' code.

    Args:
        in_channels: width of x.
        out_channels: width of the state.
        K: number of terms of each walk, the identity included.
        bias: learn the biases.

    Shapes: x ``[*, N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight
        ``[E]``, h ``[*, N, out]`` or None for zeros -> the new state ``[*, N, out]``.
    Cost: two diffusion convolutions of ``in + out`` channels; see :class:`DiffusionConv`.
    Raises: ValueError when x, h, edge_index and edge_weight do not fit.
    """

    def __init__(self, in_channels: int, out_channels: int, K: int, *, bias: bool = True) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.gates = DiffusionConv(in_channels + out_channels, 2 * out_channels, K, bias=bias)
        self.candidate = DiffusionConv(in_channels + out_channels, out_channels, K, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.gates.reset_parameters()
        self.candidate.reset_parameters()
        if self.gates.bias is not None:
            nn.init.ones_(self.gates.bias)

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        edge_weight: Tensor | None = None,
        h: Tensor | None = None,
    ) -> Tensor:
        """The state after x ``[*, N, in]`` -> ``[*, N, out]``."""
        now = fold(x, "DCGRUCell")
        state = None
        if h is not None:
            if h.shape != (*x.shape[:-1], self.out_channels):
                raise ValueError(
                    f"DCGRUCell: h has shape {list(h.shape)} but x {list(x.shape)}; expected "
                    f"{[*x.shape[:-1], self.out_channels]}"
                )
            state = fold(h, "DCGRUCell")
        return unfold(self.step(now, state, self.walks(now, edge_index, edge_weight)), x.shape[:-2])

    def walks(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Walks:
        """The walks of a graph, the same for every step in time; x ``[N, ...]`` for size and precision."""
        return self.gates.walks(x, edge_index, edge_weight)

    def step(self, x: Tensor, h: Tensor | None, walks: Walks) -> Tensor:
        """One step in time over walks that are there already.

        Shapes: x ``[N, B, in]``, h ``[N, B, out]`` or None for zeros -> ``[N, B, out]``.
        """
        if x.shape[-1] != self.in_channels:
            raise ValueError(
                f"DCGRUCell: x has {x.shape[-1]} features but in_channels={self.in_channels}; pass "
                f"{self.in_channels} features"
            )
        if h is None:
            h = x.new_zeros(*x.shape[:-1], self.out_channels)
        reset, keep = self.gates.filter(torch.cat([x, h], -1), walks).sigmoid().chunk(2, -1)
        new = self.candidate.filter(torch.cat([x, reset * h], -1), walks).tanh()
        return keep * h + (1 - keep) * new

    def __repr__(self) -> str:
        return f"DCGRUCell({self.in_channels}, {self.out_channels}, K={self.gates.K})"
