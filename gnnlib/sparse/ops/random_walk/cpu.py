"""Random walks on a CPU: a thread owns a walk, whose random numbers come from its number alone."""

from __future__ import annotations

import torch
from numba import njit, prange
from torch import Tensor

from gnnlib.sparse.native import random, tile
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, optional
from gnnlib.sparse.ops.random_walk import EITHER, IN
from gnnlib.sparse.registry import kernel, needs


@njit(inline="always")
def _first_at_least(indices, low, high, x):
    """The first slot in [low, high) whose column is not below x, without a branch on the comparison."""
    size = high - low
    while size > 0:
        half = size >> 1
        mid = low + half
        below = tile.item(indices, mid) < x
        low = mid + 1 if below else low
        size = size - half - 1 if below else half
    return low


@njit(inline="always")
def _has(indptr, indices, i, x):
    high = tile.item(indptr, i + 1)
    s = _first_at_least(indices, tile.item(indptr, i), high, x)
    return s < high and tile.item(indices, s) == x


@njit(inline="always")
def _near(indptr, indices, t, x, mode):
    """Whether x counts as adjacent to t."""
    if mode == EITHER:
        a = tile.item(indptr, t + 1) - tile.item(indptr, t)
        b = tile.item(indptr, x + 1) - tile.item(indptr, x)
        return _has(indptr, indices, t, x) if a <= b else _has(indptr, indices, x, t)
    if mode == IN:
        return _has(indptr, indices, x, t)
    return _has(indptr, indices, t, x)


@njit(inline="always")
def _weight_between(indptr, indices, weight, i, x):
    """Weight of the edges from i to x."""
    high = tile.item(indptr, i + 1)
    s = _first_at_least(indices, tile.item(indptr, i), high, x)
    found = 0.0
    while s < high and tile.item(indices, s) == x:
        found += 1.0 if weight.size == 0 else weight[s]
        s += 1
    return found


@helper
def _one(indptr, indices, weight, threshold, alias, total, bias, mode, simple, start, walk):
    """Fill one walk, whose first node is in place; the number of proposals."""
    back, near, far, bound, excess = bias
    lowest, unlike = min(back, near, far), min(near, far)
    second = back != 1 or near != 1 or far != 1 or excess > 0
    n, proposals = 0, 0
    t, v = -1, walk[0]
    for j in range(1, walk.size):
        lo = tile.item(indptr, v)
        degree = tile.item(indptr, v + 1) - lo
        mass = float(degree) if total.size == 0 else tile.item(total, v)
        if mass <= 0:
            walk[j:] = -1
            break
        h = 0.0
        if excess > 0 and j > 1:
            h = (
                excess
                if simple and total.size == 0
                else excess * _weight_between(indptr, indices, weight, v, t)
            )
        x = -1
        while x < 0:
            if excess > 0 and j > 1:
                u = random.unit(random.draw(start, n))
                n += 1
                if u * (h + bound * mass) < h:
                    x = t
                    break
            bits = random.draw(start, n)
            slot = random.below(bits, degree)
            n += 1
            proposals += 1
            if total.size > 0:
                low = random.low24(random.draw(start, n))
                n += 1
                if low >= tile.item(threshold, lo + slot):
                    slot = tile.item(alias, lo + slot)
            y = tile.item(indices, lo + slot)
            if j == 1 or not second:
                x = y
            else:
                r = random.unit(bits)
                if r < lowest:
                    x = y
                elif y == t:
                    x = y if r < back else -1
                elif r < unlike:
                    x = y
                elif near != far:
                    x = y if r < (near if _near(indptr, indices, t, y, mode) else far) else -1
        walk[j] = x
        t, v = v, x
    return proposals


def _walks(
    indptr, indices, weight, threshold, alias, total, bias, mode, simple, seed, first, begin, walks, proposals
):
    for k in prange(walks.shape[0]):
        walk = walks[k]
        walk[0] = begin[k]
        start = random.stream(seed, first + k)
        proposals[k] = _one(indptr, indices, weight, threshold, alias, total, bias, mode, simple, start, walk)


_launch = Launcher(_walks)


@kernel("random_walk", "cpu", refuse=needs("cpu", frozenset({torch.float32, torch.float64})))
def random_walk(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    threshold: Tensor | None,
    alias: Tensor | None,
    total: Tensor | None,
    start: Tensor,
    length: int,
    p: float,
    q: float,
    mode: int,
    simple: bool,
    seed: int,
    first: int,
) -> tuple[Tensor, Tensor]:
    bound = max(1.0, 1 / q)
    bias = (min(1 / p, bound) / bound, 1 / bound, 1 / q / bound, bound, max(0.0, 1 / p - bound))
    walks = torch.empty(start.shape[0], length, dtype=indices.dtype)
    proposals = torch.empty_like(start)
    tables = (
        optional(weight, torch.float32),
        optional(threshold, torch.int32),
        optional(alias, torch.int32),
        optional(total, torch.float64),
    )
    _launch(
        16 * walks.numel(), array(indptr), array(indices), *tables, bias, mode, simple, seed, first,
        array(start), array(walks), array(proposals),
    )  # fmt: skip
    return walks, proposals
