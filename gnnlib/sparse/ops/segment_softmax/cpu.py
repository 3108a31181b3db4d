"""Segment softmax on a CPU: three passes over a row while it is in cache."""

from __future__ import annotations

import math

import numpy as np
from numba import prange
from torch import Tensor

from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import RUNS, run_start
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import FLOATS, kernel, needs


@helper
def _softmax_rows(indptr, src, out, lo, hi):
    for i in range(lo, hi):
        start, stop = indptr[i], indptr[i + 1]
        for h in range(src.shape[1]):
            top = src.dtype.type(-np.inf)
            for e in range(start, stop):
                value = src[e, h]
                if value > top or value != value:
                    top = value
            if top == -np.inf:
                for e in range(start, stop):
                    out[e, h] = 0
                continue
            total = 0.0
            for e in range(start, stop):
                value = math.exp(src[e, h] - top)
                out[e, h] = value
                total += value
            inverse = 1 / total
            for e in range(start, stop):
                out[e, h] *= inverse


def _segment_softmax(indptr, src, out):
    for t in prange(RUNS):
        _softmax_rows(indptr, src, out, run_start(indptr, t), run_start(indptr, t + 1))


_launch = Launcher(_segment_softmax)


@kernel("segment_softmax", "cpu", refuse=needs("cpu", FLOATS))
def segment_softmax(indptr: Tensor, src: Tensor) -> Tensor:
    out = empty(*src.shape, dtype=accumulate_dtype(src.dtype))
    out[int(indptr[-1]) :] = 0
    if out.numel():
        _launch(8 * src.numel(), array(indptr), array(src.to(out.dtype)), out.numpy())
    return out.to(src.dtype)
