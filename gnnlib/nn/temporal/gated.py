"""Gated convolution along time, the same for every node."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gnnlib.nn.linear import Linear


class GatedTemporalConv(nn.Module):
    r"""Causal convolution along time with a gate.

    .. math:: P, Q = \sum_{j=0}^{k-1} X_{t - j d} W_j + b, \qquad
        X'_t = P \odot \sigma(Q) \quad \text{or} \quad \tanh(P) \odot \sigma(Q)

    The first form (``"linear"``) is that of Yu et al., Spatio-Temporal Graph Convolutional Networks, IJCAI
    2018; the second (``"tanh"``) that of Wu et al., Graph WaveNet, IJCAI 2019. Nothing is padded: a step
    without a full past gives no output.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        kernel_size: k, steps that an output sees, at least 1.
        dilation: d, how far apart they are, at least 1.
        form: what multiplies the gate.

    Shapes: x ``[*, T, N, in]`` -> ``[*, T - d (k - 1), N, out]``; output t belongs to step t + d (k - 1) of
        x.
    Cost: one dense product, over a copy of x for each of the k steps.
    Raises: ValueError when x has fewer steps than an output sees, or another width.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        form: Literal["linear", "tanh"] = "linear",
    ) -> None:
        super().__init__()
        if kernel_size < 1 or dilation < 1:
            raise ValueError(
                f"GatedTemporalConv: kernel_size={kernel_size}, dilation={dilation}; both are 1 or more"
            )
        if form not in ("linear", "tanh"):
            raise ValueError(f"GatedTemporalConv: form={form!r} is unknown; choose 'linear' or 'tanh'")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.form = form
        width = in_channels if in_channels < 0 else kernel_size * in_channels
        self.lin = Linear(width, 2 * out_channels)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin.reset_parameters()

    @property
    def shortens(self) -> int:
        """By how many steps the output is shorter, d (k - 1)."""
        return self.dilation * (self.kernel_size - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x ``[*, T, N, in]`` along time -> ``[*, T - d (k - 1), N, out]``."""
        steps = x.shape[-3] - self.shortens if x.dim() >= 3 else 0
        if x.dim() < 3 or steps < 1:
            raise ValueError(
                f"GatedTemporalConv: x has shape {list(x.shape)}; expected [*, T, N, F] with at least "
                f"{self.shortens + 1} steps"
            )
        if 0 <= self.in_channels != x.shape[-1]:
            raise ValueError(
                f"GatedTemporalConv: x has {x.shape[-1]} features but in_channels={self.in_channels}; pass "
                f"{self.in_channels} features"
            )
        seen = [x.narrow(-3, j * self.dilation, steps) for j in range(self.kernel_size)]
        p, q = self.lin(torch.cat(seen, dim=-1)).chunk(2, dim=-1)
        out: Tensor = (p.tanh() if self.form == "tanh" else p) * q.sigmoid()
        return out

    def __repr__(self) -> str:
        return (
            f"GatedTemporalConv({self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"dilation={self.dilation}, form={self.form!r})"
        )
