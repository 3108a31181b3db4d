"""The reductions by name, and where each stands in the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

Moment = Literal["sum", "mean", "max", "min", "var", "std"]
MOMENTS = ("sum", "mean", "max", "min", "var", "std")
SUM, MEAN, MAX, MIN, VAR, STD = range(6)


def places(names: Sequence[str]) -> np.ndarray[Any, Any]:
    """Position of each of :data:`MOMENTS` among ``names``, -1 for those not asked for."""
    return np.array([names.index(m) if m in names else -1 for m in MOMENTS])


def needs_mean(names: Sequence[str], shifted: bool) -> bool:
    """Whether the backward needs a mean that is not among the results, or is there shifted by the target."""
    return ("var" in names or "std" in names) and (shifted or "mean" not in names)


def num_extremes(names: Sequence[str]) -> int:
    """How many results have a winning slot: the maximum comes first, then the minimum."""
    return ("max" in names) + ("min" in names)
