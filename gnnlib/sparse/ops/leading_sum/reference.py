"""The leading block of a sparse product in plain torch: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.registry import kernel


@kernel("leading_sum", "reference")
def leading_sum(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    x: Tensor,
    rows: int,
    scale: Tensor | None,
    node: Tensor | None,
) -> Tensor:
    row = torch.repeat_interleave(torch.arange(rows, device=x.device), indptr[1 : rows + 1] - indptr[:rows])
    inside = indices[: row.numel()] < x.shape[0]
    message = x.index_select(0, indices[: row.numel()][inside].long())
    if weight is not None:
        message = message * weight[: row.numel()][inside].to(x.dtype)[:, None, None]
    out = x.new_zeros(rows, *x.shape[1:]).index_add_(0, row[inside], message)
    if scale is None or node is None:
        return out
    return out.mul_(scale.index_select(0, node[:rows]).to(x.dtype)[:, None])
