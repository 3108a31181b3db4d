"""Attention on a CPU: a row's scores stay in a small buffer between their maximum and their use.

Scores first, then the features: two passes over a row's scores and one over its features beat an online
softmax, which must rescale the sum. A hub row is cut into pieces; each has a maximum of its own, and the
pieces are merged in order.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from gnnlib.sparse.native import tile, vector
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, variant
from gnnlib.sparse.native.rows import AHEAD, CUT, RUNS, pieces_of, run_start
from gnnlib.sparse.ops.edge_attention.cpu.score import PAD, SCORES, kept, soften


def _rows(kind):
    """The pass over rows lo to hi; ``rows`` names the target of each, or is empty where it is the row."""
    score = SCORES[kind]

    @variant(kind)
    def run(rows, graph, scored, value, drop, result, alpha, lo, hi):
        first, last, indices = graph
        dst, src, att, edge, edge_map, factor = scored
        seed, threshold, boost = drop
        out, top, total = result
        heads = top.shape[1]
        depth = value.shape[1] // max(heads, 1)
        lanes = tile.lanes(value)
        step = tile.CACHE_LINE // value.itemsize
        end = indices.size - 1
        none = value.dtype.type(0)
        pieces = rows.size > 0
        weight = np.empty((heads, CUT + PAD), value.dtype)
        for p in range(lo, hi):
            start, stop = tile.item(first, p), tile.item(last, p)
            n = stop - start
            if n > CUT:
                continue
            i = tile.item(rows, p) if pieces else p
            for k in range(n):
                coming = tile.item(indices, min(start + k + AHEAD, end))
                tile.prefetch_row(src, coming)
                j = tile.item(indices, start + k)
                score(dst, i, src, j, att, edge, edge_map, start + k, factor, weight, k)
            soften(weight, n, top, total, p, pieces)
            if threshold > 0:
                for h in range(heads):
                    for k in range(n):
                        m = kept(seed, threshold, boost, start + k, h, heads)
                        vector.put(weight, h, k, m * vector.at(weight, h, k))
            if alpha.size > 0:
                for h in range(heads):
                    for k in range(n):
                        vector.put(alpha, start + k, h, vector.at(weight, h, k))
            for h in range(heads):
                f, goal = h * depth, h * depth + depth
                while goal - f >= 4 * lanes:
                    sum4 = tile.zero(value, 4)
                    for k in range(n):
                        coming = tile.item(indices, min(start + k + AHEAD, end))
                        tile.prefetch(value, coming, f)
                        tile.prefetch(value, coming, f + step)
                        j = tile.item(indices, start + k)
                        sum4 = tile.axpy(sum4, vector.at(weight, h, k), value, j, f)
                    tile.store(sum4, out, p, f)
                    f += 4 * lanes
                while goal - f >= lanes:
                    sum1 = tile.zero(value, 1)
                    for k in range(n):
                        tile.prefetch(value, tile.item(indices, min(start + k + AHEAD, end)), f)
                        j = tile.item(indices, start + k)
                        sum1 = tile.axpy(sum1, vector.at(weight, h, k), value, j, f)
                    tile.store(sum1, out, p, f)
                    f += lanes
                for g in range(f, goal):
                    s = none
                    for k in range(n):
                        j = tile.item(indices, start + k)
                        s += vector.at(weight, h, k) * vector.at(value, j, g)
                    vector.put(out, p, g, s)

    return run


@helper
def merge(hub, parts, result, alpha):
    """Join the pieces of each hub row: a sum counts as much as its maximum is below the greatest."""
    out, top, total = result
    partial, part_top, part_total = parts
    heads = top.shape[1]
    depth = out.shape[1] // max(heads, 1)
    none = out.dtype.type(0)
    p = 0
    while p < hub.shape[1]:
        i, q = hub[0, p], p
        while q < hub.shape[1] and hub[0, q] == i:
            q += 1
        for h in range(heads):
            most = part_top[p, h]
            for r in range(p, q):
                if part_top[r, h] > most or part_top[r, h] != part_top[r, h]:
                    most = part_top[r, h]
            all_of = none
            for r in range(p, q):
                if part_total[r, h] != 0:
                    all_of += math.exp(part_top[r, h] - most) * part_total[r, h]
            top[i, h] = most
            total[i, h] = all_of
            for f in range(h * depth, h * depth + depth):
                out[i, f] = 0
            for r in range(p, q):
                share = none
                if part_total[r, h] != 0:
                    share += math.exp(part_top[r, h] - most) / all_of
                for f in range(h * depth, h * depth + depth):
                    out[i, f] += share * partial[r, f]
                if alpha.size > 0:
                    for e in range(hub[1, r], hub[2, r]):
                        alpha[e, h] *= share
        p = q


_additive_rows = _rows("additive")
_dot_rows = _rows("dot")
_gatv2_rows = _rows("gatv2")


def _attend_additive(indptr, none, graph, hub, scored, value, drop, result, parts, alpha):
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _additive_rows(none, graph, scored, value, drop, result, alpha, lo, hi)
        lo, hi = pieces_of(hub, run)
        _additive_rows(hub[0], (hub[1], hub[2], graph[2]), scored, value, drop, parts, alpha, lo, hi)
    merge(hub, parts, result, alpha)


def _attend_dot(indptr, none, graph, hub, scored, value, drop, result, parts, alpha):
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _dot_rows(none, graph, scored, value, drop, result, alpha, lo, hi)
        lo, hi = pieces_of(hub, run)
        _dot_rows(hub[0], (hub[1], hub[2], graph[2]), scored, value, drop, parts, alpha, lo, hi)
    merge(hub, parts, result, alpha)


def _attend_gatv2(indptr, none, graph, hub, scored, value, drop, result, parts, alpha):
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _gatv2_rows(none, graph, scored, value, drop, result, alpha, lo, hi)
        lo, hi = pieces_of(hub, run)
        _gatv2_rows(hub[0], (hub[1], hub[2], graph[2]), scored, value, drop, parts, alpha, lo, hi)
    merge(hub, parts, result, alpha)


LAUNCH = {
    "additive": Launcher(_attend_additive),
    "dot": Launcher(_attend_dot),
    "gatv2": Launcher(_attend_gatv2),
}
