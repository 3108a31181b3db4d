"""Edge list to CSR and transpose on a GPU: torch's stable radix sort, without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.gpu.launch import needs_gpu
from gnnlib.sparse.ops.build import index_dtype
from gnnlib.sparse.registry import kernel


@kernel("coo_to_csr", "gpu", refuse=needs_gpu(frozenset()))
def coo_to_csr(row: Tensor, col: Tensor, num_rows: int, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    indptr, perm = sort_rows(row, num_rows)
    return indptr, col.index_select(0, perm).to(index_dtype(num_cols)), perm


@kernel("csr_transpose", "gpu", refuse=needs_gpu(frozenset()))
def csr_transpose(indptr: Tensor, indices: Tensor, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    num_rows, num_slots = indptr.shape[0] - 1, indices.shape[0]
    spare = torch.arange(num_slots, device=indptr.device) >= indptr[-1]
    column = torch.where(spare, num_cols, indices)  # the slots of no row come last
    indptr_t, perm = sort_rows(column, num_cols)
    row = row_of_slot(indptr, num_slots) if num_rows else perm
    return (
        indptr_t,
        torch.where(spare, 0, row.index_select(0, perm)).to(index_dtype(num_rows)),
        torch.where(spare, 0, perm),
    )


def sort_rows(row: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Offsets of the rows and the slots in their order; those of row numbers past the last are left over."""
    key, perm = row.to(index_dtype(num_rows + 1)).sort(stable=True)
    ends = torch.arange(num_rows, dtype=key.dtype, device=key.device)
    return pad(torch.searchsorted(key, ends, right=True), (1, 0)), perm
