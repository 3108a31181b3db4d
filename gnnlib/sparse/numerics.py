"""The precision rules that every backend keeps."""

from __future__ import annotations

import torch
from torch import Tensor

_SHORT = (torch.bfloat16, torch.float16)


def accumulate_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, float32 for every shorter type."""
    return torch.float32 if dtype in _SHORT else dtype


def lift(value: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """``value`` in the dtype in which sums are taken; None stays None."""
    return None if value is None else value.to(dtype)


def logistic(z: Tensor) -> Tensor:
    """:math:`1 / (1 + e^{-z})`. torch's own rounds differently where a thread's share ends."""
    return 1 / (1 + (-z).exp())
