r"""Additive attention with gradients to the nodes alone.

The score of an edge is ``LeakyReLU(a_i + b_j)``; s is its slope, 1 above 0 and f below. With p the softmax, m
the factor of dropout, g the gradient of the result and :math:`\delta_i = \langle g_i, out_i \rangle`

.. math::
    \partial a_i &= \Big\langle g_i, \sum_j s_{ij} m_{ij} p_{ij} v_j \Big\rangle
        - \delta_i \sum_j s_{ij} p_{ij} \\
    \partial b_j &= \Big\langle v_j, \sum_i s_{ij} m_{ij} p_{ij} g_i \Big\rangle
        - \sum_i s_{ij} p_{ij} \delta_i

The forward keeps the parts above 0 of both sums over j (``above``, ``mass``), so the backward takes one pass
over the edges and no inner product of an edge.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define, only_first, traced
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.edge_attention.composed import gradients
from gnnlib.sparse.registry import dispatch

__all__ = ["additive_attention"]


def additive_attention(
    adj: CSR, x_dst: Tensor, x_src: Tensor, value: Tensor, seed: Tensor | None, factor: float, dropout: float
) -> Tensor:
    """The result of additive attention without an edge term, f at least 0, unchecked: ``[R, H, D]``."""
    out: Tensor = _additive(adj.indptr, adj.indices, x_dst, x_src, value, seed, factor, dropout, adj=adj)[0]
    return out


def _forward(*args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor, Tensor] = dispatch("additive_attention", *args)
    return found


def _fake(
    indptr: Tensor,
    indices: Tensor,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor,
    seed: Tensor | None,
    factor: float,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    num_rows, heads, depth = indptr.shape[0] - 1, value.shape[1], value.shape[2]
    wide = torch.float64 if value.dtype == torch.float64 else torch.float32
    out, above = (value.new_empty(num_rows, heads, depth) for _ in range(2))
    mass, lse = (value.new_empty(num_rows, heads, dtype=wide) for _ in range(2))
    return out, above, mass, lse


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.factor, ctx.dropout = inputs[6:]
    only_first(ctx, output)
    ctx.save_for_backward(*inputs[:6], *output)


def _backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    indptr, indices, x_dst, x_src, value, seed, out, above, mass, lse = ctx.saved_tensors
    adj = getattr(ctx, "adj", None) or CSR.trusted(indptr, indices, x_src.shape[0])
    if torch.is_grad_enabled() and not traced(grad):
        inputs = x_dst, x_src, value, None, None, None
        found = gradients(adj.slot_order, inputs, seed, "additive", ctx.factor, ctx.dropout, grad)[:3]
    else:
        flipped = adj.transposed
        found = _additive_grad(
            indptr, indices, flipped.indptr, flipped.indices, adj.transpose_perm,
            x_dst, x_src, value, seed, out, above, mass, lse, grad, ctx.factor, ctx.dropout,
        )  # fmt: skip
    return None, None, *found, None, None, None


_additive = define(
    "additive_attention",
    "(Tensor indptr, Tensor indices, Tensor x_dst, Tensor x_src, Tensor value, Tensor? seed, float factor, "
    "float dropout) -> (Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _fake,
    _setup,
    _backward,
)


def _grad_forward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor] = dispatch("additive_attention_grad", *args)
    return found


def _grad_fake(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    x_dst, x_src, value = args[5:8]
    return value.new_empty(x_dst.shape), value.new_empty(x_src.shape), value.new_empty(value.shape)


_additive_grad = define(
    "additive_attention_grad",
    "(Tensor indptr, Tensor indices, Tensor t_indptr, Tensor t_indices, Tensor t_slots, Tensor x_dst, "
    "Tensor x_src, Tensor value, Tensor? seed, Tensor out, Tensor above, Tensor mass, Tensor lse, "
    "Tensor grad, float factor, float dropout) -> (Tensor, Tensor, Tensor)",
    _grad_forward,
    _grad_fake,
)
