"""Edge list to CSR and transpose by torch's stable sort."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.registry import kernel


@kernel("coo_to_csr", "reference")
def coo_to_csr(row: Tensor, col: Tensor, num_rows: int, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    perm = row.argsort(stable=True)
    indptr = torch.zeros(num_rows + 1, dtype=torch.int64, device=row.device)
    indptr[1:] = row.long().bincount(minlength=num_rows).cumsum(0)
    dtype = torch.int32 if num_cols < 2**31 else torch.int64
    return indptr, col[perm].to(dtype), perm


@kernel("csr_transpose", "reference")
def csr_transpose(indptr: Tensor, indices: Tensor, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    num_rows, used = indptr.numel() - 1, int(indptr[-1])
    row = torch.arange(num_rows, device=indptr.device).repeat_interleave(indptr.diff(), output_size=used)
    indptr_t, indices_t, perm = coo_to_csr(indices[:used], row, num_cols, num_rows)
    spare = indices.numel() - used
    return (
        indptr_t,
        torch.cat([indices_t, indices_t.new_zeros(spare)]),
        torch.cat([perm, perm.new_zeros(spare)]),
    )
