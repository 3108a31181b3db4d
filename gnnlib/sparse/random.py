"""The counter-based random numbers of the core in plain torch, on any device.

``gnnlib.sparse.native.random`` and ``native.counter`` compute the same bits in compiled code.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The constants of splitmix64, as signed numbers: torch's int64 wraps like an unsigned one.
GOLDEN, _MIX1, _MIX2 = (c - (1 << 64) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def shift(z: Tensor, by: int) -> Tensor:
    """A right shift that fills with zeros."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def mix(z: Tensor) -> Tensor:
    """The finaliser of splitmix64."""
    z = (z ^ shift(z, 30)) * _MIX1
    z = (z ^ shift(z, 27)) * _MIX2
    return z ^ shift(z, 31)


def stream(seed: int, number: Tensor) -> Tensor:
    """The starts of the streams with these numbers, int64 like ``number``."""
    return draw(draw(torch.tensor(seed, device=number.device), 0), number)


def draw(start: Tensor, n: Tensor | int) -> Tensor:
    """The n-th word of each stream."""
    step = (n + 1) * GOLDEN
    return mix(start + (_wrapped(step) if isinstance(step, int) else step))


def _wrapped(number: int) -> int:
    """A Python integer as torch's int64 holds it after an overflow."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def below(bits: Tensor, bound: Tensor | int) -> Tensor:
    """An integer in [0, bound) from the 31 high bits."""
    return (shift(bits, 33) * bound) >> 31


def unit(bits: Tensor) -> Tensor:
    """A float64 in [0, 1) from the 32 low bits."""
    return (bits & 0xFFFFFFFF).double() * 2.0**-32


def low24(bits: Tensor) -> Tensor:
    """An integer in [0, 2^24) from the low bits."""
    return bits & 0xFFFFFF


def high24(bits: Tensor) -> Tensor:
    """An integer in [0, 2^24) from the high bits."""
    return shift(bits, 40)


def as_seed(seed: int) -> int:
    """Any Python integer as one that fits in 63 bits."""
    return int(seed) & ((1 << 63) - 1)


__all__ = ["as_seed", "below", "draw", "GOLDEN", "high24", "low24", "mix", "shift", "stream", "unit"]
