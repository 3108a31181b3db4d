"""Scatter on a GPU: the index is sorted once and kept while it lives, then rows are owned."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.cache import structures
from gnnlib.sparse.gpu.launch import needs_gpu
from gnnlib.sparse.ops.build.gpu import sort_rows
from gnnlib.sparse.ops.segment_reduce.gpu import reduce_slots
from gnnlib.sparse.registry import FLOATS, kernel


@kernel("scatter", "gpu", refuse=needs_gpu(FLOATS))
def scatter(index: Tensor, src: Tensor, num_rows: int, reduce: str) -> tuple[Tensor, Tensor]:
    key = ("groups", num_rows)
    indptr, rows = structures.get(index, (index,), key, lambda: sort_rows(index, num_rows))
    out, slot = reduce_slots(indptr, rows, src, reduce)
    if reduce in ("max", "min") and rows.shape[0]:
        slot = torch.where(slot >= 0, rows[slot.clamp(min=0)], -1)
    return out, slot
