"""The gradient of several reductions on a CPU.

Sum, mean, variance and standard deviation together send ``c_i + b_i (m - centre)`` to the message m of row i.
One pass over the transposed graph adds these up, and the winners of maximum and minimum are added one by one.
The centre, a typical value of each feature, keeps sums from cancelling where features are far from 0.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import lanes, tile
from gnnlib.sparse.native.edge_rows import covers, edge_gradients, edge_outputs, edge_rows
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, num_threads, variant
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import AHEAD, BLOCK, CUT, RUNS, hub_pieces, pieces_of, run_start
from gnnlib.sparse.native.winners import winner_block
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.multi_reduce.cpu import edge_arrays, flat
from gnnlib.sparse.ops.multi_reduce.names import MAX, MEAN, MIN, STD, SUM, VAR, places
from gnnlib.sparse.registry import FLOATS, kernel, needs

SAMPLE = 33  #: rows among which the typical value of a feature is looked for


def _coefficient_pass(count, part):
    get = lanes.get_part if part else lanes.get
    put = lanes.put_part if part else lanes.put

    @variant(count, part)
    def run(indptr, grad, out, mean, centre, at, coef, d_target, lo, hi, f, width):
        depth = centre.shape[1]
        squares = coef.shape[1] > depth
        one = grad.dtype.type(1)
        none = tile.zero(grad, count)
        middle = get(centre, 0, f, grad, count, width)
        for i in range(lo, hi):
            n = tile.item(indptr, i + 1) - tile.item(indptr, i)
            if n == 0:
                if d_target.size:
                    put(none, d_target, i, f, width)
                if coef.size:
                    put(none, coef, i, f, width)
                    if squares:
                        put(none, coef, i, depth + f, width)
                continue
            inverse = lanes.fill(grad, count, one / grad.dtype.type(n))
            c = own = none
            if at[SUM] >= 0:
                g = get(grad, i, at[SUM] * depth + f, grad, count, width)
                c = g
                own = lanes.times(g, lanes.fill(grad, count, grad.dtype.type(n)))
            if at[MEAN] >= 0:
                g = get(grad, i, at[MEAN] * depth + f, grad, count, width)
                c = lanes.fused(c, g, inverse)
                own = lanes.plus(own, g)
            if d_target.size:
                if at[MAX] >= 0:
                    own = lanes.plus(own, get(grad, i, at[MAX] * depth + f, grad, count, width))
                if at[MIN] >= 0:
                    own = lanes.plus(own, get(grad, i, at[MIN] * depth + f, grad, count, width))
                put(own, d_target, i, f, width)
            if not coef.size:
                continue
            if squares:
                b = none
                if at[VAR] >= 0:
                    g = get(grad, i, at[VAR] * depth + f, grad, count, width)
                    b = lanes.plus(g, g)
                if at[STD] >= 0:
                    g = get(grad, i, at[STD] * depth + f, grad, count, width)
                    wide = get(out, i, at[STD] * depth + f, grad, count, width)
                    slope = tile.choose(lanes.above(wide, none), lanes.over(g, wide), none)
                    b = lanes.plus(b, slope)
                b = lanes.times(b, inverse)
                if mean.size:
                    mu = get(mean, i, f, grad, count, width)
                else:
                    mu = get(out, i, at[MEAN] * depth + f, grad, count, width)
                c = lanes.minus(c, lanes.times(b, lanes.minus(mu, middle)))
                put(b, coef, i, depth + f, width)
            put(c, coef, i, f, width)

    return run


_coef2 = _coefficient_pass(2, False)
_coef_rest = _coefficient_pass(1, True)


@helper
def _coefficient_rows(indptr, grad, out, mean, centre, at, coef, d_target, lo, hi):
    depth, step, f = centre.shape[1], tile.lanes(grad), 0
    while depth - f >= 2 * step:
        _coef2(indptr, grad, out, mean, centre, at, coef, d_target, lo, hi, f, depth)
        f += 2 * step
    while f < depth:
        _coef_rest(indptr, grad, out, mean, centre, at, coef, d_target, lo, hi, f, depth - f)
        f += step


def _coefficients(indptr, grad, out, mean, centre, at, coef, d_target):
    rows = indptr.size - 1
    for run in prange(RUNS):
        lo, hi = rows * run // RUNS, rows * (run + 1) // RUNS
        for a in range(lo, hi, BLOCK):
            b = min(a + BLOCK, hi)
            _coefficient_rows(indptr, grad, out, mean, centre, at, coef, d_target, a, b)


def _source_pass(count, part):
    """Add up the coefficients of the rows that a source is in."""
    lines = max(count * tile.VECTOR_BYTES // tile.CACHE_LINE, 1)
    get = lanes.get_part if part else lanes.get
    put = lanes.put_part if part else lanes.put

    @variant(count, part)
    def run(
        first,
        last,
        rows,
        slots,
        x,
        centre,
        direct,
        loose,
        edge_map,
        order,
        coef,
        out,
        whole,
        lo,
        hi,
        f,
        width,
    ):
        end = rows.size - 1
        step = tile.CACHE_LINE // x.itemsize
        depth, terms = x.shape[1], edge_map.shape[0]
        given, mapped, sorted_ = direct.size > 0, loose.size > 0, order.size > 0
        squares = coef.shape[1] > depth
        middle = get(centre, 0, f, x, count, width)
        for j in range(lo, hi):
            start, stop = tile.item(first, j), tile.item(last, j)
            if stop - start > CUT:
                continue
            total = spread = tile.zero(x, count)
            for e in range(start, stop):
                coming = tile.item(rows, min(e + AHEAD, end))
                for k in range(lines):
                    tile.prefetch(coef, coming, f + k * step)
                i, r = tile.item(rows, e), 0
                total = lanes.plus(total, get(coef, i, f, x, count, width))
                if squares:
                    for k in range(lines):
                        tile.prefetch(coef, coming, depth + f + k * step)
                    b = get(coef, i, depth + f, x, count, width)
                    spread = lanes.plus(spread, b)
                    if given or mapped:
                        r = tile.item(slots, e)
                        if sorted_:
                            r = tile.item(order, r)
                        if given:
                            total = lanes.fused(total, b, get(direct, r, f, x, count, width))
                    if mapped:
                        for k in range(terms):
                            factor = lanes.fill(x, count, tile.item(loose, r * terms + k))
                            value = lanes.times(factor, get(edge_map, k, f, x, count, width))
                            total = lanes.fused(total, b, value)
            if not whole:
                put(total, out, j, f, width)
                put(spread, out, j, depth + f, width)
            elif squares and start < stop:
                far = lanes.minus(get(x, j, f, x, count, width), middle)
                put(lanes.fused(total, spread, far), out, j, f, width)
            else:
                put(total, out, j, f, width)

    return run


_source4 = _source_pass(4, False)
_source_rest = _source_pass(1, True)


@helper
def _source_rows(
    first, last, rows, slots, x, centre, direct, loose, edge_map, order, coef, out, whole, lo, hi
):
    depth, step = x.shape[1], tile.lanes(x)
    for a in range(lo, hi, BLOCK):
        b, f = min(a + BLOCK, hi), 0
        while depth - f >= 4 * step:
            _source4(
                first,
                last,
                rows,
                slots,
                x,
                centre,
                direct,
                loose,
                edge_map,
                order,
                coef,
                out,
                whole,
                a,
                b,
                f,
                depth,
            )
            f += 4 * step
        while f < depth:
            rest = depth - f
            _source_rest(
                first,
                last,
                rows,
                slots,
                x,
                centre,
                direct,
                loose,
                edge_map,
                order,
                coef,
                out,
                whole,
                a,
                b,
                f,
                rest,
            )
            f += step


def _sources(
    indptr, first, last, hub, rows, slots, x, centre, direct, loose, edge_map, order, coef, out, partial
):
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _source_rows(
            first, last, rows, slots, x, centre, direct, loose, edge_map, order, coef, out, True, lo, hi
        )
        lo, hi = pieces_of(hub, run)
        _source_rows(
            hub[1],
            hub[2],
            rows,
            slots,
            x,
            centre,
            direct,
            loose,
            edge_map,
            order,
            coef,
            partial,
            False,
            lo,
            hi,
        )
    depth = x.shape[1]
    squares = coef.shape[1] > depth
    for p in range(hub.shape[1]):
        j = hub[0, p]
        for f in range(depth):
            value = partial[p, f]
            if squares:
                value += partial[p, depth + f] * (x[j, f] - centre[0, f])
            out[j, f] = value if hub[1, p] == indptr[j] else out[j, f] + value


def _winners(indptr, indices, arg, grad, high, low, blocks, out):
    """Each block of features belongs to one thread: no two threads write the same number."""
    tiles = (out.shape[1] + 2 * tile.lanes(out) - 1) // (2 * tile.lanes(out))
    for b in prange(blocks):
        first, last = tiles * b // blocks, tiles * (b + 1) // blocks
        winner_block(
            indptr, indices, arg, grad, high, low, out,
            2 * tile.lanes(out) * first, min(2 * tile.lanes(out) * last, out.shape[1]),
        )  # fmt: skip


_edge_rows = edge_rows(False)


def _edges(
    indptr, first, last, light, hub, indices, x, centre, direct, loose, edge_map, order, coef, grad, arg,
    high, low, d_direct, d_loose, d_map,
):  # fmt: skip
    for run in prange(RUNS):
        base = run * edge_map.shape[0]
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _edge_rows(
            first, last, light, indices, x, centre, direct, loose, edge_map, order, coef, grad, arg,
            high, low, d_direct, d_loose, d_map, lo, hi, base,
        )  # fmt: skip
        lo, hi = pieces_of(hub, run)
        _edge_rows(
            hub[1], hub[2], hub[0], indices, x, centre, direct, loose, edge_map, order, coef, grad, arg,
            high, low, d_direct, d_loose, d_map, lo, hi, base,
        )  # fmt: skip


_coefficients_launch = Launcher(_coefficients)
_sources_launch = Launcher(_sources)
_winners_launch = Launcher(_winners)
_edges_launch = Launcher(_edges)


@kernel("multi_reduce_grad", "cpu", refuse=needs("cpu", FLOATS))
def multi_reduce_grad(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_rows: Tensor,
    t_slots: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    target: Tensor | None,
    grad: Tensor,
    out: Tensor,
    mean: Tensor,
    arg: Tensor,
    reduces: str,
    need: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    names, dtype = reduces.split(","), accumulate_dtype(x.dtype)
    (num_rows, _, width), num_slots = grad.shape, indices.shape[0]
    at = places(names)
    squares = "var" in names or "std" in names
    additive = squares or "sum" in names or "mean" in names
    need_x, need_edge, need_map, need_target = need
    offsets, columns, values = array(indptr), array(indices), array(x, dtype)
    gradient, winners = array(grad.flatten(1), dtype), array(arg.flatten(1))
    centre = _centre(x, dtype) if squares else torch.zeros(1, width, dtype=dtype)
    coef = empty(num_rows if need_x or need_edge or need_map else 0, (1 + squares) * width, dtype=dtype)
    d_target = torch.empty(num_rows if need_target else 0, width, dtype=dtype)
    if num_rows and width:
        _coefficients_launch(
            grad.numel(),
            offsets,
            gradient,
            array(out.flatten(1)),
            array(mean),
            centre.numpy(),
            at,
            coef.numpy(),
            d_target.numpy(),
        )
    edges = edge_arrays(edge, edge_map, perm, dtype)
    d_x = empty(x.shape[0] if need_x else 0, width, dtype=dtype).zero_()
    if need_x and additive and d_x.numel():
        t_offsets = array(t_indptr)
        hub = hub_pieces(t_offsets, num_slots)
        _sources_launch(
            (num_slots + x.shape[0]) * width * (1 + squares),
            t_offsets,
            t_offsets[:-1],
            t_offsets[1:],
            hub,
            array(t_rows),
            array(t_slots),
            values,
            centre.numpy(),
            *edges,
            coef.numpy(),
            d_x.numpy(),
            np.empty((hub.shape[1], 2 * width), values.dtype),
        )
    if need_x and arg.numel() and d_x.numel():
        _winners_launch(
            arg.numel(),
            offsets,
            columns,
            winners,
            gradient,
            at[MAX],
            at[MIN],
            min(num_threads(), width),
            d_x.numpy(),
        )
    every = covers(indptr, num_slots, edge)
    d_edge, d_map = edge_gradients(edge, edge_map, width, dtype, need_edge, need_map, every)
    if (d_edge.numel() or d_map.numel()) and width:
        hub = hub_pieces(offsets, num_slots)
        _edges_launch(
            num_slots * width * (1 + (0 if edge_map is None else 2 * edge_map.shape[0])),
            offsets,
            offsets[:-1],
            offsets[1:],
            np.arange(num_rows),
            hub,
            columns,
            values,
            centre.numpy(),
            *edges,
            coef.numpy(),
            gradient,
            winners,
            at[MAX],
            at[MIN],
            *edge_outputs(d_edge, d_map, edge_map is not None, dtype),
        )
    return d_x.to(x.dtype), d_edge, d_map.sum(0), d_target


def _centre(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A typical value of each feature, ``[1, F]``: the median of some rows, 0 where that is no number."""
    some = x[:: max(x.shape[0] // SAMPLE, 1)].to(dtype)
    if not some.numel():
        return some.new_zeros(1, x.shape[1])
    return some.nanmedian(0, keepdim=True).values.nan_to_num(0, 0, 0)


__all__ = ["flat", "multi_reduce_grad"]
