"""Several reductions on a CPU: the neighbours of a row pass by once, its moments stay in registers.

Squares are summed about the first message of the row. Since that is one of the values, their variance is at
least its squared distance from the mean over n, and the relative error stays below n roundings.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import lanes, tile
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, optional, variant
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import AHEAD, BLOCK, CUT, RUNS, hub_pieces, pieces_of, run_start
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.multi_reduce.names import (
    MAX,
    MEAN,
    MIN,
    STD,
    SUM,
    VAR,
    needs_mean,
    num_extremes,
    places,
)
from gnnlib.sparse.registry import FLOATS, kernel, needs

#: Variance up to which the standard deviation is 0 and takes no gradient, as in PyG.
THRESHOLD = 1e-5
#: Where the pieces of hub rows keep sum, maximum, minimum and, where it is asked for, variance.
_PIECE = np.array([0, -1, 2, 3, 1, -1])
_PIECE_OF_SUMS = np.array([0, -1, 2, 3, -1, -1])


def _tile_pass(count, part, full):
    """Moments of ``count`` vectors of features from column f on, for rows lo to hi.

    ``full`` is the form for all of them without edge features, where nothing is left to decide at an edge. It
    takes the faster comparisons, which forget a NaN, and returns whether it met any: then the rows are done
    again.
    """
    lines = max(count * tile.VECTOR_BYTES // tile.CACHE_LINE, 1)
    get = lanes.get_part if part else lanes.get
    put = lanes.put_part if part else lanes.put

    @variant(count, part, full)
    def run(
        first, last, indices, x, direct, loose, edge_map, order, target, at, out, mean, arg, lo, hi, f, width
    ):
        end = indices.size - 1
        one = x.dtype.type(1)
        step = tile.CACHE_LINE // x.itemsize
        depth, terms = x.shape[1], edge_map.shape[0]
        given = False if full else direct.size > 0
        mapped = False if full else loose.size > 0
        sorted_ = False if full else order.size > 0
        squares = True if full else at[VAR] >= 0 or at[STD] >= 0
        largest = True if full else at[MAX] >= 0
        smallest = True if full else at[MIN] >= 0
        at_high, at_low = f, (depth if largest else 0) + f
        none = tile.zero(x, count)
        bad = False
        for i in range(lo, hi):
            start, stop = tile.item(first, i), tile.item(last, i)
            if stop - start > CUT:
                continue
            if start == stop:
                for k in range(6):
                    if at[k] >= 0:
                        put(none, out, i, at[k] * depth + f, width)
                if mean.size:
                    put(none, mean, i, f, width)
                empty = tile.index(x, count, np.int32(-1))
                if largest:
                    put(empty, arg, i, at_high, width)
                if smallest:
                    put(empty, arg, i, at_low, width)
                continue
            base, total, square, high, low = none, none, none, none, none
            slot_high = slot_low = tile.index(x, count, np.int32(start))
            for e in range(start, stop):
                coming = tile.item(indices, min(e + AHEAD, end))
                for k in range(lines):
                    tile.prefetch(x, coming, f + k * step)
                value = get(x, tile.item(indices, e), f, x, count, width)
                r = tile.item(order, e) if sorted_ else e
                if given:
                    if sorted_:
                        ahead = tile.item(order, min(e + AHEAD, end))
                        for k in range(lines):
                            tile.prefetch(direct, ahead, f + k * step)
                    value = lanes.plus(value, get(direct, r, f, x, count, width))
                if mapped:
                    for k in range(terms):
                        factor = lanes.fill(x, count, tile.item(loose, r * terms + k))
                        value = lanes.fused(value, factor, get(edge_map, k, f, x, count, width))
                if e == start:
                    high, low = value, value
                    if squares:
                        base = lanes.finite(value)
                if squares:
                    far = lanes.minus(value, base)
                    total = lanes.plus(total, far)
                    square = lanes.fused(square, far, far)
                else:
                    total = lanes.plus(total, value)
                if largest:
                    wins = lanes.greater(value, high) if full else tile.beats(high, value)
                    high = tile.choose(wins, value, high)
                    slot_high = tile.choose(wins, tile.index(x, count, np.int32(e)), slot_high)
                if smallest:
                    wins = lanes.greater(low, value) if full else lanes.falls(low, value)
                    low = tile.choose(wins, value, low)
                    slot_low = tile.choose(wins, tile.index(x, count, np.int32(e)), slot_low)
            if full:
                bad = bad or lanes.broken(total)
            number = lanes.fill(x, count, x.dtype.type(stop - start))
            inverse = lanes.fill(x, count, one / x.dtype.type(stop - start))
            own = get(target, i, f, x, count, width) if target.size else none
            near = lanes.times(total, inverse)
            middle = lanes.plus(base, near)
            if at[SUM] >= 0:
                whole = lanes.fused(total, number, lanes.plus(base, own))
                put(whole, out, i, at[SUM] * depth + f, width)
            if at[MEAN] >= 0:
                put(lanes.plus(middle, own), out, i, at[MEAN] * depth + f, width)
            if mean.size:
                put(middle, mean, i, f, width)
            if squares:
                spread = lanes.times(lanes.minus(square, lanes.times(total, near)), inverse)
                spread = tile.choose(lanes.above(spread, none), spread, none)
                if at[VAR] >= 0:
                    put(spread, out, i, at[VAR] * depth + f, width)
                if at[STD] >= 0:
                    least = lanes.fill(x, count, x.dtype.type(THRESHOLD))
                    wide = tile.choose(lanes.above(spread, least), lanes.root(spread), none)
                    put(wide, out, i, at[STD] * depth + f, width)
            if largest:
                put(lanes.plus(high, own), out, i, at[MAX] * depth + f, width)
                put(slot_high, arg, i, at_high, width)
            if smallest:
                put(lanes.plus(low, own), out, i, at[MIN] * depth + f, width)
                put(slot_low, arg, i, at_low, width)
        return bad

    return run


_all2 = _tile_pass(2, False, True)
_tile2 = _tile_pass(2, False, False)
_rest = _tile_pass(1, True, False)


@helper
def _rows(first, last, indices, x, direct, loose, edge_map, order, target, at, out, mean, arg, lo, hi):
    depth, step = x.shape[1], tile.lanes(x)
    full = at[VAR] + at[STD] >= -1 and at[MAX] >= 0 and at[MIN] >= 0 and direct.size + loose.size == 0
    for a in range(lo, hi, BLOCK):
        b, f = min(a + BLOCK, hi), 0
        while depth - f >= 2 * step:
            if not full or _all2(
                first, last, indices, x, direct, loose, edge_map, order, target, at, out, mean, arg, a, b, f,
                depth,
            ):  # fmt: skip
                _tile2(
                    first, last, indices, x, direct, loose, edge_map, order, target, at, out, mean, arg, a, b,
                    f, depth,
                )  # fmt: skip
            f += 2 * step
        while f < depth:
            rest = depth - f
            _rest(
                first, last, indices, x, direct, loose, edge_map, order, target, at, out, mean, arg, a, b, f,
                rest,
            )  # fmt: skip
            f += step


@helper
def _combine(hub, partial, partial_arg, target, at, out, mean, arg):
    """Join the moments of the pieces of each hub row in order."""
    depth = partial.shape[1] // 4
    high_at, low_at = 0, (depth if at[MAX] >= 0 else 0)
    p = 0
    while p < hub.shape[1]:
        i, end = hub[0, p], p + 1
        while end < hub.shape[1] and hub[0, end] == i:
            end += 1
        for f in range(depth):
            own = target[i, f] if target.size else partial.dtype.type(0)
            total, square, seen = partial[p, f], partial[p, depth + f] * CUT, CUT
            high, low = partial[p, 2 * depth + f], partial[p, 3 * depth + f]
            slot_high, slot_low = partial_arg[p, f], partial_arg[p, depth + f]
            for q in range(p + 1, end):
                n = hub[2, q] - hub[1, q]
                gap = partial[q, f] / n - total / seen
                square += partial[q, depth + f] * n + gap * gap * (seen * n / (seen + n))
                total += partial[q, f]
                seen += n
                value = partial[q, 2 * depth + f]
                if value > high or (value != value and high == high):
                    high, slot_high = value, partial_arg[q, f]
                value = partial[q, 3 * depth + f]
                if value < low or (value != value and low == low):
                    low, slot_low = value, partial_arg[q, depth + f]
            spread = square / seen
            if at[SUM] >= 0:
                out[i, at[SUM] * depth + f] = total + seen * own
            if at[MEAN] >= 0:
                out[i, at[MEAN] * depth + f] = total / seen + own
            if mean.size:
                mean[i, f] = total / seen
            if at[VAR] >= 0:
                out[i, at[VAR] * depth + f] = spread
            if at[STD] >= 0:
                out[i, at[STD] * depth + f] = 0 if spread <= THRESHOLD else np.sqrt(spread)
            if at[MAX] >= 0:
                out[i, at[MAX] * depth + f] = high + own
                arg[i, high_at + f] = slot_high
            if at[MIN] >= 0:
                out[i, at[MIN] * depth + f] = low + own
                arg[i, low_at + f] = slot_low
        p = end


def _multi_reduce(
    indptr, first, last, hub, indices, x, direct, loose, edge_map, order, target, at, piece_at, nothing, out,
    mean, arg, partial, partial_arg,
):  # fmt: skip
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _rows(first, last, indices, x, direct, loose, edge_map, order, target, at, out, mean, arg, lo, hi)
        lo, hi = pieces_of(hub, run)
        _rows(
            hub[1], hub[2], indices, x, direct, loose, edge_map, order, nothing, piece_at, partial, nothing,
            partial_arg, lo, hi,
        )  # fmt: skip
    _combine(hub, partial, partial_arg, target, at, out, mean, arg)


_launch = Launcher(_multi_reduce)
_accepts = needs("cpu", FLOATS)


def _refuse(indptr: Tensor, indices: Tensor, *rest: Any) -> str | None:
    if indices.shape[0] >= 2**31:
        return f"numbers slots in 32 bits, got {indices.shape[0]} edges"
    return _accepts(indptr, indices, *rest)


@kernel("multi_reduce", "cpu", refuse=_refuse)
def multi_reduce(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    target: Tensor | None,
    reduces: str,
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = accumulate_dtype(x.dtype)
    names = reduces.split(",")
    num_rows, width = indptr.shape[0] - 1, x.shape[1]
    out = empty(num_rows, len(names), width, dtype=dtype)
    mean = empty(num_rows if needs_mean(names, target is not None) else 0, width, dtype=dtype)
    arg = empty(num_rows, num_extremes(names), width, dtype=torch.int32)
    offsets, values = array(indptr), array(x, dtype)
    hub = hub_pieces(offsets, indices.shape[0])
    squares = "var" in names or "std" in names
    _launch(
        (indices.shape[0] + num_rows) * width * 3,
        offsets,
        offsets[:-1],
        offsets[1:],
        hub,
        array(indices),
        values,
        *edge_arrays(edge, edge_map, perm, dtype),
        optional(target, dtype, 2),
        places(names),
        _PIECE if squares else _PIECE_OF_SUMS,
        optional(None, dtype, 2),
        flat(out),
        flat(mean),
        flat(arg),
        np.empty((hub.shape[1], 4 * width), values.dtype),
        np.empty((hub.shape[1], 2 * width), np.int32),
    )
    return out, mean, arg


def edge_arrays(
    edge: Tensor | None, edge_map: Tensor | None, perm: Tensor | None, dtype: torch.dtype
) -> tuple[np.ndarray[Any, Any], ...]:
    """Edge values that are added as they are ``[E, F]``, or flat ones and their map ``[K, F]``; the order."""
    mapped = edge_map is not None
    return (
        optional(None if mapped else edge, dtype, 2),
        optional(edge.reshape(-1) if mapped and edge is not None else None, dtype, 1),
        optional(edge_map, dtype, 2),
        optional(None if edge is None else perm, torch.int64),
    )


def flat(t: Tensor) -> np.ndarray[Any, Any]:
    """A tensor of node rows as a matrix."""
    return t.view(t.shape[0], math.prod(t.shape[1:])).numpy()
