"""Softmax over sorted segments in plain torch: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import kernel


@kernel("segment_softmax", "reference")
def segment_softmax(indptr: Tensor, src: Tensor) -> Tensor:
    used = int(indptr[-1])
    score = src[:used].to(accumulate_dtype(src.dtype))  # [E, H]
    row = row_of_slot(indptr, used)[:, None].expand_as(score)
    top = score.new_zeros(indptr.numel() - 1, src.shape[1])
    top.scatter_reduce_(0, row, score, "amax", include_self=False)
    top = torch.where(top == -torch.inf, 0, top)
    value = (score - top.gather(0, row)).exp()
    total = torch.zeros_like(top).scatter_add_(0, row, value)
    out = value / torch.where(total == 0, 1, total).gather(0, row)
    return torch.cat([out, out.new_zeros(src.shape[0] - used, src.shape[1])]).to(src.dtype)


@kernel("segment_softmax_grad", "reference")
def segment_softmax_grad(indptr: Tensor, out: Tensor, grad: Tensor) -> Tensor:
    dtype, used = accumulate_dtype(out.dtype), int(indptr[-1])
    alpha, above = out[:used].to(dtype), grad[:used].to(dtype)  # [E, H]
    row = row_of_slot(indptr, used)[:, None].expand_as(alpha)
    total = alpha.new_zeros(indptr.numel() - 1, out.shape[1]).scatter_add_(0, row, alpha * above)
    found = alpha * (above - total.gather(0, row))
    return torch.cat([found, found.new_zeros(out.shape[0] - used, out.shape[1])]).to(out.dtype)
