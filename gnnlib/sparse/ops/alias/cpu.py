"""Alias tables on a CPU: each row by itself, two stacks that share one array."""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import random
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array
from gnnlib.sparse.ops.alias import STEPS
from gnnlib.sparse.registry import kernel, needs


@helper
def _row(weight, start, stop, threshold, alias, share, stack):
    total = 0.0
    for s in range(start, stop):
        total += weight[s]
    if total <= 0:
        return total
    size = stop - start
    poor, rich = start, stop  # poor slots pile up from the start of the row, rich ones down from its end
    for s in range(start, stop):
        share[s] = weight[s] * size / total
        if share[s] < 1:
            stack[poor] = s
            poor += 1
    for s in range(stop - 1, start - 1, -1):  # the last rich slot of the row is on top
        if share[s] >= 1:
            rich -= 1
            stack[rich] = s
    top = stop - 1  # the rich slots in use, from the end of the row backwards
    while poor > start and top >= rich:
        poor -= 1
        low, high = stack[poor], stack[top]
        threshold[low] = np.int32(np.rint(share[low] * STEPS))
        alias[low] = np.int32(high - start)
        share[high] -= 1 - share[low]
        if share[high] < 1:
            top -= 1
            stack[poor] = high
            poor += 1
    for k in range(start, poor):
        threshold[stack[k]] = STEPS
        alias[stack[k]] = np.int32(stack[k] - start)
    for k in range(rich, top + 1):
        threshold[stack[k]] = STEPS
        alias[stack[k]] = np.int32(stack[k] - start)
    return total


def _tables(indptr, weight, threshold, alias, total, share, stack):
    for i in prange(total.size):
        total[i] = _row(weight, indptr[i], indptr[i + 1], threshold, alias, share, stack)


def _draws(threshold, alias, seed, first, out):
    start = random.stream(seed, 0)
    for i in prange(out.size):
        bits = random.draw(start, first + i)
        slot = random.below(bits, alias.size)
        out[i] = slot if random.low24(bits) < threshold[slot] else alias[slot]


_launch_tables = Launcher(_tables)
_launch_draws = Launcher(_draws)


@kernel("alias_table", "cpu", refuse=needs("cpu", frozenset({torch.float32, torch.float64})))
def alias_table(indptr: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    size = weight.shape[0]
    threshold, alias = torch.zeros(size, dtype=torch.int32), torch.zeros(size, dtype=torch.int32)
    total = torch.empty(indptr.shape[0] - 1, dtype=torch.float64)
    share, stack = np.empty(size), np.empty(size, np.int64)
    arrays = array(threshold), array(alias), array(total), share, stack
    _launch_tables(8 * size, array(indptr), array(weight, torch.float64), *arrays)
    return threshold, alias, total


@kernel("alias_draw", "cpu", refuse=needs("cpu", frozenset()))
def alias_draw(threshold: Tensor, alias: Tensor, count: int, seed: int, first: int) -> Tensor:
    out = torch.empty(count, dtype=torch.int32)
    _launch_draws(8 * count, array(threshold), array(alias), seed, first, array(out))
    return out
