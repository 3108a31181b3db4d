"""Softmax over the sorted segments of an offset array."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define
from gnnlib.sparse.ops.segment_reduce import check_segments, expand_rows, segment_rows
from gnnlib.sparse.registry import dispatch

__all__ = ["segment_softmax"]


def segment_softmax(src: Tensor, indptr: Tensor) -> Tensor:
    r"""Normalise the scores of each segment.

    .. math:: \mathrm{out}_e = \frac{\exp(s_e - m_i)}{\sum_{e' \in i} \exp(s_{e'} - m_i)},
        \quad m_i = \max_{e' \in i} s_{e'}

    Args:
        src: scores s, those of a segment next to each other.
        indptr: offsets of the segments, non-decreasing from 0 to E.

    Shapes: src ``[E]`` or ``[E, H]``, indptr ``[R + 1]`` -> the shape of src. A segment whose scores are all
        -inf gives 0.
    Cost: O(E H) time and memory.
    Raises: ValueError when the offsets do not cover src; TypeError when src is not floating.
    """
    check_segments("segment_softmax", src, indptr)
    flat = src.reshape(src.shape[0], math.prod(src.shape[1:]))
    out: Tensor = _segment_softmax(indptr, flat)
    return out.reshape(src.shape)


def _forward(indptr: Tensor, src: Tensor) -> Tensor:
    out: Tensor = dispatch("segment_softmax", indptr, src)
    return out


def _fake(indptr: Tensor, src: Tensor) -> Tensor:
    return torch.empty_like(src, memory_format=torch.contiguous_format)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    indptr, out = ctx.saved_tensors
    if not torch.is_grad_enabled():
        return None, _segment_softmax_grad(indptr, out, grad)
    weighted = out * grad
    total = expand_rows(indptr, segment_rows(indptr, weighted, "sum"), out.shape[0])
    return None, weighted - out * total


_segment_softmax = define(
    "segment_softmax", "(Tensor indptr, Tensor src) -> Tensor", _forward, _fake, _setup, _backward
)


def _grad_forward(indptr: Tensor, out: Tensor, grad: Tensor) -> Tensor:
    found: Tensor = dispatch("segment_softmax_grad", indptr, out, grad)
    return found


def _grad_fake(indptr: Tensor, out: Tensor, grad: Tensor) -> Tensor:
    return torch.empty_like(out, memory_format=torch.contiguous_format)


_segment_softmax_grad = define(
    "segment_softmax_grad", "(Tensor indptr, Tensor out, Tensor grad) -> Tensor", _grad_forward, _grad_fake
)
