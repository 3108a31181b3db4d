"""Dropout by a counter on a CPU: a thread owns a run of words, each of which serves two elements."""

from __future__ import annotations

from numba import prange
from torch import Tensor

from gnnlib.sparse.native import memory, random
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.dropout import STEPS
from gnnlib.sparse.registry import FLOATS, kernel, needs

#: Words of a run.
RUN = 1 << 12


@helper
def _drop(x, edge, kept, start, out, lo, hi):
    zero, half = kept - kept, (x.size + 1) // 2
    both = min(hi, x.size - half)
    for k in range(lo, both):
        bits = random.draw(start, k)
        out[k] = x[k] * (kept if random.low24(bits) >= edge else zero)
        out[half + k] = x[half + k] * (kept if random.high24(bits) >= edge else zero)
    for k in range(max(lo, both), hi):
        out[k] = x[k] * (kept if random.low24(random.draw(start, k)) >= edge else zero)


def _dropout(x, edge, kept, seed, out):
    half, start = (x.size + 1) // 2, random.stream(seed, 0)
    for t in prange((half + RUN - 1) // RUN):
        _drop(x, edge, kept, start, out, t * RUN, min(half, (t + 1) * RUN))


_launch = Launcher(_dropout)


@kernel("dropout", "cpu", refuse=needs("cpu", FLOATS))
def dropout(x: Tensor, p: float, seed: int) -> Tensor:
    dtype = accumulate_dtype(x.dtype)
    out = memory.empty(*x.shape, dtype=dtype)
    flat = array(x, dtype).reshape(-1)
    _launch(4 * x.numel(), flat, round(p * STEPS), flat.dtype.type(1 / (1 - p)), seed, out.view(-1).numpy())
    return out if dtype == x.dtype else out.to(x.dtype)
