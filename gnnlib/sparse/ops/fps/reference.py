"""Farthest-point sampling in plain torch: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.registry import kernel


@kernel("fps", "reference")
def fps(x: Tensor, ptr: Tensor, start: Tensor, out: Tensor) -> Tensor:
    picked = [torch.empty(0, dtype=torch.int64, device=x.device)]
    for b in range(ptr.numel() - 1):
        points, count = x[ptr[b] : ptr[b + 1]], int(out[b + 1] - out[b])
        nearest = torch.full((len(points),), torch.inf, dtype=x.dtype, device=x.device)
        last = start[b]
        for _ in range(count):
            picked.append((ptr[b] + last).view(1))
            nearest = nearest.minimum((points - points[last]).square().sum(1))
            last = nearest.argmax()
    return torch.cat(picked)
