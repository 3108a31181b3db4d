"""Repeated propagation on a CPU: all steps in one call, each a pass over rows that also adds the start."""

from __future__ import annotations

import numpy as np
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import tile, vector
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, optional, variant
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import AHEAD, BLOCK, CUT, RUNS, hub_pieces, pieces_of, run_start
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import FLOATS, kernel, needs


def _tile_pass(count):
    """``out_i = decay r_i sum_j w_ij c_j x_j + restart base_i`` for ``count`` vectors of features from f on.

    The loop over rows is inside, since numba counts references to arrays at every call.
    """
    lines = max(count * tile.VECTOR_BYTES // tile.CACHE_LINE, 1)

    @variant(count)
    def run(first, last, indices, weight, x, base, row_scale, col_scale, decay, restart, out, lo, hi, f):
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
                    c *= tile.item(weight, e)
                if scaled:
                    c *= tile.item(col_scale, j)
                total = tile.axpy(total, c, x, j, f)
            factor = decay * tile.item(row_scale, i) if rescaled else decay
            if restart == 0:
                tile.store_scaled(total, factor, out, i, f)
            else:
                tile.store(vector.plus(tile.load(restart, base, i, f, count), total, factor), out, i, f)

    return run


_tile8 = _tile_pass(8)
_tile4 = _tile_pass(4)
_tile2 = _tile_pass(2)
_tile1 = _tile_pass(1)


@helper
def _narrow(
    first, last, indices, weight, x, base, row_scale, col_scale, decay, restart, out, lo, hi, f, width
):
    """The same for the ``width`` features from column f on that do not fill a vector."""
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
                c *= tile.item(weight, e)
            if scaled:
                c *= tile.item(col_scale, j)
            for k in range(f, f + width):
                out[i, k] += c * x[j, k]
        factor = decay * tile.item(row_scale, i) if rescaled else decay
        for k in range(f, f + width):
            out[i, k] *= factor
            if restart != 0:
                out[i, k] += restart * base[i, k]


@helper
def _rows(first, last, indices, weight, x, base, row_scale, col_scale, decay, restart, out, lo, hi):
    """Rows lo to hi, a few at a time so that the parts of a gathered row are read soon after each other."""
    lanes = tile.lanes(x)
    stop = x.shape[1]
    for a in range(lo, hi, BLOCK):
        b = min(a + BLOCK, hi)
        f = 0
        while stop - f >= 8 * lanes:
            _tile8(first, last, indices, weight, x, base, row_scale, col_scale, decay, restart, out, a, b, f)
            f += 8 * lanes
        if stop - f >= 4 * lanes:
            _tile4(first, last, indices, weight, x, base, row_scale, col_scale, decay, restart, out, a, b, f)
            f += 4 * lanes
        if stop - f >= 2 * lanes:
            _tile2(first, last, indices, weight, x, base, row_scale, col_scale, decay, restart, out, a, b, f)
            f += 2 * lanes
        if stop - f >= lanes:
            _tile1(first, last, indices, weight, x, base, row_scale, col_scale, decay, restart, out, a, b, f)
            f += lanes
        if f < stop:
            left = stop - f
            _narrow(
                first,
                last,
                indices,
                weight,
                x,
                base,
                row_scale,
                col_scale,
                decay,
                restart,
                out,
                a,
                b,
                f,
                left,
            )


@helper
def _combine(indptr, hub, partial, base, row_scale, decay, restart, out):
    """Add up the pieces of each hub row in order."""
    for p in range(hub.shape[1]):
        i = hub[0, p]
        factor = decay * row_scale[i] if row_scale.size else decay
        for f in range(out.shape[1]):
            if hub[1, p] == indptr[i]:
                out[i, f] = restart * base[i, f] if restart != 0 else 0
            out[i, f] += factor * partial[p, f]


@helper
def _share(
    run,
    indptr,
    first,
    last,
    hub,
    indices,
    weight,
    x,
    base,
    row_scale,
    unscaled,
    col_scale,
    decay,
    restart,
    out,
    partial,
):
    """A run of light rows and its share of the pieces of hub rows."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
    _rows(first, last, indices, weight, x, base, row_scale, col_scale, decay, restart, out, lo, hi)
    lo, hi = pieces_of(hub, run)
    _rows(hub[1], hub[2], indices, weight, x, base, unscaled, col_scale, one, zero, partial, lo, hi)


def _propagate(
    indptr,
    first,
    last,
    hub,
    indices,
    weight,
    x,
    inject,
    row_scale,
    unscaled,
    col_scale,
    decay,
    restart,
    steps,
    hops,
    out,
    spare,
    partial,
):
    """Each hop goes into its place in ``hops``, or into ``out`` and ``spare`` in turn, the last into out."""
    source = x
    for k in range(1, steps + 1):
        base = inject[k] if inject.shape[0] > 0 else x
        if hops.shape[0] > 0:
            target = hops[k]
        else:
            target = out if (steps - k) % 2 == 0 else spare
        for run in prange(RUNS):
            _share(
                run,
                indptr,
                first,
                last,
                hub,
                indices,
                weight,
                source,
                base,
                row_scale,
                unscaled,
                col_scale,
                decay,
                restart,
                target,
                partial,
            )
        _combine(indptr, hub, partial, base, row_scale, decay, restart, target)
        source = target


_launch = Launcher(_propagate)


def _run(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    x: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    steps: int,
    factors: tuple[float, float],
    inject: Tensor | None,
    every: bool,
) -> Tensor:
    """All steps from x ``[N, F]``, in the dtype of x."""
    dtype, (num_nodes, width) = x.dtype, x.shape
    out = empty(*((steps + 1, num_nodes, width) if every else (num_nodes, width)), dtype=dtype)
    if every:
        out[0] = x
    hops = out.numpy()
    none = np.empty((0, num_nodes, width), hops.dtype)
    spare = np.empty((num_nodes if steps > 1 and not every else 0, width), hops.dtype)
    offsets = array(indptr)
    hub = hub_pieces(offsets, indices.shape[0])
    _launch(
        (indices.shape[0] + num_nodes) * width * steps,
        offsets,
        offsets[:-1],
        offsets[1:],
        hub,
        array(indices),
        optional(weight, dtype),
        array(x),
        none if inject is None else array(inject),
        optional(row_scale, dtype),
        optional(None, dtype),
        optional(col_scale, dtype),
        hops.dtype.type(factors[0]),
        hops.dtype.type(factors[1]),
        steps,
        hops if every else none,
        hops[0] if every else hops,
        spare,
        np.empty((hub.shape[1], width), hops.dtype),
    )
    return out


@kernel("propagate", "cpu", refuse=needs("cpu", FLOATS))
def propagate(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    x: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    steps: int,
    decay: float,
    restart: float,
    every: bool,
) -> Tensor:
    if steps == 0:
        return x[None].clone() if every else x.clone()
    start = x.detach().to(accumulate_dtype(x.dtype))
    factors = (decay, restart)
    out = _run(indptr, indices, weight, start, row_scale, col_scale, steps, factors, None, every)
    return out.to(x.dtype)


@kernel("propagate_inject", "cpu", refuse=needs("cpu", FLOATS))
def propagate_inject(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    inject: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    decay: float,
) -> Tensor:
    source = inject.detach().to(accumulate_dtype(inject.dtype)).contiguous()
    steps = inject.shape[0] - 1
    out = _run(indptr, indices, weight, source[0], row_scale, col_scale, steps, (decay, 1.0), source, True)
    return out.to(inject.dtype)
