"""Gradients of edge features and of their map, a row of targets at a time: no message is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnlib.sparse.native import lanes, tile
from gnnlib.sparse.native.launch import optional, variant
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import AHEAD, BLOCK, CUT, RUNS


def _tile_pass(count: int, part: bool, relu: bool) -> Any:
    """Gradient d of each message in ``count`` vectors of features, and what the edge has of it.

    With ``relu`` d is coef where the message is positive. Else it is ``c + b (message - centre)`` for coef =
    ``[c, b]``, plus the gradients of the maximum and minimum at the slots that won. Row p of the pass is the
    target ``light[p]``.
    """
    lines = max(count * tile.VECTOR_BYTES // tile.CACHE_LINE, 1)
    get = lanes.get_part if part else lanes.get
    put = lanes.put_part if part else lanes.put

    @variant(count, part, relu)
    def run(
        first, last, light, indices, x, centre, direct, loose, edge_map, order, coef, grad, arg, high, low,
        d_direct, d_loose, d_map, lo, hi, base, f, width,
    ):  # fmt: skip
        end = indices.size - 1
        step = tile.CACHE_LINE // x.itemsize
        depth, terms = x.shape[1], edge_map.shape[0]
        given, mapped, sorted_ = direct.size > 0, loose.size > 0, order.size > 0
        squares = coef.shape[1] > depth
        low_at = depth if high >= 0 else 0
        none = tile.zero(x, count)
        middle = none if relu else get(centre, 0, f, x, count, width)
        for p in range(lo, hi):
            i = tile.item(light, p)
            start, stop = tile.item(first, p), tile.item(last, p)
            if stop - start > CUT or start == stop:
                continue
            c = get(coef, i, f, x, count, width)
            b = g_high = g_low = none
            s_high = s_low = tile.index(x, count, np.int32(-1))
            if not relu:
                if squares:
                    b = get(coef, i, depth + f, x, count, width)
                if high >= 0:
                    g_high = get(grad, i, high * depth + f, x, count, width)
                    s_high = get(arg, i, f, x, count, width)
                if low >= 0:
                    g_low = get(grad, i, low * depth + f, x, count, width)
                    s_low = get(arg, i, low_at + f, x, count, width)
            for e in range(start, stop):
                d = c
                r = tile.item(order, e) if sorted_ else e
                if relu or squares:
                    coming = tile.item(indices, min(e + AHEAD, end))
                    for k in range(lines):
                        tile.prefetch(x, coming, f + k * step)
                    value = get(x, tile.item(indices, e), f, x, count, width)
                    if given:
                        value = lanes.plus(value, get(direct, r, f, x, count, width))
                    if mapped:
                        for k in range(terms):
                            factor = lanes.fill(x, count, tile.item(loose, r * terms + k))
                            value = lanes.fused(value, factor, get(edge_map, k, f, x, count, width))
                    if relu:
                        d = tile.choose(lanes.above(value, none), c, none)
                    else:
                        d = lanes.fused(c, b, lanes.minus(value, middle))
                if not relu:
                    slot = tile.index(x, count, np.int32(e))
                    if high >= 0:
                        d = lanes.plus(d, tile.choose(lanes.equal(s_high, slot), g_high, none))
                    if low >= 0:
                        d = lanes.plus(d, tile.choose(lanes.equal(s_low, slot), g_low, none))
                if d_direct.size:
                    put(d, d_direct, r, f, width)
                if d_loose.size:
                    for k in range(terms):
                        d_loose[r * terms + k] += tile.total(
                            lanes.times(d, get(edge_map, k, f, x, count, width))
                        )
                if d_map.size:
                    for k in range(terms):
                        factor = lanes.fill(x, count, tile.item(loose, r * terms + k))
                        old = get(d_map, base + k, f, x, count, width)
                        put(lanes.fused(old, factor, d), d_map, base + k, f, width)

    return run


def edge_rows(relu: bool) -> Any:
    """The pass over rows ``light[lo:hi]``, whose edges are ``first`` to ``last``; d_map from row base on."""
    tile2 = _tile_pass(2, False, relu)
    rest = _tile_pass(1, True, relu)

    @variant(relu)
    def rows(
        first, last, light, indices, x, centre, direct, loose, edge_map, order, coef, grad, arg, high, low,
        d_direct, d_loose, d_map, lo, hi, base,
    ):  # fmt: skip
        depth, step = x.shape[1], tile.lanes(x)
        for a in range(lo, hi, BLOCK):
            b, f = min(a + BLOCK, hi), 0
            while depth - f >= 2 * step:
                tile2(
                    first, last, light, indices, x, centre, direct, loose, edge_map, order, coef, grad, arg,
                    high, low, d_direct, d_loose, d_map, a, b, base, f, depth,
                )  # fmt: skip
                f += 2 * step
            while f < depth:
                rest(
                    first, last, light, indices, x, centre, direct, loose, edge_map, order, coef, grad, arg,
                    high, low, d_direct, d_loose, d_map, a, b, base, f, depth - f,
                )  # fmt: skip
                f += step

    return rows


def edge_gradients(
    edge: Tensor | None,
    edge_map: Tensor | None,
    width: int,
    dtype: torch.dtype,
    need_edge: bool,
    need_map: bool,
    every: bool,
) -> tuple[Tensor, Tensor]:
    """Room for the gradients of edge values, 0 where no slot has the edge, and of their map, one a run.

    ``every``: each edge has a slot of a row, so that a pass that adds nothing up writes all of it.
    """
    d_edge = empty(*(edge.shape if need_edge and edge is not None else (0, 0)), dtype=dtype)
    if edge_map is not None or not every:
        d_edge.zero_()
    terms = edge_map.shape[0] if edge_map is not None else 0
    return d_edge, torch.zeros(RUNS if need_map else 0, terms, width, dtype=dtype)


def covers(indptr: Tensor, num_slots: int, edge: Tensor | None) -> bool:
    """Whether each edge value belongs to a slot of a row."""
    return edge is not None and edge.shape[0] == num_slots and int(indptr[-1]) == num_slots


def edge_outputs(
    d_edge: Tensor, d_map: Tensor, mapped: bool, dtype: torch.dtype
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The arrays that the pass over edges writes, of which one kind of edge gradient is empty."""
    return (
        optional(None if mapped else d_edge, dtype, 2),
        d_edge.view(-1).numpy() if mapped else optional(None, dtype),
        d_map.view(-1, d_map.shape[2]).numpy() if d_map.numel() else optional(None, dtype, 2),
    )
