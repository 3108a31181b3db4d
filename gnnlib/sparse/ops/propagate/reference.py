"""Repeated propagation in plain torch: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.numerics import accumulate_dtype, lift
from gnnlib.sparse.ops.spmm.reference import spmm
from gnnlib.sparse.registry import kernel


@kernel("propagate", "reference")
def propagate(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    x: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    steps: int,
    decay: float,
    restart: float,
    every: bool,
) -> Tensor:
    start = x.to(accumulate_dtype(x.dtype))  # [N, F]
    hops = [start]
    for _ in range(steps):
        h = decay * _step(indptr, indices, weight, hops[-1], row_scale, col_scale)
        hops.append(h if restart == 0 else h + restart * start)
    return torch.stack(hops).to(x.dtype) if every else hops[-1].to(x.dtype, copy=steps == 0)


@kernel("propagate_inject", "reference")
def propagate_inject(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    inject: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    decay: float,
) -> Tensor:
    source = inject.to(accumulate_dtype(inject.dtype))  # [K + 1, N, F]
    hops = [source[0]]
    for own in source[1:]:
        hops.append(decay * _step(indptr, indices, weight, hops[-1], row_scale, col_scale) + own)
    return torch.stack(hops).to(inject.dtype)


def _step(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    h: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
) -> Tensor:
    w = lift(weight, h.dtype)
    return spmm(indptr, indices, None if w is None else w[:, None], h[:, None], row_scale, col_scale)[:, 0]
