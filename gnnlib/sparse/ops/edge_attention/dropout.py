"""The counter-based generator of attention dropout, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.random import GOLDEN, mix, shift

#: Resolution of the probability.
STEPS = 1 << 24


def keep_factor(seed: Tensor, num_slots: int, heads: int, dropout: float, dtype: torch.dtype) -> Tensor:
    """0 where an attention weight is dropped, else 1 / (1 - dropout), ``[num_slots, heads]``.

    The number of a slot and head comes from their place and the seed alone (splitmix64), so that every pass
    and every backend finds the same one again.
    """
    place = torch.arange(num_slots * heads, device=seed.device).view(num_slots, heads) + 1
    z = mix(seed.reshape(()) + place * GOLDEN)
    return (shift(z, 40) >= round(dropout * STEPS)).to(dtype) / (1 - dropout)
