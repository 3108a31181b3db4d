"""Skip-gram in plain torch: the definition, and what runs on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse import random
from gnnlib.sparse.csr import row_of_slot
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
        lo, hi = int(ptr[start]), int(ptr[stop])
        u = context[lo:hi].long()
        v = out[start:stop][row_of_slot(ptr[start : stop + 1] - lo, hi - lo)].long()  # [M, K + 1]
        w, c = table[u], other[v.clamp(min=0)]
        score = torch.einsum("md,mkd->mk", w, c)
        s = torch.where(score.abs() > SATURATED, (score > 0).to(w.dtype), score.sigmoid())
        wanted = torch.zeros_like(s)
        wanted[:, 0] = 1
        g = torch.where(v >= 0, rate * (wanted - s), 0)
        table.index_add_(0, u, torch.einsum("mk,mkd->md", g, c))
        step = (g[..., None] * w[:, None]).view(-1, w.shape[1])
        other.index_add_(0, v.clamp(min=0).view(-1), step)
