"""k-means over rows of which some entries are missing."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def kmeans(
    x: Tensor, observed: Tensor, count: int, generator: torch.Generator | None, steps: int = 100
) -> Tensor:
    """Lloyd's centres of the rows, distances and means over observed entries.

    A first centre is a row that was drawn, its missing entries filled up with the means of the columns; a
    centre that no row chooses, or a column that none of its rows observed, stays as it was.

    Args:
        x: rows; entries that are not observed do not count, but must be finite.
        observed: 1 where an entry counts, else 0.
        count: number of centres.
        generator: draws the first centres.
        steps: most rounds; it ends when no row changes its centre.

    Shapes: x ``[N, F]``, observed ``[N, F]`` -> ``[count, F]``.
    Raises: ValueError for no rows.
    """
    if not x.size(0):
        raise ValueError("kmeans: x has no rows; pass at least one")
    known = observed.to(x.dtype)
    x = x * known
    column = x.sum(0) / known.sum(0).clamp(min=1)
    order = torch.randperm(x.size(0), generator=generator, device=x.device)
    first = order[torch.arange(count, device=x.device) % x.size(0)]
    centres = torch.where(known[first] > 0, x[first], column)
    nearest = torch.full((x.size(0),), -1, device=x.device)
    for _ in range(steps):
        # sum of m (x - c)^2, less the term without c
        distance = known @ (centres * centres).t() - 2 * x @ centres.t()
        chosen = distance.argmin(1)
        if torch.equal(chosen, nearest):
            break
        nearest = chosen
        total = torch.zeros_like(centres).index_add_(0, nearest, x)
        weight = torch.zeros_like(centres).index_add_(0, nearest, known)
        centres = torch.where(weight > 0, total / weight.clamp(min=1), centres)
    return centres
