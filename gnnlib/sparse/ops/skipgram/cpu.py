"""Skip-gram on a CPU: two passes a block, first each centre on copies of its rows, then the sums by columns.

A centre goes through its contexts on copies, which stay in the first cache, and leaves what they have moved.
Sums then add that to the tables: a thread takes a range of columns through all centres of the block, so no
two threads write to one number, and each number is summed in the order of the centres.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import lanes, random, tile, vector
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import SMALL, Launcher, array, num_threads
from gnnlib.sparse.ops.skipgram import ABREAST, SATURATED, UNIT, abreast
from gnnlib.sparse.registry import kernel, needs

#: Runs of centres into which the first pass over a block is cut.
RUNS = 16
#: Blocks that are timed on one thread, then on all of them for as long as those are faster. Threads wait for
#: each other twice in a block, and where other programs want the cores a wait is as long as a turn of theirs:
#: two threads took 12 to 36 s for what one did in 1.4 (two cores, load 5).
TRIAL = 4


@helper
def _copy(source, row, target, place):
    for col in range(0, source.shape[1], UNIT):
        tile.store(lanes.get(source, row, col, source, 2, 0), target, place, col)


@helper
def _less(source, row, target, place):
    """``target[place] -= source[row]``."""
    for col in range(0, source.shape[1], UNIT):
        t = lanes.get(target, place, col, source, 2, 0)
        tile.store(lanes.minus(t, lanes.get(source, row, col, source, 2, 0)), target, place, col)


@helper
def _more(source, row, target, place, left, right):
    """``target[place] += source[row]`` in some columns."""
    for col in range(left, right, UNIT):
        t = lanes.get(target, place, col, source, 2, 0)
        tile.store(lanes.plus(t, lanes.get(source, row, col, source, 2, 0)), target, place, col)


@helper
def _scores(rows, w, first, outputs, score):
    """Minus the score of row ``w`` with the rows from ``first`` on, to ``score[0]``; three at a time."""
    last = outputs - 1
    for k in range(0, outputs, 3):
        k1, k2 = min(k + 1, last), min(k + 2, last)
        a, b, c = tile.zero(rows, 2), tile.zero(rows, 2), tile.zero(rows, 2)
        for col in range(0, rows.shape[1], UNIT):
            t = lanes.get(rows, w, col, rows, 2, 0)
            a = lanes.fused(a, t, lanes.get(rows, first + k, col, rows, 2, 0))
            b = lanes.fused(b, t, lanes.get(rows, first + k1, col, rows, 2, 0))
            c = lanes.fused(c, t, lanes.get(rows, first + k2, col, rows, 2, 0))
        score[0, k] = -vector.total(vector.fold(a))
        score[0, k1] = -vector.total(vector.fold(b))
        score[0, k2] = -vector.total(vector.fold(c))


@helper
def _coefficients(score, outputs, out, i, rate):
    """The rate times what is wanted less the logistic function of what stands negated in ``score[0]``."""
    one, zero = lanes.fill(score, 1, score.dtype.type(1)), tile.zero(score, 1)
    top = lanes.fill(score, 1, score.dtype.type(SATURATED))
    for e in range(0, outputs, 8):
        x = lanes.get(score, 0, e, score, 1, 0)
        s = lanes.over(one, lanes.plus(one, vector.exp(x)))
        s = tile.choose(lanes.greater(x, top), zero, s)
        s = tile.choose(lanes.greater(lanes.minus(zero, x), top), one, s)
        tile.store(vector.scale(s, -rate), score, 0, e)
    score[0, 0] += rate
    for k in range(outputs):
        if out[i, k] < 0:
            score[0, k] = 0


@helper
def _move(rows, w, first, outputs, score):
    """Row ``w`` and the rows from ``first`` on move along each other, each by the others as they were."""
    for col in range(0, rows.shape[1], UNIT):
        x = lanes.get(rows, w, col, rows, 2, 0)
        t = x
        for k in range(outputs):
            y = lanes.get(rows, first + k, col, rows, 2, 0)
            t = vector.plus(t, y, score[0, k])
            tile.store(vector.plus(y, x, score[0, k]), rows, first + k, col)
        tile.store(t, rows, w, col)


@helper
def _distinct(context, lo, hi, place, first):
    """``place[first + e]`` says where the e-th context stands for the first time, counted from ``lo``."""
    for e in range(hi - lo):
        place[first + e] = e
        for f in range(e):
            if context[lo + f] == context[lo + e]:
                place[first + e] = f
                break


@helper
def _centre(table, other, ptr, context, out, rate, i, rows, place, first, score):
    """What centre i adds to its contexts, to ``rows[first:]``, and after them what it adds to its outputs."""
    outputs, lo, hi = out.shape[1], ptr[i], ptr[i + 1]
    last = first + hi - lo
    _distinct(context, lo, hi, place, first)
    for e in range(hi - lo):
        if place[first + e] == e:
            _copy(table, np.int64(context[lo + e]), rows, first + e)
    for k in range(outputs):
        _copy(other, np.int64(max(out[i, k], 0)), rows, last + k)
    for e in range(hi - lo):
        w = first + place[first + e]
        _scores(rows, w, last, outputs, score)
        _coefficients(score, outputs, out, i, rate)
        _move(rows, w, last, outputs, score)
    for e in range(hi - lo):
        if place[first + e] == e:
            _less(table, np.int64(context[lo + e]), rows, first + e)
    for k in range(outputs):
        _less(other, np.int64(max(out[i, k], 0)), rows, last + k)


@helper
def _ask(other, out, i):
    """Bring the rows of the outputs of centre i, which are anywhere, nearer."""
    for k in range(out.shape[1]):
        row = np.int64(max(out[i, k], 0))
        for col in range(0, other.shape[1], UNIT):
            tile.prefetch(other, row, col)


def _train(table, other, ptr, context, out, lr, floor, done, total, block, slices, rows, place, score):
    outputs, units = out.shape[1], table.shape[1] // UNIT
    for start in range(0, out.shape[0], block):
        stop = min(start + block, out.shape[0])
        base = ptr[start]
        rate = table.dtype.type(max(lr * (1 - (done + start) / total), floor))
        for run in prange(RUNS):
            lo, hi = start + (stop - start) * run // RUNS, start + (stop - start) * (run + 1) // RUNS
            for i in range(lo, hi):
                if i + 1 < hi:
                    _ask(other, out, i + 1)
                first = ptr[i] - base + (i - start) * outputs
                _centre(table, other, ptr, context, out, rate, i, rows, place, first, score[run])
        for s in prange(slices):
            left, right = UNIT * (units * s // slices), UNIT * (units * (s + 1) // slices)
            for i in range(start, stop):
                first = ptr[i] - base + (i - start) * outputs
                for e in range(ptr[i + 1] - ptr[i]):
                    if place[first + e] == e:
                        _more(rows, first + e, table, np.int64(context[ptr[i] + e]), left, right)
                last = first + ptr[i + 1] - ptr[i]
                for k in range(outputs):
                    if out[i, k] >= 0:
                        _more(rows, last + k, other, np.int64(out[i, k]), left, right)


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
    ends = np.append(offsets[:-1:block], offsets[-1])
    outputs = out.shape[1]
    size = int(np.diff(ends).max()) + min(block, out.shape[0]) * outputs
    threads, contexts, centres = min(num_threads(), w.shape[1] // UNIT), array(context), array(out)
    held = (
        np.empty((size, w.shape[1]), np.float32),
        np.empty(size, np.int32),
        np.zeros((RUNS, 1, outputs + 8), np.float32),
    )

    def train(lo: int, hi: int, use: int) -> float:
        """Seconds for the centres from lo to hi."""
        if lo == hi:
            return 0.0
        begin = time.perf_counter()
        _launch_train.on(
            use, w, c, offsets[lo : hi + 1], contexts, centres[lo:hi], lr, floor,
            float(done + lo), float(total), block, use, *held,
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
