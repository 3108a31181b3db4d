"""Reduction by an unsorted index in plain torch: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import kernel


@kernel("scatter", "reference")
def scatter(index: Tensor, src: Tensor, num_rows: int, reduce: str) -> tuple[Tensor, Tensor]:
    where = index.long()[:, None].expand_as(src)
    if reduce in ("max", "min"):
        return _first_extreme(where, src, num_rows, reduce)
    value = src.to(accumulate_dtype(src.dtype))
    out = value.new_zeros(num_rows, src.shape[1]).scatter_add_(0, where, value)
    if reduce == "mean":
        out = out / index.long().bincount(minlength=num_rows).clamp(min=1)[:, None]
    return out.to(src.dtype), index.new_empty(0, dtype=torch.int64)


def _first_extreme(where: Tensor, src: Tensor, num_rows: int, reduce: str) -> tuple[Tensor, Tensor]:
    out = src.new_zeros(num_rows, src.shape[1])
    out.scatter_reduce_(0, where, src, "amax" if reduce == "max" else "amin", include_self=False)
    best = out.gather(0, where)
    hit = (src == best) | (src.isnan() & best.isnan())
    none = torch.iinfo(torch.int64).max
    slot = torch.arange(src.shape[0], device=src.device)[:, None]
    arg = torch.full(out.shape, none, device=src.device)
    arg.scatter_reduce_(0, where, torch.where(hit, slot, none), "amin")
    return out, torch.where(arg == none, -1, arg)
