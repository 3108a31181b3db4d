"""Random walks on a GPU: a lane owns a walk and uses the words of its stream as the CPU kernel does."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse import random as plain
from gnnlib.sparse.gpu import random
from gnnlib.sparse.gpu.launch import INTERPRETED, launch, needs_gpu
from gnnlib.sparse.gpu.search import first_at_least, holds
from gnnlib.sparse.ops.random_walk import EITHER, IN
from gnnlib.sparse.registry import kernel

_IN, _EITHER = tl.constexpr(IN), tl.constexpr(EITHER)
#: Lanes wait for each other at every step, so a program has few.
_BLOCK = 1024 if INTERPRETED else 64


@triton.jit
def _weight_between(indptr, indices, weight, row, x, live):
    """Weight of the edges from each row to x, one after the other."""
    start = tl.load(indptr + row, mask=live, other=0)
    stop = tl.load(indptr + row + 1, mask=live, other=0)
    slot = first_at_least(indices, start, stop, x, live)
    found = slot.to(tl.float64) * 0
    more = live & (slot < stop)
    more = more & (tl.load(indices + slot, mask=more, other=-1).to(tl.int64) == x)
    while tl.max(more.to(tl.int32)) > 0:
        if weight is None:
            found += more.to(tl.float64)
        else:
            found += tl.load(weight + slot, mask=more, other=0).to(tl.float64)
        slot += 1
        more = more & (slot < stop)
        more = more & (tl.load(indices + slot, mask=more, other=-1).to(tl.int64) == x)
    return found


@triton.jit
def _near(indptr, indices, t, x, live, MODE: tl.constexpr):
    """Whether x counts as adjacent to t; where both directions are the same, the shorter row is searched."""
    if MODE == _EITHER:
        of_t = tl.load(indptr + t + 1, mask=live, other=0) - tl.load(indptr + t, mask=live, other=0)
        of_x = tl.load(indptr + x + 1, mask=live, other=0) - tl.load(indptr + x, mask=live, other=0)
        row = tl.where(of_t <= of_x, t, x)
        found = holds(indptr, indices, row, t + x - row, live)
    else:
        if MODE == _IN:
            found = holds(indptr, indices, x, t, live)
        else:
            found = holds(indptr, indices, t, x, live)
    return found


@triton.jit
def _walk(
    indptr, indices, weight, threshold, alias, total, bias, streams, start, walks, proposals, num_walks,
    length,
    MODE: tl.constexpr, SECOND: tl.constexpr, APART: tl.constexpr, EXCESS: tl.constexpr,
    ONE_WAY_BACK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = k < num_walks
    back, near, far = tl.load(bias), tl.load(bias + 1), tl.load(bias + 2)
    bound, excess = tl.load(bias + 3), tl.load(bias + 4)
    lowest, unlike = tl.minimum(tl.minimum(back, near), far), tl.minimum(near, far)
    stream = tl.load(streams + k, mask=live, other=0)
    v = tl.load(start + k, mask=live, other=0)
    t = v
    used = v * 0
    proposed = v * 0
    on = live
    tl.store(walks + k * length, v.to(walks.dtype.element_ty), mask=live)
    for j in range(1, length):
        first = tl.load(indptr + v, mask=on, other=0)
        degree = tl.load(indptr + v + 1, mask=on, other=0) - first
        if total is None:
            mass = degree.to(tl.float64)
        else:
            mass = tl.load(total + v, mask=on, other=0)
        on = on & (mass > 0)
        second = on & (j > 1)
        home = mass * 0
        if EXCESS:
            if ONE_WAY_BACK:
                home = tl.where(second, excess, home)
            else:
                home = excess * _weight_between(indptr, indices, weight, v, t, second)
        x = v * 0 - 1
        undecided = on
        while tl.max(undecided.to(tl.int32)) > 0:
            ask = undecided
            if EXCESS:
                u = random.unit(random.draw(stream, used))
                choose = undecided & (j > 1)
                used += choose.to(tl.int64)
                returned = choose & (u * (home + bound * mass) < home)
                x = tl.where(returned, t, x)
                ask = ask & ~returned
            bits = random.draw(stream, used)
            used += ask.to(tl.int64)
            proposed += ask.to(tl.int64)
            slot = random.below(bits, degree)
            if threshold is not None:
                low = random.draw(stream, used) & 0xFFFFFF
                used += ask.to(tl.int64)
                other = tl.load(threshold + first + slot, mask=ask, other=0).to(tl.int64) <= low
                aliased = tl.load(alias + first + slot, mask=ask, other=0).to(tl.int64)
                slot = tl.where(other, aliased, slot)
            y = tl.load(indices + first + slot, mask=ask, other=0).to(tl.int64)
            if SECOND:
                r = random.unit(bits)
                same = y == t
                accept = (j == 1) | (r < lowest) | (same & (r < back)) | (~same & (r < unlike))
                if APART:
                    unsure = ask & ~accept & ~same
                    close = _near(indptr, indices, t, y, unsure, MODE)
                    accept = accept | (unsure & (r < tl.where(close, near, far)))
                x = tl.where(ask & accept, y, x)
            else:
                x = tl.where(ask, y, x)
            undecided = undecided & (x < 0)
        tl.store(walks + k * length + j, x.to(walks.dtype.element_ty), mask=live)
        t = tl.where(on, v, t)
        v = tl.where(on, x, v)
    tl.store(proposals + k, proposed, mask=live)


@kernel("random_walk", "gpu", refuse=needs_gpu(frozenset({torch.float32, torch.float64})))
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
    excess = max(0.0, 1 / p - bound)
    # In memory, since a number among the arguments would be rounded to float32.
    bias = torch.tensor(
        [min(1 / p, bound) / bound, 1 / bound, 1 / q / bound, bound, excess],
        dtype=torch.float64,
        device=start.device,
    )
    num_walks = start.shape[0]
    streams = plain.stream(seed, torch.arange(first, first + num_walks, device=start.device))
    walks = indices.new_empty(num_walks, length)
    proposals = torch.empty_like(start)
    launch(
        _walk, (triton.cdiv(num_walks, _BLOCK),), indptr, indptr, indices, weight, threshold, alias, total,
        bias, streams, start, walks, proposals, num_walks, length, MODE=mode, SECOND=not p == q == 1,
        APART=q != 1, EXCESS=excess > 0, ONE_WAY_BACK=simple and total is None, BLOCK=_BLOCK,
    )  # fmt: skip
    return walks, proposals
