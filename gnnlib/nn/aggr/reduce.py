"""The plain reductions of sets: the one place where several of the same sets are taken together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from gnnlib.sparse import multi_reduce, spmm
from gnnlib.sparse.sets import Sets

#: What ``reduce_sets`` computes.
REDUCTIONS = ("sum", "mean", "max", "min", "var")


def reduce_sets(sets: Sets, x: Tensor, reduces: Sequence[str]) -> list[Tensor]:
    """Each reduction of the rows of every set, read in place: ``[N, ...]`` -> a ``[R, ...]`` for each.

    An empty set gives 0. Sums are taken in float32 for shorter types.
    """
    names: Any = tuple(reduces)
    if not names:
        return []
    flat = x.reshape(x.shape[0], math.prod(x.shape[1:]))
    one = len(names) == 1 and names[0] != "var"
    if one:
        out = [spmm(sets.adj, flat, None, names[0])]
    else:
        found = multi_reduce(sets.adj, flat, names)
        out = [found.select(1, k) for k in range(len(names))]  # views of unbind refuse writes in place
    return [v.reshape(sets.num_sets, *x.shape[1:]) for v in out]
