"""Reduction over sorted segments in plain torch: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.spmm_arg.reference import first_extreme
from gnnlib.sparse.registry import kernel


@kernel("segment_reduce", "reference")
def segment_reduce(indptr: Tensor, src: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    used = int(indptr[-1])
    value = src[:used]  # [E, F]
    if reduce in ("max", "min"):
        return first_extreme(indptr, value, reduce == "max", torch.int64)
    value = value.to(accumulate_dtype(src.dtype))
    out = value.new_zeros(indptr.numel() - 1, src.shape[1])
    out.scatter_add_(0, row_of_slot(indptr, used)[:, None].expand_as(value), value)
    if reduce == "mean":
        out = out / indptr.diff().clamp(min=1)[:, None]
    return out.to(src.dtype), indptr.new_empty(0)
