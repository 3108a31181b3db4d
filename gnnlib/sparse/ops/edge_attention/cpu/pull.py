"""Attention on a CPU, second half of the backward: each source gathers the gradients of its targets.

It reads the weight and the gradient of the score of each edge from ``pair``, and gives the gradients of the
values and of the sources' part of the scores.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from gnnlib.sparse.native import tile, vector
from gnnlib.sparse.native.launch import Launcher, variant
from gnnlib.sparse.native.rows import AHEAD, CUT, RUNS, pieces_of, run_start
from gnnlib.sparse.ops.edge_attention.cpu.score import CHUNK, join


def _pull(kind):
    """The pass over sources lo to hi; ``rows`` names the source of each, or is empty where it is the row."""
    additive, dot, gatv2 = kind == "additive", kind == "dot", kind == "gatv2"

    @variant(kind)
    def run(rows, graph, scored, grad, pair, d_value, d_src, lo, hi):
        first, last, targets, slots = graph
        dst, src, att, edge, edge_map, factor = scored
        heads = pair.shape[1] // 2
        depth = grad.shape[1] // max(heads, 1)
        inner = dst.shape[1] // max(heads, 1)
        lanes = tile.lanes(grad)
        end = targets.size - 1
        one = grad.dtype.type(1)
        none = grad.dtype.type(0)
        pieces = rows.size > 0
        terms = edge_map.shape[0]
        mapped = gatv2 and terms == 0 and edge.size > 0
        weight = np.empty((heads, CHUNK), grad.dtype)
        slope = np.empty((heads, CHUNK), grad.dtype)
        for p in range(lo, hi):
            begin, stop = tile.item(first, p), tile.item(last, p)
            if stop - begin > CUT:
                continue
            j = tile.item(rows, p) if pieces else p
            for f in range(d_value.shape[1]):
                vector.put(d_value, p, f, none)
            for f in range(d_src.shape[1]):
                vector.put(d_src, p, f, none)
            for start in range(begin, stop, CHUNK):
                n = min(CHUNK, stop - start)
                for k in range(n):
                    coming = min(start + k + AHEAD, end)
                    slot, target = tile.item(slots, coming), tile.item(targets, coming)
                    tile.prefetch_row(pair, slot)
                    if not additive:
                        tile.prefetch_row(dst, target)
                    tile.prefetch_row(grad, target)
                    if mapped:
                        tile.prefetch_row(edge, slot)
                    e = tile.item(slots, start + k)
                    for h in range(heads):
                        vector.put(weight, h, k, vector.at(pair, e, h))
                        vector.put(slope, h, k, vector.at(pair, e, heads + h))
                for h in range(heads):
                    f, goal = h * depth, h * depth + depth
                    while goal - f >= 4 * lanes:
                        sum4 = tile.load(one, d_value, p, f, 4)
                        for k in range(n):
                            i = tile.item(targets, start + k)
                            sum4 = tile.axpy(sum4, vector.at(weight, h, k), grad, i, f)
                            if gatv2:
                                z4 = tile.add(tile.load(one, src, j, f, 4), dst, i, f)
                                if mapped:
                                    z4 = tile.add(z4, edge, tile.item(slots, start + k), f)
                                for c in range(terms):
                                    x = vector.at(edge, tile.item(slots, start + k), c)
                                    z4 = tile.axpy(z4, x, edge_map, c, f)
                                z4 = vector.times(vector.leaky_slope(z4, factor), att, 0, f)
                                sum4 = vector.plus(sum4, z4, vector.at(slope, h, k))
                        tile.store(sum4, d_value, p, f)
                        f += 4 * lanes
                    while goal - f >= lanes:
                        sum1 = tile.load(one, d_value, p, f, 1)
                        for k in range(n):
                            i = tile.item(targets, start + k)
                            sum1 = tile.axpy(sum1, vector.at(weight, h, k), grad, i, f)
                            if gatv2:
                                z1 = tile.add(tile.load(one, src, j, f, 1), dst, i, f)
                                if mapped:
                                    z1 = tile.add(z1, edge, tile.item(slots, start + k), f)
                                for c in range(terms):
                                    x = vector.at(edge, tile.item(slots, start + k), c)
                                    z1 = tile.axpy(z1, x, edge_map, c, f)
                                z1 = vector.times(vector.leaky_slope(z1, factor), att, 0, f)
                                sum1 = vector.plus(sum1, z1, vector.at(slope, h, k))
                        tile.store(sum1, d_value, p, f)
                        f += lanes
                    for g in range(f, goal):
                        s = vector.at(d_value, p, g)
                        for k in range(n):
                            i = tile.item(targets, start + k)
                            s += vector.at(weight, h, k) * vector.at(grad, i, g)
                            if gatv2:
                                z = vector.at(src, j, g) + vector.at(dst, i, g)
                                if mapped:
                                    z += vector.at(edge, tile.item(slots, start + k), g)
                                for c in range(terms):
                                    x = vector.at(edge, tile.item(slots, start + k), c)
                                    z += x * vector.at(edge_map, c, g)
                                d = vector.at(slope, h, k) * vector.at(att, 0, g)
                                s += d if z > 0 else factor * d
                        vector.put(d_value, p, g, s)
                if additive:
                    for h in range(heads):
                        s = vector.at(d_src, p, h)
                        for k in range(n):
                            s += vector.at(slope, h, k)
                        vector.put(d_src, p, h, s)
                if dot:
                    for h in range(heads):
                        f, goal = h * inner, h * inner + inner
                        while goal - f >= 4 * lanes:
                            sum4 = tile.load(one, d_src, p, f, 4)
                            for k in range(n):
                                d = factor * vector.at(slope, h, k)
                                sum4 = tile.axpy(sum4, d, dst, tile.item(targets, start + k), f)
                            tile.store(sum4, d_src, p, f)
                            f += 4 * lanes
                        while goal - f >= lanes:
                            sum1 = tile.load(one, d_src, p, f, 1)
                            for k in range(n):
                                d = factor * vector.at(slope, h, k)
                                sum1 = tile.axpy(sum1, d, dst, tile.item(targets, start + k), f)
                            tile.store(sum1, d_src, p, f)
                            f += lanes
                        for g in range(f, goal):
                            s = vector.at(d_src, p, g)
                            for k in range(n):
                                d = factor * vector.at(slope, h, k)
                                s += d * vector.at(dst, tile.item(targets, start + k), g)
                            vector.put(d_src, p, g, s)

    return run


_additive_pull = _pull("additive")
_dot_pull = _pull("dot")
_gatv2_pull = _pull("gatv2")


def _pull_additive(indptr, none, graph, hub, scored, grad, pair, d_value, d_src, value_parts, src_parts):
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _additive_pull(none, graph, scored, grad, pair, d_value, d_src, lo, hi)
        lo, hi = pieces_of(hub, run)
        hubs = (hub[1], hub[2], graph[2], graph[3])
        _additive_pull(hub[0], hubs, scored, grad, pair, value_parts, src_parts, lo, hi)
    join(hub, value_parts, d_value)
    join(hub, src_parts, d_src)


def _pull_dot(indptr, none, graph, hub, scored, grad, pair, d_value, d_src, value_parts, src_parts):
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _dot_pull(none, graph, scored, grad, pair, d_value, d_src, lo, hi)
        lo, hi = pieces_of(hub, run)
        hubs = (hub[1], hub[2], graph[2], graph[3])
        _dot_pull(hub[0], hubs, scored, grad, pair, value_parts, src_parts, lo, hi)
    join(hub, value_parts, d_value)
    join(hub, src_parts, d_src)


def _pull_gatv2(indptr, none, graph, hub, scored, grad, pair, d_value, d_src, value_parts, src_parts):
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _gatv2_pull(none, graph, scored, grad, pair, d_value, d_src, lo, hi)
        lo, hi = pieces_of(hub, run)
        hubs = (hub[1], hub[2], graph[2], graph[3])
        _gatv2_pull(hub[0], hubs, scored, grad, pair, value_parts, src_parts, lo, hi)
    join(hub, value_parts, d_value)
    join(hub, src_parts, d_src)


LAUNCH = {
    "additive": Launcher(_pull_additive),
    "dot": Launcher(_pull_dot),
    "gatv2": Launcher(_pull_gatv2),
}
