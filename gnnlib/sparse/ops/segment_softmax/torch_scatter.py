"""Softmax over sorted segments by the torch-scatter package."""

from __future__ import annotations

import torch
import torch_scatter
from torch import Tensor

from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import FLOATS, kernel, needs


@kernel("segment_softmax", "torch_scatter", refuse=needs("cpu", FLOATS))
def segment_softmax(indptr: Tensor, src: Tensor) -> Tensor:
    used = int(indptr[-1])
    score = src[:used].to(accumulate_dtype(src.dtype))  # [E, H]
    top, _ = torch_scatter.segment_max_csr(score, indptr)
    value = (score - torch_scatter.gather_csr(top, indptr)).exp()
    total = torch_scatter.segment_sum_csr(value, indptr)
    out = value / torch_scatter.gather_csr(torch.where(total == 0, 1, total), indptr)
    return torch.cat([out, out.new_zeros(src.shape[0] - used, src.shape[1])]).to(src.dtype)
