"""One 64-bit word of a counter-based stream used for two draws, for compiled code.

A walk needs a slot and a decision a step; one word serves both: 31 high bits and 32 low bits. The same
functions stand in :mod:`gnnlib.sparse.random` for torch and give the same bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gnnlib.sparse.native.counter import draw

_31, _33, _40 = np.uint64(31), np.uint64(33), np.uint64(40)
_LOW32, _LOW24 = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFF)


@njit(inline="always")
def stream(seed, number):
    """The state of the stream that a seed and a number name, both integers."""
    return draw(draw(np.uint64(seed), 0), number)


@njit(inline="always")
def below(bits, bound):
    """An integer in [0, bound) from the 31 high bits; bound is at most 2^32."""
    return np.int64(((bits >> _33) * np.uint64(bound)) >> _31)


@njit(inline="always")
def unit(bits):
    """A number in [0, 1) from the 32 low bits, which :func:`below` does not use."""
    return np.float64(np.int64(bits & _LOW32)) * 2.0**-32


@njit(inline="always")
def low24(bits):
    """An integer in [0, 2^24) from the low bits."""
    return np.int64(bits & _LOW24)


@njit(inline="always")
def high24(bits):
    """An integer in [0, 2^24) from the high bits."""
    return np.int64(bits >> _40)


__all__ = ["below", "draw", "high24", "low24", "stream", "unit"]
