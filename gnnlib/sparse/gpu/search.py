"""Searches in sorted rows, a lane each."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def first_at_least(values, low, high, x, live):
    """The first place in [low, high) whose value is not below x, else high; lanes that live, ``[BLOCK]``."""
    while tl.max(tl.where(live & (low < high), 1, 0)) > 0:
        seeking = live & (low < high)
        middle = (low + high) >> 1
        below = tl.load(values + middle, mask=seeking, other=0).to(tl.int64) < x
        low = tl.where(seeking & below, middle + 1, low)
        high = tl.where(seeking & ~below, middle, high)
    return low


@triton.jit
def holds(indptr, indices, row, x, live):
    """Whether the sorted row of each lane has column x."""
    start = tl.load(indptr + row, mask=live, other=0)
    stop = tl.load(indptr + row + 1, mask=live, other=0)
    place = first_at_least(indices, start, stop, x, live)
    inside = live & (place < stop)
    return inside & (tl.load(indices + place, mask=inside, other=-1).to(tl.int64) == x)
