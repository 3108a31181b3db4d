"""Segment reduction on a GPU: the neighbour kernels, with slot e for source e."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.gpu.launch import needs_gpu
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.spmm.gpu import gather_sum
from gnnlib.sparse.ops.spmm_arg.gpu import gather_extreme
from gnnlib.sparse.registry import FLOATS, kernel


@kernel("segment_reduce", "gpu", refuse=needs_gpu(FLOATS))
def segment_reduce(indptr: Tensor, src: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    return reduce_slots(indptr, None, src, reduce)


def reduce_slots(indptr: Tensor, rows: Tensor | None, src: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    """Reduce rows ``rows[s]`` of src over the slots s of each segment; the winner's slot for max and min."""
    heads = src[:, None]
    if reduce in ("max", "min"):
        out, arg = gather_extreme(indptr, rows, None, heads, reduce == "max", torch.int64)
        return out[:, 0], arg[:, 0]
    scale = None
    if reduce == "mean":
        scale = indptr.diff().clamp(min=1).to(accumulate_dtype(src.dtype)).reciprocal()
    return gather_sum(indptr, rows, None, heads, scale)[:, 0], indptr.new_empty(0)
