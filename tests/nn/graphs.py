"""Dense views of small graphs, to check layers against matrix algebra."""

from __future__ import annotations

import torch
from torch import Tensor


def dense(edge_index: Tensor, n: int, weight: Tensor | None = None) -> Tensor:
    """The matrix with row = target; duplicates add up."""
    value = torch.ones(edge_index.size(1), dtype=torch.float64) if weight is None else weight
    out = torch.zeros(n, n, dtype=torch.float64)
    return out.index_put((edge_index[1], edge_index[0]), value, accumulate=True)


def normalised(a: Tensor) -> Tensor:
    """D^-1/2 A D^-1/2 with degrees over rows; rows of degree 0 stay 0."""
    d = a.sum(1)
    scale = torch.where(d > 0, d.clamp(min=1e-300).rsqrt(), 0)
    return scale[:, None] * a * scale[None]


def with_loops(a: Tensor, value: float = 1.0) -> Tensor:
    """A loop on each node that has none."""
    return a + torch.diag(torch.where(a.diag() == 0, value, 0))


def cycle(*lengths: int) -> Tensor:
    """Disjoint undirected cycles."""
    edges, start = [], 0
    for length in lengths:
        i = torch.arange(length)
        j = (i + 1) % length
        edges += [torch.stack([i, j]) + start, torch.stack([j, i]) + start]
        start += length
    return torch.cat(edges, dim=1)
