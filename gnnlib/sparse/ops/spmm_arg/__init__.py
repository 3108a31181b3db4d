"""Maximum and minimum over neighbours, with the slot that won.

The winner is saved once, node-sized, and the backward sends each gradient to it: nothing of size E x F
exists. For fixed winners all three maps below are linear in their features, and each is made of the other
two when differentiated again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define, only_first
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.registry import dispatch

__all__: list[str] = []


def extreme(adj: CSR, x: Tensor, weight: Tensor | None, largest: bool) -> Tensor:
    """Largest or smallest weighted neighbour: x ``[C, H, D]``, slot weight ``[E, H]`` -> ``[R, H, D]``."""
    out: Tensor = _spmm_arg(adj.indptr, adj.indices, weight, x, largest)[0]
    return out


def arg_dtype(num_slots: int) -> torch.dtype:
    """The integer type that numbers the slots."""
    return torch.int32 if num_slots < 2**31 else torch.int64


def _forward(
    indptr: Tensor, indices: Tensor, weight: Tensor | None, x: Tensor, largest: bool
) -> tuple[Tensor, Tensor]:
    out, arg = dispatch("spmm_arg", indptr, indices, weight, x, largest)
    return out, arg


def _fake(
    indptr: Tensor, indices: Tensor, weight: Tensor | None, x: Tensor, largest: bool
) -> tuple[Tensor, Tensor]:
    shape = (indptr.shape[0] - 1, x.shape[1], x.shape[2])
    return x.new_empty(shape), indices.new_empty(shape, dtype=arg_dtype(indices.shape[0]))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    indptr, indices, weight, x, _ = inputs
    ctx.num_cols = x.shape[0]
    only_first(ctx, output)
    ctx.save_for_backward(indptr, indices, weight, x if weight is not None else None, output[1])


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    indptr, indices, weight, x, arg = ctx.saved_tensors
    need = ctx.needs_input_grad[-5:]
    d_weight = None
    if need[2]:
        value = grad * _chosen(arg, indptr, indices, x)
        d_weight = _to_slots(arg, indptr, value, weight.shape[0]).to(weight.dtype)
    d_x = _arg_scatter(arg, indptr, indices, weight, grad, ctx.num_cols) if need[3] else None
    return None, None, d_weight, d_x, None


_spmm_arg = define(
    "spmm_arg",
    "(Tensor indptr, Tensor indices, Tensor? weight, Tensor x, bool largest) -> (Tensor, Tensor)",
    _forward,
    _fake,
    _setup,
    _backward,
)


def _chosen_forward(arg: Tensor, indptr: Tensor, indices: Tensor, x: Tensor) -> Tensor:
    if not indices.shape[0]:
        return x.new_zeros(arg.shape)
    source = indices.long()[arg.long().clamp(min=0)]
    return torch.where(arg >= 0, x.gather(0, source), 0)


def _chosen_fake(arg: Tensor, indptr: Tensor, indices: Tensor, x: Tensor) -> Tensor:
    return x.new_empty(arg.shape)


def _chosen_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.num_cols = inputs[3].shape[0]
    ctx.save_for_backward(*inputs[:3])


def _chosen_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return None, None, None, _arg_scatter(*ctx.saved_tensors, None, grad, ctx.num_cols)


#: x of the winning source, ``[R, H, D]``; 0 where a row is empty. Adjoint of the scatter below.
_chosen = define(
    "arg_gather",
    "(Tensor arg, Tensor indptr, Tensor indices, Tensor x) -> Tensor",
    _chosen_forward,
    _chosen_fake,
    _chosen_setup,
    _chosen_backward,
)


def _weight_of(arg: Tensor, weight: Tensor) -> Tensor:
    """Weight of the winning edge, ``[R, H, D]``; 0 where a row is empty."""
    if not weight.shape[0]:
        return weight.new_zeros(arg.shape)
    head = torch.arange(weight.shape[1], device=weight.device)[:, None]
    return torch.where(arg >= 0, weight[arg.long().clamp(min=0), head], 0)


def _slots_forward(arg: Tensor, indptr: Tensor, value: Tensor, num_slots: int) -> Tensor:
    out: Tensor = dispatch("arg_to_slots", arg, indptr, value, num_slots)
    return out


def _slots_fake(arg: Tensor, indptr: Tensor, value: Tensor, num_slots: int) -> Tensor:
    return value.new_empty(num_slots, value.shape[1])


def _slots_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])


def _slots_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (arg,) = ctx.saved_tensors
    return None, None, _weight_of(arg, grad), None


#: Sum of values ``[R, H, D]`` onto the slots that won, ``[E, H]``.
_to_slots = define(
    "arg_to_slots",
    "(Tensor arg, Tensor indptr, Tensor value, SymInt num_slots) -> Tensor",
    _slots_forward,
    _slots_fake,
    _slots_setup,
    _slots_backward,
)


def _scatter_forward(
    arg: Tensor, indptr: Tensor, indices: Tensor, weight: Tensor | None, grad: Tensor, num_cols: int
) -> Tensor:
    out: Tensor = dispatch("arg_scatter", arg, indptr, indices, weight, grad, num_cols)
    return out


def _scatter_fake(
    arg: Tensor, indptr: Tensor, indices: Tensor, weight: Tensor | None, grad: Tensor, num_cols: int
) -> Tensor:
    return grad.new_empty(num_cols, grad.shape[1], grad.shape[2])


def _scatter_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    arg, indptr, indices, weight, grad, _ = inputs
    ctx.save_for_backward(arg, indptr, indices, weight, grad if weight is not None else None)


def _scatter_backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
    arg, indptr, indices, weight, grad = ctx.saved_tensors
    need = ctx.needs_input_grad[-6:]
    chosen = _chosen(arg, indptr, indices, outer)
    d_weight = None
    if need[3]:
        d_weight = _to_slots(arg, indptr, chosen * grad, weight.shape[0]).to(weight.dtype)
    d_grad = (chosen if weight is None else chosen * _weight_of(arg, weight)) if need[4] else None
    return None, None, None, d_weight, d_grad, None


_arg_scatter = define(
    "arg_scatter",
    "(Tensor arg, Tensor indptr, Tensor indices, Tensor? weight, Tensor grad, SymInt num_cols) -> Tensor",
    _scatter_forward,
    _scatter_fake,
    _scatter_setup,
    _scatter_backward,
)
