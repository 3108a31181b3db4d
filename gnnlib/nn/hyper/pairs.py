"""Pairs of members of the same hyperedge."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse import Hypergraph
from gnnlib.sparse.csr import row_of_slot

__all__ = ["member_pairs", "ordered_pairs"]


def ordered_pairs(indptr: Tensor, num_slots: int) -> tuple[Tensor, Tensor]:
    r"""All ordered pairs of slots of the same row, a slot with itself too, :math:`\sum_r n_r^2` each."""
    size = indptr.diff()
    row = row_of_slot(indptr, num_slots)
    times = size[row]
    first = torch.arange(num_slots, device=indptr.device).repeat_interleave(times)
    start = torch.cumsum(times, 0) - times
    place = torch.arange(first.numel(), device=indptr.device) - start.repeat_interleave(times)
    return first, indptr[row[first]] + place


def member_pairs(h: Hypergraph) -> tuple[Tensor, Tensor, Tensor]:
    """Slots a < b of two members of the same hyperedge, and the hyperedge, ``[P]`` each."""
    a, b = ordered_pairs(h.v2e.indptr, h.num_incidences)
    keep = a < b
    a, b = a[keep], b[keep]
    return a, b, h.v2e.rows[a]
