"""The counter-based generator of attention dropout, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

#: Resolution of the probability.
STEPS = 1 << 24

# The constants of splitmix64, as signed numbers: torch's int64 wraps like an unsigned one.
_GOLDEN, _MIX1, _MIX2 = (c - (1 << 64) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shift(z: Tensor, by: int) -> Tensor:
    """A right shift that fills with zeros."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def keep_factor(seed: Tensor, num_slots: int, heads: int, dropout: float, dtype: torch.dtype) -> Tensor:
    """0 where an attention weight is dropped, else 1 / (1 - dropout), ``[num_slots, heads]``.

    The number of a slot and head comes from their place and the seed alone (splitmix64), so that every pass
    and every backend finds the same one again.
    """
    place = torch.arange(num_slots * heads, device=seed.device).view(num_slots, heads) + 1
    z = seed.reshape(()) + place * _GOLDEN
    z = (z ^ _shift(z, 30)) * _MIX1
    z = (z ^ _shift(z, 27)) * _MIX2
    z = z ^ _shift(z, 31)
    return (_shift(z, 40) >= round(dropout * STEPS)).to(dtype) / (1 - dropout)
