"""Common neighbours on a CPU: two sorted rows are compared block by block.

A row that is much longer is searched; a long row that several pairs share is spread out as bits once, and the
other rows are looked up there. Each pair writes into a place of its own that holds the shorter row, then the
results are moved together.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from gnnlib.sparse.native import bits, tile
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, num_threads
from gnnlib.sparse.native.rows import AHEAD, RUNS, run_start
from gnnlib.sparse.registry import kernel, needs

#: A row so many times longer than the other is searched, not compared block by block (two-core EPYC Milan).
LONGER = 64
#: The same for what is left of two rows when one has no block left.
SEARCHED = 4
#: A row of more entries is worth spreading out when the next pair has it too.
HUB = 64
#: Places that the pairs of one call may reserve; more pairs go in several calls, which use the same memory
#: while it is in cache.
PLACES = 1 << 22


@helper
def _search(indices, a, a_end, b, b_end, out, place):
    """Entries of row a that are in the longer row b: steps that double, then halves."""
    while a < a_end and b < b_end:
        x = tile.item(indices, a)
        step = 1
        while b + step < b_end and tile.item(indices, b + step) < x:
            b += step
            step *= 2
        low, high = b, min(b + step, b_end)
        while low < high:
            mid = (low + high) // 2
            if tile.item(indices, mid) < x:
                low = mid + 1
            else:
                high = mid
        b = low
        if b < b_end and tile.item(indices, b) == x:
            out[place] = x
            place += 1
        a += 1
    return place


@helper
def _walk(indices, a, a_end, b, b_end, out, place):
    """The same for rows of like length, without a branch on the comparison.

    What is no match is overwritten by the next one; while an entry of the shorter row is left, the place is
    within what the pair has reserved.
    """
    while a < a_end and b < b_end:
        x, y = tile.item(indices, a), tile.item(indices, b)
        out[place] = x
        place += x == y
        a += x <= y
        b += y <= x
    return place


@helper
def _meet(indices, a, a_end, b, b_end, out, place):
    """Common entries of two rows, to ``out`` from ``place`` on; the place after them.

    Block by block as long as both rows fill one; the blocks that meet next are the ones that end first.
    """
    size = bits.block(indices)
    if b_end - b <= LONGER * (a_end - a):
        while a + size <= a_end and b + size <= b_end:
            found = bits.meet(indices, a, b)
            while found != 0:
                out[place] = tile.item(indices, a + bits.lowest(found))
                place += 1
                found &= found - np.uint64(1)
            x, y = tile.item(indices, a + size - 1), tile.item(indices, b + size - 1)
            a += size * (x <= y)
            b += size * (y <= x)
    if a_end - a > b_end - b:
        a, a_end, b, b_end = b, b_end, a, a_end
    if b_end - b > SEARCHED * (a_end - a):
        return _search(indices, a, a_end, b, b_end, out, place)
    return _walk(indices, a, a_end, b, b_end, out, place)


@helper
def _flip(indptr, indices, words, j, on):
    """Set the bits of the entries of row j, or clear their words."""
    for s in range(indptr[j], indptr[j + 1]):
        k = np.int64(tile.item(indices, s))
        words[k >> 6] = words[k >> 6] | (np.uint64(1) << np.uint64(k & 63)) if on else np.uint64(0)


@helper
def _test(indices, a, a_end, words, out, place):
    """Entries of row a whose bits are set."""
    for s in range(a, a_end):
        k = np.int64(tile.item(indices, s))
        out[place] = k
        place += np.int64((tile.item(words, k >> 6) >> np.uint64(k & 63)) & np.uint64(1))
    return place


@helper
def _pairs(indptr, indices, by_place, short, long, order, bound, words, out, counts, lo, hi):
    """Pairs lo to hi of the order, in which those that share a long row follow each other."""
    held = np.int64(-1)
    for q in range(lo, hi):
        coming = tile.item(order, min(q + AHEAD, hi - 1))
        tile.prefetch(by_place, tile.item(indptr, tile.item(short, coming)), 0)
        tile.prefetch(by_place, tile.item(indptr, tile.item(long, coming)), 0)
        p = tile.item(order, q)
        i, j = tile.item(short, p), tile.item(long, p)
        a, a_end = tile.item(indptr, i), tile.item(indptr, i + 1)
        b, b_end = tile.item(indptr, j), tile.item(indptr, j + 1)
        place = tile.item(bound, p)
        if b_end - b > HUB and j != held and q + 1 < hi and long[order[q + 1]] == j:
            if held >= 0:
                _flip(indptr, indices, words, held, False)
            _flip(indptr, indices, words, j, True)
            held = j
        if j == held:
            counts[p] = _test(indices, a, a_end, words, out, place) - place
        else:
            counts[p] = _meet(indices, a, a_end, b, b_end, out, place) - place
    if held >= 0:
        _flip(indptr, indices, words, held, False)


def _common(indptr, indices, by_place, short, long, order, cost, bound, words, out, counts):
    for t in prange(words.shape[0]):
        for run in range(t, RUNS, words.shape[0]):
            lo, hi = run_start(cost, run), run_start(cost, run + 1)
            _pairs(indptr, indices, by_place, short, long, order, bound, words[t], out, counts, lo, hi)


@njit(cache=True)
def _sides(indptr, u, v, short, long, bound):
    """The end with the shorter row, the other one, and the lengths of the shorter rows as offsets."""
    bound[0] = 0
    for p in range(u.size):
        i, j = u[p], v[p]
        a, b = indptr[i + 1] - indptr[i], indptr[j + 1] - indptr[j]
        short[p], long[p] = (i, j) if a <= b else (j, i)
        bound[p + 1] = bound[p] + min(a, b)


@njit(cache=True)
def _move(bound, counts, found, out):
    start = 0
    for p in range(counts.size):
        at = bound[p]
        for k in range(counts[p]):
            out[start + k] = found[at + k]
        start += counts[p]


_launch = Launcher(_common)


def _order(degree: np.ndarray, long: np.ndarray) -> np.ndarray:
    """The pairs in the order in which they are taken: those with long rows last, by row."""
    hub = degree[long] > HUB
    last = hub.nonzero()[0]
    return np.concatenate([(~hub).nonzero()[0], last[long[last].argsort(kind="stable")]])


@kernel("common_neighbors", "cpu", refuse=needs("cpu", frozenset()))
def common_neighbors(indptr: Tensor, indices: Tensor, pairs: Tensor, num_cols: int) -> tuple[Tensor, Tensor]:
    offsets, columns = array(indptr), array(indices)
    u, v = (array(t) for t in pairs)
    short, long, bound = np.empty_like(u), np.empty_like(u), np.empty(u.size + 1, np.int64)
    _sides(offsets, u, v, short, long, bound)
    degree = np.diff(offsets)
    words = np.zeros((num_threads(), num_cols // 64 + 1), np.uint64)
    counts = np.empty(u.size, np.int64)
    space = np.empty(min(bound[-1], PLACES), columns.dtype)
    parts, lo = [], 0
    while lo < u.size:
        hi = max(lo + 1, int(np.searchsorted(bound, bound[lo] + PLACES, side="right")) - 1)
        own, some = bound[lo : hi + 1] - bound[lo], slice(lo, hi)
        found = space if own[-1] <= space.size else np.empty(own[-1], columns.dtype)
        order = _order(degree, long[some])
        cost = np.concatenate([own[:1], np.diff(own)[order].cumsum()])
        sides = short[some], long[some], order, cost, own
        _launch(8 * int(own[-1]), offsets, columns, columns[:, None], *sides, words, found, counts[some])
        part = np.empty(counts[some].sum(), columns.dtype)
        _move(own, counts[some], found, part)
        parts.append(torch.from_numpy(part))
        lo = hi
    out = torch.zeros(u.size + 1, dtype=torch.int64)
    torch.cumsum(torch.from_numpy(counts), 0, out=out[1:])
    return out, parts[0] if len(parts) == 1 else torch.cat([indices.new_empty(0), *parts])


@helper
def _left(indices, a, a_end, taken, b, b_end, out, place, end):
    """Entries a to a_end that are not among the taken ones b to b_end, to ``out`` from ``place`` on."""
    while a < a_end and place < end:
        x = tile.item(indices, a)
        if b < b_end and tile.item(taken, b) == x:
            b += 1
        else:
            out[place] = x
            place += 1
        a += 1


def _without(indptr, indices, nodes, taken_indptr, taken, bound, out):
    for run in prange(RUNS):
        for p in range(run_start(bound, run), run_start(bound, run + 1)):
            i = tile.item(nodes, p)
            a, a_end = tile.item(indptr, i), tile.item(indptr, i + 1)
            b, b_end = tile.item(taken_indptr, p), tile.item(taken_indptr, p + 1)
            _left(indices, a, a_end, taken, b, b_end, out, tile.item(bound, p), tile.item(bound, p + 1))


_launch_without = Launcher(_without)


@kernel("rows_without", "cpu", refuse=needs("cpu", frozenset()))
def rows_without(
    indptr: Tensor, indices: Tensor, nodes: Tensor, taken_indptr: Tensor, taken: Tensor
) -> tuple[Tensor, Tensor]:
    bound = torch.zeros_like(taken_indptr)
    torch.cumsum(indptr.diff()[nodes] - taken_indptr.diff(), 0, out=bound[1:])
    out = torch.empty(int(bound[-1]), dtype=indices.dtype)
    given = (array(t) for t in (indptr, indices, nodes, taken_indptr, taken, bound, out))
    _launch_without(2 * out.numel(), *given)
    return bound, out
