"""Largest or smallest neighbour and its slot, in plain torch: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import kernel


@kernel("spmm_arg", "reference")
def spmm_arg(
    indptr: Tensor, indices: Tensor, weight: Tensor | None, x: Tensor, largest: bool
) -> tuple[Tensor, Tensor]:
    used = int(indptr[-1])
    message = x[indices[:used].long()].to(accumulate_dtype(x.dtype))  # [E, H, D]
    if weight is not None:
        message = message * weight[:used, :, None]  # compared before it is rounded to a short type
    dtype = torch.int32 if indices.numel() < 2**31 else torch.int64
    out, arg = first_extreme(indptr, message, largest, dtype)
    return out.to(x.dtype), arg


def first_extreme(
    indptr: Tensor, message: Tensor, largest: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Extreme value of each segment and the first slot that has it (-1 and 0 where there is none)."""
    shape = (indptr.numel() - 1, *message.shape[1:])
    row = row_of_slot(indptr, message.shape[0]).view(-1, *[1] * (message.dim() - 1)).expand_as(message)
    out = message.new_zeros(shape)
    out.scatter_reduce_(0, row, message, "amax" if largest else "amin", include_self=False)
    best = out.gather(0, row)
    hit = (message == best) | (message.isnan() & best.isnan())
    none = torch.iinfo(torch.int64).max
    slot = torch.arange(message.shape[0], device=message.device).view(-1, *[1] * (message.dim() - 1))
    arg = torch.full(shape, none, device=message.device)
    arg.scatter_reduce_(0, row, torch.where(hit, slot, none), "amin")
    return out, torch.where(arg == none, -1, arg).to(dtype)


@kernel("arg_scatter", "reference")
def arg_scatter(
    arg: Tensor, indptr: Tensor, indices: Tensor, weight: Tensor | None, grad: Tensor, num_cols: int
) -> Tensor:
    slot = arg.long().clamp(min=0)
    value = grad.to(accumulate_dtype(grad.dtype))
    if weight is not None:
        head = torch.arange(grad.shape[1], device=grad.device)[:, None]
        value = value * weight[slot, head] if weight.numel() else value
    value = torch.where(arg >= 0, value, 0)  # after the product: a NaN weight stays in its own row
    if not indices.numel():
        return grad.new_zeros(num_cols, *grad.shape[1:])
    out = value.new_zeros(num_cols, *grad.shape[1:])
    return out.scatter_add_(0, indices.long()[slot], value).to(grad.dtype)


@kernel("arg_to_slots", "reference")
def arg_to_slots(arg: Tensor, indptr: Tensor, value: Tensor, num_slots: int) -> Tensor:
    heads = value.shape[1]
    out = value.new_zeros(num_slots * heads, dtype=accumulate_dtype(value.dtype))
    if num_slots:
        head = torch.arange(heads, device=value.device)[:, None].expand_as(arg)
        place = arg.long().clamp(min=0) * heads + head
        out.index_add_(0, place.flatten(), torch.where(arg >= 0, value, 0).flatten().to(out.dtype))
    return out.view(num_slots, heads).to(value.dtype)
