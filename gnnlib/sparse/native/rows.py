"""How rows are shared among threads, by edges and not by number.

Light rows go in runs of about equal cost. A hub row, longer than ``CUT`` edges, is cut into pieces of
``CUT``, whose partial results are combined in order. Neither the cuts nor the order of any sum depend on
the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gnnlib.sparse.native.helper import helper

#: Edges in one piece of a hub row.
CUT = 4096
#: Runs of light rows; many more than threads, so that a thread delayed by other work holds little back.
RUNS = 64
#: Rows that a thread takes through all their features before it goes on.
BLOCK = 16
#: Edges ahead whose source rows are prefetched (8 to 16 measured alike on EPYC Milan, 12 the fastest).
AHEAD = 12


@helper
def run_start(indptr, run):
    """First row of a run; a row costs one and each edge one."""
    rows = indptr.size - 1
    goal = (rows + indptr[rows]) * run // RUNS
    low, high = 0, rows
    while low < high:
        mid = (low + high) // 2
        if indptr[mid] + mid < goal:
            low = mid + 1
        else:
            high = mid
    return rows if run == RUNS else low


@helper
def row_of(indptr, e):
    """The row that holds slot e, or the next one that holds any."""
    low, high = 0, indptr.size - 1
    while low < high:
        mid = (low + high) // 2
        if indptr[mid + 1] <= e:
            low = mid + 1
        else:
            high = mid
    return low


@helper
def pieces_of(hub, run):
    """First and last piece that go with a run: the pieces are dealt out evenly, since threads take as many
    runs each, in one block.
    """
    return hub.shape[1] * run // RUNS, hub.shape[1] * (run + 1) // RUNS


_NO_PIECES = np.empty((3, 0), np.int64)


def hub_pieces(indptr: np.ndarray, num_edges: int) -> np.ndarray:
    """Row, first edge and end of each piece of the hub rows, in order: ``[3, pieces]``."""
    return _NO_PIECES if num_edges <= CUT else _hub_pieces(indptr)


@njit(cache=True)
def _hub_pieces(indptr):
    count = 0
    for i in range(indptr.size - 1):
        degree = indptr[i + 1] - indptr[i]
        if degree > CUT:
            count += (degree + CUT - 1) // CUT
    pieces = np.empty((3, count), np.int64)
    p = 0
    if count:
        for i in range(indptr.size - 1):
            if indptr[i + 1] - indptr[i] > CUT:
                for e in range(indptr[i], indptr[i + 1], CUT):
                    pieces[0, p] = i
                    pieces[1, p] = e
                    pieces[2, p] = min(e + CUT, indptr[i + 1])
                    p += 1
    return pieces
