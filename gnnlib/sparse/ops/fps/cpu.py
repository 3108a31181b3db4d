"""Farthest-point sampling on a CPU: one pass over a set for each point that is picked in it."""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gnnlib.sparse.native.launch import Launcher, array
from gnnlib.sparse.registry import FLOATS, kernel, needs


def _fps(x, ptr, start, out, nearest, picked):
    for b in prange(ptr.size - 1):
        lo, hi = ptr[b], ptr[b + 1]
        last = lo + start[b]
        for j in range(lo, hi):
            nearest[j] = np.inf
        for t in range(out[b], out[b + 1]):
            picked[t] = last
            farthest, most = lo, -1.0
            for j in range(lo, hi):
                d = 0.0
                for f in range(x.shape[1]):
                    d += (x[j, f] - x[last, f]) ** 2
                d = min(d, nearest[j])
                nearest[j] = d
                if d > most:
                    farthest, most = j, d
            last = farthest


_launch = Launcher(_fps)


@kernel("fps", "cpu", refuse=needs("cpu", FLOATS))
def fps(x: Tensor, ptr: Tensor, start: Tensor, out: Tensor) -> Tensor:
    picked = torch.empty(int(out[-1]), dtype=torch.int64)
    sizes, counts = ptr.diff(), out.diff()
    work = int((sizes * counts).sum()) * x.shape[1] if ptr.numel() > 2 else 0
    arrays = array(x), array(ptr), array(start), array(out), np.empty(len(x)), picked.numpy()
    _launch(work, *arrays)
    return picked
