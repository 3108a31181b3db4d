"""Subgraphs that enclose node pairs, and how far their nodes lie from the two ends, on a CPU."""

from __future__ import annotations

import numpy as np
from numba import njit

from gnnlib.sparse.native.random import below, draw, stream


@njit(cache=True)
def enclosing(indptr, indices, first, second, hops, apart, most, seed):
    """Nodes within ``hops`` of either end of each pair, its ends first, and the edges among them but its own.

    With ``apart`` distances from one end are measured without the other one. Of more than ``most`` nodes of a
    ring so many are drawn, and the others are not met again.
    """
    n = indptr.size - 1
    pairs = first.size
    stamp = np.full(n, -1, np.int64)  # the pair p that a node belongs to, -2 - p where p has dropped it
    place = np.empty(n, np.int64)
    queue = np.empty(n, np.int64)
    ptr = np.zeros(pairs + 1, np.int64)
    node = np.empty(max(pairs * 16, 16), np.int64)
    far = np.empty((2, node.size), np.int64)
    source = np.empty(max(pairs * 64, 16), np.int64)
    target = np.empty(source.size, np.int64)
    slot = np.empty(source.size, np.int64)
    used = edges = 0
    for p in range(pairs):
        u, v = first[p], second[p]
        start = used
        if used + 2 > node.size:
            node, far = _doubled(node), _doubled_rows(far)
        node[used], stamp[u], place[u] = u, p, used
        used += 1
        if v != u:
            node[used], stamp[v], place[v] = v, p, used
            used += 1
        head, hop = start, 0
        while hop < hops and head < used:  # one ring after another
            end = used
            while head < end:
                i = node[head]
                head += 1
                for e in range(indptr[i], indptr[i + 1]):
                    j = indices[e]
                    if stamp[j] != p and stamp[j] != -2 - p:
                        if used == node.size:
                            node, far = _doubled(node), _doubled_rows(far)
                        node[used], stamp[j], place[j] = j, p, used
                        used += 1
            if used - end > most:
                used = _drawn(node, end, used, most, stream(seed, u * n + v), hop, stamp, place, p)
            hop += 1
        ptr[p + 1] = used
        for a in range(start, used):
            i = node[a]
            for e in range(indptr[i], indptr[i + 1]):
                j = indices[e]
                if stamp[j] == p and not ((i == u and j == v) or (i == v and j == u)):
                    if edges == source.size:
                        source, target, slot = _doubled(source), _doubled(target), _doubled(slot)
                    source[edges], target[edges], slot[edges] = place[j], a, e
                    edges += 1
        for side in range(2):
            one, other = (u, v) if side == 0 else (v, u)
            _distances(indptr, indices, one, other, apart, p, stamp, place, queue, start, used, far[side])
    return ptr, node[:used], far[:, :used], source[:edges], target[:edges], slot[:edges]


@njit(cache=True)
def _drawn(node, start, end, most, state, hop, stamp, place, p):
    """Keep ``most`` of the nodes from start to end, each set of them as likely; the new end."""
    state = draw(state, hop)
    for k in range(start, end):
        if k < start + most:
            other = k + below(draw(state, k - start), end - k)
            node[k], node[other] = node[other], node[k]
            place[node[k]] = k
        else:
            stamp[node[k]] = -2 - p
    return start + most


@njit(cache=True)
def _distances(indptr, indices, one, other, apart, p, stamp, place, queue, start, used, out):
    """Hops from one end inside the subgraph without the pair's own edge, -1 where there is no way."""
    out[start:used] = -1
    out[place[one]] = 0
    queue[0] = one
    head, tail = 0, 1
    while head < tail:
        i = queue[head]
        head += 1
        for e in range(indptr[i], indptr[i + 1]):
            j = indices[e]
            if stamp[j] != p or out[place[j]] >= 0:
                continue
            if j == other and (apart or i == one):
                continue
            if i == other and j == one:
                continue
            out[place[j]] = out[place[i]] + 1
            queue[tail] = j
            tail += 1


@njit(cache=True)
def _doubled(values):
    out = np.empty(2 * values.size, values.dtype)
    out[: values.size] = values
    return out


@njit(cache=True)
def _doubled_rows(values):
    out = np.empty((values.shape[0], 2 * values.shape[1]), values.dtype)
    out[:, : values.shape[1]] = values
    return out
