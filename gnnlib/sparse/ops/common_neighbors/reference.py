"""Common neighbours in plain torch: the definition, on rows of sorted and unique columns."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.registry import kernel


@kernel("common_neighbors", "reference")
def common_neighbors(indptr: Tensor, indices: Tensor, pairs: Tensor, num_cols: int) -> tuple[Tensor, Tensor]:
    used = int(indptr[-1])
    u, v = pairs
    count = indptr.diff()[u]
    pair = torch.arange(u.shape[0], device=u.device).repeat_interleave(count)
    within = torch.arange(pair.shape[0], device=u.device) - (count.cumsum(0) - count)[pair]
    col = indices[indptr[u][pair] + within].long()  # each neighbour of u
    known = row_of_slot(indptr, used) * num_cols + indices[:used].long()
    wanted = v[pair] * num_cols + col
    common = torch.zeros_like(wanted, dtype=torch.bool)
    if used:
        common = known[torch.searchsorted(known, wanted).clamp(max=used - 1)] == wanted
    out_indptr = torch.zeros(u.shape[0] + 1, dtype=torch.int64, device=u.device)
    out_indptr[1:] = pair[common].bincount(minlength=u.shape[0]).cumsum(0)
    return out_indptr, col[common].to(indices.dtype)


@kernel("rows_without", "reference")
def rows_without(
    indptr: Tensor, indices: Tensor, nodes: Tensor, taken_indptr: Tensor, taken: Tensor
) -> tuple[Tensor, Tensor]:
    count = indptr.diff()[nodes]
    row = torch.arange(nodes.shape[0], device=nodes.device).repeat_interleave(count)
    within = torch.arange(row.shape[0], device=nodes.device) - (count.cumsum(0) - count)[row]
    col = indices[indptr[nodes][row] + within]
    size = int(indices.max()) + 1 if indices.numel() else 1
    used = int(taken_indptr[-1])
    gone = row_of_slot(taken_indptr, used) * size + taken[:used].long()
    kept = ~torch.isin(row * size + col.long(), gone)
    out_indptr = torch.zeros_like(taken_indptr)
    out_indptr[1:] = row[kept].bincount(minlength=nodes.shape[0]).cumsum(0)
    return out_indptr, col[kept]
