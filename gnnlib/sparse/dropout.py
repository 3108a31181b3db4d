"""Dropout as layers and models use it, and of input features, which are often mostly zero."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnlib.sparse.cache import WeakCache
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.build import index_dtype
from gnnlib.sparse.ops.dropout import counted_dropout
from gnnlib.sparse.registry import FLOATS

__all__ = ["dropout", "feature_dropout", "known_zeros"]

# torch's random numbers on a CPU come from one thread, 15 ns each: 58 ms for 2,708 x 1,433 floats (two-core
# Xeon), where the counter takes 6.4 on one thread and 3.5 on two. Below so many, torch's call is as fast.
_FEWEST = 1 << 11
_COUNTED = FLOATS

# Drawing for the non-zeros alone pays up to about a third of them. Small inputs are not worth it.
_DENSEST = 1 / 3
_SMALLEST = 1 << 16

_places = WeakCache(size=8)


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """What ``torch.nn.functional.dropout`` does, by the core's counter where torch would be slow.

    On a CPU, from a few thousand elements on, the mask comes from a counter and a seed drawn from torch's
    generator: all threads draw, no mask is kept for the backward, and ``torch.manual_seed`` decides the
    result as it does torch's. The distribution is that of torch's function, the random stream is not.
    Elsewhere, under ``torch.func`` and while compiling it is torch's function.

    Args:
        x: floating.
        p: probability in [0, 1] of dropping an element.
        training: whether to drop at all.

    Shapes: x of any shape -> the same; x itself where nothing is dropped.
    Raises: ValueError for a p outside [0, 1].
    """
    if (
        not training
        or not 0 < p < 1
        or x.device.type != "cpu"
        or x.dtype not in _COUNTED
        or x.numel() < _FEWEST
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
    ):
        return F.dropout(x, p, training)
    return counted_dropout(x, p, int(torch.randint(1 << 62, ())))


def feature_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout that draws a random number for the non-zero features only; a zero stays one either way.

    The distribution is that of ``torch.nn.functional.dropout``, the random stream is not. Where the features
    are on another device than the CPU, need a gradient, are small or mostly non-zero, or while compiling,
    it is :func:`dropout`.

    Args:
        x: features.
        p: probability in [0, 1) of dropping one.
        training: whether to drop at all.

    Shapes: x of any shape -> the same.
    """
    if x.device.type != "cpu" or x.requires_grad or x.numel() < _SMALLEST or torch.compiler.is_compiling():
        return dropout(x, p, training)
    if not training or p == 0:
        _places.get(x, (x,), "features", lambda: True)
        return x
    places = _places.get(x, (x,), "non-zero", lambda: _non_zero(x))
    if places is None:
        return dropout(x, p, training)
    out = torch.zeros_like(x, memory_format=torch.contiguous_format)
    value = dropout(x.reshape(-1)[places], p, training)
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
