"""The gradient of a sum of rectified messages on a CPU: each message is made again where it is needed."""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import lanes, tile
from gnnlib.sparse.native.edge_rows import covers, edge_gradients, edge_outputs, edge_rows
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, optional, variant
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import AHEAD, BLOCK, CUT, RUNS, hub_pieces, pieces_of, run_start
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.multi_reduce.cpu import edge_arrays
from gnnlib.sparse.ops.spmm_arg import arg_dtype
from gnnlib.sparse.registry import FLOATS, dispatch, kernel, needs


def _source_pass(count, part):
    """Add up the gradients of the rows where a source's message is positive; row p is source ``light[p]``."""
    lines = max(count * tile.VECTOR_BYTES // tile.CACHE_LINE, 1)
    get = lanes.get_part if part else lanes.get
    put = lanes.put_part if part else lanes.put

    @variant(count, part)
    def run(
        first, last, light, rows, slots, x, direct, loose, edge_map, order, grad, out, lo, hi, f, width
    ):  # fmt: skip
        end = rows.size - 1
        step = tile.CACHE_LINE // x.itemsize
        terms = edge_map.shape[0]
        given, mapped, sorted_ = direct.size > 0, loose.size > 0, order.size > 0
        none = tile.zero(x, count)
        for p in range(lo, hi):
            start, stop = tile.item(first, p), tile.item(last, p)
            if stop - start > CUT:
                continue
            own = get(x, tile.item(light, p), f, x, count, width)
            total = none
            for e in range(start, stop):
                coming = tile.item(rows, min(e + AHEAD, end))
                for k in range(lines):
                    tile.prefetch(grad, coming, f + k * step)
                value = own
                r = 0
                if given or mapped:
                    r = tile.item(slots, e)
                    if sorted_:
                        r = tile.item(order, r)
                if given:
                    value = lanes.plus(value, get(direct, r, f, x, count, width))
                if mapped:
                    for k in range(terms):
                        factor = lanes.fill(x, count, tile.item(loose, r * terms + k))
                        value = lanes.fused(value, factor, get(edge_map, k, f, x, count, width))
                d = get(grad, tile.item(rows, e), f, x, count, width)
                total = lanes.plus(total, tile.choose(lanes.above(value, none), d, none))
            put(total, out, p, f, width)

    return run


_tile2 = _source_pass(2, False)
_rest = _source_pass(1, True)


@helper
def _rows(first, last, light, rows, slots, x, direct, loose, edge_map, order, grad, out, lo, hi):
    depth, step = x.shape[1], tile.lanes(x)
    for a in range(lo, hi, BLOCK):
        b, f = min(a + BLOCK, hi), 0
        while depth - f >= 2 * step:
            _tile2(
                first, last, light, rows, slots, x, direct, loose, edge_map, order, grad, out, a, b, f, depth
            )
            f += 2 * step
        while f < depth:
            rest = depth - f
            _rest(
                first, last, light, rows, slots, x, direct, loose, edge_map, order, grad, out, a, b, f, rest
            )
            f += step


def _relu_sources(
    indptr, first, last, light, hub, rows, slots, x, direct, loose, edge_map, order, grad, out, partial
):
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _rows(first, last, light, rows, slots, x, direct, loose, edge_map, order, grad, out, lo, hi)
        lo, hi = pieces_of(hub, run)
        _rows(hub[1], hub[2], hub[0], rows, slots, x, direct, loose, edge_map, order, grad, partial, lo, hi)
    for p in range(hub.shape[1]):
        j = hub[0, p]
        for f in range(out.shape[1]):
            out[j, f] = partial[p, f] if hub[1, p] == indptr[j] else out[j, f] + partial[p, f]


_edge_rows = edge_rows(True)


def _relu_edges(
    indptr, first, last, light, hub, indices, x, direct, loose, edge_map, order, grad, arg, d_direct, d_loose,
    d_map,
):  # fmt: skip
    for run in prange(RUNS):
        base = run * edge_map.shape[0]
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _edge_rows(
            first, last, light, indices, x, x, direct, loose, edge_map, order, grad, grad, arg, -1, -1,
            d_direct, d_loose, d_map, lo, hi, base,
        )  # fmt: skip
        lo, hi = pieces_of(hub, run)
        _edge_rows(
            hub[1], hub[2], hub[0], indices, x, x, direct, loose, edge_map, order, grad, grad, arg, -1, -1,
            d_direct, d_loose, d_map, lo, hi, base,
        )  # fmt: skip


_sources_launch = Launcher(_relu_sources)
_edges_launch = Launcher(_relu_edges)


@kernel("edge_relu_sum_grad", "cpu", refuse=needs("cpu", FLOATS))
def edge_relu_sum_grad(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_rows: Tensor,
    t_slots: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    grad: Tensor,
    need: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = accumulate_dtype(x.dtype)
    (num_rows, width), num_slots = grad.shape, indices.shape[0]
    need_x, need_edge, need_map = need
    values, gradient = array(x, dtype), array(grad, dtype)
    edges = edge_arrays(edge, edge_map, perm, dtype)
    terms = 0 if edge_map is None else edge_map.shape[0]
    d_edge, d_map = edge_gradients(
        edge, edge_map, width, dtype, need_edge, need_map, covers(indptr, num_slots, edge)
    )
    if (d_edge.numel() or d_map.numel()) and width:
        offsets = array(indptr)
        hub = hub_pieces(offsets, num_slots)
        _edges_launch(
            num_slots * width * (1 + 2 * terms),
            offsets,
            offsets[:-1],
            offsets[1:],
            np.arange(num_rows),
            hub,
            array(indices),
            values,
            *edges,
            gradient,
            optional(None, torch.int32, 2),
            *edge_outputs(d_edge, d_map, edge_map is not None, dtype),
        )
    if need_x and d_edge.numel() and edge_map is None:
        # The message's gradient is that of the edge: the sources add up what is written already.
        place = t_slots if perm is None else perm.index_select(0, t_slots)
        place = place.to(arg_dtype(d_edge.shape[0]))
        d_x = dispatch("spmm", t_indptr, place, None, d_edge.unsqueeze(1), None, None).squeeze(1)
        return d_x.to(x.dtype), d_edge, d_map.sum(0)
    d_x = empty(x.shape[0] if need_x else 0, width, dtype=dtype)
    if d_x.numel():
        offsets = array(t_indptr)
        hub = hub_pieces(offsets, num_slots)
        _sources_launch(
            (num_slots * (1 + terms) + x.shape[0]) * width,
            offsets,
            offsets[:-1],
            offsets[1:],
            np.arange(x.shape[0]),
            hub,
            array(t_rows),
            array(t_slots),
            values,
            *edges,
            gradient,
            d_x.numpy(),
            np.empty((hub.shape[1], width), values.dtype),
        )
    return d_x.to(x.dtype), d_edge, d_map.sum(0)
