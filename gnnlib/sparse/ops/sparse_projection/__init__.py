"""Very sparse random projections, drawn by a hash of seed, row and column."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.random import as_seed
from gnnlib.sparse.registry import dispatch

__all__ = ["sparse_projection"]


def sparse_projection(scale: Tensor, dim: int, s: float, seed: int) -> Tensor:
    r"""Row i is ``scale[i]`` times entries +-sqrt(s) with probability 1 / (2 s) each, else 0.

    An entry depends on the seed, its row and its column alone: not on the size, the device or the threads.

    Shapes: scale ``[N]`` -> float32 ``[N, dim]``.
    Cost: O(N dim), one pass.
    """
    edge = round((1 << 24) / (2 * s))
    found: Tensor = dispatch(
        "sparse_projection", scale.to(torch.float32), dim, float(s) ** 0.5, edge, as_seed(seed)
    )
    return found
