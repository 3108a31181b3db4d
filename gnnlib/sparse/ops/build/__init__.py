"""Integer ops that build a structure: edge list to CSR, transpose, self-loops.

All are counting sorts, O(R + C + E), stable: the slots of a row keep the caller's order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define, traced
from gnnlib.sparse.cache import structures
from gnnlib.sparse.registry import dispatch

__all__: list[str] = []


def index_dtype(num_cols: int) -> torch.dtype:
    """int32 where column numbers fit, else int64."""
    return torch.int32 if num_cols < 2**31 else torch.int64


def _coo_to_csr(row: Tensor, col: Tensor, num_rows: int, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    indptr, indices, perm = dispatch("coo_to_csr", row.contiguous(), col.contiguous(), num_rows, num_cols)
    return indptr, indices, perm


def _coo_to_csr_fake(row: Tensor, col: Tensor, num_rows: int, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    return (
        row.new_empty(num_rows + 1, dtype=torch.int64),
        row.new_empty(row.shape[0], dtype=index_dtype(num_cols)),
        row.new_empty(row.shape[0], dtype=torch.int64),
    )


#: ``coo_to_csr(row [E], col [E], num_rows, num_cols) -> indptr [R + 1], indices [E], perm [E]``.
coo_to_csr = define(
    "coo_to_csr",
    "(Tensor row, Tensor col, SymInt num_rows, SymInt num_cols) -> (Tensor, Tensor, Tensor)",
    _coo_to_csr,
    _coo_to_csr_fake,
)


def _csr_transpose(indptr: Tensor, indices: Tensor, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    indptr_t, indices_t, perm = dispatch("csr_transpose", indptr, indices, num_cols)
    return indptr_t, indices_t, perm


def _csr_transpose_fake(indptr: Tensor, indices: Tensor, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    return (
        indptr.new_empty(num_cols + 1),
        indices.new_empty(indices.shape[0], dtype=index_dtype(indptr.shape[0] - 1)),
        indptr.new_empty(indices.shape[0]),
    )


#: ``csr_transpose(indptr [R + 1], indices [E], num_cols) -> indptr [C + 1], indices [E], perm [E]``: slot s
#: of the transpose is slot ``perm[s]`` of the input.
csr_transpose = define(
    "csr_transpose",
    "(Tensor indptr, Tensor indices, SymInt num_cols) -> (Tensor, Tensor, Tensor)",
    _csr_transpose,
    _csr_transpose_fake,
)


def kept_transpose(indptr: Tensor, indices: Tensor, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`csr_transpose`, kept while the indices live: for kernels, which see no CSR."""
    found: tuple[Tensor, Tensor, Tensor] = structures.get(
        indices,
        (indptr, indices),
        ("transpose", indptr.data_ptr(), num_cols),
        lambda: csr_transpose(indptr, indices, num_cols),
    )
    return found


def _self_loops(
    indptr: Tensor, indices: Tensor, perm: Tensor | None, num_cols: int, num_values: int, remaining: bool
) -> tuple[Tensor, Tensor, Tensor]:
    num_rows = indptr.shape[0] - 1
    n = min(num_rows, num_cols)
    num_edges = int(indptr[-1])
    node = torch.arange(n, device=indptr.device)
    row = torch.arange(num_rows, device=indptr.device)
    row = row.repeat_interleave(indptr.diff(), output_size=num_edges)
    col = indices[:num_edges].long()
    edge = torch.arange(num_edges, device=indptr.device) if perm is None else perm[:num_edges]
    kept = row != col
    loop = node + num_values
    if remaining:
        loop.scatter_reduce_(0, row[~kept], edge[~kept], "amax", include_self=False)
    new_indptr, new_indices, order = dispatch(
        "coo_to_csr", torch.cat([row[kept], node]), torch.cat([col[kept], node]), num_rows, num_cols
    )
    values = torch.cat([edge[kept], loop])[order]
    spare = indices.shape[0] + n - values.shape[0]
    unused = torch.ones(num_values + n, dtype=torch.bool, device=indptr.device)
    unused[values] = False
    return (
        new_indptr,
        torch.cat([new_indices, new_indices.new_zeros(spare)]),
        torch.cat([values, unused.nonzero()[:spare, 0]]),
    )


def _self_loops_fake(
    indptr: Tensor, indices: Tensor, perm: Tensor | None, num_cols: int, num_values: int, remaining: bool
) -> tuple[Tensor, Tensor, Tensor]:
    size = indices.shape[0] + min(indptr.shape[0] - 1, num_cols)
    return torch.empty_like(indptr), indices.new_empty(size), indptr.new_empty(size)


_self_loops_op = define(
    "self_loops",
    "(Tensor indptr, Tensor indices, Tensor? perm, SymInt num_cols, SymInt num_values, bool remaining)"
    " -> (Tensor, Tensor, Tensor)",
    _self_loops,
    _self_loops_fake,
)


def self_loops(
    indptr: Tensor, indices: Tensor, perm: Tensor | None, num_cols: int, num_values: int, remaining: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Arrays of the graph with one loop for each node that is a row and a column, and the value of each slot.

    Values below ``num_values`` are the caller's edges, ``num_values + i`` is the new loop of node i. Traced
    code cannot know how many loops were there, so it gets arrays of E + N slots with the spare ones at
    the end, past the last offset. A spare slot names a value that no other slot has, so that moving
    values between slots and edges never writes one place twice.
    """
    new_indptr, new_indices, values = _self_loops_op(indptr, indices, perm, num_cols, num_values, remaining)
    if traced(indptr):
        return new_indptr, new_indices, values
    used = int(new_indptr[-1])
    return new_indptr, new_indices[:used], values[:used]
