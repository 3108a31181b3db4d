"""gated_sum on a CPU: a tile of the row's sums stays in registers while its edges pass by."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import gate, tile
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, optional, variant
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import AHEAD, BLOCK, CUT, RUNS, hub_pieces, pieces_of, row_of, run_start
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import FLOATS, kernel, needs

#: Edges whose gradients are held at a time, in the first cache, before the maps are applied to them.
EDGES = 32


def _tile_pass(count):
    """Sum ``count`` vectors of features from column f on, for rows lo to hi; ``ids``: the row of a piece."""

    @variant(count)
    def run(first, last, ids, indices, slot, k, q, v, factor, edge, inward, outward, out, rate, lo, hi, f):
        end = indices.size - 1
        wide, pieced, placed = inward.shape[0], ids.size > 0, slot.size > 0
        sloped, turned = rate.size > 0, factor.size > 0
        given, depth = edge.size > 0, k.shape[1]
        for i in range(lo, hi):
            start, stop = tile.item(first, i), tile.item(last, i)
            if stop - start > CUT:
                continue
            r = tile.item(ids, i) if pieced else i
            total, slope = tile.zero(k, count), tile.zero(k, count)
            for s in range(start, stop):
                ahead = min(s + AHEAD, end)
                coming = tile.item(indices, ahead)
                tile.prefetch(q, coming, f)
                tile.prefetch(v, coming, f)
                j = tile.item(indices, s)
                z = tile.add(gate.row(k, r, f, count), q, j, f)
                message = gate.row(v, j, f, count)
                second = gate.row(factor, r, f, count) if turned else message
                if given:
                    e = s
                    if wide > 0:
                        if placed:
                            e = tile.item(slot, s)
                            tile.prefetch(edge, tile.item(slot, ahead), 0)
                        for c in range(wide):
                            z = tile.axpy(z, edge[e, c], inward, c, f)
                        for c in range(wide):
                            second = tile.axpy(second, edge[e, c], outward, c, f)
                    else:
                        if placed:
                            e = tile.item(slot, s)
                            tile.prefetch(edge, tile.item(slot, ahead), f)
                            tile.prefetch(edge, tile.item(slot, ahead), depth + f)
                        z = tile.add(z, edge, e, f)
                        second = tile.add(second, edge, e, depth + f)
                    if not turned:
                        message = second
                g = gate.sigmoid(z)
                total = gate.plus_product(total, g, message)
                if sloped:
                    g = gate.steepness(g)
                    if turned:
                        g = gate.times(g, message)
                    slope = gate.plus_product(slope, g, second)
            tile.store(total, out, i, f)
            if sloped:
                tile.store(slope, rate, i, f)

    return run


_tile2 = _tile_pass(2)
_tile1 = _tile_pass(1)


@helper
def _sum_rows(first, last, ids, indices, slot, k, q, v, factor, edge, inward, outward, out, rate, lo, hi):
    lanes = tile.lanes(k)
    for a in range(lo, hi, BLOCK):
        b = min(a + BLOCK, hi)
        f, stop = 0, k.shape[1]
        while stop - f >= 2 * lanes:
            _tile2(
                first, last, ids, indices, slot, k, q, v, factor, edge, inward, outward, out, rate, a, b, f
            )
            f += 2 * lanes
        if f < stop:
            _tile1(
                first, last, ids, indices, slot, k, q, v, factor, edge, inward, outward, out, rate, a, b, f
            )


@helper
def _combine(indptr, hub, partial, out):
    """Add up the pieces of each hub row in order."""
    for p in range(hub.shape[1]):
        i = hub[0, p]
        for f in range(out.shape[1]):
            if hub[1, p] == indptr[i]:
                out[i, f] = 0
            out[i, f] += partial[p, f]


@helper
def _share(
    run, indptr, hub, none, indices, slot, k, q, v, factor, edge, inward, outward, out, rate, part, rate_part
):
    """A run of light rows and its share of the pieces of hub rows."""
    lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
    first, last = indptr[:-1], indptr[1:]
    _sum_rows(first, last, none, indices, slot, k, q, v, factor, edge, inward, outward, out, rate, lo, hi)
    lo, hi = pieces_of(hub, run)
    if lo < hi:
        ids, first, last = hub[0], hub[1], hub[2]
        _sum_rows(
            first, last, ids, indices, slot, k, q, v, factor, edge, inward, outward, part, rate_part, lo, hi
        )


def _gated(
    indptr, hub, none, indices, slot, k, q, v, factor, edge, inward, outward, out, rate, part, rate_part
):
    for run in prange(RUNS):
        _share(
            run,
            indptr,
            hub,
            none,
            indices,
            slot,
            k,
            q,
            v,
            factor,
            edge,
            inward,
            outward,
            out,
            rate,
            part,
            rate_part,
        )
    _combine(indptr, hub, part, out)
    if rate.size > 0:
        _combine(indptr, hub, rate_part, rate)


_gated_launch = Launcher(_gated)


@helper
def _add_product(a, b, out, rows):
    """``out += a[:rows].T @ b[:rows]``."""
    lanes = tile.lanes(b)
    for c in range(a.shape[1]):
        for f in range(0, b.shape[1], lanes):
            total = gate.row(out, c, f, 1)
            for e in range(rows):
                total = tile.axpy(total, a[e, c], b, e, f)
            tile.store(total, out, c, f)


@helper
def _edges(indptr, indices, k, q, v, grad, edge, inward, outward, d_edge, d_inward, d_outward, lo, hi):
    """The gradients of edges lo to hi, and their part of those of the maps."""
    lanes, end, wide = tile.lanes(k), indices.size - 1, edge.shape[1]
    held = np.empty((EDGES, wide), k.dtype)
    to_gate, to_value = np.empty((EDGES, k.shape[1]), k.dtype), np.empty((EDGES, k.shape[1]), k.dtype)
    i = row_of(indptr, lo)
    for a in range(lo, hi, EDGES):
        rows = min(EDGES, hi - a)
        for p in range(rows):
            s = a + p
            while tile.item(indptr, i + 1) <= s:
                i += 1
            coming, j = tile.item(indices, min(s + AHEAD, end)), tile.item(indices, s)
            tile.prefetch_row(q, coming)
            tile.prefetch_row(v, coming)
            for c in range(wide):
                held[p, c] = edge[s, c]
            for f in range(0, k.shape[1], lanes):
                z = tile.add(gate.row(k, i, f, 1), q, j, f)
                message = gate.row(v, j, f, 1)
                for c in range(wide):
                    z = tile.axpy(z, held[p, c], inward, c, f)
                    message = tile.axpy(message, held[p, c], outward, c, f)
                g = gate.sigmoid(z)
                coming_in = gate.row(grad, i, f, 1)
                tile.store(gate.times(g, coming_in), to_value, p, f)
                tile.store(gate.times(gate.times(gate.steepness(g), message), coming_in), to_gate, p, f)
            for c in range(wide):
                total = tile.zero(k, 1)
                for f in range(0, k.shape[1], lanes):
                    total = tile.multiply_add(total, to_gate, p, inward, c, f)
                    total = tile.multiply_add(total, to_value, p, outward, c, f)
                d_edge[s, c] = tile.total(total)
        _add_product(held, to_gate, d_inward, rows)
        _add_product(held, to_value, d_outward, rows)


def _edge_gradients(indptr, indices, k, q, v, grad, edge, inward, outward, d_edge, d_inward, d_outward):
    num_edges, runs = indptr[-1], d_inward.shape[0]
    for t in prange(runs):
        lo, hi = num_edges * t // runs, num_edges * (t + 1) // runs
        _edges(
            indptr, indices, k, q, v, grad, edge, inward, outward, d_edge, d_inward[t], d_outward[t], lo, hi
        )


_edge_launch = Launcher(_edge_gradients)


@helper
def _term_rows(indptr, indices, k, q, v, grad, edge, d_edge, lo, hi):
    """The gradients of what edges lo to hi add inside the gate and to the value, side by side."""
    lanes, end, depth = tile.lanes(k), indices.size - 1, k.shape[1]
    i = row_of(indptr, lo)
    for s in range(lo, hi):
        while tile.item(indptr, i + 1) <= s:
            i += 1
        coming, j = tile.item(indices, min(s + AHEAD, end)), tile.item(indices, s)
        tile.prefetch_row(q, coming)
        tile.prefetch_row(v, coming)
        f = 0
        while f < depth:
            z = tile.add(tile.add(gate.row(k, i, f, 1), q, j, f), edge, s, f)
            message = tile.add(gate.row(v, j, f, 1), edge, s, depth + f)
            g = gate.sigmoid(z)
            coming_in = gate.row(grad, i, f, 1)
            tile.store(gate.times(gate.times(gate.steepness(g), message), coming_in), d_edge, s, f)
            tile.store(gate.times(g, coming_in), d_edge, s, depth + f)
            f += lanes


def _term_gradients(indptr, indices, k, q, v, grad, edge, d_edge):
    num_edges = indptr[-1]
    for t in prange(RUNS):
        lo, hi = num_edges * t // RUNS, num_edges * (t + 1) // RUNS
        if lo < hi:
            _term_rows(indptr, indices, k, q, v, grad, edge, d_edge, lo, hi)


_term_launch = Launcher(_term_gradients)


def _width(columns: int, dtype: torch.dtype) -> int:
    """Features in whole vectors; the rest of the last one is zeros, which keeps the kernel free of tails."""
    lanes = tile.VECTOR_BYTES // dtype.itemsize
    return (columns + lanes - 1) // lanes * lanes


def _filled(tensor: Tensor | None, dtype: torch.dtype, width: int) -> np.ndarray[Any, Any]:
    if tensor is None or tensor.shape[1] == width:
        return optional(tensor, dtype, 2)
    return array(_padded(tensor, dtype, width))


def _pair(edge: Tensor, dtype: torch.dtype, width: int) -> np.ndarray[Any, Any]:
    """What edges add inside the gate and to the value, ``[E, 2 width]``."""
    columns = edge.shape[1] // 2
    if columns == width:
        return array(edge, dtype)
    return array(_padded(edge.unflatten(1, (2, columns)), dtype, width).flatten(1))


def _padded(tensor: Tensor, dtype: torch.dtype, width: int) -> Tensor:
    """The tensor with zeros after its last columns; one pass, where ``F.pad`` takes two."""
    out, columns = empty(*tensor.shape[:-1], width, dtype=dtype), tensor.shape[-1]
    out[..., :columns] = tensor.detach()
    out[..., columns:] = 0
    return out


def _cut(out: Tensor, like: Tensor) -> Tensor:
    out = out if out.shape[1] == like.shape[1] else out[:, : like.shape[1]].contiguous()
    return out.to(like.dtype)


@kernel("gated_sum", "cpu", refuse=needs("cpu", FLOATS))
def gated_sum(
    indptr: Tensor,
    indices: Tensor,
    slot: Tensor | None,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    factor: Tensor | None,
    edge: Tensor | None,
    gate_map: Tensor | None,
    value_map: Tensor | None,
    slope: bool,
) -> tuple[Tensor, Tensor]:
    dtype = accumulate_dtype(k.dtype)
    rows, width = k.shape[0], _width(k.shape[1], dtype)
    offsets = array(indptr)
    hub = hub_pieces(offsets, indices.shape[0])
    out = empty(rows, width, dtype=dtype)
    rate = empty(*((rows, width) if slope else (0, 0)), dtype=dtype)
    part = np.empty((hub.shape[1], width), out.numpy().dtype)
    _gated_launch(
        (indices.shape[0] + rows) * width,
        offsets,
        hub,
        np.empty(0, np.int64),
        array(indices),
        optional(slot, torch.int64),
        *(_filled(t, dtype, width) for t in (k, q, v, factor)),
        optional(edge, dtype, 2) if edge is None or gate_map is not None else _pair(edge, dtype, width),
        _filled(gate_map, dtype, width),
        _filled(value_map, dtype, width),
        out.numpy(),
        rate.numpy(),
        part,
        np.empty_like(part),
    )
    return _cut(out, k), _cut(rate, k) if slope else k.new_empty(0)


@kernel("gated_sum_edge", "cpu", refuse=needs("cpu", FLOATS))
def gated_sum_edge(
    indptr: Tensor,
    indices: Tensor,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    grad: Tensor,
    edge: Tensor,
    gate_map: Tensor | None,
    value_map: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = accumulate_dtype(k.dtype)
    width, (num_edges, wide), used = _width(k.shape[1], dtype), edge.shape, int(indptr[-1])
    given = (array(indptr), array(indices), *(_filled(t, dtype, width) for t in (k, q, v, grad)))
    if gate_map is None:
        d_pair = empty(num_edges, 2 * width, dtype=dtype)
        d_pair[used:] = 0  # slots past the last offset belong to no row
        _term_launch(used * width, *given, _pair(edge, dtype, width), d_pair.numpy())
        d_edge = d_pair.unflatten(1, (2, width))[:, :, : k.shape[1]].flatten(1)
        return d_edge.to(k.dtype), k.new_empty(0), k.new_empty(0)
    runs = max(min(RUNS, used // (4 * EDGES)), 1)  # each holds maps of its own
    d_edge = torch.empty(num_edges, wide, dtype=dtype)
    d_edge[used:] = 0
    d_inward = torch.zeros(runs, wide, width, dtype=dtype)
    d_outward = torch.zeros(runs, wide, width, dtype=dtype)
    if used:
        _edge_launch(
            used * width * (1 + wide),
            *given,
            array(edge, dtype),
            _filled(gate_map, dtype, width),
            _filled(value_map, dtype, width),
            d_edge.numpy(),
            d_inward.numpy(),
            d_outward.numpy(),
        )
    found = [_in_order(d).to(k.dtype)[:, : k.shape[1]].contiguous() for d in (d_inward, d_outward)]
    return d_edge.to(k.dtype), found[0], found[1]


def _in_order(parts: Tensor) -> Tensor:
    """The sum of the runs' parts, one after another."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total
