"""Edge list to CSR and transpose on a CPU: one counting sort, stable."""

from __future__ import annotations

import torch
from numba import njit
from torch import Tensor

from gnnlib.sparse.native.launch import array
from gnnlib.sparse.registry import kernel, needs


@njit(cache=True)
def _coo_to_csr(row, col, indptr, indices, perm):
    for e in range(row.size):
        indptr[row[e] + 1] += 1
    for i in range(indptr.size - 1):
        indptr[i + 1] += indptr[i]
    place = indptr[:-1].copy()
    for e in range(row.size):
        s = place[row[e]]
        place[row[e]] = s + 1
        indices[s] = col[e]
        perm[s] = e


@njit(cache=True)
def _csr_transpose(indptr, indices, indptr_t, indices_t, perm):
    for e in range(indptr[-1]):
        indptr_t[indices[e] + 1] += 1
    for j in range(indptr_t.size - 1):
        indptr_t[j + 1] += indptr_t[j]
    place = indptr_t[:-1].copy()
    for i in range(indptr.size - 1):
        for e in range(indptr[i], indptr[i + 1]):
            s = place[indices[e]]
            place[indices[e]] = s + 1
            indices_t[s] = i
            perm[s] = e
    perm[indptr[-1] :] = 0
    indices_t[indptr[-1] :] = 0


def _outputs(num_rows: int, num_edges: int, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.zeros(num_rows + 1, dtype=torch.int64),
        torch.empty(num_edges, dtype=torch.int32 if num_cols < 2**31 else torch.int64),
        torch.empty(num_edges, dtype=torch.int64),
    )


@kernel("coo_to_csr", "cpu", refuse=needs("cpu", frozenset()))
def coo_to_csr(row: Tensor, col: Tensor, num_rows: int, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    out = _outputs(num_rows, row.shape[0], num_cols)
    if row.shape[0]:
        _coo_to_csr(array(row.long()), array(col.long()), *(t.numpy() for t in out))
    return out


@kernel("csr_transpose", "cpu", refuse=needs("cpu", frozenset()))
def csr_transpose(indptr: Tensor, indices: Tensor, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    out = _outputs(num_cols, indices.shape[0], indptr.shape[0] - 1)
    _csr_transpose(array(indptr), array(indices), *(t.numpy() for t in out))
    return out
