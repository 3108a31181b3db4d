"""The very sparse projection on a CPU: a thread owns a row."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from gnnlib.sparse.native import memory, random
from gnnlib.sparse.native.launch import Launcher, array
from gnnlib.sparse.registry import kernel, needs


@njit(inline="always")
def _sign(bits, edge):
    return np.float32((bits < edge) * 2 - (bits < 2 * edge))


def _project(scale, value, edge, seed, out):
    for i in prange(out.shape[0]):
        start = random.stream(seed, i)
        high = scale[i] * value
        for k in range(out.shape[1] // 2):
            bits = random.draw(start, k)
            out[i, 2 * k] = high * _sign(random.low24(bits), edge)
            out[i, 2 * k + 1] = high * _sign(random.high24(bits), edge)
        if out.shape[1] % 2:
            bits = random.draw(start, out.shape[1] // 2)
            out[i, out.shape[1] - 1] = high * _sign(random.low24(bits), edge)


_launch = Launcher(_project)


@kernel("sparse_projection", "cpu", refuse=needs("cpu", frozenset({torch.float32})))
def sparse_projection(scale: Tensor, dim: int, value: float, edge: int, seed: int) -> Tensor:
    out = memory.empty(scale.shape[0], dim, dtype=torch.float32)
    _launch(8 * out.numel(), array(scale), np.float32(value), edge, seed, out.numpy())
    return out
