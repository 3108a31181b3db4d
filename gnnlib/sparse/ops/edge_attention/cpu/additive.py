"""Additive attention on a CPU for training: one pass over the features forward, one backward.

The LeakyReLU has two slopes, so the gradient of a score falls into what edges above 0 and edges below
contribute. The forward keeps the sum over the edges above apart; with it a target's part of the gradient
needs its own rows alone, and a source's part needs each target's gradient once.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import lanes, tile, vector
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, optional
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import AHEAD, CUT, RUNS, hub_pieces, pieces_of, run_start
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.edge_attention.cpu.forward import merge
from gnnlib.sparse.ops.edge_attention.cpu.score import drop_args, flat, join, kept
from gnnlib.sparse.registry import FLOATS, kernel, needs


@helper
def _soften(graph_row, dst, i, src, factor, buffers, spread, result, p, pieces):
    """Exponentials of a row's scores, several heads to a vector, undivided.

    Edge k's head h, the o-th of block b, is ``weight[b, k * span + o]`` with ``span`` heads in a block;
    ``upper`` holds the same where the score is above 0, else 0, and ``spread`` what each head's are to be
    multiplied by. Row p of ``mass``, ``top`` and ``total`` keeps the share above 0, the maximum and the sum.
    """
    indices, start, n = graph_row
    raw, weight, upper = buffers
    _, _, mass, top, total = result
    heads, wide = top.shape[1], tile.lanes(src)
    span, end = min(heads, wide), indices.size - 1
    zero, one = tile.zero(src, 1), lanes.fill(src, 1, src.dtype.type(1))
    lowest = lanes.fill(src, 1, src.dtype.type(-np.inf))
    for b in range(weight.shape[0]):
        h = b * wide
        width = heads - h
        mine = lanes.get_part(dst, i, h, src, 1, width)
        most, amount, held = lowest, zero, zero
        for k in range(n):
            tile.prefetch(src, tile.item(indices, min(start + k + AHEAD, end)), h)
            s = lanes.plus(mine, lanes.get_part(src, tile.item(indices, start + k), h, src, 1, width))
            tile.store(s, raw, b, k * span)
            s = vector.leaky(s, factor)
            most = tile.choose(tile.beats(most, s), s, most)
        base = tile.choose(lanes.above(most, lowest), most, zero)
        for k in range(n):
            s = lanes.get(raw, b, k * span, src, 1, 0)
            power = vector.exp(lanes.minus(vector.leaky(s, factor), base))
            high = tile.choose(lanes.greater(s, zero), power, zero)
            amount, held = lanes.plus(amount, power), lanes.plus(held, high)
            tile.store(power, weight, b, k * span)
            tile.store(high, upper, b, k * span)
        part = one if pieces else tile.choose(lanes.above(amount, zero), lanes.over(one, amount), zero)
        tile.store(part, spread, 0, h)
        lanes.put_part(lanes.times(part, held), mass, p, h, width)
        lanes.put_part(most, top, p, h, width)
        lanes.put_part(amount, total, p, h, width)


@helper
def _drop(buffers, slots, start, n, heads, drop):
    """Multiply what two buffers hold of a row by dropout's factors; no ``slots``: the edges' own."""
    low, high = buffers
    seed, threshold, boost = drop
    wide = tile.lanes(low)
    span = min(heads, wide)
    for k in range(n):
        e = tile.item(slots, start + k) if slots.size > 0 else start + k
        for h in range(heads):
            b, o = h // wide, k * span + h % wide
            m = kept(seed, threshold, boost, e, h, heads)
            vector.put(low, b, o, m * vector.at(low, b, o))
            vector.put(high, b, o, m * vector.at(high, b, o))


@helper
def _attend_rows(rows, graph, dst, src, factor, value, drop, result, lo, hi):
    """The pass over targets lo to hi; ``rows`` names the target of each, or is empty where it is the row."""
    first, last, indices = graph
    out, above, _, top, _ = result
    heads = top.shape[1]
    depth = value.shape[1] // max(heads, 1)
    wide = tile.lanes(value)
    step = tile.CACHE_LINE // value.itemsize
    end = indices.size - 1
    none = value.dtype.type(0)
    pieces = rows.size > 0
    blocks, span = (heads + wide - 1) // wide, min(heads, wide)
    whole = np.empty((3 * blocks, CUT * span + wide), value.dtype)
    raw, weight, upper = whole[:blocks], whole[blocks : 2 * blocks], whole[2 * blocks :]
    spread = np.empty((1, blocks * wide), value.dtype)
    for p in range(lo, hi):
        start, stop = tile.item(first, p), tile.item(last, p)
        n = stop - start
        if n > CUT:
            continue
        i = tile.item(rows, p) if pieces else p
        _soften((indices, start, n), dst, i, src, factor, (raw, weight, upper), spread, result, p, pieces)
        if drop[1] > 0:
            _drop((weight, upper), indices[:0], start, n, heads, drop)
        for h in range(heads):
            b, o = h // wide, h % wide
            part = vector.at(spread, 0, h)
            f, goal = h * depth, h * depth + depth
            while goal - f >= 4 * wide:
                sum4, above4 = tile.zero(value, 4), tile.zero(value, 4)
                for k in range(n):
                    coming = tile.item(indices, min(start + k + AHEAD, end))
                    tile.prefetch(value, coming, f)
                    tile.prefetch(value, coming, f + step)
                    j = tile.item(indices, start + k)
                    sum4 = tile.axpy(sum4, vector.at(weight, b, k * span + o), value, j, f)
                    above4 = tile.axpy(above4, vector.at(upper, b, k * span + o), value, j, f)
                tile.store_scaled(sum4, part, out, p, f)
                tile.store_scaled(above4, part, above, p, f)
                f += 4 * wide
            while goal - f >= wide:
                sum1, above1 = tile.zero(value, 1), tile.zero(value, 1)
                for k in range(n):
                    tile.prefetch(value, tile.item(indices, min(start + k + AHEAD, end)), f)
                    j = tile.item(indices, start + k)
                    sum1 = tile.axpy(sum1, vector.at(weight, b, k * span + o), value, j, f)
                    above1 = tile.axpy(above1, vector.at(upper, b, k * span + o), value, j, f)
                tile.store_scaled(sum1, part, out, p, f)
                tile.store_scaled(above1, part, above, p, f)
                f += wide
            for g in range(f, goal):
                s, t = none, none
                for k in range(n):
                    v = vector.at(value, tile.item(indices, start + k), g)
                    s += vector.at(weight, b, k * span + o) * v
                    t += vector.at(upper, b, k * span + o) * v
                vector.put(out, p, g, part * s)
                vector.put(above, p, g, part * t)


@helper
def _targets(lo, hi, factor, upstream, target, d_dst):
    """A target's part of the gradient, and what its sources will ask of it: rows ``[dst | lse | delta]``."""
    dst, grad, out, above, mass, lse = upstream
    heads = lse.shape[1]
    depth = grad.shape[1] // max(heads, 1)
    wide = tile.lanes(grad)
    one, none = grad.dtype.type(1), grad.dtype.type(0)
    for i in range(lo, hi):
        for h in range(heads):
            f, goal = h * depth, h * depth + depth
            whole, high = tile.zero(grad, 1), tile.zero(grad, 1)
            while goal - f >= wide:
                whole = tile.multiply_add(whole, grad, i, out, i, f)
                high = tile.multiply_add(high, grad, i, above, i, f)
                f += wide
            s, t = vector.total(whole), vector.total(high)
            for g in range(f, goal):
                s += vector.at(grad, i, g) * vector.at(out, i, g)
                t += vector.at(grad, i, g) * vector.at(above, i, g)
            vector.put(target, i, h, vector.at(dst, i, h))
            vector.put(target, i, heads + h, vector.at(lse, i, h))
            vector.put(target, i, 2 * heads + h, s)
            slope = factor + (one - factor) * vector.at(mass, i, h)
            scored = vector.at(lse, i, h) != -np.inf
            vector.put(d_dst, i, h, factor * s + (one - factor) * t - s * slope if scored else none)


@helper
def _recall(graph_row, target, src, j, factor, buffers, paid):
    """The softmax of a source's edges once more, laid out as the forward's.

    ``weight`` gets it for the edges below 0, else 0, ``upper`` for those above, and ``paid`` the sum of
    slope p <grad_i, out_i> of each head.
    """
    targets, start, n = graph_row
    weight, upper = buffers
    heads, wide = src.shape[1], tile.lanes(src)
    span, end = min(heads, wide), targets.size - 1
    zero = tile.zero(src, 1)
    lowest = lanes.fill(src, 1, src.dtype.type(-np.inf))
    for b in range(weight.shape[0]):
        h = b * wide
        width = heads - h
        mine, owed = lanes.get_part(src, j, h, src, 1, width), zero
        for k in range(n):
            if b == 0:
                coming = tile.item(targets, min(start + k + AHEAD, end))
                tile.prefetch_row(target, coming)
            i = tile.item(targets, start + k)
            s = lanes.plus(mine, lanes.get_part(target, i, h, src, 1, width))
            norm = lanes.get_part(target, i, heads + h, src, 1, width)
            power = vector.exp(lanes.minus(vector.leaky(s, factor), norm))
            power = tile.choose(lanes.above(norm, lowest), power, zero)
            positive = lanes.greater(s, zero)
            low, high = tile.choose(positive, zero, power), tile.choose(positive, power, zero)
            delta = lanes.get_part(target, i, 2 * heads + h, src, 1, width)
            owed = lanes.fused(owed, vector.plus(high, low, factor), delta)
            tile.store(low, weight, b, k * span)
            tile.store(high, upper, b, k * span)
        tile.store(owed, paid, 0, h)


@helper
def _sources(rows, graph, src, factor, value, drop, grad, target, d_value, d_src, lo, hi):
    """The pass over sources lo to hi; ``rows`` names the source of each, or is empty where it is the row."""
    first, last, targets, slots = graph
    heads = target.shape[1] // 3
    depth = value.shape[1] // max(heads, 1)
    wide = tile.lanes(value)
    step = tile.CACHE_LINE // value.itemsize
    end = targets.size - 1
    one, none = value.dtype.type(1), value.dtype.type(0)
    pieces = rows.size > 0
    blocks, span = (heads + wide - 1) // wide, min(heads, wide)
    whole = np.empty((2 * blocks, CUT * span + wide), value.dtype)
    weight, upper = whole[:blocks], whole[blocks:]
    paid = np.empty((1, blocks * wide), value.dtype)
    for p in range(lo, hi):
        start, stop = tile.item(first, p), tile.item(last, p)
        n = stop - start
        if n > CUT:
            continue
        j = tile.item(rows, p) if pieces else p
        _recall((targets, start, n), target, src, j, factor, (weight, upper), paid)
        if drop[1] > 0:
            _drop((weight, upper), slots, start, n, heads, drop)
        for h in range(heads):
            b, o = h // wide, h % wide
            f, goal = h * depth, h * depth + depth
            earned = tile.zero(value, 1)  # <value_j, sum of slope m p grad_i>
            while goal - f >= 4 * wide:
                low4, high4 = tile.zero(value, 4), tile.zero(value, 4)
                for k in range(n):
                    coming = tile.item(targets, min(start + k + AHEAD, end))
                    tile.prefetch(grad, coming, f)
                    tile.prefetch(grad, coming, f + step)
                    i = tile.item(targets, start + k)
                    low4 = tile.axpy(low4, vector.at(weight, b, k * span + o), grad, i, f)
                    high4 = tile.axpy(high4, vector.at(upper, b, k * span + o), grad, i, f)
                tile.store(vector.plus(high4, low4, one), d_value, p, f)
                high4 = vector.times(vector.plus(high4, low4, factor), value, j, f)
                earned = vector.plus(earned, vector.fold(high4), one)
                f += 4 * wide
            while goal - f >= wide:
                low1, high1 = tile.zero(value, 1), tile.zero(value, 1)
                for k in range(n):
                    tile.prefetch(grad, tile.item(targets, min(start + k + AHEAD, end)), f)
                    i = tile.item(targets, start + k)
                    low1 = tile.axpy(low1, vector.at(weight, b, k * span + o), grad, i, f)
                    high1 = tile.axpy(high1, vector.at(upper, b, k * span + o), grad, i, f)
                tile.store(vector.plus(high1, low1, one), d_value, p, f)
                earned = vector.plus(earned, vector.times(vector.plus(high1, low1, factor), value, j, f), one)
                f += wide
            d = vector.total(earned) - vector.at(paid, 0, h)
            for g in range(f, goal):
                s, t = none, none
                for k in range(n):
                    x = vector.at(grad, tile.item(targets, start + k), g)
                    s += vector.at(weight, b, k * span + o) * x
                    t += vector.at(upper, b, k * span + o) * x
                vector.put(d_value, p, g, s + t)
                d += vector.at(value, j, g) * (factor * s + t)
            vector.put(d_src, p, h, d)


def _attend_two_slopes(indptr, none, graph, hub, dst, src, factor, value, drop, result, parts):
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _attend_rows(none, graph, dst, src, factor, value, drop, result, lo, hi)
        lo, hi = pieces_of(hub, run)
        hubs = (hub[1], hub[2], graph[2])
        _attend_rows(hub[0], hubs, dst, src, factor, value, drop, parts, lo, hi)
    no_weights = np.empty((0, 0), value.dtype)
    for whole, part in ((result[0], parts[0]), (result[1], parts[1]), (result[2], parts[2])):
        merge(hub, (part, parts[3], parts[4]), (whole, result[3], result[4]), no_weights)


def _pull_two_slopes(t_indptr, none, graph, hub, src, factor, value, drop, upstream, target, found, parts):
    rows = target.shape[0]
    for run in prange(RUNS):
        _targets(rows * run // RUNS, rows * (run + 1) // RUNS, factor, upstream, target, found[0])
    grad = upstream[1]
    for run in prange(RUNS):
        lo, hi = run_start(t_indptr, run), run_start(t_indptr, run + 1)
        _sources(none, graph, src, factor, value, drop, grad, target, found[1], found[2], lo, hi)
        lo, hi = pieces_of(hub, run)
        hubs = (hub[1], hub[2], graph[2], graph[3])
        _sources(hub[0], hubs, src, factor, value, drop, grad, target, parts[0], parts[1], lo, hi)
    join(hub, parts[0], found[1])
    join(hub, parts[1], found[2])


_forward = Launcher(_attend_two_slopes)
_backward = Launcher(_pull_two_slopes)


@kernel("additive_attention", "cpu", refuse=needs("cpu", FLOATS))
def additive_attention(
    indptr: Tensor,
    indices: Tensor,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor,
    seed: Tensor | None,
    factor: float,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dtype = accumulate_dtype(value.dtype)
    num_rows, heads, depth = indptr.shape[0] - 1, *value.shape[1:]
    out, above = (empty(num_rows, heads * depth, dtype=dtype) for _ in range(2))
    mass, top, total = torch.empty(3, num_rows, heads, dtype=dtype)
    offsets = array(indptr)
    hub = hub_pieces(offsets, indices.shape[0])
    kind, pieces = out.numpy().dtype, hub.shape[1]
    _forward(
        (indices.shape[0] + num_rows) * heads * depth,
        offsets,
        np.empty(0, np.int64),
        (offsets[:-1], offsets[1:], array(indices)),
        hub,
        array(x_dst, dtype),
        array(x_src, dtype),
        kind.type(factor),
        flat(value, dtype),
        drop_args(seed, dropout, kind.type),
        (out.numpy(), above.numpy(), mass.numpy(), top.numpy(), total.numpy()),
        (*np.empty((2, pieces, heads * depth), kind), *np.empty((3, pieces, heads), kind)),
    )
    shape = num_rows, heads, depth
    return out.view(shape).to(value.dtype), above.view(shape).to(value.dtype), mass, top + total.log()


@kernel("additive_attention_grad", "cpu", refuse=needs("cpu", FLOATS))
def additive_attention_grad(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    t_slots: Tensor,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor,
    seed: Tensor | None,
    out: Tensor,
    above: Tensor,
    mass: Tensor,
    lse: Tensor,
    grad: Tensor,
    factor: float,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = accumulate_dtype(value.dtype)
    num_rows, (num_cols, heads, depth) = x_dst.shape[0], value.shape
    d_dst, d_src = torch.empty(num_rows, heads, dtype=dtype), torch.empty(num_cols, heads, dtype=dtype)
    d_value = empty(num_cols, heads * depth, dtype=dtype)
    offsets = array(t_indptr)
    hub = hub_pieces(offsets, t_indices.shape[0])
    kind, pieces = d_value.numpy().dtype, hub.shape[1]
    _backward(
        2 * (t_indices.shape[0] + num_rows) * heads * depth,
        offsets,
        np.empty(0, np.int64),
        (offsets[:-1], offsets[1:], array(t_indices), array(t_slots)),
        hub,
        array(x_src, dtype),
        kind.type(factor),
        flat(value, dtype),
        drop_args(seed, dropout, kind.type),
        (
            array(x_dst, dtype),
            flat(grad, dtype),
            flat(out, dtype),
            flat(above, dtype),
            optional(mass, dtype, 2),
            optional(lse, dtype, 2),
        ),
        np.empty((num_rows, 3 * heads), kind),
        (d_dst.numpy(), d_value.numpy(), d_src.numpy()),
        (np.empty((pieces, heads * depth), kind), np.empty((pieces, heads), kind)),
    )
    found = d_dst, d_src, d_value.view(value.shape)
    return tuple(t.to(value.dtype) for t in found)  # type: ignore[return-value]
