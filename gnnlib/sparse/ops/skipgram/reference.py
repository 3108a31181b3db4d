"""Skip-gram in plain torch: the definition, and what runs on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse import random
from gnnlib.sparse.ops.skipgram import ABREAST, SATURATED, abreast
from gnnlib.sparse.registry import kernel


@kernel("walk_windows", "reference")
def walk_windows(
    walks: Tensor, window: int, seed: int, first: int, offset: int
) -> tuple[Tensor, Tensor, Tensor]:
    length, device = walks.shape[1], walks.device
    walks = abreast(walks)  # [S / 64, L, 64]
    row = torch.arange(walks.shape[0] * ABREAST, device=device).view(-1, 1, ABREAST)
    place = torch.arange(length, device=device)[:, None]
    number = (first + row) * length + place
    half = 1 + random.below(random.draw(random.stream(seed, torch.zeros_like(number[:1])), number), window)
    steps = torch.arange(-window, window + 1, device=device)
    if offset:
        steps = steps.new_tensor([-offset, offset])
        half = torch.full_like(half, offset)
    at = place + steps  # [L, W]
    inside = (at >= 0) & (at < length) & (steps != 0)
    found = walks[:, at.clamp(0, max(length - 1, 0))].transpose(2, 3)  # [S / 64, L, 64, W]
    kept = inside[:, None] & (found >= 0) & (steps.abs() <= half[..., None]) & (walks >= 0)[..., None]
    real = (walks >= 0).reshape(-1)
    count = kept.sum(-1).view(-1)[real]
    ptr = torch.zeros(count.shape[0] + 1, dtype=torch.int64, device=device)
    torch.cumsum(count, 0, out=ptr[1:])
    return ptr, found[kept].int(), walks.reshape(-1)[real].int()


@kernel("skipgram", "reference")
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
    for start in range(0, out.shape[0], block):
        stop = min(start + block, out.shape[0])
        rate = max(lr * (1 - (done + start) / total), floor)
        lo, hi, base = int(ptr[start]), int(ptr[stop]), ptr[start : stop + 1] - ptr[start]
        u, v = context[lo:hi].long(), out[start:stop].long()
        size = base.diff()
        most = int(size.max()) if size.numel() else 0
        at = torch.arange(most, device=u.device)
        there = at < size[:, None]  # [B, M]
        each = torch.full(there.shape, -1, dtype=u.dtype, device=u.device)
        each[there] = u
        first = (each[:, :, None] == each[:, None]).int().argmax(-1)  # where a context stands first
        w, c = table[each.clamp(min=0)], other[v.clamp(min=0)]  # [B, M, D], [B, K + 1, D]
        w_before, c_before = w.clone(), c.clone()
        centre = torch.arange(stop - start, device=u.device)
        for e in range(most):
            x = w[centre, first[:, e]]
            score = torch.einsum("bd,bkd->bk", x, c)
            s = torch.where(score.abs() > SATURATED, (score > 0).to(x.dtype), score.sigmoid())
            wanted = torch.zeros_like(s)
            wanted[:, 0] = 1
            g = torch.where((v >= 0) & there[:, e, None], rate * (wanted - s), 0)
            w[centre, first[:, e]] = x + torch.einsum("bk,bkd->bd", g, c)
            c = c + g[..., None] * x[:, None]
        own = there & (first == at)
        table.index_add_(0, each[own], (w - w_before)[own])
        other.index_add_(0, v[v >= 0], (c - c_before)[v >= 0])
