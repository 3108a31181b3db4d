"""Paths on a CPU: a bounded search from each node, once to count and once to write.

A thread owns a node and knows before where its paths go, so the result does not depend on the threads. The
shortest paths are read off a breadth-first search; the others are walked depth first, which needs no memory
but the path itself.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import memory
from gnnlib.sparse.native.counter import draw, unit
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, num_threads
from gnnlib.sparse.native.rows import RUNS, run_start
from gnnlib.sparse.ops.enumerate_paths.request import ENOUGH, FAR, Answer, Request, offsets
from gnnlib.sparse.registry import kernel, needs

_SHORTEST, _ALL_SHORTEST, _SIMPLE = 0, 1, 2
_KINDS = {"shortest": _SHORTEST, "all_shortest": _ALL_SHORTEST, "simple": _SIMPLE}


@helper
def _ball(indptr, indices, v, length, dist, queue, first, least):
    """Distances to v, and the next node on the way of each; how many nodes are within ``length`` steps.

    The queue is sorted by distance and, in it, by the ways read from v. So ``first``, the node that found
    another, leads along the smallest way read from v, and ``least``, the smallest of the nodes that could
    have found it, along the smallest one read from the far end.
    """
    dist[v] = 0
    queue[0] = v
    lo, tail = 0, 1
    for d in range(1, length + 1):
        hi = tail
        for q in range(lo, hi):
            u = queue[q]
            for s in range(indptr[u], indptr[u + 1]):
                w = indices[s]
                if dist[w] == FAR:
                    dist[w] = d
                    first[w] = u
                    least[w] = u
                    queue[tail] = w
                    tail += 1
                elif dist[w] == d and u < least[w]:
                    least[w] = u
        lo = hi
    return tail


@helper
def _by_number(dist, queue, tail):
    """Sort the nodes of each distance, in which order the shortest paths are written."""
    lo = 1
    while lo < tail:
        hi = lo
        while hi < tail and dist[queue[hi]] == dist[queue[lo]]:
            hi += 1
        queue[lo:hi].sort()
        lo = hi


@helper
def _forget(dist, queue, tail):
    for q in range(tail):
        dist[queue[q]] = FAR


@helper
def _on(path, depth, w):
    """Whether w is among the first nodes of the path."""
    found = False
    for i in range(depth + 1):
        found |= path[i] == w
    return found


@helper
def _next(indptr, indices, kind, length, dist, path, cursor, depth):
    """Go on to the next path in depth-first order; its length, 0 at the end."""
    while depth >= 0:
        if depth == length or cursor[depth] == indptr[path[depth] + 1]:
            depth -= 1
            continue
        w = indices[cursor[depth]]
        cursor[depth] += 1
        if kind == _SIMPLE:
            if _on(path, depth, w):
                continue
        elif dist[w] != depth + 1:
            continue
        depth += 1
        path[depth] = w
        cursor[depth] = indptr[w]
        return depth
    return 0


@helper
def _count_of(indptr, indices, kind, length, v, tail, room, dist, queue, path, cursor, counts):
    """Count the paths to v by their length; False when they need more room than there is."""
    if kind == _SHORTEST:
        for q in range(1, tail):
            counts[dist[queue[q]] - 1, v] += 1
        return True
    path[0] = v
    cursor[0] = indptr[v]
    depth = _next(indptr, indices, kind, length, dist, path, cursor, 0)
    while depth > 0:
        counts[depth - 1, v] += 1
        room -= depth + 1
        if room < 0:
            return False
        depth = _next(indptr, indices, kind, length, dist, path, cursor, depth)
    return True


def _count(indptr, indices, kind, length, room, dist, queue, first, least, path, cursor, counts, whole):
    for t in prange(dist.shape[0]):
        used = np.int64(0)
        for run in range(t, RUNS, dist.shape[0]):
            for v in range(run_start(indptr, run), run_start(indptr, run + 1)):
                tail = 0
                if kind != _SIMPLE:
                    tail = _ball(indptr, indices, v, length, dist[t], queue[t], first[t], least[t])
                if whole[t]:
                    whole[t] = _count_of(
                        indptr, indices, kind, length, v, tail, room - used,
                        dist[t], queue[t], path[t], cursor[t], counts,
                    )  # fmt: skip
                    for k in range(length):
                        used += counts[k, v] * (k + 2)
                _forget(dist[t], queue[t], tail)


@helper
def _kept(seed, v, k, r, count, wanted, written):
    """Whether path r of ``count`` is among the ``wanted``: each set of so many is equally likely."""
    if count == wanted:
        return True
    return unit(draw(draw(draw(seed, v), k), r)) * (count - r) < wanted - written


@helper
def _put(path, k, at, dist, nodes, distance):
    """Write a path of k edges from its far end on, and where they are wanted the distances."""
    for i in range(k + 1):
        node = path[k - i]
        nodes[at + i] = node
        if distance.size > 0:
            distance[at + i] = dist[node]


@helper
def _write_of(
    indptr, indices, kind, length, seed, v, tail, dist, queue, first, least, path, cursor, counts, offset,
    base, seen, nodes, distance,
):  # fmt: skip
    """Write the paths to v; those of a length in the order in which they are found."""
    for j in range(length):
        seen[0, j] = 0
        seen[1, j] = 0
    if kind == _SHORTEST:
        _by_number(dist, queue, tail)
        depth, q = np.int64(0), np.int64(1)
    else:
        q = np.int64(0)
        path[0] = v
        cursor[0] = indptr[v]
        depth = _next(indptr, indices, kind, length, dist, path, cursor, 0)
    while depth > 0 or (kind == _SHORTEST and q < tail):
        if kind == _SHORTEST:
            u = queue[q]
            q += 1
            depth = np.int64(dist[u])
            for i in range(depth, -1, -1):
                path[i] = u
                if i > 0:
                    u = first[u] if path[depth] > v else least[u]
        k = depth - 1
        r, written = seen[0, k], seen[1, k]
        start = offset[k, v]
        if _kept(seed, v, depth, r, counts[k, v], offset[k, v + 1] - start, written):
            _put(path, depth, base[k] + (start + written) * (depth + 1), dist, nodes, distance)
            seen[1, k] += 1
        seen[0, k] += 1
        if kind == _SHORTEST:
            depth = np.int64(0)
        else:
            depth = _next(indptr, indices, kind, length, dist, path, cursor, depth)


def _write(
    indptr, indices, kind, length, seed, dist, queue, first, least, path, cursor, counts, offset, base, seen,
    nodes, distance,
):  # fmt: skip
    for t in prange(dist.shape[0]):
        for run in range(t, RUNS, dist.shape[0]):
            for v in range(run_start(indptr, run), run_start(indptr, run + 1)):
                tail = 0
                if kind != _SIMPLE or distance.size > 0:
                    tail = _ball(indptr, indices, v, length, dist[t], queue[t], first[t], least[t])
                _write_of(
                    indptr, indices, kind, length, seed, v, tail, dist[t], queue[t], first[t], least[t],
                    path[t], cursor[t], counts, offset, base, seen[t], nodes, distance,
                )  # fmt: skip
                _forget(dist[t], queue[t], tail)


_launch_count = Launcher(_count)
_launch_write = Launcher(_write)


@kernel("enumerate_paths", "cpu", refuse=needs("cpu", frozenset()))
def enumerate_paths(indptr: Tensor, indices: Tensor, request: Request) -> Answer:
    rows, columns = array(indptr), array(indices)
    n, length, kind, threads = rows.size - 1, request.length, _KINDS[request.kind], num_threads()
    dist = np.full((threads, n), FAR, np.uint8)
    queue, first, least = (np.empty((threads, n), columns.dtype) for _ in range(3))
    path, cursor = (np.empty((threads, length + 1), np.int64) for _ in range(2))
    scratch = dist, queue, first, least, path, cursor
    counts, whole = np.zeros((length, n), np.int64), np.ones(threads, np.bool_)
    work = (columns.size + n) * length
    room = ENOUGH * request.limit if request.most is None else np.iinfo(np.int64).max
    _launch_count(work, rows, columns, kind, length, room, *scratch, counts, whole)
    offset = offsets(request, torch.from_numpy(counts), bool(whole.all()))
    sizes = offset[:, -1] * torch.arange(2, length + 2)
    nodes = memory.empty(int(sizes.sum()), dtype=indices.dtype)
    distance = memory.empty(nodes.shape[0] if request.distance else 0, dtype=torch.uint8)
    given = counts, array(offset), array(sizes.cumsum(0) - sizes), np.empty((threads, 2, length), np.int64)
    seed = np.uint64(request.seed & (2**64 - 1))
    _launch_write(work, rows, columns, kind, length, seed, *scratch, *given, array(nodes), array(distance))
    return offset, nodes, distance if request.distance else None
