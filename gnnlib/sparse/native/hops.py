"""Breadth-first searches on a CPU: balls around nodes, hop distances, distances inside a ball."""

from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(cache=True)
def balls(indptr, indices, seeds, radius):
    """Offsets, nodes and hops of the ball around each seed, nearest first."""
    n = indptr.size - 1
    stamp = np.full(n, -1, np.int64)
    ptr = np.zeros(seeds.size + 1, np.int64)
    node = np.empty(max(seeds.size * 8, 16), np.int64)
    hop = np.empty(node.size, np.int64)
    used = 0
    for s in range(seeds.size):
        first = used
        if used == node.size:
            node, hop = _doubled(node), _doubled(hop)
        stamp[seeds[s]] = s
        node[used], hop[used] = seeds[s], 0
        used += 1
        head = first
        while head < used and hop[head] < radius:
            i = node[head]
            for e in range(indptr[i], indptr[i + 1]):
                j = indices[e]
                if stamp[j] != s:
                    stamp[j] = s
                    if used == node.size:
                        node, hop = _doubled(node), _doubled(hop)
                    node[used], hop[used] = j, hop[head] + 1
                    used += 1
            head += 1
        ptr[s + 1] = used
    return ptr, node[:used], hop[:used]


@njit(cache=True)
def _doubled(values):
    out = np.empty(2 * values.size, values.dtype)
    out[: values.size] = values
    return out


@njit(cache=True)
def pack(ptr, node, num_nodes):
    """First fit: the class of each set, so that no two sets of a class share a node."""
    count = ptr.size - 1
    group = np.full(count, -1, np.int64)
    mark = np.full(num_nodes, -1, np.int64)
    waiting = np.arange(count)
    c = 0
    while waiting.size > 0:
        left = 0
        for k in range(waiting.size):
            s = waiting[k]
            free = True
            for p in range(ptr[s], ptr[s + 1]):
                if mark[node[p]] == c:
                    free = False
                    break
            if free:
                group[s] = c
                for p in range(ptr[s], ptr[s + 1]):
                    mark[node[p]] = c
            else:
                waiting[left] = s
                left += 1
        waiting = waiting[:left]
        c += 1
    return group


@njit(cache=True)
def hop_distance(indptr, indices, sources, limit, out):
    """Hops from the nearest source along rows, -1 where there is none within the limit."""
    out[:] = -1
    queue = np.empty(out.size, np.int64)
    tail = 0
    for k in range(sources.size):
        if out[sources[k]] < 0:
            out[sources[k]] = 0
            queue[tail] = sources[k]
            tail += 1
    head = 0
    while head < tail:
        i = queue[head]
        head += 1
        if out[i] == limit:
            break
        for e in range(indptr[i], indptr[i + 1]):
            j = indices[e]
            if out[j] < 0:
                out[j] = out[i] + 1
                queue[tail] = j
                tail += 1
    return queue[tail - 1] if tail > 0 else -1


def eccentricity(indptr, indices, out, pieces):
    """The largest hop distance to a node that can be reached, for every node."""
    n = indptr.size - 1
    for piece in prange(pieces):
        stamp = np.full(n, -1, np.int64)
        hop = np.empty(n, np.int64)
        queue = np.empty(n, np.int64)
        for s in range(piece * n // pieces, (piece + 1) * n // pieces):
            stamp[s], hop[s], queue[0] = s, 0, s
            head, tail = 0, 1
            while head < tail:
                i = queue[head]
                head += 1
                for e in range(indptr[i], indptr[i + 1]):
                    j = indices[e]
                    if stamp[j] != s:
                        stamp[j], hop[j] = s, hop[i] + 1
                        queue[tail] = j
                        tail += 1
            out[s] = hop[queue[tail - 1]]


def ball_eccentricity(indptr, indices, length, radius, out, pieces):
    """The largest distance from a node inside the subgraph that its ball induces.

    Labels are corrected in queue order until none changes: on networks whose lengths are alike each node is
    corrected about twice, which is less than what a heap costs. The minimum over paths of sums taken from
    the centre outwards does not depend on the order, so neither do the bits.
    """
    n = indptr.size - 1
    for piece in prange(pieces):
        stamp = np.full(n, -1, np.int64)
        hop = np.empty(n, np.int64)
        ball = np.empty(n, np.int64)
        distance = np.empty(n, out.dtype)
        waits = np.zeros(n, np.bool_)
        ring = np.empty(n + 1, np.int64)
        for s in range(piece * n // pieces, (piece + 1) * n // pieces):
            stamp[s], hop[s], ball[0], distance[s] = s, 0, s, 0
            head, size = 0, 1
            while head < size and hop[ball[head]] < radius:
                i = ball[head]
                head += 1
                for e in range(indptr[i], indptr[i + 1]):
                    j = indices[e]
                    if stamp[j] != s:
                        stamp[j], hop[j], distance[j] = s, hop[i] + 1, np.inf
                        ball[size] = j
                        size += 1
            ring[0], waits[s] = s, True
            head, tail = 0, 1
            while head != tail:
                i = ring[head]
                head = head + 1 if head < n else 0
                waits[i] = False
                for e in range(indptr[i], indptr[i + 1]):
                    j = indices[e]
                    if stamp[j] == s and distance[i] + length[e] < distance[j]:
                        distance[j] = distance[i] + length[e]
                        if not waits[j]:
                            waits[j] = True
                            ring[tail] = j
                            tail = tail + 1 if tail < n else 0
            farthest = distance[s]
            for k in range(size):
                farthest = max(farthest, distance[ball[k]])
            out[s] = farthest


@njit(cache=True)
def ball_edges(indptr, indices, ptr, node):
    """Source, target and slot of the edges inside each ball, by places in the list of all balls' nodes."""
    place = np.full(indptr.size - 1, -1, np.int64)
    total = 0
    for p in range(node.size):
        total += indptr[node[p] + 1] - indptr[node[p]]
    source, target, slot = np.empty(total, np.int64), np.empty(total, np.int64), np.empty(total, np.int64)
    used = 0
    for s in range(ptr.size - 1):
        for p in range(ptr[s], ptr[s + 1]):
            place[node[p]] = p
        for p in range(ptr[s], ptr[s + 1]):
            for e in range(indptr[node[p]], indptr[node[p] + 1]):
                q = place[indices[e]]
                if q >= 0:
                    source[used], target[used], slot[used] = q, p, e
                    used += 1
        for p in range(ptr[s], ptr[s + 1]):
            place[node[p]] = -1
    return source[:used], target[:used], slot[:used]


@njit(cache=True)
def last_row(values):
    """One more than the last row that holds something else than 0."""
    for i in range(values.shape[0] - 1, -1, -1):
        for f in range(values.shape[1]):
            if values[i, f] != 0:
                return i + 1
    return 0
