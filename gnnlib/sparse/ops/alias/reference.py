"""Alias tables in plain torch: the definition."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from gnnlib.sparse import random
from gnnlib.sparse.ops.alias import STEPS
from gnnlib.sparse.registry import kernel


@kernel("alias_table", "reference")
def alias_table(indptr: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    bounds, values = indptr.tolist(), weight.double().tolist()
    threshold, alias, total = [0] * len(values), [0] * len(values), []
    for start, stop in itertools.pairwise(bounds):
        size = stop - start
        total.append(sum(values[start:stop]))
        if total[-1] <= 0:
            continue
        share = [v * size / total[-1] for v in values[start:stop]]
        poor = [i for i in range(size) if share[i] < 1]
        rich = [i for i in range(size) if share[i] >= 1]
        while poor and rich:
            low, high = poor.pop(), rich[-1]
            threshold[start + low], alias[start + low] = round(share[low] * STEPS), high
            share[high] -= 1 - share[low]
            if share[high] < 1:
                poor.append(rich.pop())
        for i in poor + rich:  # what is left differs from 1 by rounding alone
            threshold[start + i], alias[start + i] = STEPS, i
    device = weight.device
    return (
        torch.tensor(threshold, dtype=torch.int32, device=device),
        torch.tensor(alias, dtype=torch.int32, device=device),
        torch.tensor(total, dtype=torch.float64, device=device),
    )


@kernel("alias_draw", "reference")
def alias_draw(threshold: Tensor, alias: Tensor, count: int, seed: int, first: int) -> Tensor:
    place = torch.arange(first, first + count, device=alias.device)
    bits = random.draw(random.stream(seed, torch.zeros_like(place[:1])), place)
    slot = random.below(bits, alias.shape[0])
    return torch.where(random.low24(bits) < threshold[slot], slot, alias[slot].long()).int()
