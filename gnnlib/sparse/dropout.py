"""Dropout of input features, which are often mostly zero."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnlib.sparse.cache import WeakCache

__all__ = ["feature_dropout"]

# A random number costs about ten times a copied float, so drawing for the non-zeros alone pays up to about a
# third of them (Cora's features, 1.3 % of 2,708 x 1,433: 40 ms against 5). Small inputs are not worth it.
_DENSEST = 1 / 3
_SMALLEST = 1 << 16

_places = WeakCache(size=8)


def feature_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout that draws a random number for the non-zero features only; a zero stays one either way.

    The distribution is that of ``torch.nn.functional.dropout``, the random stream is not. Where the features
    are on another device than the CPU, need a gradient, are small or mostly non-zero, or while compiling,
    it is that function.

    Args:
        x: features.
        p: probability in [0, 1) of dropping one.
        training: whether to drop at all.

    Shapes: x of any shape -> the same.
    """
    if (
        not training
        or p == 0
        or x.device.type != "cpu"
        or x.requires_grad
        or x.numel() < _SMALLEST
        or torch.compiler.is_compiling()
    ):
        return F.dropout(x, p, training)
    places = _places.get(x, (x,), "non-zero", lambda: _non_zero(x))
    if places is None:
        return F.dropout(x, p, training)
    out = torch.zeros_like(x, memory_format=torch.contiguous_format)
    out.view(-1)[places] = F.dropout(x.reshape(-1)[places], p, training)
    return out


def _non_zero(x: Tensor) -> Tensor | None:
    """Where x is not zero, counted in row-major order; None where that is nearly everywhere."""
    if int(x.count_nonzero()) > _DENSEST * x.numel():
        return None
    return x.reshape(-1).nonzero().view(-1)
