"""Reduction over the sorted segments of an offset array."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define, only_first
from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.registry import dispatch

__all__ = ["segment_reduce"]

REDUCTIONS = ("sum", "mean", "max", "min")


def segment_reduce(src: Tensor, indptr: Tensor, reduce: str = "sum") -> Tensor:
    r"""Reduce the rows of each segment.

    .. math:: \mathrm{out}_i = \operatorname{reduce}_{\,p_i \le e < p_{i+1}} \mathrm{src}_e

    Args:
        src: rows, those of a segment next to each other.
        indptr: offsets p of the segments, non-decreasing from 0 to E.
        reduce: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"``.

    Shapes: src ``[E, ...]``, indptr ``[R + 1]`` -> ``[R, ...]``. An empty segment gives 0. A tie of max or
        min sends its whole gradient to the first row of the segment.
    Cost: O(E F) time, memory of the result (and of an index of that size for max and min).
    Raises: ValueError when the offsets do not cover src; TypeError when src is not floating.
    """
    check_segments("segment_reduce", src, indptr)
    if reduce not in REDUCTIONS:
        raise ValueError(
            f"segment_reduce: reduce={reduce!r} is unknown; choose one of {', '.join(REDUCTIONS)}"
        )
    flat = src.reshape(src.shape[0], math.prod(src.shape[1:]))
    return segment_rows(indptr, flat, reduce).reshape(indptr.shape[0] - 1, *src.shape[1:])


def segment_rows(indptr: Tensor, src: Tensor, reduce: str) -> Tensor:
    """:func:`segment_reduce` of src ``[E, F]``, unchecked."""
    out: Tensor = _segment_reduce(indptr, src, reduce)[0]
    return out


def expand_rows(indptr: Tensor, x: Tensor, num_slots: int) -> Tensor:
    """Row of the segment for each of its slots: ``[R, F]`` -> ``[E, F]``; the adjoint of the segment sum."""
    out: Tensor = _expand(indptr, x, num_slots)
    return out


def check_segments(op: str, src: Tensor, indptr: Tensor) -> None:
    """Refuse values and offsets that do not belong together."""
    if not src.is_floating_point():
        raise TypeError(f"{op}: src is {src.dtype}; pass floating values, for example src.float()")
    if indptr.dim() != 1 or indptr.dtype != torch.int64 or indptr.numel() == 0:
        raise ValueError(
            f"{op}: indptr is {indptr.dtype} of shape {list(indptr.shape)}; expected int64 offsets [R + 1]"
        )
    if src.dim() == 0 or src.device != indptr.device:
        raise ValueError(
            f"{op}: src {list(src.shape)} on {src.device} does not go with indptr on {indptr.device}"
        )
    if indptr.device.type == "cpu" and not torch.compiler.is_compiling():
        first, last = int(indptr[0]), int(indptr[-1])
        if first != 0 or last != src.shape[0] or bool((indptr.diff() < 0).any()):
            raise ValueError(
                f"{op}: indptr runs from {first} to {last} over {src.shape[0]} rows of src; it must start at "
                "0, never decrease and end at the number of rows"
            )


def _forward(indptr: Tensor, src: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    out, arg = dispatch("segment_reduce", indptr, src, reduce)
    return out, arg


def _fake(indptr: Tensor, src: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    shape = (indptr.shape[0] - 1, src.shape[1])
    return src.new_empty(shape), indptr.new_empty(shape if reduce in ("max", "min") else 0)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    indptr, src, reduce = inputs
    ctx.reduce, ctx.num_slots = reduce, src.shape[0]
    only_first(ctx, output)
    ctx.save_for_backward(indptr, output[1])


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    indptr, arg = ctx.saved_tensors
    if ctx.reduce in ("max", "min"):
        return None, spread(arg, grad, ctx.num_slots), None
    if ctx.reduce == "mean":
        grad = grad / indptr.diff().clamp(min=1)[:, None]
    return None, expand_rows(indptr, grad, ctx.num_slots), None


def spread(arg: Tensor, grad: Tensor, num_slots: int) -> Tensor:
    """Send each gradient to the row that won: ``[R, F]`` -> ``[E, F]``; no row wins the same column twice."""
    out = grad.new_zeros(num_slots, grad.shape[1])
    if num_slots == 0:
        return out
    return out.scatter_add(0, arg.clamp(min=0), torch.where(arg >= 0, grad, 0))


_segment_reduce = define(
    "segment_reduce",
    "(Tensor indptr, Tensor src, str reduce) -> (Tensor, Tensor)",
    _forward,
    _fake,
    _setup,
    _backward,
)


def _expand_forward(indptr: Tensor, x: Tensor, num_slots: int) -> Tensor:
    if x.shape[0] == 0:
        return x.new_zeros(num_slots, x.shape[1])
    out = x.index_select(0, row_of_slot(indptr, num_slots))
    spare = torch.arange(num_slots, device=x.device) >= indptr[-1]  # not read: that would wait for a GPU
    return out.masked_fill_(spare[:, None], 0)  # spare slots belong to no row


def _expand_fake(indptr: Tensor, x: Tensor, num_slots: int) -> Tensor:
    return x.new_empty(num_slots, x.shape[1])


def _expand_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])


def _expand_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (indptr,) = ctx.saved_tensors
    return None, segment_rows(indptr, grad, "sum"), None


_expand = define(
    "expand_rows",
    "(Tensor indptr, Tensor x, SymInt num_slots) -> Tensor",
    _expand_forward,
    _expand_fake,
    _expand_setup,
    _expand_backward,
)
