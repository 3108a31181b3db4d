"""Sum of rectified messages on a CPU: a tile of the row stays in registers while its edges pass by."""

from __future__ import annotations

import numpy as np
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import lanes, tile
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, variant
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import AHEAD, BLOCK, CUT, RUNS, hub_pieces, pieces_of, run_start
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.multi_reduce.cpu import edge_arrays
from gnnlib.sparse.registry import FLOATS, kernel, needs


def _tile_pass(count, part):
    lines = max(count * tile.VECTOR_BYTES // tile.CACHE_LINE, 1)
    get = lanes.get_part if part else lanes.get
    put = lanes.put_part if part else lanes.put

    @variant(count, part)
    def run(first, last, indices, x, direct, loose, edge_map, order, out, lo, hi, f, width):
        end = indices.size - 1
        step = tile.CACHE_LINE // x.itemsize
        terms = edge_map.shape[0]
        given, mapped, sorted_ = direct.size > 0, loose.size > 0, order.size > 0
        none = tile.zero(x, count)
        for i in range(lo, hi):
            start, stop = tile.item(first, i), tile.item(last, i)
            if stop - start > CUT:
                continue
            total = none
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
                total = lanes.plus(total, tile.choose(lanes.above(value, none), value, none))
            put(total, out, i, f, width)

    return run


_tile4 = _tile_pass(4, False)
_rest = _tile_pass(1, True)


@helper
def _rows(first, last, indices, x, direct, loose, edge_map, order, out, lo, hi):
    depth, step = x.shape[1], tile.lanes(x)
    for a in range(lo, hi, BLOCK):
        b, f = min(a + BLOCK, hi), 0
        while depth - f >= 4 * step:
            _tile4(first, last, indices, x, direct, loose, edge_map, order, out, a, b, f, depth)
            f += 4 * step
        while f < depth:
            _rest(first, last, indices, x, direct, loose, edge_map, order, out, a, b, f, depth - f)
            f += step


def _edge_relu_sum(indptr, first, last, hub, indices, x, direct, loose, edge_map, order, out, partial):
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _rows(first, last, indices, x, direct, loose, edge_map, order, out, lo, hi)
        lo, hi = pieces_of(hub, run)
        _rows(hub[1], hub[2], indices, x, direct, loose, edge_map, order, partial, lo, hi)
    for p in range(hub.shape[1]):
        i = hub[0, p]
        for f in range(out.shape[1]):
            out[i, f] = partial[p, f] if hub[1, p] == indptr[i] else out[i, f] + partial[p, f]


_launch = Launcher(_edge_relu_sum)


@kernel("edge_relu_sum", "cpu", refuse=needs("cpu", FLOATS))
def edge_relu_sum(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
) -> Tensor:
    dtype = accumulate_dtype(x.dtype)
    num_rows, width = indptr.shape[0] - 1, x.shape[1]
    out = empty(num_rows, width, dtype=dtype)
    offsets, values = array(indptr), array(x, dtype)
    hub = hub_pieces(offsets, indices.shape[0])
    _launch(
        (indices.shape[0] * (1 if edge_map is None else 1 + edge_map.shape[0]) + num_rows) * width,
        offsets,
        offsets[:-1],
        offsets[1:],
        hub,
        array(indices),
        values,
        *edge_arrays(edge, edge_map, perm, dtype),
        out.numpy(),
        np.empty((hub.shape[1], width), values.dtype),
    )
    return out.to(x.dtype)
