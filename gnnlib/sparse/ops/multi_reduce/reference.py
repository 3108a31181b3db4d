"""Several reductions of the same messages, in plain torch: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.multi_reduce.names import needs_mean
from gnnlib.sparse.ops.spmm_arg.reference import first_extreme
from gnnlib.sparse.registry import kernel

THRESHOLD = 1e-5


def messages(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
) -> Tensor:
    """Features of each edge's source plus those of the edge, ``[E, F]``, without spare slots."""
    used = int(indptr[-1])
    message = x.to(accumulate_dtype(x.dtype)).index_select(0, indices[:used].long())
    if edge is not None:
        values = (edge if perm is None else edge.index_select(0, perm))[:used].to(message.dtype)
        message = message + (values if edge_map is None else values @ edge_map.to(message.dtype))
    return message


@kernel("multi_reduce", "reference")
def multi_reduce(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    target: Tensor | None,
    reduces: str,
) -> tuple[Tensor, Tensor, Tensor]:
    names = reduces.split(",")
    message = messages(indptr, indices, x, edge, edge_map, perm)  # [E, F]
    degree = indptr.diff()[:, None]
    row = row_of_slot(indptr, message.shape[0])[:, None].expand_as(message)
    zeros = message.new_zeros(indptr.shape[0] - 1, x.shape[1])
    mean = zeros.scatter_add(0, row, message) / degree.clamp(min=1)
    own = zeros if target is None else torch.where(degree > 0, target.to(zeros.dtype), 0)
    var = zeros.scatter_add(0, row, (message - mean.gather(0, row)).square()) / degree.clamp(min=1)
    dtype = torch.int32 if indices.numel() < 2**31 else torch.int64
    extremes = [first_extreme(indptr, message, n == "max", dtype) for n in ("max", "min") if n in names]
    out: dict[str, Tensor] = {
        "sum": zeros.scatter_add(0, row, message) + degree * own,
        "mean": mean + own,
        "var": var,
        "std": torch.where(var <= THRESHOLD, 0, var.sqrt()),
    }
    for n, (value, _) in zip([m for m in ("max", "min") if m in names], extremes, strict=True):
        out[n] = value + own
    args = [arg for _, arg in extremes]
    return (
        torch.stack([out[n] for n in names], dim=1),
        mean if needs_mean(names, target is not None) else mean[:0],
        torch.stack(args, dim=1) if args else indptr.new_empty(zeros.shape[0], 0, x.shape[1], dtype=dtype),
    )
