"""Greedy matching on a CPU: one pass over the edges in their order."""

from __future__ import annotations

import torch
from numba import njit
from torch import Tensor

from gnnlib.sparse.native.launch import array
from gnnlib.sparse.registry import kernel, needs


@njit(cache=True)
def _edge_matching(source, target, order, taken):
    for k in range(order.size):
        e = order[k]
        i, j = source[e], target[e]
        if taken[i] < 0 and taken[j] < 0:
            taken[i] = e
            taken[j] = e


@kernel("edge_matching", "cpu", refuse=needs("cpu", frozenset()))
def edge_matching(source: Tensor, target: Tensor, order: Tensor, num_nodes: int) -> Tensor:
    taken = torch.full((num_nodes,), -1, dtype=torch.int64)
    _edge_matching(array(source), array(target), array(order), taken.numpy())
    return taken
