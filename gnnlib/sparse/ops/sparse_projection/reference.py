"""The very sparse projection in plain torch: the definition, and what runs on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse import random
from gnnlib.sparse.registry import kernel

#: Rows that are drawn at a time.
ROWS = 1 << 13


@kernel("sparse_projection", "reference")
def sparse_projection(scale: Tensor, dim: int, value: float, edge: int, seed: int) -> Tensor:
    found = torch.empty(scale.shape[0], dim, device=scale.device)
    word = torch.arange(-(-dim // 2), device=scale.device)
    for lo in range(0, scale.shape[0], ROWS):
        hi = min(lo + ROWS, scale.shape[0])
        streams = random.stream(seed, torch.arange(lo, hi, device=scale.device))
        bits = random.draw(streams[:, None], word)  # a word serves two columns
        bits = torch.stack([random.low24(bits), random.high24(bits)], dim=2).view(hi - lo, -1)[:, :dim]
        sign = 2 * (bits < edge).float() - (bits < 2 * edge).float()
        found[lo:hi] = (scale[lo:hi] * value)[:, None] * sign
    return found
