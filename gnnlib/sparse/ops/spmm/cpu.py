"""spmm on a CPU: a tile of the output row stays in registers while its edges pass by."""

from __future__ import annotations

import numpy as np
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import tile
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, optional, variant
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import AHEAD, BLOCK, CUT, RUNS, hub_pieces, pieces_of, run_start
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import FLOATS, kernel, needs


def _tile_pass(count):
    """Sum ``count`` vectors of features from column f on, for rows lo to hi.

    The loop over rows is inside, since numba counts references to arrays at every call.
    """
    lines = max(count * tile.VECTOR_BYTES // tile.CACHE_LINE, 1)

    @variant(count)
    def run(first, last, indices, weight, x, row_scale, col_scale, out, lo, hi, head, f):
        end = indices.size - 1
        one = x.dtype.type(1)
        step = tile.CACHE_LINE // x.itemsize
        weighted, scaled, rescaled = weight.size > 0, col_scale.size > 0, row_scale.size > 0
        for i in range(lo, hi):
            start, stop = tile.item(first, i), tile.item(last, i)
            if stop - start > CUT:
                continue
            total = tile.zero(x, count)
            for e in range(start, stop):
                coming = tile.item(indices, min(e + AHEAD, end))
                for k in range(lines):
                    tile.prefetch(x, coming, f + k * step)
                j = tile.item(indices, e)
                c = one
                if weighted:
                    c *= weight[e, head]
                if scaled:
                    c *= tile.item(col_scale, j)
                total = tile.axpy(total, c, x, j, f)
            tile.store_scaled(total, tile.item(row_scale, i) if rescaled else one, out, i, f)

    return run


_tile8 = _tile_pass(8)
_tile4 = _tile_pass(4)
_tile2 = _tile_pass(2)
_tile1 = _tile_pass(1)


@helper
def _narrow(first, last, indices, weight, x, row_scale, col_scale, out, lo, hi, head, f, width):
    """Sum the ``width`` features from column f on that do not fill a vector."""
    end = indices.size - 1
    one = x.dtype.type(1)
    weighted, scaled, rescaled = weight.size > 0, col_scale.size > 0, row_scale.size > 0
    for i in range(lo, hi):
        start, stop = tile.item(first, i), tile.item(last, i)
        if stop - start > CUT:
            continue
        for k in range(f, f + width):
            out[i, k] = 0
        for e in range(start, stop):
            tile.prefetch(x, tile.item(indices, min(e + AHEAD, end)), f)
            j = tile.item(indices, e)
            c = one
            if weighted:
                c *= weight[e, head]
            if scaled:
                c *= tile.item(col_scale, j)
            for k in range(f, f + width):
                out[i, k] += c * x[j, k]
        if rescaled:
            for k in range(f, f + width):
                out[i, k] *= tile.item(row_scale, i)


@helper
def _sum_rows(first, last, indices, weight, x, row_scale, col_scale, out, lo, hi):
    """Rows lo to hi, a few at a time so that the parts of a gathered row are read soon after each other."""
    heads = max(weight.shape[1], 1)
    depth = x.shape[1] // heads
    lanes = tile.lanes(x)
    for a in range(lo, hi, BLOCK):
        b = min(a + BLOCK, hi)
        for head in range(heads):
            f = head * depth
            stop = f + depth
            while stop - f >= 8 * lanes:
                _tile8(first, last, indices, weight, x, row_scale, col_scale, out, a, b, head, f)
                f += 8 * lanes
            if stop - f >= 4 * lanes:
                _tile4(first, last, indices, weight, x, row_scale, col_scale, out, a, b, head, f)
                f += 4 * lanes
            if stop - f >= 2 * lanes:
                _tile2(first, last, indices, weight, x, row_scale, col_scale, out, a, b, head, f)
                f += 2 * lanes
            if stop - f >= lanes:
                _tile1(first, last, indices, weight, x, row_scale, col_scale, out, a, b, head, f)
                f += lanes
            if f < stop:
                _narrow(first, last, indices, weight, x, row_scale, col_scale, out, a, b, head, f, stop - f)


@helper
def _combine(indptr, hub, partial, row_scale, out):
    """Add up the pieces of each hub row in order."""
    one = out.dtype.type(1)
    for p in range(hub.shape[1]):
        i = hub[0, p]
        scale = row_scale[i] if row_scale.size else one
        for f in range(out.shape[1]):
            if hub[1, p] == indptr[i]:
                out[i, f] = 0
            out[i, f] += scale * partial[p, f]


@helper
def _share(run, indptr, first, last, hub, indices, weight, x, row_scale, unscaled, col_scale, out, partial):
    """A run of light rows and its share of the pieces of hub rows."""
    lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
    _sum_rows(first, last, indices, weight, x, row_scale, col_scale, out, lo, hi)
    lo, hi = pieces_of(hub, run)
    _sum_rows(hub[1], hub[2], indices, weight, x, unscaled, col_scale, partial, lo, hi)


def _spmm(indptr, first, last, hub, indices, weight, x, row_scale, unscaled, col_scale, out, partial):
    for run in prange(RUNS):
        _share(
            run, indptr, first, last, hub, indices, weight, x, row_scale, unscaled, col_scale, out, partial
        )
    _combine(indptr, hub, partial, row_scale, out)


_spmm_launch = Launcher(_spmm)


@kernel("spmm", "cpu", refuse=needs("cpu", FLOATS))
def spmm(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    x: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
) -> Tensor:
    dtype = accumulate_dtype(x.dtype)
    num_rows, (num_cols, heads, depth) = indptr.shape[0] - 1, x.shape
    out = empty(num_rows, heads * depth, dtype=dtype)
    offsets = array(indptr)
    hub = hub_pieces(offsets, indices.shape[0])
    _spmm_launch(
        (indices.shape[0] + num_rows) * heads * depth,
        offsets,
        offsets[:-1],
        offsets[1:],
        hub,
        array(indices),
        optional(weight, dtype, 2),
        array(x.reshape(num_cols, heads * depth), dtype),
        optional(row_scale, dtype),
        optional(None, dtype),
        optional(col_scale, dtype),
        out.numpy(),
        np.empty((hub.shape[1], heads * depth), out.numpy().dtype),
    )
    out = out.view(num_rows, heads, depth)
    return out if x.dtype == dtype else out.to(x.dtype)
