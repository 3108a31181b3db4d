"""How the loops of a kernel are divided among threads."""

from __future__ import annotations

import numpy as np
import pytest
from numba import prange

from gnnlib.sparse.native.launch import Launcher


def _table(x, scale, shift, flip, steps, out, who):
    """Every turn writes a row of its own, in each of several rounds; a loop in a loop, and two in a row."""
    rows, ends = x.shape
    for step in range(steps):
        base = scale * (step + 1)
        for i in prange(rows):
            total = 0.0
            for k in range(ends):
                if flip and k == i:
                    continue
                total += base * x[i, k] + shift
            out[step, i] = total
    for i in prange(rows - 1):
        who[i + 1] = i
    who[0] = rows


def _divide(x, out):
    for i in prange(x.size):
        out[i] = 12 // x[i]


_launch_table, _launch_divide = Launcher(_table), Launcher(_divide)


@pytest.mark.parametrize("threads", [1, 2, 1000])
def test_turns_are_done_once(threads: int) -> None:
    """Also by more threads than turns or than there are; numbers and flags reach the loop as they are."""
    for rows, flip, steps in ((7, True, 3), (7, False, 0), (1, False, 2)):
        x = np.random.default_rng(0).standard_normal((rows, 4))
        out, who = np.zeros((steps, rows)), np.full(rows, -1)
        _launch_table.on(threads, x, 0.5, 2, flip, steps, out, who)
        wanted_out, wanted_who = np.zeros((steps, rows)), np.full(rows, -1)
        _table(x, 0.5, 2, flip, steps, wanted_out, wanted_who)
        np.testing.assert_array_equal(out, wanted_out)
        np.testing.assert_array_equal(who, wanted_who)


def test_nothing_to_do() -> None:
    for threads in (1, 2):
        out = np.zeros((2, 0))
        _launch_table.on(threads, np.zeros((0, 3)), 0.5, 2, True, 2, out, np.zeros(1, np.int64))


def test_a_failure_is_no_secret() -> None:
    """An exception cannot leave a thread, but that there was one can."""
    x, out = np.array([3, 0, 2, 1]), np.zeros(4, np.int64)
    with pytest.raises(ZeroDivisionError):
        _launch_divide.on(1, x, out)
    with pytest.raises(RuntimeError, match="a kernel failed in a thread"):
        _launch_divide.on(2, x, out)
    _launch_divide.on(2, x + 1, out)
    assert out.tolist() == [3, 12, 4, 6]
