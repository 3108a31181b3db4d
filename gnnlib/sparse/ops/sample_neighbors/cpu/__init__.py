"""Neighbour sampling on a CPU: targets are drawn for in parallel, then sources get their places in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gnnlib.sparse.counter import child
from gnnlib.sparse.native import tile
from gnnlib.sparse.native.counter import below, draw, unit
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array
from gnnlib.sparse.ops.sample_neighbors.cpu.places import Places, entry
from gnnlib.sparse.ops.sample_neighbors.request import Answer, Edges, Relation, Request, refuse
from gnnlib.sparse.registry import kernel

__all__ = ["Sampled"]

#: Targets ahead whose row offsets, and edges ahead whose sources, are prefetched.
AHEAD = 16


@helper
def _window(indptr, time, limits, i, tag, last):
    """First slot and end of what may be drawn into row i."""
    lo, hi = tile.item(indptr, i), tile.item(indptr, i + 1)
    if time.size > 0 and limits.size > 0:
        a, b = lo, hi
        while a < b:
            mid = (a + b) // 2
            if time[mid] <= limits[tag]:
                a = mid + 1
            else:
                b = mid
        hi = a
        if last >= 0:
            lo = max(lo, hi - last)
    return lo, hi


@helper
def _positive(weight, lo, hi):
    count = 0
    for s in range(lo, hi):
        count += weight[s] > 0
    return count


def _count(indptr, weight, time, limits, node, tag, k, replace, last, start, count):
    """Where the slots of each target begin, and how many are drawn."""
    by_place = indptr.reshape(-1, 1)
    for f in prange(node.size):
        if f + AHEAD < node.size:
            tile.prefetch(by_place, tile.item(node, f + AHEAD), 0)
        mine = tag[f] if tag.size > 0 else 0
        lo, hi = _window(indptr, time, limits, node[f], mine, k if last else -1)
        n = hi - lo
        if weight.size > 0:
            n = _positive(weight, lo, hi)
        start[f] = lo
        if k < 0:
            count[f + 1] = n
        elif replace:
            count[f + 1] = k if n > 0 else 0
        else:
            count[f + 1] = min(n, k)


@helper
def _choose(lo, n, k, state, slot, at):
    """k of n places, each set equally likely."""
    if k * k > 16 * n:
        m = 0
        i = 0
        while m < k:
            if unit(draw(state, i)) * (n - i) < k - m:
                slot[at + m] = lo + i
                m += 1
            i += 1
        return
    for m in range(k):
        j = n - k + m
        place = lo + below(draw(state, m), j + 1)
        for q in range(m):
            if slot[at + q] == place:
                place = lo + j
        slot[at + m] = place


@helper
def _choose_weighted(weight, lo, hi, k, state, slot, at):
    """The k earliest arrivals of exponential clocks, in order."""
    arrival = np.empty(k, np.float64)
    m = 0
    for s in range(lo, hi):
        if weight[s] > 0:
            when = -math.log(1.0 - unit(draw(state, s - lo))) / weight[s]
            if m == k and when >= arrival[k - 1]:
                continue
            p = m if m < k else k - 1
            while p > 0 and arrival[p - 1] > when:
                arrival[p] = arrival[p - 1]
                slot[at + p] = slot[at + p - 1]
                p -= 1
            arrival[p] = when
            slot[at + p] = s
            m = min(m + 1, k)


@helper
def _choose_again_weighted(weight, lo, hi, k, state, slot, at):
    """k places with replacement, by halving the running sums."""
    sums = np.empty(hi - lo, np.float64)
    total = 0.0
    for s in range(lo, hi):
        total += weight[s]
        sums[s - lo] = total
    for m in range(k):
        slot[at + m] = lo + np.searchsorted(sums, unit(draw(state, m)) * total, side="right")


def _draw(indptr, indices, weight, time, limits, node, tag, k, replace, seed, start, count, slot, source):
    """The slots drawn for each target, and their sources."""
    by_place = indices.reshape(-1, 1)
    for f in prange(node.size):
        if f + AHEAD < node.size:
            tile.prefetch(by_place, tile.item(start, f + AHEAD), 0)
        at, m = count[f], count[f + 1] - count[f]
        if m > 0:
            i, mine = node[f], tag[f] if tag.size > 0 else 0
            lo, hi = start[f], _window(indptr, time, limits, i, mine, -1)[1]
            state = draw(draw(seed, i), mine)
            if k >= 0 and replace:
                if weight.size > 0:
                    _choose_again_weighted(weight, lo, hi, m, state, slot, at)
                else:
                    for q in range(m):
                        slot[at + q] = lo + below(draw(state, q), hi - lo)
            elif weight.size > 0:
                if k < 0 or _positive(weight, lo, hi) <= k:
                    q = at
                    for s in range(lo, hi):
                        if weight[s] > 0:
                            slot[q] = s
                            q += 1
                else:
                    _choose_weighted(weight, lo, hi, m, state, slot, at)
            elif m < hi - lo:
                _choose(lo, hi - lo, m, state, slot, at)
            else:
                for q in range(m):
                    slot[at + q] = lo + q
            for q in range(at, at + m):
                source[q] = tile.item(indices, slot[q])


def _spread(count, begin, tag, col, tags):
    """The place, and the tag, of the target of each drawn edge."""
    for f in prange(count.size - 1):
        for q in range(count[f], count[f + 1]):
            col[q] = begin + f
            if tags.size > 0:
                tags[q] = tag[f]


def _inside_count(indptr, indices, time, limits, node, tag, table, keys, size, count):
    """How many sources of each target were sampled too."""
    for f in prange(node.size):
        mine = tag[f] if tag.size > 0 else 0
        lo, hi = _window(indptr, time, limits, node[f], mine, -1)
        count[f + 1] = 0
        for s in range(lo, hi):
            count[f + 1] += table[entry(table, keys, size, tile.item(indices, s), mine)] >= 0


def _inside(indptr, indices, time, limits, node, tag, table, keys, size, count, row, col, slot):
    """The edges between sampled nodes, by target."""
    for f in prange(node.size):
        mine = tag[f] if tag.size > 0 else 0
        lo, hi = _window(indptr, time, limits, node[f], mine, -1)
        q = count[f]
        for s in range(lo, hi):
            place = table[entry(table, keys, size, tile.item(indices, s), mine)]
            if place >= 0:
                row[q], col[q], slot[q] = place, f, s
                q += 1


_launch_count, _launch_draw, _launch_spread = Launcher(_count), Launcher(_draw), Launcher(_spread)
_launch_inside_count, _launch_inside = Launcher(_inside_count), Launcher(_inside)
_NONE = np.empty(0, np.float64)


class Arrays:
    """A relation's arrays as numpy sees them."""

    def __init__(self, relation: Relation) -> None:
        self.src, self.dst = relation.src, relation.dst
        self.indptr, self.indices = array(relation.indptr), array(relation.indices)
        self.weight = _NONE if relation.weight is None else array(relation.weight)
        self.time = _NONE if relation.time is None else array(relation.time)


class Sampled:
    """The nodes that a sample has met so far, of each type; a context that gives its memory back.

    Args:
        relations: the kinds of edges.
        sizes: number of nodes of each node type.
        seeds: nodes to begin with, of each node type.
        disjoint: whether every seed has a subgraph of its own.
        limits: for each node type the latest time in the subgraph of each seed.
    """

    def __init__(
        self,
        relations: Sequence[Relation],
        sizes: Sequence[int],
        seeds: Sequence[Tensor],
        disjoint: bool = False,
        limits: Sequence[Tensor] | None = None,
    ) -> None:
        self.relations = [Arrays(r) for r in relations]
        self.limits = _NONE if limits is None else array(torch.cat(list(limits)))
        firsts = np.cumsum([0, *(s.numel() for s in seeds)]).tolist()
        self.places = [
            Places(size, array(nodes), first if disjoint else None)
            for size, nodes, first in zip(sizes, seeds, firsts, strict=False)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for p in self.places:
            p.clear()

    def inside(self, r: int) -> Edges:
        """All edges of a relation between the sampled nodes."""
        of = self.relations[r]
        node, tag = self.places[of.dst].between(0, self.places[of.dst].num_nodes)
        src, count = self.places[of.src], np.zeros(node.size + 1, np.int64)
        given = of.indptr, of.indices, of.time, self.limits, node, tag, src.table, src.keys, src.size
        work = node.size * max(1, of.indices.size // of.indptr.size)
        _launch_inside_count(work, *given, count)
        np.cumsum(count, out=count)
        found = tuple(np.empty(count[-1], np.int64) for _ in range(3))
        _launch_inside(work, *given, count, *found)
        return _edges([found])


def _edges(parts: list[tuple[np.ndarray, ...]]) -> Edges:
    columns = zip(*parts, strict=True) if parts else ([np.empty(0, np.int64)] for _ in range(3))
    row, col, slot = (torch.from_numpy(c[0] if len(c) == 1 else np.concatenate(c)) for c in columns)
    return Edges(row, col, slot, [part[0].size for part in parts])


def _drawn(
    request: Request, sampled: Sampled, r: int, hop: int, begin: int, end: int
) -> tuple[np.ndarray, ...]:
    """Draw into targets begin to end; places of sources and targets, slots."""
    of, places = sampled.relations[r], sampled.places
    k, seed = request.fanouts[r][hop], child(request.seed, hop, r)
    node, tag = places[of.dst].between(begin, end)
    start, count = np.empty(node.size, np.int64), np.zeros(node.size + 1, np.int64)
    window = of.weight, of.time, sampled.limits, node, tag, k, request.replace
    _launch_count(node.size, of.indptr, *window, request.last, start, count)
    np.cumsum(count, out=count)
    col, slot, source = (np.empty(count[-1], np.int64) for _ in range(3))
    tags = np.empty(count[-1] if request.disjoint else 0, np.int64)
    result = start, count, slot, source
    _launch_draw(slot.size, of.indptr, of.indices, *window, np.uint64(seed), *result)
    _launch_spread(col.size // 4, count, begin, tag, col, tags)
    return places[of.src].enter(source, tags), col, slot


@kernel("sample_neighbors", "cpu", refuse=refuse)
def sample_neighbors(request: Request) -> Answer:
    graph = request.relations, request.sizes, request.seeds
    with Sampled(*graph, request.disjoint, request.limits) as sampled:
        kinds, places = range(len(request.relations)), sampled.places
        counts = [[p.num_nodes] for p in places]
        drawn: list[list[tuple[np.ndarray, ...]]] = [[] for _ in kinds]
        begin = [0] * len(places)
        for hop in range(request.num_hops):
            end = [p.num_nodes for p in places]
            for r in kinds:
                dst = request.relations[r].dst
                drawn[r].append(_drawn(request, sampled, r, hop, begin[dst], end[dst]))
            for t, p in enumerate(places):
                counts[t].append(p.num_nodes - end[t])
            begin = end
        nodes = [p.answer(c) for p, c in zip(places, counts, strict=True)]
        return nodes, [sampled.inside(r) if request.induced else _edges(drawn[r]) for r in kinds]
