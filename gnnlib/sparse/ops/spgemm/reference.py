"""Sparse-sparse product in plain torch, a row for each single product: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.build import index_dtype
from gnnlib.sparse.registry import kernel


def _products(a_indptr: Tensor, a_indices: Tensor, b_indptr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, slot of a and slot of b of each product ``A_ik B_kj``."""
    used = int(a_indptr[-1])
    middle = a_indices[:used].long()
    count = b_indptr.diff()[middle]
    e = torch.arange(used, device=a_indptr.device).repeat_interleave(count)
    within = torch.arange(e.shape[0], device=e.device) - (count.cumsum(0) - count)[e]
    return row_of_slot(a_indptr, used)[e], e, b_indptr[middle][e] + within


@kernel("spgemm_pattern", "reference")
def spgemm_pattern(
    a_indptr: Tensor, a_indices: Tensor, b_indptr: Tensor, b_indices: Tensor, num_cols: int
) -> tuple[Tensor, Tensor]:
    row, _, s = _products(a_indptr, a_indices, b_indptr)
    place = (row * num_cols + b_indices[s].long()).unique()  # type: ignore[no-untyped-call]
    num_rows = a_indptr.shape[0] - 1
    indptr = torch.zeros(num_rows + 1, dtype=torch.int64, device=row.device)
    indptr[1:] = (place // max(num_cols, 1)).bincount(minlength=num_rows).cumsum(0)
    return indptr, (place % max(num_cols, 1)).to(index_dtype(num_cols))


def _find(indptr: Tensor, indices: Tensor, row: Tensor, col: Tensor, num_cols: int) -> tuple[Tensor, Tensor]:
    """Slot of each (row, col) in a matrix of sorted and unique columns, and whether there is one."""
    used = int(indptr[-1])
    known = row_of_slot(indptr, used) * num_cols + indices[:used].long()
    wanted = row * num_cols + col
    if used == 0:
        return torch.zeros_like(wanted), torch.zeros_like(wanted, dtype=torch.bool)
    slot = torch.searchsorted(known, wanted).clamp(max=used - 1)
    return slot, known[slot] == wanted


@kernel("spgemm_values", "reference")
def spgemm_values(
    a_indptr: Tensor,
    a_indices: Tensor,
    a_value: Tensor,
    b_indptr: Tensor,
    b_indices: Tensor,
    b_value: Tensor,
    c_indptr: Tensor,
    c_indices: Tensor,
    num_cols: int,
) -> Tensor:
    dtype = accumulate_dtype(a_value.dtype)
    row, e, s = _products(a_indptr, a_indices, b_indptr)
    slot, found = _find(c_indptr, c_indices, row, b_indices[s].long(), num_cols)
    product = a_value[e].to(dtype) * b_value[s].to(dtype)
    out = product.new_zeros(c_indices.shape[0]).index_add_(0, slot[found], product[found])
    return out.to(a_value.dtype)


@kernel("spgemm_sampled", "reference")
def spgemm_sampled(
    p_indptr: Tensor,
    p_indices: Tensor,
    g_indptr: Tensor,
    g_indices: Tensor,
    g_value: Tensor,
    q_indptr: Tensor,
    q_indices: Tensor,
    q_value: Tensor,
    num_cols: int,
) -> Tensor:
    dtype = accumulate_dtype(g_value.dtype)
    row, e, s = _products(p_indptr, p_indices, q_indptr)
    slot, found = _find(g_indptr, g_indices, row, q_indices[s].long(), num_cols)
    product = g_value[slot[found]].to(dtype) * q_value[s[found]].to(dtype)
    return product.new_zeros(p_indices.shape[0]).index_add_(0, e[found], product).to(g_value.dtype)
