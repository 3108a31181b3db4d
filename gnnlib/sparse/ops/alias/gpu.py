"""Alias tables for tensors on a GPU.

A table is built row by row, each step from the one before, and once for many draws: that is done on the CPU,
and the tables are copied back. Draws are made on the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.gpu.launch import needs_gpu
from gnnlib.sparse.ops.alias.cpu import alias_table as on_cpu
from gnnlib.sparse.ops.alias.reference import alias_draw as in_torch
from gnnlib.sparse.registry import kernel


@kernel("alias_table", "gpu", refuse=needs_gpu(frozenset({torch.float32, torch.float64})))
def alias_table(indptr: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    threshold, alias, total = (t.to(weight.device) for t in on_cpu(indptr.cpu(), weight.cpu()))
    return threshold, alias, total


@kernel("alias_draw", "gpu", refuse=needs_gpu(frozenset()))
def alias_draw(threshold: Tensor, alias: Tensor, count: int, seed: int, first: int) -> Tensor:
    return in_torch(threshold, alias, count, seed, first)
