"""Skip-gram on a CPU: two passes a block, first the scores by centre, then the sums by columns.

Scores read the tables and write one coefficient for each pair of a context and an output. Sums then need no
other coefficient than those, so a thread takes a range of columns through all centres of the block: no two
threads write to one number, and each number is summed in the order of the centres.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from gnnlib.sparse.native import lanes, random, tile, vector
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import SMALL, Launcher, array, num_threads
from gnnlib.sparse.ops.skipgram import ABREAST, SATURATED, UNIT, abreast
from gnnlib.sparse.registry import kernel, needs

#: Runs of centres in which the scores of a block are computed.
RUNS = 16
#: Blocks that are timed on one thread, then on all of them for as long as those are faster. Threads wait for
#: each other twice in a block, and where other programs want the cores a wait is as long as a turn of theirs:
#: two threads took 12 to 36 s for what one did in 1.4 (two cores, load 5).
TRIAL = 4
#: Columns of a wide tile: eight registers of eight.
WIDE = 64


@helper
def _dots(table, other, u, out, i, score, e):
    """Minus the score of context u with every output of centre i, to ``score[0, e:]``; three at a time."""
    last = out.shape[1] - 1
    for k in range(0, last + 1, 3):
        k1, k2 = min(k + 1, last), min(k + 2, last)
        v0, v1, v2 = max(out[i, k], 0), max(out[i, k1], 0), max(out[i, k2], 0)
        a, b, c = tile.zero(table, 2), tile.zero(table, 2), tile.zero(table, 2)
        for col in range(0, table.shape[1], UNIT):
            w = lanes.get(table, u, col, table, 2, 0)
            a = lanes.fused(a, w, lanes.get(other, v0, col, table, 2, 0))
            b = lanes.fused(b, w, lanes.get(other, v1, col, table, 2, 0))
            c = lanes.fused(c, w, lanes.get(other, v2, col, table, 2, 0))
        score[0, e + k] = -vector.total(vector.fold(a))
        score[0, e + k1] = -vector.total(vector.fold(b))
        score[0, e + k2] = -vector.total(vector.fold(c))


@helper
def _coefficients(score, lo, hi):
    """Logistic function of what stands negated in ``score[0, lo:hi]``, certain beyond the bound."""
    one, zero = lanes.fill(score, 1, score.dtype.type(1)), tile.zero(score, 1)
    top = lanes.fill(score, 1, score.dtype.type(SATURATED))
    for e in range(lo, hi, 8):
        x = lanes.get(score, 0, e, score, 1, 0)
        s = lanes.over(one, lanes.plus(one, vector.exp(x)))
        s = tile.choose(lanes.greater(x, top), zero, s)
        s = tile.choose(lanes.greater(lanes.minus(zero, x), top), one, s)
        tile.store(s, score, 0, e)


@helper
def _score(table, other, ptr, context, out, rate, base, lo, hi, score, held):
    outputs = out.shape[1]
    for i in range(lo, hi):
        count = (ptr[i + 1] - ptr[i]) * outputs
        if i + 1 < hi:  # the negatives of the next centre are anywhere
            for k in range(outputs):
                row = max(out[i + 1, k], 0)
                for col in range(0, table.shape[1], UNIT):
                    tile.prefetch(other, row, col)
        for e in range(ptr[i], ptr[i + 1]):
            _dots(table, other, np.int64(context[e]), out, i, held, (e - ptr[i]) * outputs)
        _coefficients(held, 0, count)
        at = (ptr[i] - base) * outputs
        for e in range(0, count, outputs):
            score[at + e] = rate * (score.dtype.type(1) - held[0, e]) if out[i, 0] >= 0 else 0
            for k in range(1, outputs):
                score[at + e + k] = -rate * held[0, e + k] if out[i, k] >= 0 else 0


@njit(inline="always")
def _sum_narrow(table, other, more, more_other, ptr, context, out, score, i, at, col):
    outputs = out.shape[1]
    for k in range(outputs):
        v = np.int64(out[i, k])
        if v >= 0:
            t = lanes.get(more_other, v, col, table, 2, 0)
            for e in range(ptr[i], ptr[i + 1]):
                t = tile.axpy(t, score[at + (e - ptr[i]) * outputs + k], table, np.int64(context[e]), col)
            tile.store(t, more_other, v, col)
    for e in range(ptr[i], ptr[i + 1]):
        u = np.int64(context[e])
        t = lanes.get(more, u, col, table, 2, 0)
        for k in range(outputs):
            t = tile.axpy(t, score[at + (e - ptr[i]) * outputs + k], other, np.int64(max(out[i, k], 0)), col)
        tile.store(t, more, u, col)


@njit(inline="always")
def _sum_wide(table, other, more, more_other, ptr, context, out, score, i, at, col):
    outputs = out.shape[1]
    for k in range(outputs):
        v = np.int64(out[i, k])
        if v >= 0:
            t = lanes.get(more_other, v, col, table, 8, 0)
            for e in range(ptr[i], ptr[i + 1]):
                t = tile.axpy(t, score[at + (e - ptr[i]) * outputs + k], table, np.int64(context[e]), col)
            tile.store(t, more_other, v, col)
    for e in range(ptr[i], ptr[i + 1]):
        u = np.int64(context[e])
        t = lanes.get(more, u, col, table, 8, 0)
        for k in range(outputs):
            t = tile.axpy(t, score[at + (e - ptr[i]) * outputs + k], other, np.int64(max(out[i, k], 0)), col)
        tile.store(t, more, u, col)


@helper
def _sum(table, other, more, more_other, ptr, context, out, score, base, lo, hi, left, right):
    outputs = out.shape[1]
    for i in range(lo, hi):
        at = (ptr[i] - base) * outputs
        col = left
        while right - col >= WIDE:
            _sum_wide(table, other, more, more_other, ptr, context, out, score, i, at, col)
            col += WIDE
        while col < right:
            _sum_narrow(table, other, more, more_other, ptr, context, out, score, i, at, col)
            col += UNIT


@helper
def _apply(table, more, rows, count, left, right):
    for r in range(count):
        i = np.int64(rows[r])
        for f in range(left, right):
            table[i, f] += more[i, f]
            more[i, f] = 0


@helper
def _distinct(values, lo, hi, mark, number, rows, count):
    for e in range(lo, hi):
        i = values[e]
        if i >= 0 and mark[i] != number:
            mark[i] = number
            rows[count] = i
            count += 1
    return count


def _train(
    table,
    other,
    more,
    more_other,
    ptr,
    context,
    out,
    lr,
    floor,
    done,
    total,
    block,
    slices,
    score,
    held,
    mark,
    rows,
    lead,
):
    outputs, units = out.shape[1], table.shape[1] // UNIT
    flat = out.reshape(-1)
    for start in range(0, out.shape[0], block):
        stop = min(start + block, out.shape[0])
        base = ptr[start]
        rate = table.dtype.type(max(lr * (1 - (done + start) / total), floor))
        for run in prange(RUNS):
            lo, hi = start + (stop - start) * run // RUNS, start + (stop - start) * (run + 1) // RUNS
            _score(table, other, ptr, context, out, rate, base, lo, hi, score, held[run])
        number = lead + start + 1  # another one for each block
        first = _distinct(context, base, ptr[stop], mark[0], number, rows[0], 0)
        second = _distinct(flat, start * outputs, stop * outputs, mark[1], number, rows[1], 0)
        for s in prange(slices):
            left, right = UNIT * (units * s // slices), UNIT * (units * (s + 1) // slices)
            _sum(table, other, more, more_other, ptr, context, out, score, base, start, stop, left, right)
            _apply(table, more, rows[0], first, left, right)
            _apply(other, more_other, rows[1], second, left, right)


def _windows(walks, window, seed, first, offset, place, ptr, context, centre, write):
    length = walks.shape[1]
    start = random.stream(seed, 0)
    for r in prange(walks.shape[0]):
        for i in range(length):
            if walks[r, i] < 0:
                break
            at = place[r // ABREAST, i, r % ABREAST]
            half = 1 + random.below(random.draw(start, (first + r) * length + i), window)
            if offset > 0:
                half = offset
            count = 0
            for j in range(max(0, i - half), min(length, i + half + 1)):
                if j != i and walks[r, j] >= 0 and (offset == 0 or abs(j - i) == offset):
                    if write:
                        context[ptr[at] + count] = walks[r, j]
                    count += 1
            if write:
                centre[at] = walks[r, i]
            else:
                ptr[at + 1] = count


_launch_train = Launcher(_train)
_launch_windows = Launcher(_windows)


@kernel("walk_windows", "cpu", refuse=needs("cpu", frozenset()))
def walk_windows(
    walks: Tensor, window: int, seed: int, first: int, offset: int
) -> tuple[Tensor, Tensor, Tensor]:
    real = abreast(walks) >= 0
    place = (real.reshape(-1).cumsum(0) - 1).view(real.shape)
    total = int(real.sum())
    ptr = torch.zeros(total + 1, dtype=torch.int64)
    centre = torch.empty(total, dtype=torch.int32)
    nothing = np.empty(0, np.int32)
    given = array(walks), window, seed, first, offset, array(place)
    _launch_windows(16 * walks.numel(), *given, array(ptr), nothing, array(centre), False)
    torch.cumsum(ptr[1:], 0, out=ptr[1:])
    context = torch.empty(int(ptr[-1]), dtype=torch.int32)
    _launch_windows(16 * walks.numel(), *given, array(ptr), array(context), array(centre), True)
    return ptr, context, centre


@kernel("skipgram", "cpu", refuse=needs("cpu", frozenset({torch.float32})))
def skipgram(
    table: Tensor,
    other: Tensor,
    ptr: Tensor,
    context: Tensor,
    out: Tensor,
    lr: float,
    floor: float,
    done: float,
    total: float,
    block: int,
) -> None:
    if out.shape[0] == 0:
        return
    w, c, offsets = table.numpy(), other.numpy(), array(ptr)
    same = table.data_ptr() == other.data_ptr()
    more = np.zeros_like(w)
    more_other = more if same else np.zeros_like(c)
    ends = np.append(offsets[:-1:block], offsets[-1])
    outputs, most = out.shape[1], int(np.diff(offsets).max())
    size = int(np.diff(ends).max())
    threads, contexts, centres = min(num_threads(), w.shape[1] // UNIT), array(context), array(out)
    held = (
        np.empty(size * outputs, np.float32),
        np.zeros((RUNS, 1, most * outputs + 8), np.float32),
        np.zeros((2, max(w.shape[0], c.shape[0])), np.int64),
        np.empty((2, max(w.shape[0], c.shape[0])), np.int64),
    )

    def train(lo: int, hi: int, use: int) -> float:
        """Seconds for the centres from lo to hi."""
        if lo == hi:
            return 0.0
        begin = time.perf_counter()
        _launch_train.on(
            use, w, c, more, more_other, offsets[lo : hi + 1], contexts, centres[lo:hi], lr, floor,
            float(done + lo), float(total), block, use, *held, lo,
        )  # fmt: skip
        return time.perf_counter() - begin

    part, last = TRIAL * block, out.shape[0]
    if threads == 1 or outputs * int(offsets[-1]) * w.shape[1] < SMALL:
        train(0, last, 1)
        return
    lo = min(part, last)
    pace = train(0, lo, 1) / lo
    while lo < last:  # parts grow twofold, so a slow one costs no more than what was won before
        hi = min(lo + part, last)
        if train(lo, hi, threads) > pace * (hi - lo):
            train(hi, last, 1)
            return
        lo, part = hi, 2 * part
