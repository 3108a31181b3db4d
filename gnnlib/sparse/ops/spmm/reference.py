"""spmm in plain torch: the definition."""

from __future__ import annotations

from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.numerics import accumulate_dtype, lift
from gnnlib.sparse.registry import kernel


@kernel("spmm", "reference")
def spmm(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    x: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
) -> Tensor:
    dtype = accumulate_dtype(x.dtype)
    used = int(indptr[-1])
    row = row_of_slot(indptr, used)
    source = x.to(dtype)  # [C, H, D]
    if col_scale is not None:
        source = source * col_scale.to(dtype)[:, None, None]
    message = source[indices[:used].long()]  # [E, H, D]
    if (w := lift(weight, dtype)) is not None:
        message = message * w[:used, :, None]
    out = source.new_zeros(indptr.numel() - 1, *x.shape[1:])
    out.scatter_add_(0, row[:, None, None].expand_as(message), message)
    if row_scale is not None:
        out = out * row_scale.to(dtype)[:, None, None]
    return out.to(x.dtype)
