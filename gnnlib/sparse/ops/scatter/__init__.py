"""Reduction of rows by an unsorted index."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define, only_first, traced
from gnnlib.sparse.ops.segment_reduce import REDUCTIONS, spread
from gnnlib.sparse.registry import dispatch

__all__ = ["scatter"]


def scatter(
    src: Tensor, index: Tensor, dim_size: int | None = None, reduce: str = "sum", dim: int = 0
) -> Tensor:
    r"""Reduce the rows of src that share an index.

    .. math:: \mathrm{out}_i = \operatorname{reduce}_{e:\, \mathrm{index}_e = i} \mathrm{src}_e

    Args:
        src: rows along ``dim``.
        index: group of each row, in any order, integers from 0.
        dim_size: number of groups R; the largest index plus one when omitted.
        reduce: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"``.
        dim: the dimension of src that the index runs along.

    Shapes: src ``[..., E, ...]`` with E at ``dim``, index ``[E]`` -> src's shape with R at ``dim``. A group
        without rows gives 0. A tie of max or min sends its whole gradient to the first row.
    Cost: a counting sort of the index, then O(E F); the result's memory plus O(E).
    Raises: TypeError for an index that is no integer or src that is not floating; ValueError for a shape
        that does not fit or an index outside ``[0, dim_size)``.
    """
    dim = _check(src, index, reduce, dim)
    if dim_size is None:
        if traced(src, index):
            raise ValueError("scatter: compiled code needs the number of groups; pass dim_size")
        dim_size = int(index.max()) + 1 if index.numel() else 0
    if index.device.type == "cpu" and index.numel() and not traced(src, index):
        low, high = (int(v) for v in index.aminmax())
        if low < 0 or high >= dim_size:
            raise ValueError(
                f"scatter: index names group {low if low < 0 else high} but there are {dim_size} groups, 0 "
                f"to {dim_size - 1}; check the index or pass a larger dim_size"
            )
    rows = src.movedim(dim, 0)
    flat = rows.reshape(rows.shape[0], math.prod(rows.shape[1:]))
    return scatter_rows(index, flat, dim_size, reduce).reshape(dim_size, *rows.shape[1:]).movedim(0, dim)


def scatter_rows(index: Tensor, src: Tensor, num_rows: int, reduce: str) -> Tensor:
    """:func:`scatter` of src ``[E, F]`` along its first dimension, unchecked."""
    out: Tensor = _scatter(index, src, num_rows, reduce)[0]
    return out


def gather_rows(index: Tensor, x: Tensor) -> Tensor:
    """Rows of x by an index in range: ``[E]``, ``[N, F]`` -> ``[E, F]``; the adjoint of the scatter sum."""
    out: Tensor = _gather(index, x)
    return out


def _check(src: Tensor, index: Tensor, reduce: str, dim: int) -> int:
    if reduce not in REDUCTIONS:
        raise ValueError(f"scatter: reduce={reduce!r} is unknown; choose one of {', '.join(REDUCTIONS)}")
    if not src.is_floating_point():
        raise TypeError(f"scatter: src is {src.dtype}; pass floating values, for example src.float()")
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise TypeError(f"scatter: index is {index.dtype}; pass integers (torch.int64)")
    if not -src.dim() <= dim < src.dim():
        raise ValueError(f"scatter: dim={dim} does not exist in src of shape {list(src.shape)}")
    dim = dim % src.dim()
    if index.dim() != 1 or index.shape[0] != src.shape[dim]:
        raise ValueError(
            f"scatter: index has shape {list(index.shape)} but src has {src.shape[dim]} rows along dim "
            f"{dim}; pass one group number for each row"
        )
    if index.device != src.device:
        raise ValueError(f"scatter: src is on {src.device} but index is on {index.device}; move one of them")
    return dim


def _forward(index: Tensor, src: Tensor, num_rows: int, reduce: str) -> tuple[Tensor, Tensor]:
    out, arg = dispatch("scatter", index, src, num_rows, reduce)
    return out, arg


def _fake(index: Tensor, src: Tensor, num_rows: int, reduce: str) -> tuple[Tensor, Tensor]:
    shape = (num_rows, src.shape[1])
    return src.new_empty(shape), index.new_empty(shape if reduce in ("max", "min") else 0, dtype=torch.int64)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    index, src, num_rows, reduce = inputs
    ctx.reduce, ctx.num_slots, ctx.num_rows = reduce, src.shape[0], num_rows
    only_first(ctx, output)
    ctx.save_for_backward(index, output[1])


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    index, arg = ctx.saved_tensors
    if ctx.reduce in ("max", "min"):
        return None, spread(arg, grad, ctx.num_slots), None, None
    if ctx.reduce == "mean":
        ones = torch.ones_like(index, dtype=torch.int64)  # bincount would wait for a GPU
        count = ones.new_zeros(ctx.num_rows).scatter_add_(0, index.long(), ones)
        grad = grad / count.clamp(min=1)[:, None]
    return None, _gather(index, grad), None, None


_scatter = define(
    "scatter",
    "(Tensor index, Tensor src, SymInt num_rows, str reduce) -> (Tensor, Tensor)",
    _forward,
    _fake,
    _setup,
    _backward,
)


def _gather_forward(index: Tensor, x: Tensor) -> Tensor:
    return x.index_select(0, index.long())


def _gather_fake(index: Tensor, x: Tensor) -> Tensor:
    return x.new_empty(index.shape[0], x.shape[1])


def _gather_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.num_rows = inputs[1].shape[0]
    ctx.save_for_backward(inputs[0])


def _gather_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (index,) = ctx.saved_tensors
    return None, scatter_rows(index, grad, ctx.num_rows, "sum")


_gather = define(
    "gather_rows",
    "(Tensor index, Tensor x) -> Tensor",
    _gather_forward,
    _gather_fake,
    _gather_setup,
    _gather_backward,
)
