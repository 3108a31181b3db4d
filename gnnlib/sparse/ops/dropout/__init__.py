"""Dropout whose mask is a function of a seed and the place: drawn again in the backward, never stored."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define
from gnnlib.sparse.random import as_seed
from gnnlib.sparse.registry import dispatch

__all__ = ["counted_dropout"]

#: Resolution of the probability.
STEPS = 1 << 24


def counted_dropout(x: Tensor, p: float, seed: int) -> Tensor:
    r"""Each element times 0 with probability p, else times 1 / (1 - p).

    .. math:: \mathrm{out}_k = x_k \frac{[u_k \ge p]}{1 - p}, \quad u_k = \mathrm{uniform}(\mathrm{seed}, k)

    The same seed and shape drop the same places on every backend, for any number of threads, forward and
    backward. Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, JMLR 2014.

    Args:
        x: floating.
        p: probability in [0, 1), to 24 bits.
        seed: of the mask.

    Shapes: x of any shape -> the same, in row-major order.
    Cost: one pass over x; half a 64-bit word of a counter-based generator an element; no mask is kept.
    Raises: ValueError for a p outside [0, 1).
    """
    if not 0 <= p < 1:
        raise ValueError(f"counted_dropout: p={p}; pass a probability in [0, 1)")
    out: Tensor = _dropout(x, float(p), as_seed(seed))
    return out


def _forward(x: Tensor, p: float, seed: int) -> Tensor:
    out: Tensor = dispatch("dropout", x, p, seed)
    return out


def _fake(x: Tensor, p: float, seed: int) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.p, ctx.seed = inputs[1:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _dropout(grad, ctx.p, ctx.seed), None, None


_dropout = define("dropout", "(Tensor x, float p, int seed) -> Tensor", _forward, _fake, _setup, _backward)
