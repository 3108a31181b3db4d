"""Repeated propagation on a GPU: each step is one pass that also scales and adds the start."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.gpu.launch import needs_gpu
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.spmm.gpu import gather_sum
from gnnlib.sparse.registry import FLOATS, kernel


def _factors(like: Tensor, decay: float, restart: float) -> Tensor | None:
    """Decay and restart for the kernel, to which a number would come as float32; None where both are 1."""
    if decay == 1 and restart in (0, 1):
        return None
    factors = torch.full((2,), decay, dtype=like.dtype, device=like.device)
    factors[1:].fill_(restart)
    return factors


@kernel("propagate", "gpu", refuse=needs_gpu(FLOATS))
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
    start = x.to(accumulate_dtype(x.dtype))[:, None].contiguous()  # [N, 1, F]
    w = None if weight is None else weight[:, None]
    factors = _factors(start, decay, restart)
    base = None if restart == 0 else start
    h = start
    if not every:
        for _ in range(steps):
            h = gather_sum(indptr, indices, w, h, row_scale, col_scale, base, factors)
        return h[:, 0].to(x.dtype, copy=steps == 0)
    hops = start.new_empty(steps + 1, *start.shape)
    hops[0] = start
    for k in range(1, steps + 1):
        gather_sum(indptr, indices, w, hops[k - 1], row_scale, col_scale, base, factors, hops[k])
    return hops[:, :, 0].to(x.dtype)


@kernel("propagate_inject", "gpu", refuse=needs_gpu(FLOATS))
def propagate_inject(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    inject: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    decay: float,
) -> Tensor:
    own = inject.to(accumulate_dtype(inject.dtype))[:, :, None].contiguous()  # [K + 1, N, 1, F]
    w = None if weight is None else weight[:, None]
    factors = _factors(own, decay, 1.0)
    hops = torch.empty_like(own)
    hops[:1] = own[:1]
    for k in range(1, own.shape[0]):
        gather_sum(indptr, indices, w, hops[k - 1], row_scale, col_scale, own[k], factors, hops[k])
    return hops[:, :, 0].to(inject.dtype)
