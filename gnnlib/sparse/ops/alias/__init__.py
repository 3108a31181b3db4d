"""Alias tables: draws in proportion to weights, O(1) each."""

from __future__ import annotations

from torch import Tensor

from gnnlib.sparse.random import as_seed
from gnnlib.sparse.registry import dispatch

__all__ = ["alias_draw", "alias_table", "STEPS"]

#: Resolution of a table's probabilities.
STEPS = 1 << 24


def alias_table(indptr: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The alias table of each row of weights.

    A draw takes a slot of the row at random and keeps it when a number in [0, 2^24) is below its threshold;
    otherwise it takes the slot's alias (Walker 1977; Vose, IEEE Trans. Software Eng. 17, 1991).

    Args:
        indptr: row offsets.
        weight: weights of the slots, none of them negative, in any scale.

    Shapes: indptr ``[R + 1]``, weight ``[E]`` -> thresholds int32 ``[E]`` in [0, 2^24], aliases int32
        ``[E]`` counted from the start of their row, and the sum of each row, float64 ``[R]``. A row whose
        weights are all zero has thresholds of 0 and aliases that say nothing.
    Cost: O(R + E).
    """
    threshold, alias, total = dispatch("alias_table", indptr, weight)
    return threshold, alias, total


def alias_draw(threshold: Tensor, alias: Tensor, count: int, seed: int, first: int = 0) -> Tensor:
    """Draw from a table of one row: entry i comes from word ``first + i`` of the stream of the seed alone.

    Shapes: threshold and alias ``[N]`` -> int32 ``[count]`` in [0, N).
    Cost: O(count).
    """
    drawn: Tensor = dispatch("alias_draw", threshold, alias, count, as_seed(seed), first)
    return drawn
