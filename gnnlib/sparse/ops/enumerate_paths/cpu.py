"""Paths on a CPU: a bounded search from each node, once to count and once to write.

A thread owns a node and knows before where its paths go, so the result does not depend on the threads. The
shortest paths are read off a breadth-first search; the others are walked depth first, which needs no memory
but the path itself. What is called for each path is inlined before it is compiled: a call would count the
references to each array that it takes, which cost more than the rest.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from gnnlib.sparse.native import memory
from gnnlib.sparse.native.counter import draw, unit
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, num_threads
from gnnlib.sparse.native.rows import RUNS, run_start
from gnnlib.sparse.ops.enumerate_paths.request import ENOUGH, FAR, Answer, Request, offsets
from gnnlib.sparse.registry import kernel, needs

_SHORTEST, _ALL_SHORTEST, _SIMPLE = 0, 1, 2
#: Numbers that are sorted one by one, which is less work than a call of a sort.
_FEW = 24
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
def _in_order(nodes):
    """Sort some numbers of nodes in place."""
    if nodes.size > _FEW:
        nodes.sort()
        return
    for i in range(1, nodes.size):
        node, at = nodes[i], i
        while at > 0 and nodes[at - 1] > node:
            nodes[at] = nodes[at - 1]
            at -= 1
        nodes[at] = node


@helper
def _by_number(dist, queue, tail):
    """Sort the nodes of each distance, in which order the shortest paths are written."""
    lo = 1
    while lo < tail:
        hi = lo
        while hi < tail and dist[queue[hi]] == dist[queue[lo]]:
            hi += 1
        _in_order(queue[lo:hi])
        lo = hi


@helper
def _forget(dist, queue, tail):
    for q in range(tail):
        dist[queue[q]] = FAR


@helper
def _set_out(indptr, v, path, slots):
    """Begin at the centre, which stands last in ``path``: the path of d edges is its last d + 1 nodes."""
    path[path.size - 1] = v
    slots[0, 0], slots[0, 1] = indptr[v], indptr[v + 1]


@njit(inline="always")
def _goes_on(kind, dist, path, depth, w):
    """Whether the path of ``depth`` edges may go on to w."""
    if kind != _SIMPLE:
        return dist[w] == depth + 1
    met = False
    for i in range(path.size - 1 - depth, path.size):
        met |= path[i] == w
    return not met


@njit(inline="always")
def _step(indptr, indices, kind, dist, path, slots, depth):
    """Go on to the next path in depth-first order, those of the most edges left out; its length, or -1.

    ``slots`` hold of each node on the path the next of its neighbours and the end of them.
    """
    while depth >= 0:
        if depth == path.size - 2 or slots[depth, 0] == slots[depth, 1]:
            depth -= 1
            continue
        w = indices[slots[depth, 0]]
        slots[depth, 0] += 1
        if _goes_on(kind, dist, path, depth, w):
            depth += 1
            path[path.size - 1 - depth] = w
            slots[depth, 0], slots[depth, 1] = indptr[w], indptr[w + 1]
            return depth
    return depth


@helper
def _count_of(indptr, indices, kind, v, tail, room, dist, queue, path, slots, counts):
    """Count the paths to v by their length; False when they need more room than there is."""
    if kind == _SHORTEST:
        for q in range(1, tail):
            counts[dist[queue[q]] - 1, v] += 1
        return True
    last = path.size - 2
    _set_out(indptr, v, path, slots)
    depth = 0
    while depth >= 0:
        if depth > 0:
            counts[depth - 1, v] += 1
            room -= depth + 1
        if depth == last:
            more = 0
            for s in range(slots[depth, 0], slots[depth, 1]):
                more += _goes_on(kind, dist, path, depth, indices[s])
            counts[last, v] += more
            room -= more * (last + 2)
        if room < 0:
            return False
        depth = _step(indptr, indices, kind, dist, path, slots, depth)
    return True


def _count(indptr, indices, kind, length, room, dist, queue, first, least, path, slots, counts, whole):
    for t in prange(dist.shape[0]):
        used = np.int64(0)
        for run in range(t, RUNS, dist.shape[0]):
            for v in range(run_start(indptr, run), run_start(indptr, run + 1)):
                tail = 0
                if kind != _SIMPLE:
                    tail = _ball(indptr, indices, v, length, dist[t], queue[t], first[t], least[t])
                if whole[t]:
                    whole[t] = _count_of(
                        indptr, indices, kind, v, tail, room - used, dist[t], queue[t], path[t], slots[t],
                        counts,
                    )  # fmt: skip
                    for k in range(length):
                        used += counts[k, v] * (k + 2)
                _forget(dist[t], queue[t], tail)


#: Of the paths of each length to a node: where the next is written, how many were met, written, and are
#: there, and how many are wanted.
_AT, _MET, _WRITTEN, _ALL, _WANTED = range(5)


@njit(inline="always")
def _put(seed, v, depth, path, dist, state, nodes, distance):
    """Write the path of ``depth`` edges, unless it is left out: each set of so many is equally likely."""
    k, far = depth - 1, path.size - 1 - depth
    if state[k, _WANTED] < state[k, _ALL]:
        met = state[k, _MET]
        state[k, _MET] += 1
        chance = unit(draw(draw(draw(seed, v), depth), met)) * (state[k, _ALL] - met)
        if chance >= state[k, _WANTED] - state[k, _WRITTEN]:
            return
        state[k, _WRITTEN] += 1
    at = state[k, _AT]
    state[k, _AT] = at + depth + 1
    for i in range(depth + 1):
        nodes[at + i] = path[far + i]
    if distance.size > 0:
        for i in range(depth + 1):
            distance[at + i] = dist[path[far + i]]


@helper
def _write_shortest(seed, v, tail, dist, queue, first, least, path, state, nodes, distance):
    """Write the way to v from each node of its ball."""
    _by_number(dist, queue, tail)
    end = path.size - 1
    for q in range(1, tail):
        far = queue[q]
        depth = np.int64(dist[far])
        u = far
        for i in range(end - depth, end):
            path[i] = u
            u = first[u] if far > v else least[u]
        path[end] = v
        _put(seed, v, depth, path, dist, state, nodes, distance)


@helper
def _write_walked(indptr, indices, kind, seed, v, dist, path, slots, state, nodes, distance):
    """Write the paths to v; those of a length in the order in which they are found."""
    last = path.size - 2
    _set_out(indptr, v, path, slots)
    depth = 0
    while depth >= 0:
        if depth > 0:
            _put(seed, v, depth, path, dist, state, nodes, distance)
        if depth == last:
            for s in range(slots[depth, 0], slots[depth, 1]):
                w = indices[s]
                if _goes_on(kind, dist, path, depth, w):
                    path[0] = w
                    _put(seed, v, depth + 1, path, dist, state, nodes, distance)
        depth = _step(indptr, indices, kind, dist, path, slots, depth)


def _write(
    indptr, indices, kind, length, seed, dist, queue, first, least, path, slots, counts, offset, base, state,
    nodes, distance,
):  # fmt: skip
    for t in prange(dist.shape[0]):
        for run in range(t, RUNS, dist.shape[0]):
            for v in range(run_start(indptr, run), run_start(indptr, run + 1)):
                tail = 0
                if kind != _SIMPLE or distance.size > 0:
                    tail = _ball(indptr, indices, v, length, dist[t], queue[t], first[t], least[t])
                for k in range(length):
                    state[t, k, _AT] = base[k] + offset[k, v] * (k + 2)
                    state[t, k, _MET] = state[t, k, _WRITTEN] = 0
                    state[t, k, _ALL], state[t, k, _WANTED] = counts[k, v], offset[k, v + 1] - offset[k, v]
                if kind == _SHORTEST:
                    _write_shortest(
                        seed, v, tail, dist[t], queue[t], first[t], least[t], path[t], state[t], nodes,
                        distance,
                    )  # fmt: skip
                else:
                    _write_walked(
                        indptr, indices, kind, seed, v, dist[t], path[t], slots[t], state[t], nodes, distance
                    )
                _forget(dist[t], queue[t], tail)


_launch_count = Launcher(_count)
_launch_write = Launcher(_write)


@kernel("enumerate_paths", "cpu", refuse=needs("cpu", frozenset()))
def enumerate_paths(indptr: Tensor, indices: Tensor, request: Request) -> Answer:
    rows, columns = array(indptr), array(indices)
    n, length, kind, threads = rows.size - 1, request.length, _KINDS[request.kind], num_threads()
    dist = np.full((threads, n), FAR, np.uint8)
    queue, first, least = (np.empty((threads, n), columns.dtype) for _ in range(3))
    path, slots = np.empty((threads, length + 1), columns.dtype), np.empty((threads, length, 2), np.int64)
    scratch = dist, queue, first, least, path, slots
    counts, whole = np.zeros((length, n), np.int64), np.ones(threads, np.bool_)
    work = (columns.size + n) * length
    room = ENOUGH * request.limit if request.most is None else np.iinfo(np.int64).max
    _launch_count(work, rows, columns, kind, length, room, *scratch, counts, whole)
    offset = offsets(request, torch.from_numpy(counts), bool(whole.all()))
    sizes = offset[:, -1] * torch.arange(2, length + 2)
    nodes = memory.empty(int(sizes.sum()), dtype=indices.dtype)
    distance = memory.empty(nodes.shape[0] if request.distance else 0, dtype=torch.uint8)
    given = counts, array(offset), array(sizes.cumsum(0) - sizes), np.empty((threads, length, 5), np.int64)
    seed = np.uint64(request.seed & (2**64 - 1))
    _launch_write(work, rows, columns, kind, length, seed, *scratch, *given, array(nodes), array(distance))
    return offset, nodes, distance if request.distance else None
