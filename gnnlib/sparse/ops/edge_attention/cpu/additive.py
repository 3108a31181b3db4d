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

from gnnlib.sparse.native import tile, vector
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, optional
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import AHEAD, CUT, RUNS, hub_pieces, pieces_of, run_start
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.edge_attention.cpu.forward import merge
from gnnlib.sparse.ops.edge_attention.cpu.score import PAD, drop_args, flat, join, kept, soften
from gnnlib.sparse.registry import FLOATS, kernel, needs


@helper
def _attend_rows(rows, graph, dst, src, factor, value, drop, result, lo, hi):
    """The pass over targets lo to hi; ``rows`` names the target of each, or is empty where it is the row."""
    first, last, indices = graph
    seed, threshold, boost = drop
    out, above, mass, top, total = result
    heads = top.shape[1]
    depth = value.shape[1] // max(heads, 1)
    lanes = tile.lanes(value)
    step = tile.CACHE_LINE // value.itemsize
    end = indices.size - 1
    none = value.dtype.type(0)
    pieces = rows.size > 0
    weight = np.empty((heads, CUT + PAD), value.dtype)
    upper = np.empty((heads, CUT + PAD), value.dtype)  # the weight where the score is above 0, else 0
    for p in range(lo, hi):
        start, stop = tile.item(first, p), tile.item(last, p)
        n = stop - start
        if n > CUT:
            continue
        i = tile.item(rows, p) if pieces else p
        for k in range(n):
            coming = tile.item(indices, min(start + k + AHEAD, end))
            tile.prefetch(src, coming, 0)
            j = tile.item(indices, start + k)
            for h in range(heads):
                s = vector.at(dst, i, h) + vector.at(src, j, h)
                vector.put(weight, h, k, s if s > 0 else factor * s)
                vector.put(upper, h, k, s)
        soften(weight, n, top, total, p, pieces)
        for h in range(heads):
            held = none
            for k in range(n):
                w, s = vector.at(weight, h, k), vector.at(upper, h, k)
                if s > 0:
                    held += w
                if threshold > 0:
                    w *= kept(seed, threshold, boost, start + k, h, heads)
                vector.put(weight, h, k, w)
                vector.put(upper, h, k, w if s > 0 else none)
            vector.put(mass, p, h, held)
            f, goal = h * depth, h * depth + depth
            while goal - f >= 4 * lanes:
                sum4, above4 = tile.zero(value, 4), tile.zero(value, 4)
                for k in range(n):
                    coming = tile.item(indices, min(start + k + AHEAD, end))
                    tile.prefetch(value, coming, f)
                    tile.prefetch(value, coming, f + step)
                    j = tile.item(indices, start + k)
                    sum4 = tile.axpy(sum4, vector.at(weight, h, k), value, j, f)
                    above4 = tile.axpy(above4, vector.at(upper, h, k), value, j, f)
                tile.store(sum4, out, p, f)
                tile.store(above4, above, p, f)
                f += 4 * lanes
            while goal - f >= lanes:
                sum1, above1 = tile.zero(value, 1), tile.zero(value, 1)
                for k in range(n):
                    tile.prefetch(value, tile.item(indices, min(start + k + AHEAD, end)), f)
                    j = tile.item(indices, start + k)
                    sum1 = tile.axpy(sum1, vector.at(weight, h, k), value, j, f)
                    above1 = tile.axpy(above1, vector.at(upper, h, k), value, j, f)
                tile.store(sum1, out, p, f)
                tile.store(above1, above, p, f)
                f += lanes
            for g in range(f, goal):
                s, t = none, none
                for k in range(n):
                    v = vector.at(value, tile.item(indices, start + k), g)
                    s += vector.at(weight, h, k) * v
                    t += vector.at(upper, h, k) * v
                vector.put(out, p, g, s)
                vector.put(above, p, g, t)


@helper
def _targets(lo, hi, factor, upstream, target, d_dst):
    """A target's part of the gradient, and what its sources will ask of it: rows ``[dst | lse | delta]``."""
    dst, grad, out, above, mass, lse = upstream
    heads = lse.shape[1]
    depth = grad.shape[1] // max(heads, 1)
    lanes = tile.lanes(grad)
    one, none = grad.dtype.type(1), grad.dtype.type(0)
    for i in range(lo, hi):
        for h in range(heads):
            f, goal = h * depth, h * depth + depth
            whole, upper = tile.zero(grad, 1), tile.zero(grad, 1)
            while goal - f >= lanes:
                whole = tile.multiply_add(whole, grad, i, out, i, f)
                upper = tile.multiply_add(upper, grad, i, above, i, f)
                f += lanes
            s, t = vector.total(whole), vector.total(upper)
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
def _sources(rows, graph, src, factor, value, drop, grad, target, d_value, d_src, lo, hi):
    """The pass over sources lo to hi; ``rows`` names the source of each, or is empty where it is the row."""
    first, last, targets, slots = graph
    seed, threshold, boost = drop
    heads = target.shape[1] // 3
    depth = value.shape[1] // max(heads, 1)
    lanes = tile.lanes(value)
    step = tile.CACHE_LINE // value.itemsize
    end = targets.size - 1
    one, none = value.dtype.type(1), value.dtype.type(0)
    lowest = value.dtype.type(-np.inf)
    pieces = rows.size > 0
    weight = np.empty((heads, CUT + PAD), value.dtype)  # m p of the edges below 0, else 0
    upper = np.empty((heads, CUT + PAD), value.dtype)  # m p of the edges above 0, else 0
    for p in range(lo, hi):
        start, stop = tile.item(first, p), tile.item(last, p)
        n = stop - start
        if n > CUT:
            continue
        j = tile.item(rows, p) if pieces else p
        for k in range(n):
            coming = tile.item(targets, min(start + k + AHEAD, end))
            for f in range(0, target.shape[1], step):
                tile.prefetch(target, coming, f)
            i = tile.item(targets, start + k)
            for h in range(heads):
                s, norm = vector.at(target, i, h) + vector.at(src, j, h), vector.at(target, i, heads + h)
                vector.put(upper, h, k, s)
                s = s if s > 0 else factor * s
                vector.put(weight, h, k, lowest if norm == lowest else s - norm)
        for h in range(heads):
            for k in range(n, n + lanes):
                vector.put(weight, h, k, lowest)
            for k in range(0, n, lanes):
                tile.store(vector.exp(tile.load(one, weight, h, k, 1)), weight, h, k)
            paid = none  # sum of slope p <grad_i, out_i>
            for k in range(n):
                w, i = vector.at(weight, h, k), tile.item(targets, start + k)
                high = vector.at(upper, h, k) > 0
                paid += (w if high else factor * w) * vector.at(target, i, 2 * heads + h)
                if threshold > 0:
                    w *= kept(seed, threshold, boost, tile.item(slots, start + k), h, heads)
                vector.put(weight, h, k, none if high else w)
                vector.put(upper, h, k, w if high else none)
            f, goal = h * depth, h * depth + depth
            earned = tile.zero(value, 1)  # <value_j, sum of slope m p grad_i>
            while goal - f >= 4 * lanes:
                low4, high4 = tile.zero(value, 4), tile.zero(value, 4)
                for k in range(n):
                    coming = tile.item(targets, min(start + k + AHEAD, end))
                    tile.prefetch(grad, coming, f)
                    tile.prefetch(grad, coming, f + step)
                    i = tile.item(targets, start + k)
                    low4 = tile.axpy(low4, vector.at(weight, h, k), grad, i, f)
                    high4 = tile.axpy(high4, vector.at(upper, h, k), grad, i, f)
                tile.store(vector.plus(high4, low4, one), d_value, p, f)
                high4 = vector.times(vector.plus(high4, low4, factor), value, j, f)
                earned = vector.plus(earned, vector.fold(high4), one)
                f += 4 * lanes
            while goal - f >= lanes:
                low1, high1 = tile.zero(value, 1), tile.zero(value, 1)
                for k in range(n):
                    tile.prefetch(grad, tile.item(targets, min(start + k + AHEAD, end)), f)
                    i = tile.item(targets, start + k)
                    low1 = tile.axpy(low1, vector.at(weight, h, k), grad, i, f)
                    high1 = tile.axpy(high1, vector.at(upper, h, k), grad, i, f)
                tile.store(vector.plus(high1, low1, one), d_value, p, f)
                earned = vector.plus(earned, vector.times(vector.plus(high1, low1, factor), value, j, f), one)
                f += lanes
            d = vector.total(earned) - paid
            for g in range(f, goal):
                s, t = none, none
                for k in range(n):
                    x = vector.at(grad, tile.item(targets, start + k), g)
                    s += vector.at(weight, h, k) * x
                    t += vector.at(upper, h, k) * x
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
