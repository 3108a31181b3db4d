"""Random numbers from a counter: what :mod:`gnnlib.sparse.native.counter` computes, in Python's integers."""

from __future__ import annotations

__all__ = ["below", "child", "draw", "unit"]

_MASK = (1 << 64) - 1


def draw(state: int, c: int) -> int:
    """Number c of the stream that begins at ``state``, 64 random bits (splitmix64)."""
    z = (state + (c + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def child(seed: int, *path: int) -> int:
    """The state of the stream that a path of numbers leads to from a seed."""
    state = seed & _MASK
    for c in path:
        state = draw(state, c)
    return state


def unit(bits: int) -> float:
    """A float in [0, 1) with all of its 53 bits."""
    return float(bits >> 11) * 2.0**-53


def below(bits: int, n: int) -> int:
    """An integer in [0, n), uniform up to a relative n / 2^53."""
    return int(unit(bits) * n)
