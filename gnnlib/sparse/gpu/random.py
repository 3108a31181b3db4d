"""The counter-based random numbers of the core in kernels: the bits of :mod:`gnnlib.sparse.random`."""

from __future__ import annotations

import triton
import triton.language as tl

# The constants of splitmix64 as signed numbers: a product of int64 wraps like an unsigned one.
GOLDEN = tl.constexpr(0x9E3779B97F4A7C15 - (1 << 64))
_MIX1 = tl.constexpr(0xBF58476D1CE4E5B9 - (1 << 64))
_MIX2 = tl.constexpr(0x94D049BB133111EB - (1 << 64))


@triton.jit
def shift(z, by: tl.constexpr):
    """A right shift that fills with zeros."""
    return (z.to(tl.uint64, bitcast=True) >> by).to(tl.int64, bitcast=True)


@triton.jit
def mix(z):
    """The finaliser of splitmix64."""
    z = (z ^ shift(z, 30)) * _MIX1
    z = (z ^ shift(z, 27)) * _MIX2
    return z ^ shift(z, 31)


@triton.jit
def draw(start, n):
    """The n-th word of each stream, int64."""
    return mix(start + (n + 1) * GOLDEN)


@triton.jit
def below(bits, bound):
    """An integer in [0, bound) from the 31 high bits."""
    return (shift(bits, 33) * bound) >> 31


@triton.jit
def unit(bits):
    """A float64 in [0, 1) from the 32 low bits."""
    return (bits & 0xFFFFFFFF).to(tl.float64) * 2.3283064365386963e-10


@triton.jit
def fine_unit(bits):
    """A float64 in [0, 1) from the 53 high bits."""
    return shift(bits, 11).to(tl.float64) * 1.1102230246251565e-16
