"""Gradients of maxima and minima, sent to the sources that won."""

from __future__ import annotations

import numpy as np

from gnnlib.sparse.native import lanes, tile
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import variant
from gnnlib.sparse.native.rows import AHEAD, BLOCK

#: Neighbours up to which a row compares each of them with its winners.
MANY = 64


def _winner_pass(count, part):
    """Send the gradients of maximum and minimum to the sources that won, in ``count`` vectors of features.

    A light row compares each of its edges with all winners at once; a heavy one looks its winners up.
    """
    lines = max(count * tile.VECTOR_BYTES // tile.CACHE_LINE, 1)
    get = lanes.get_part if part else lanes.get
    put = lanes.put_part if part else lanes.put

    @variant(count, part)
    def run(indptr, indices, arg, grad, high, low, out, lo, hi, f, width):
        end = indices.size - 1
        step = tile.CACHE_LINE // out.itemsize
        depth = out.shape[1]
        low_at = depth if high >= 0 else 0
        none = tile.zero(out, count)
        for i in range(lo, hi):
            start, stop = tile.item(indptr, i), tile.item(indptr, i + 1)
            if start == stop:
                continue
            if stop - start > MANY:
                for k in range(f, f + min(width, count * tile.lanes(out))):
                    if high >= 0:
                        out[tile.item(indices, arg[i, k]), k] += grad[i, high * depth + k]
                    if low >= 0:
                        out[tile.item(indices, arg[i, low_at + k]), k] += grad[i, low * depth + k]
                continue
            g_high = g_low = none
            s_high = s_low = tile.index(out, count, np.int32(-1))
            if high >= 0:
                g_high = get(grad, i, high * depth + f, out, count, width)
                s_high = get(arg, i, f, out, count, width)
            if low >= 0:
                g_low = get(grad, i, low * depth + f, out, count, width)
                s_low = get(arg, i, low_at + f, out, count, width)
            for e in range(start, stop):
                coming = tile.item(indices, min(e + AHEAD, end))
                for k in range(lines):
                    tile.prefetch(out, coming, f + k * step)
                j, slot = tile.item(indices, e), tile.index(out, count, np.int32(e))
                d = tile.choose(lanes.equal(s_high, slot), g_high, none)
                d = lanes.plus(d, tile.choose(lanes.equal(s_low, slot), g_low, none))
                put(lanes.plus(get(out, j, f, out, count, width), d), out, j, f, width)

    return run


_winner2 = _winner_pass(2, False)
_winner_rest = _winner_pass(1, True)


@helper
def winner_block(indptr, indices, arg, grad, high, low, out, first, last):
    """Features first to last of all rows in order."""
    step, rows = tile.lanes(out), grad.shape[0]
    for a in range(0, rows, BLOCK):
        b, f = min(a + BLOCK, rows), first
        while last - f >= 2 * step:
            _winner2(indptr, indices, arg, grad, high, low, out, a, b, f, last)
            f += 2 * step
        while f < last:
            _winner_rest(indptr, indices, arg, grad, high, low, out, a, b, f, min(last - f, step))
            f += step
