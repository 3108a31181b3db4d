"""sddmm in plain torch: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import kernel


@kernel("sddmm", "reference")
def sddmm(indptr: Tensor, indices: Tensor, x_dst: Tensor, x_src: Tensor, op: str) -> Tensor:
    used = int(indptr[-1])
    dtype = accumulate_dtype(x_dst.dtype)
    a = x_dst[row_of_slot(indptr, used)].to(dtype)  # [E, H, D]
    b = x_src[indices[:used].long()].to(dtype)
    value = (a * b).sum(-1) if op == "dot" else a + b if op == "add" else a - b
    spare = value.new_zeros(indices.numel() - used, *value.shape[1:])
    return torch.cat([value, spare]).to(x_dst.dtype)
