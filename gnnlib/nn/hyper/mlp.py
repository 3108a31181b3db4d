"""The multilayer perceptron of the set-function layers, which normalises after its activation."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.hyper.base import apply_linear
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear
from gnnlib.sparse.dropout import dropout

__all__ = ["Norm", "SetMLP"]

Norm = Literal["layer", "batch", "none"]


class SetMLP(nn.Module):
    """Linear, ReLU, normalisation, dropout, again and again; the last linear map is plain.

    Args:
        widths: ``[in, ..., out]``; a single width is the identity.
        norm: ``"layer"``, ``"batch"`` or ``"none"``, after each ReLU.
        input_norm: normalise the input too.
        dropout: probability in [0, 1) after each ReLU.

    Shapes: ``[N, in]`` -> ``[N, out]``.
    """

    def __init__(
        self, widths: list[int], *, norm: Norm = "layer", input_norm: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.widths, self.dropout = widths, dropout
        self.lins = nn.ModuleList(Linear(i, o) for i, o in pairwise(widths))
        self.norms = nn.ModuleList(make_norm(norm, w) for w in widths[1:-1])
        self.input_norm = make_norm(norm, widths[0]) if input_norm and len(widths) > 1 else nn.Identity()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in (self.input_norm, *self.lins, *self.norms):
            reset(part)

    def forward(self, x: Tensor) -> Tensor:
        """Map x ``[N, in]`` -> ``[N, out]``."""
        x = self.input_norm(x)
        for i, lin in enumerate(self.lins):
            assert isinstance(lin, Linear)
            x = self.between(apply_linear(lin, x), i) if i + 1 < len(self.lins) else apply_linear(lin, x)
        return x

    def between(self, x: Tensor, i: int) -> Tensor:
        """What follows the linear map i, which is not the last."""
        x = self.norms[i](F.relu(x))
        return dropout(x, self.dropout, self.training)


def make_norm(norm: Norm, width: int) -> nn.Module:
    """A normalisation of rows, or of columns over all rows."""
    if norm not in ("layer", "batch", "none"):
        raise ValueError(f"norm={norm!r} is unknown; choose 'layer', 'batch' or 'none'")
    if norm == "none":
        return nn.Identity()
    return nn.LayerNorm(width) if norm == "layer" else nn.BatchNorm1d(width)


def widths_of(in_channels: int, hidden: int, out_channels: int, num_layers: int) -> list[int]:
    """``[in, hidden, ..., out]`` for so many linear maps; ``[in]`` for none."""
    return [in_channels, *[hidden] * (num_layers - 1), out_channels] if num_layers else [in_channels]
