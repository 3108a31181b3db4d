"""Maximal k-independent sets on a CPU: nodes in their order, each chosen one covers what is near it."""

from __future__ import annotations

import torch
from numba import njit
from torch import Tensor

from gnnlib.sparse.native.launch import array
from gnnlib.sparse.registry import kernel, needs


@njit(cache=True)
def _independent_set(indptr, indices, indptr_t, indices_t, order, k, centre, seen, queue):
    for place in range(order.size):
        v = order[place]
        if centre[v] >= 0:
            continue
        centre[v] = v
        seen[v] = v
        queue[0] = v
        begin, end = 0, 1
        for _ in range(k):  # one step more from what the last one reached
            last = end
            for q in range(begin, last):
                u = queue[q]
                for e in range(indptr[u], indptr[u + 1]):
                    w = indices[e]
                    if seen[w] != v:
                        seen[w] = v
                        queue[end] = w
                        end += 1
                for e in range(indptr_t[u], indptr_t[u + 1]):
                    w = indices_t[e]
                    if seen[w] != v:
                        seen[w] = v
                        queue[end] = w
                        end += 1
            begin = last
        for q in range(end):
            if centre[queue[q]] < 0:
                centre[queue[q]] = v


@kernel("independent_set", "cpu", refuse=needs("cpu", frozenset()))
def independent_set(
    indptr: Tensor, indices: Tensor, indptr_t: Tensor, indices_t: Tensor, order: Tensor, k: int
) -> Tensor:
    n = order.shape[0]
    centre = torch.full((n,), -1, dtype=torch.int64)
    seen, queue = torch.full((n,), -1, dtype=torch.int64), torch.zeros(n, dtype=torch.int64)
    arrays = (array(t) for t in (indptr, indices, indptr_t, indices_t, order))
    _independent_set(*arrays, k, centre.numpy(), seen.numpy(), queue.numpy())
    return centre
