"""Complex features in real tensors: the real parts, and beside them the imaginary parts.

A complex signal of width F is a real tensor ``[N, 2 F]``, which every op, dtype and backend takes. A real
operator acts on both halves at once; a complex one is two real products, see :class:`HermitianStep`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.init import glorot
from gnnlib.sparse import CSR, spmm


def complex_columns(x: Tensor, channels: int, who: str) -> Tensor:
    """x as complex columns: ``[N, 2 F]`` as it is, real ones ``[N, F]`` with zeros beside them.

    Raises: ValueError for another width.
    """
    if x.size(1) == 2 * channels:
        return x
    if x.size(1) != channels:
        raise ValueError(
            f"{who}: x has {x.size(1)} features but in_channels={channels}; pass {channels} real ones, or "
            f"{2 * channels}, the real parts and then the imaginary ones"
        )
    return torch.cat([x, torch.zeros_like(x)], dim=1)


def times_i(x: Tensor) -> Tensor:
    """``i x`` of complex columns ``[N, 2 F]``."""
    real, imag = x.chunk(2, dim=1)
    return torch.cat([-imag, real], dim=1)


def modulus_relu(x: Tensor) -> Tensor:
    """Complex ReLU of columns ``[N, 2 F]``: z where its real part is not negative, else 0."""
    real, imag = x.chunk(2, dim=1)
    keep = real >= 0
    return torch.cat([torch.where(keep, real, 0), torch.where(keep, imag, 0)], dim=1)


class ComplexMap(nn.Module):
    r"""A complex linear map of complex columns, as one real product.

    .. math:: [x_r \,\Vert\, x_i] \mapsto [x_r \,\Vert\, x_i]
        \begin{pmatrix} W_r^\top & W_i^\top \\ -W_i^\top & W_r^\top \end{pmatrix}

    Args:
        in_channels: complex width of the input.
        out_channels: complex width of the output.

    Shapes: ``[N, 2 in]`` or real ``[N, in]`` -> ``[N, 2 out]``.
    Cost: one dense product.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.real = nn.Parameter(torch.empty(out_channels, in_channels))
        self.imag = nn.Parameter(torch.empty(out_channels, in_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        glorot(self.real)
        glorot(self.imag)

    def forward(self, x: Tensor) -> Tensor:
        """Map complex or real columns -> ``[N, 2 out]``."""
        of_real = torch.cat([self.real, self.imag])
        if x.size(1) == self.in_channels:
            return F.linear(x, of_real)
        return F.linear(x, torch.cat([of_real, torch.cat([-self.imag, self.real])], dim=1))

    def real_part(self, x: Tensor) -> Tensor:
        """The real part of the map of complex columns ``[N, 2 in]`` -> ``[N, out]``, at half the work."""
        return F.linear(x, torch.cat([self.real, -self.imag], dim=1))


@dataclass(frozen=True)
class HermitianStep:
    r"""A complex sparse operator :math:`s\, D (H_r + i H_i) D`, D = diag(scale), on complex columns.

    .. math:: H x = H_r [x_r \Vert x_i] + H_i [-x_i \Vert x_r]

    Both products are the two heads of one call, which reads each index once.

    Args:
        adj: the pattern, values in slot order.
        parts: real and imaginary part of each entry.
        scale: of rows and columns.
        sign: s.

    Shapes: adj ``[N, N]`` with U slots, parts ``[U, 2]``, scale ``[N]``; x ``[N, 2 F]`` -> ``[N, 2 F]``.
    """

    adj: CSR
    parts: Tensor
    scale: Tensor
    sign: float = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to complex columns x ``[N, 2 F]``."""
        both = torch.stack([x, times_i(x)], dim=1)  # [N, 2, 2 F]
        out = spmm(self.adj, both, self.parts, row_scale=self.scale, col_scale=self.scale).sum(1)
        return out if self.sign == 1 else self.sign * out
