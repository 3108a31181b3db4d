"""Attention on a CPU, first half of the backward: what each target makes of its edges.

The scores are computed again, from the saved log-sum-exp. The weight and the gradient of the score of each
edge stay side by side in ``pair``, ``[E, 2 H]``, for the sources' half. A few edges at a time go through all
steps, so that a gathered row is read again while it is in cache.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from gnnlib.sparse.native import tile, vector
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, variant
from gnnlib.sparse.native.rows import AHEAD, CUT, RUNS, pieces_of, run_start
from gnnlib.sparse.ops.edge_attention.cpu.score import CHUNK, PAD, SCORES, join, kept


def _weigh(kind):
    """The pass over targets lo to hi; ``rows`` names the target of each, or is empty where it is the row."""
    score = SCORES[kind]
    additive, dot, gatv2 = kind == "additive", kind == "dot", kind == "gatv2"

    @variant(kind)
    def run(rows, graph, scored, value, drop, upstream, pair, d_dst, d_att, d_edge, d_map, lo, hi, share):
        first, last, indices = graph
        dst, src, att, edge, edge_map, factor = scored
        seed, threshold, boost = drop
        grad, out, lse, through_weights, grad_alpha = upstream
        heads = lse.shape[1]
        depth = value.shape[1] // max(heads, 1)
        inner = dst.shape[1] // max(heads, 1)
        channels = edge_map.shape[0]
        mapped = gatv2 and channels == 0 and edge.size > 0
        lanes = tile.lanes(value)
        end = indices.size - 1
        one = value.dtype.type(1)
        none = value.dtype.type(0)
        lowest = value.dtype.type(-np.inf)
        pieces = rows.size > 0
        weight = np.empty((heads, CHUNK + PAD), value.dtype)
        slope = np.empty((heads, CHUNK + PAD), value.dtype)
        g_edge = np.empty((1, dst.shape[1]), value.dtype)
        delta = np.empty((1, heads), value.dtype)  # <grad_i, out_i> of each head
        for p in range(lo, hi):
            begin, stop = tile.item(first, p), tile.item(last, p)
            if stop - begin > CUT:
                continue
            i = tile.item(rows, p) if pieces else p
            for f in range(d_dst.shape[1]):
                vector.put(d_dst, p, f, none)
            for h in range(heads):
                f, goal = h * depth, h * depth + depth
                product = tile.zero(value, 1)
                while goal - f >= lanes:
                    product = tile.multiply_add(product, grad, i, out, i, f)
                    f += lanes
                s = vector.total(product)
                for g in range(f, goal):
                    s += vector.at(grad, i, g) * vector.at(out, i, g)
                if through_weights.size > 0:
                    s += vector.at(through_weights, i, h)
                vector.put(delta, 0, h, s)
            for start in range(begin, stop, CHUNK):
                n = min(CHUNK, stop - start)
                for k in range(n):
                    coming = tile.item(indices, min(start + k + AHEAD, end))
                    tile.prefetch_row(value, coming)
                    if not gatv2:
                        tile.prefetch_row(src, coming)
                    j = tile.item(indices, start + k)
                    score(dst, i, src, j, att, edge, edge_map, start + k, factor, weight, k)
                for h in range(heads):
                    norm = vector.at(lse, i, h)
                    for k in range(n):
                        s = vector.at(weight, h, k)
                        if additive:
                            vector.put(slope, h, k, one if s > 0 else factor)
                        vector.put(weight, h, k, lowest if norm == lowest else s - norm)
                    for k in range(n, n + lanes):
                        vector.put(weight, h, k, lowest)
                    for k in range(0, n, lanes):
                        tile.store(vector.exp(tile.load(one, weight, h, k, 1)), weight, h, k)
                for k in range(n):
                    j, e = tile.item(indices, start + k), start + k
                    for h in range(heads):
                        f, goal = h * depth, h * depth + depth
                        wide = tile.zero(value, 4)
                        while goal - f >= 4 * lanes:
                            wide = tile.multiply_add(wide, grad, i, value, j, f)
                            f += 4 * lanes
                        single = vector.fold(wide)
                        while goal - f >= lanes:
                            single = tile.multiply_add(single, grad, i, value, j, f)
                            f += lanes
                        s = vector.total(single)
                        for g in range(f, goal):
                            s += vector.at(grad, i, g) * vector.at(value, j, g)
                        if grad_alpha.size > 0:
                            s += vector.at(grad_alpha, e, h)
                        p_e = vector.at(weight, h, k)
                        m = kept(seed, threshold, boost, e, h, heads) if threshold > 0 else one
                        d = p_e * (m * s - vector.at(delta, 0, h))
                        if additive:
                            d *= vector.at(slope, h, k)
                        vector.put(slope, h, k, d)
                        vector.put(pair, e, h, m * p_e)
                        vector.put(pair, e, heads + h, d)
                if additive:
                    for h in range(heads):
                        s = vector.at(d_dst, p, h)
                        for k in range(n):
                            s += vector.at(slope, h, k)
                        vector.put(d_dst, p, h, s)
                if dot:
                    for h in range(heads):
                        f, goal = h * inner, h * inner + inner
                        while goal - f >= 4 * lanes:
                            sum4 = tile.load(one, d_dst, p, f, 4)
                            for k in range(n):
                                d = factor * vector.at(slope, h, k)
                                sum4 = tile.axpy(sum4, d, src, tile.item(indices, start + k), f)
                            tile.store(sum4, d_dst, p, f)
                            f += 4 * lanes
                        while goal - f >= lanes:
                            sum1 = tile.load(one, d_dst, p, f, 1)
                            for k in range(n):
                                d = factor * vector.at(slope, h, k)
                                sum1 = tile.axpy(sum1, d, src, tile.item(indices, start + k), f)
                            tile.store(sum1, d_dst, p, f)
                            f += lanes
                        for g in range(f, goal):
                            s = vector.at(d_dst, p, g)
                            for k in range(n):
                                d = factor * vector.at(slope, h, k)
                                s += d * vector.at(src, tile.item(indices, start + k), g)
                            vector.put(d_dst, p, g, s)
                if gatv2 and channels == 0:
                    for h in range(heads):
                        f, goal = h * inner, h * inner + inner
                        while goal - f >= 4 * lanes:
                            sum4, att4 = tile.zero(src, 4), tile.load(one, d_att, share, f, 4)
                            for k in range(n):
                                j, d = tile.item(indices, start + k), vector.at(slope, h, k)
                                z4 = tile.add(tile.load(one, dst, i, f, 4), src, j, f)
                                if mapped:
                                    z4 = tile.add(z4, edge, start + k, f)
                                    ray4 = vector.times(vector.leaky_slope(z4, factor), att, 0, f)
                                    tile.store(vector.scale(ray4, d), d_edge, start + k, f)
                                sum4 = vector.plus(sum4, vector.leaky_slope(z4, factor), d)
                                att4 = vector.plus(att4, vector.leaky(z4, factor), d)
                            sum4 = tile.add(vector.times(sum4, att, 0, f), d_dst, p, f)
                            tile.store(sum4, d_dst, p, f)
                            tile.store(att4, d_att, share, f)
                            f += 4 * lanes
                        while goal - f >= lanes:
                            sum1, att1 = tile.zero(src, 1), tile.load(one, d_att, share, f, 1)
                            for k in range(n):
                                j, d = tile.item(indices, start + k), vector.at(slope, h, k)
                                z1 = tile.add(tile.load(one, dst, i, f, 1), src, j, f)
                                if mapped:
                                    z1 = tile.add(z1, edge, start + k, f)
                                    ray1 = vector.times(vector.leaky_slope(z1, factor), att, 0, f)
                                    tile.store(vector.scale(ray1, d), d_edge, start + k, f)
                                sum1 = vector.plus(sum1, vector.leaky_slope(z1, factor), d)
                                att1 = vector.plus(att1, vector.leaky(z1, factor), d)
                            sum1 = tile.add(vector.times(sum1, att, 0, f), d_dst, p, f)
                            tile.store(sum1, d_dst, p, f)
                            tile.store(att1, d_att, share, f)
                            f += lanes
                        for g in range(f, goal):
                            s, t = none, vector.at(d_att, share, g)
                            for k in range(n):
                                j, d = tile.item(indices, start + k), vector.at(slope, h, k)
                                z = vector.at(dst, i, g) + vector.at(src, j, g)
                                if mapped:
                                    z += vector.at(edge, start + k, g)
                                    ray = d * vector.at(att, 0, g) * (one if z > 0 else factor)
                                    vector.put(d_edge, start + k, g, ray)
                                s += d if z > 0 else factor * d
                                t += d * (z if z > 0 else factor * z)
                            vector.put(d_dst, p, g, vector.at(d_dst, p, g) + s * vector.at(att, 0, g))
                            vector.put(d_att, share, g, t)
                if gatv2 and channels > 0:
                    for k in range(n):
                        j, e = tile.item(indices, start + k), start + k
                        for h in range(heads):
                            d = vector.at(slope, h, k)
                            f, goal = h * inner, h * inner + inner
                            while goal - f >= lanes:
                                z1 = tile.add(tile.load(one, dst, i, f, 1), src, j, f)
                                for c in range(channels):
                                    z1 = tile.axpy(z1, vector.at(edge, e, c), edge_map, c, f)
                                ray1 = vector.times(vector.leaky_slope(z1, factor), att, 0, f)
                                tile.store(vector.scale(ray1, d), g_edge, 0, f)
                                att1 = tile.load(one, d_att, share, f, 1)
                                tile.store(vector.plus(att1, vector.leaky(z1, factor), d), d_att, share, f)
                                sum1 = tile.load(one, d_dst, p, f, 1)
                                tile.store(vector.plus(sum1, ray1, d), d_dst, p, f)
                                f += lanes
                            for g in range(f, goal):
                                z = vector.at(dst, i, g) + vector.at(src, j, g)
                                for c in range(channels):
                                    z += vector.at(edge, e, c) * vector.at(edge_map, c, g)
                                ray = d * vector.at(att, 0, g) * (one if z > 0 else factor)
                                vector.put(g_edge, 0, g, ray)
                                t = d * (z if z > 0 else factor * z)
                                vector.put(d_att, share, g, vector.at(d_att, share, g) + t)
                                vector.put(d_dst, p, g, vector.at(d_dst, p, g) + ray)
                        for c in range(channels):
                            r, x = share * channels + c, vector.at(edge, e, c)
                            amount = tile.zero(value, 1)
                            f = 0
                            while d_dst.shape[1] - f >= lanes:
                                g1 = tile.load(one, g_edge, 0, f, 1)
                                tile.store(vector.plus(tile.load(one, d_map, r, f, 1), g1, x), d_map, r, f)
                                amount = vector.plus(amount, vector.times(g1, edge_map, c, f), one)
                                f += lanes
                            s = vector.total(amount)
                            for g in range(f, d_dst.shape[1]):
                                ray = vector.at(g_edge, 0, g)
                                vector.put(d_map, r, g, vector.at(d_map, r, g) + x * ray)
                                s += ray * vector.at(edge_map, c, g)
                            vector.put(d_edge, e, c, s)

    return run


@helper
def _total(shares, rows):
    """Add up the shares of ``rows`` rows each, in order, into the first."""
    for r in range(rows, shares.shape[0]):
        for f in range(shares.shape[1]):
            shares[r % rows, f] += shares[r, f]


_additive_weigh = _weigh("additive")
_dot_weigh = _weigh("dot")
_gatv2_weigh = _weigh("gatv2")


def _weigh_additive(
    indptr, none, graph, hub, scored, value, drop, upstream, pair, d_dst, parts, d_att, d_edge, d_map
):
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _additive_weigh(
            none, graph, scored, value, drop, upstream, pair, d_dst, d_att, d_edge, d_map, lo, hi, run
        )
        lo, hi = pieces_of(hub, run)
        hubs = (hub[1], hub[2], graph[2])
        _additive_weigh(
            hub[0], hubs, scored, value, drop, upstream, pair, parts, d_att, d_edge, d_map, lo, hi, run
        )
    join(hub, parts, d_dst)
    _total(d_att, 1)
    _total(d_map, scored[4].shape[0])


def _weigh_dot(
    indptr, none, graph, hub, scored, value, drop, upstream, pair, d_dst, parts, d_att, d_edge, d_map
):
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _dot_weigh(none, graph, scored, value, drop, upstream, pair, d_dst, d_att, d_edge, d_map, lo, hi, run)
        lo, hi = pieces_of(hub, run)
        hubs = (hub[1], hub[2], graph[2])
        _dot_weigh(
            hub[0], hubs, scored, value, drop, upstream, pair, parts, d_att, d_edge, d_map, lo, hi, run
        )
    join(hub, parts, d_dst)
    _total(d_att, 1)
    _total(d_map, scored[4].shape[0])


def _weigh_gatv2(
    indptr, none, graph, hub, scored, value, drop, upstream, pair, d_dst, parts, d_att, d_edge, d_map
):
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _gatv2_weigh(
            none, graph, scored, value, drop, upstream, pair, d_dst, d_att, d_edge, d_map, lo, hi, run
        )
        lo, hi = pieces_of(hub, run)
        hubs = (hub[1], hub[2], graph[2])
        _gatv2_weigh(
            hub[0], hubs, scored, value, drop, upstream, pair, parts, d_att, d_edge, d_map, lo, hi, run
        )
    join(hub, parts, d_dst)
    _total(d_att, 1)
    _total(d_map, scored[4].shape[0])


LAUNCH = {
    "additive": Launcher(_weigh_additive),
    "dot": Launcher(_weigh_dot),
    "gatv2": Launcher(_weigh_gatv2),
}
