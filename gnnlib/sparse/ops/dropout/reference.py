"""Dropout by a counter in plain torch: the definition, and what runs on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse import random
from gnnlib.sparse.ops.dropout import STEPS
from gnnlib.sparse.registry import kernel


@kernel("dropout", "reference")
def dropout(x: Tensor, p: float, seed: int) -> Tensor:
    half = -(-x.numel() // 2)  # a word serves an element of each half
    number = torch.arange(half, device=x.device)
    words = random.draw(random.stream(seed, number.new_zeros(())), number)
    bits = torch.cat([random.low24(words), random.high24(words)])[: x.numel()].view(x.shape)
    return x * ((bits >= round(p * STEPS)).to(x.dtype) / (1 - p))
