"""Which slots each target draws: kernels that give a lane, or a row of a tile, to a target."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import pad

from gnnlib.sparse.gpu import random
from gnnlib.sparse.gpu.launch import INTERPRETED, launch
from gnnlib.sparse.ops.sample_neighbors.request import Relation
from gnnlib.sparse.random import draw, shift

#: Values of one program's tile, and lanes of a program without one.
_TILE = 1 << 14 if INTERPRETED else 1 << 10
_BLOCK = 1024 if INTERPRETED else 128


def expand(bound: Tensor) -> tuple[Tensor, Tensor]:
    """Owner of each of the entries that offsets count, and its place among the owner's."""
    owner = torch.repeat_interleave(bound.diff())
    return owner, torch.arange(owner.shape[0], device=bound.device) - bound[owner]


def window(relation: Relation, node: Tensor, limit: Tensor | None, last: int) -> tuple[Tensor, Tensor]:
    """First slot and end of what each target may draw from; of it the last so many, unless negative."""
    low, high = relation.indptr[node], relation.indptr[node + 1]
    if relation.time is None or limit is None:
        return low, high
    left, right = low, high
    longest = int((high - low).max()) if node.shape[0] else 0
    for _ in range(longest.bit_length()):  # halves the stretch in which the first later edge may be
        middle = (left + right) >> 1
        open_ = left < right
        in_time = relation.time[middle.clamp(max=max(relation.time.shape[0] - 1, 0))] <= limit
        left, right = (
            torch.where(open_ & in_time, middle + 1, left),
            torch.where(open_ & ~in_time, middle, right),
        )
    return (low if last < 0 else torch.maximum(low, left - last)), left


def drawn_slots(
    relation: Relation, low: Tensor, high: Tensor, k: int, replace: bool, stream: Tensor
) -> tuple[Tensor, Tensor]:
    """Target and slot of every draw, target by target, in the order in which each draws."""
    size = high - low
    if replace and k >= 0:
        return _again(relation.weight, low, size, k, stream)
    if relation.weight is None:
        return _uniform(low, size, k, stream)
    return _by_weight(relation.weight, low, size, k, stream)


def _uniform(low: Tensor, size: Tensor, k: int, stream: Tensor) -> tuple[Tensor, Tensor]:
    """Without replacement; all where there are no more than k, or k is negative."""
    count = size if k < 0 else size.clamp(max=k)
    col, within = expand(pad(count.cumsum(0), (1, 0)))
    few = (size > k).nonzero().view(-1) if k > 0 else size.new_zeros(0)
    if few.shape[0]:
        picks = few.new_zeros(few.shape[0], k)
        width = triton.next_power_of_2(k)
        rows = max(_TILE // width, 1)
        launch(
            _choose, (triton.cdiv(few.shape[0], rows),), size, stream[few], size[few], picks, few.shape[0], k,
            ROWS=rows, WIDTH=width,
        )  # fmt: skip
        place = torch.full_like(size, -1)
        place[few] = torch.arange(few.shape[0], device=few.device)
        at = place[col]
        within = torch.where(at >= 0, picks.view(-1)[(at.clamp(min=0) * k + within)], within)
    return col, low[col] + within


@triton.jit
def _choose(streams, sizes, picks, num_targets, k, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """k of n places for each target: Floyd's way, or one pass over the places where n is small."""
    target = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, WIDTH)[None, :]
    live = target < num_targets
    stream = tl.load(streams + target, mask=live, other=0)
    n = tl.load(sizes + target, mask=live, other=1)
    chosen = tl.zeros((ROWS, WIDTH), tl.int64) - 1
    pass_over = live & (tl.zeros_like(n) + k * k > 16 * n)
    none = n * 0
    count = none
    for i in range(tl.max(tl.where(pass_over, n, 0))):
        u = random.fine_unit(random.draw(stream, none + i))
        take = pass_over & (i < n) & (u * (n - i).to(tl.float64) < (k - count).to(tl.float64))
        chosen = tl.where(take & (column == count), i, chosen)
        count += take.to(tl.int64)
    for c in range(k):
        j = n - k + c
        place = (random.fine_unit(random.draw(stream, none + c)) * (j + 1).to(tl.float64)).to(tl.int64)
        taken = tl.max((chosen == place).to(tl.int32), axis=1, keep_dims=True) > 0
        chosen = tl.where(~pass_over & (column == c), tl.where(taken, j, place), chosen)
    tl.store(picks + target * k + column, chosen, mask=live & (column < k))


def _again(weight: Tensor | None, low: Tensor, size: Tensor, k: int, stream: Tensor) -> tuple[Tensor, Tensor]:
    """With replacement; nothing where there is nothing, or nothing of positive weight."""
    number = torch.arange(k, device=low.device)
    word = draw(stream[:, None], number[None])  # [T, k]
    unit = shift(word, 11).double() * 2.0**-53
    if weight is None:
        place = (unit * size[:, None].double()).long()
        some = size > 0
    else:
        place = torch.zeros_like(word)
        launch(
            _by_sums, (triton.cdiv(place.numel(), _BLOCK),), place, weight, low, size, unit, place,
            place.numel(), k, BLOCK=_BLOCK,
        )  # fmt: skip
        some = place[:, 0] >= 0 if k else size < 0
    col = some.nonzero()
    return col.expand(-1, k).reshape(-1), (low[:, None] + place)[some].reshape(-1)


@triton.jit
def _by_sums(weight, low, size, unit, place, num_draws, k, BLOCK: tl.constexpr):
    """The first place whose sum of weights so far exceeds a share of their sum, -1 if that is 0.

    Sums go one after the other along the row, so that they have the bits of the definition.
    """
    d = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = d < num_draws
    start = tl.load(low + d // k, mask=live, other=0)
    n = tl.load(size + d // k, mask=live, other=0)
    longest = tl.max(n)
    total = n.to(tl.float64) * 0
    for i in range(longest):
        total += tl.load(weight + start + i, mask=live & (i < n), other=0)
    share = tl.load(unit + d, mask=live, other=0) * total
    upto = total * 0
    found = n * 0 - 1
    for i in range(longest):
        inside = live & (i < n)
        upto += tl.load(weight + start + i, mask=inside, other=0)
        found = tl.where(inside & (found < 0) & (share < upto), i, found)
    tl.store(place + d, tl.where(total > 0, found, -1), mask=live)


def _by_weight(weight: Tensor, low: Tensor, size: Tensor, k: int, stream: Tensor) -> tuple[Tensor, Tensor]:
    """Without replacement: the k earliest arrivals, in their order; all of positive weight if no more."""
    col, within = expand(pad(size.cumsum(0), (1, 0)))
    slot = low[col] + within
    heavy = weight[slot] > 0
    col, within, slot = col[heavy], within[heavy], slot[heavy]
    count = torch.bincount(col, minlength=size.shape[0])
    if k < 0:
        return col, slot
    unit = shift(draw(stream[col], within), 11).double() * 2.0**-53
    arrival = -torch.log(1.0 - unit) / weight[slot]
    # Where nothing is to be chosen the order is that of the slots.
    arrival = torch.where(count[col] > k, arrival, 0)
    order = arrival.argsort(stable=True)
    order = order[col[order].argsort(stable=True)]
    rank = torch.arange(order.shape[0], device=order.device) - (count.cumsum(0) - count)[col[order]]
    kept = order[rank < k]
    return col[kept], slot[kept]
