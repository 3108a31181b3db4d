"""Maximal k-independent sets in plain torch: in rounds, each node that is the best within k steps joins."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.registry import kernel


@kernel("independent_set", "reference")
def independent_set(
    indptr: Tensor, indices: Tensor, indptr_t: Tensor, indices_t: Tensor, order: Tensor, k: int
) -> Tensor:
    n = order.shape[0]
    node = torch.arange(n, device=order.device)
    rank = torch.empty_like(order).scatter_(0, order, node)
    used = int(indptr[-1])
    row, col = row_of_slot(indptr, used), indices[:used].long()
    to, other = torch.cat([row, col]), torch.cat([col, row])

    def spread(value: Tensor, reduce: str) -> Tensor:
        for _ in range(k):
            value = value.scatter_reduce(0, to, value[other], reduce)
        return value

    member = torch.zeros(n, dtype=torch.bool, device=order.device)
    covered = member
    while not bool(covered.all()):
        open_rank = torch.where(covered, n, rank)
        member = member | (~covered & (spread(open_rank, "amin") == rank))
        covered = spread(member.long(), "amax") > 0
    return order[spread(torch.where(member, rank, n), "amin")]
