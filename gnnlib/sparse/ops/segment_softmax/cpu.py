"""Segment softmax on a CPU: three passes over a row while it is in cache, some columns at a time."""

from __future__ import annotations

import numpy as np
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import lanes, tile, vector
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, variant
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import BLOCK, RUNS, run_start
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import FLOATS, kernel, needs

#: Elements that are added up before their sum joins that of the row.
SUM = 256


def _tile_pass(count, part):
    """Softmax of rows lo to hi in ``count`` vectors of columns from column f on."""
    get = lanes.get_part if part else lanes.get
    put = lanes.put_part if part else lanes.put

    @variant(count, part)
    def run(indptr, src, out, lo, hi, f, width):
        none = tile.zero(src, count)
        one = lanes.fill(src, count, src.dtype.type(1))
        lowest = lanes.fill(src, count, src.dtype.type(-np.inf))
        for i in range(lo, hi):
            start, stop = tile.item(indptr, i), tile.item(indptr, i + 1)
            top = lowest
            for e in range(start, stop):
                value = get(src, e, f, src, count, width)
                top = tile.choose(tile.beats(top, value), value, top)
            top = tile.choose(lanes.above(top, lowest), top, none)
            total = none
            for begin in range(start, stop, SUM):  # sums of sums, which keeps long rows exact
                partial = none
                for e in range(begin, min(begin + SUM, stop)):
                    power = vector.exp(lanes.minus(get(src, e, f, src, count, width), top))
                    put(power, out, e, f, width)
                    partial = lanes.plus(partial, power)
                total = lanes.plus(total, partial)
            inverse = lanes.over(one, tile.choose(lanes.above(total, none), total, one))
            for e in range(start, stop):
                put(lanes.times(get(out, e, f, src, count, width), inverse), out, e, f, width)

    return run


_tile2 = _tile_pass(2, False)
_rest = _tile_pass(1, True)


@helper
def _one_column(indptr, src, out, lo, hi):
    """The softmax where there is one column: vectors go along the elements."""
    line, result = src.reshape(1, src.size), out.reshape(1, out.size)
    step, lowest = tile.lanes(src), src.dtype.type(-np.inf)
    for i in range(lo, hi):
        start, stop = tile.item(indptr, i), tile.item(indptr, i + 1)
        top = lowest
        for e in range(start, stop):
            value = vector.at(line, 0, e)
            if value > top or value != value:
                top = value
        if top == lowest:
            top = src.dtype.type(0)
        e, total = start, 0.0
        while e < stop:
            power = vector.exp(vector.shift(lanes.get_part(line, 0, e, src, 1, stop - e), -top))
            lanes.put_part(power, result, 0, e, stop - e)
            e += step
        for e in range(start, stop):
            total += vector.at(result, 0, e)
        inverse = src.dtype.type(1 / total) if total != 0 else src.dtype.type(0)
        e = start
        while e < stop:
            scaled = vector.scale(lanes.get_part(result, 0, e, src, 1, stop - e), inverse)
            lanes.put_part(scaled, result, 0, e, stop - e)
            e += step


@helper
def _softmax_rows(indptr, src, out, lo, hi):
    depth, step = src.shape[1], tile.lanes(src)
    if depth == 1:
        _one_column(indptr, src, out, lo, hi)
        return
    for a in range(lo, hi, BLOCK):
        b, f = min(a + BLOCK, hi), 0
        while depth - f >= 2 * step:
            _tile2(indptr, src, out, a, b, f, depth)
            f += 2 * step
        while f < depth:
            _rest(indptr, src, out, a, b, f, depth - f)
            f += step


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


def _grad_pass(count, part):
    """The gradient of rows lo to hi, ``out (grad - <out, grad>)``, in ``count`` vectors of columns."""
    get = lanes.get_part if part else lanes.get
    put = lanes.put_part if part else lanes.put

    @variant(count, part)
    def run(indptr, out, grad, found, lo, hi, f, width):
        none = tile.zero(out, count)
        for i in range(lo, hi):
            start, stop = tile.item(indptr, i), tile.item(indptr, i + 1)
            total = none
            for begin in range(start, stop, SUM):
                partial = none
                for e in range(begin, min(begin + SUM, stop)):
                    own = get(out, e, f, out, count, width)
                    partial = lanes.fused(partial, own, get(grad, e, f, out, count, width))
                total = lanes.plus(total, partial)
            for e in range(start, stop):
                above = lanes.minus(get(grad, e, f, out, count, width), total)
                put(lanes.times(get(out, e, f, out, count, width), above), found, e, f, width)

    return run


_grad2 = _grad_pass(2, False)
_grad_rest = _grad_pass(1, True)


@helper
def _grad_rows(indptr, out, grad, found, lo, hi):
    depth, step = out.shape[1], tile.lanes(out)
    for a in range(lo, hi, BLOCK):
        b, f = min(a + BLOCK, hi), 0
        while depth - f >= 2 * step:
            _grad2(indptr, out, grad, found, a, b, f, depth)
            f += 2 * step
        while f < depth:
            _grad_rest(indptr, out, grad, found, a, b, f, depth - f)
            f += step


def _segment_softmax_grad(indptr, out, grad, found):
    for t in prange(RUNS):
        _grad_rows(indptr, out, grad, found, run_start(indptr, t), run_start(indptr, t + 1))


_grad_launch = Launcher(_segment_softmax_grad)


@kernel("segment_softmax_grad", "cpu", refuse=needs("cpu", FLOATS))
def segment_softmax_grad(indptr: Tensor, out: Tensor, grad: Tensor) -> Tensor:
    dtype = accumulate_dtype(out.dtype)
    found = empty(*out.shape, dtype=dtype)
    found[int(indptr[-1]) :] = 0
    if found.numel():
        _grad_launch(4 * out.numel(), array(indptr), array(out, dtype), array(grad, dtype), found.numpy())
    return found.to(out.dtype)
