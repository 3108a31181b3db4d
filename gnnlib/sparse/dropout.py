"""Dropout of input features, which are often mostly zero."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnlib.sparse.cache import WeakCache
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.build import index_dtype

__all__ = ["feature_dropout", "known_zeros"]

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
    if x.device.type != "cpu" or x.requires_grad or x.numel() < _SMALLEST or torch.compiler.is_compiling():
        return F.dropout(x, p, training)
    if not training or p == 0:
        _places.get(x, (x,), "features", lambda: True)
        return x
    places = _places.get(x, (x,), "non-zero", lambda: _non_zero(x))
    if places is None:
        return F.dropout(x, p, training)
    out = torch.zeros_like(x, memory_format=torch.contiguous_format)
    value = F.dropout(x.reshape(-1)[places], p, training)
    out.view(-1)[places] = value
    if x.dim() == 2:
        _places.get(out, (out,), "dropped", lambda: (x, value))
    return out


def known_zeros(x: Tensor) -> CSR | None:
    """The non-zero entries of features ``[N, F]`` that :func:`feature_dropout` returned; else None.

    None too where they are not mostly zero. Nothing is counted for tensors that it did not return.
    """
    if (dropped := _places.peek(x, "dropped")) is not None:
        source, value = dropped
        pattern = _pattern(source)
        return None if pattern is None else pattern.with_value(value)
    return _pattern(x) if x.dim() == 2 and _places.peek(x, "features") else None


def _pattern(x: Tensor) -> CSR | None:
    """The rows of x in a CSR, made once."""
    places = _places.get(x, (x,), "non-zero", lambda: _non_zero(x))
    return None if places is None else _places.get(x, (x,), "rows", lambda: _rows(x, places))


def _rows(x: Tensor, places: Tensor) -> CSR:
    columns = x.shape[1]
    indptr = torch.searchsorted(places, torch.arange(x.shape[0] + 1) * columns)
    indices = (places % columns).to(index_dtype(columns))
    return CSR.trusted(indptr, indices, columns, value=x.reshape(-1)[places])


def _non_zero(x: Tensor) -> Tensor | None:
    """Where x is not zero, counted in row-major order; None where that is nearly everywhere."""
    if int(x.count_nonzero()) > _DENSEST * x.numel():
        return None
    return x.reshape(-1).nonzero().view(-1)
