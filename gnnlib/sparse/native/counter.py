"""Random numbers from a counter, for compiled code: the same for any thread, order and backend.

A stream is 64 bits of state; its number ``c`` is the splitmix64 generator's output ``c`` from that state.
:mod:`gnnlib.sparse.counter` has the same functions for Python's integers.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


@njit(inline="always")
def draw(state, c):
    """Number c of a stream, 64 random bits: also the state of the stream's c-th child."""
    z = state + np.uint64(c + 1) * _GOLDEN
    z = (z ^ (z >> _SHIFTS[0])) * _MIX1
    z = (z ^ (z >> _SHIFTS[1])) * _MIX2
    return z ^ (z >> _SHIFTS[2])


@njit(inline="always")
def unit(bits):
    """A float64 in [0, 1) with all of its 53 bits."""
    return np.float64(bits >> _SHIFTS[3]) * 2.0**-53


@njit(inline="always")
def below(bits, n):
    """An integer in [0, n), uniform up to a relative n / 2^53."""
    return np.int64(unit(bits) * n)
