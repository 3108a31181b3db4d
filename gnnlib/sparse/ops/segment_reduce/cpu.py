"""Segment reduction on a CPU: the neighbour kernels, with slot e for source e."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.ops.spmm.cpu import spmm
from gnnlib.sparse.ops.spmm_arg.cpu import spmm_arg
from gnnlib.sparse.registry import FLOATS, kernel, needs

_accepts = needs("cpu", FLOATS)


def _refuse(indptr: Tensor, src: Tensor, reduce: str) -> str | None:
    if src.shape[0] >= 2**31:
        return f"numbers rows in 32 bits, got {src.shape[0]}"
    return _accepts(indptr, src)


@kernel("segment_reduce", "cpu", refuse=_refuse)
def segment_reduce(indptr: Tensor, src: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    return reduce_slots(indptr, torch.arange(src.shape[0], dtype=torch.int32), src, reduce)


def reduce_slots(indptr: Tensor, rows: Tensor, src: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    """Reduce rows ``rows[s]`` of src over the slots s of each segment; the winner's slot for max and min."""
    heads = src[:, None]
    if reduce in ("max", "min"):
        out, arg = spmm_arg(indptr, rows, None, heads, reduce == "max")
        return out[:, 0], arg[:, 0].long()
    scale = 1 / indptr.diff().clamp(min=1).to(torch.float64) if reduce == "mean" else None
    return spmm(indptr, rows, None, heads, scale, None)[:, 0], indptr.new_empty(0)
