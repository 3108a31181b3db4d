"""Scatter on a CPU: the index is sorted once by counting and kept while it lives, then rows are owned."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.cache import structures
from gnnlib.sparse.ops.build.cpu import coo_to_csr
from gnnlib.sparse.ops.segment_reduce.cpu import reduce_slots
from gnnlib.sparse.registry import FLOATS, kernel, needs

_accepts = needs("cpu", FLOATS)


def _refuse(index: Tensor, src: Tensor, num_rows: int, reduce: str) -> str | None:
    if src.shape[0] >= 2**31:
        return f"numbers rows in 32 bits, got {src.shape[0]}"
    return _accepts(index, src)


@kernel("scatter", "cpu", refuse=_refuse)
def scatter(index: Tensor, src: Tensor, num_rows: int, reduce: str) -> tuple[Tensor, Tensor]:
    indptr, rows = structures.get(index, (index,), ("groups", num_rows), lambda: _sorted(index, num_rows))
    out, slot = reduce_slots(indptr, rows, src, reduce)
    if reduce in ("max", "min") and rows.shape[0]:
        slot = torch.where(slot >= 0, rows.long()[slot.clamp(min=0)], -1)
    return out, slot


def _sorted(index: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Offsets of the groups and their rows in order."""
    indptr, rows, _ = coo_to_csr(index, torch.arange(index.shape[0]), num_rows, max(index.shape[0], 1))
    return indptr, rows
