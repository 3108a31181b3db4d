"""Sparse-dense product: reduce the features of a node's neighbours."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define
from gnnlib.sparse.convert import Adj, as_csr, default_rows, given_weight
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.sddmm import sddmm_slots
from gnnlib.sparse.ops.spmm_arg import extreme
from gnnlib.sparse.registry import dispatch

__all__ = ["spmm"]

Reduce = Literal["sum", "mean", "max", "min"]
REDUCTIONS = ("sum", "mean", "max", "min")


def spmm(
    adj: Adj,
    x: Tensor,
    weight: Tensor | None = None,
    reduce: Reduce = "sum",
    *,
    row_scale: Tensor | None = None,
    col_scale: Tensor | None = None,
) -> Tensor:
    r"""Reduce the features of each node's neighbours, without a message per edge.

    .. math:: \mathrm{out}_i = r_i \cdot \operatorname{reduce}_{j \to i} \; w_{ij} \, c_j \, x_j

    Args:
        adj: the graph, in any form that :func:`as_csr` takes.
        x: features of the source nodes.
        weight: edge weights w in the caller's edge order; one a head for features with heads. Without them
            they are the values of a torch or scipy matrix, so that the sum is ``adj @ x``, in the dtype of x;
            a CSR and an edge_index weigh every edge 1.
        reduce: ``"sum"``, ``"mean"`` (over the entries of the row), ``"max"`` or ``"min"``.
        row_scale: r, a factor for each target node.
        col_scale: c, a factor for each source node; with ``row_scale`` it applies a normalised adjacency
            without an array over edges.

    Shapes: x ``[C, F]``, or ``[C, H, D]`` for H heads; weight ``[E]`` or ``[E, H]``; row_scale ``[R]``;
        col_scale ``[C]`` -> ``[R, F]`` or ``[R, H, D]``. A row without entries gives 0. A tie of max or min
        sends its whole gradient to the first edge of the row.
    Cost: O(E F) time, O(R F) memory; max and min keep an index of the same size for the backward.
    Raises: ValueError when x, weight or a scale does not match the graph; TypeError when x is not floating.
    """
    if isinstance(adj, CSR):
        csr = adj
    else:
        csr = as_csr(adj, num_cols=x.shape[0], num_rows=default_rows(adj, x.shape[0]))
        weight = given_weight(csr, weight, x)
    _check(csr, x, weight, reduce, row_scale, col_scale)
    if weight is not None:
        dtype = torch.promote_types(x.dtype, weight.dtype)
        x, weight = x.to(dtype), csr.to_slots(weight.to(dtype))
        weight = weight[:, None] if weight.dim() == 1 else weight
    heads = x if x.dim() == 3 else x.unsqueeze(1)
    out = spmm_slots(csr, heads, weight, reduce, row_scale, col_scale)
    return out if x.dim() == 3 else out.reshape(csr.num_rows, *x.shape[1:])


def spmm_slots(
    adj: CSR,
    x: Tensor,
    weight: Tensor | None = None,
    reduce: Reduce = "sum",
    row_scale: Tensor | None = None,
    col_scale: Tensor | None = None,
) -> Tensor:
    """:func:`spmm` of x ``[C, H, D]`` with weights ``[E, H]`` in slot order, unchecked."""
    if reduce in ("max", "min"):
        if col_scale is not None:
            scale = col_scale.to(x.dtype).index_select(0, adj.indices)[:, None]
            weight = scale.expand(-1, x.shape[1]) if weight is None else weight * scale
        out = extreme(adj, x, weight, reduce == "max")
        return out if row_scale is None else out * row_scale.to(out.dtype)[:, None, None]
    if col_scale is not None and col_scale.requires_grad:
        x, col_scale = x * col_scale.to(x.dtype)[:, None, None], None
    late = row_scale if row_scale is not None and row_scale.requires_grad else None
    row_scale = None if late is not None else row_scale
    if reduce == "mean":
        inverse = inverse_degree(adj, x.dtype)
        row_scale = inverse if row_scale is None else row_scale.to(inverse.dtype) * inverse
    out = weighted_sum(adj, x, weight, row_scale, col_scale)
    return out if late is None else out * late.to(out.dtype)[:, None, None]


def inverse_degree(adj: CSR, dtype: torch.dtype) -> Tensor:
    """1 / entries of each row, 1 for an empty row, ``[R]``, at least float32."""
    dtype = torch.float64 if dtype == torch.float64 else torch.float32
    return adj.derive(("inverse_degree", dtype), lambda a: a.degree.clamp(min=1).to(dtype).reciprocal())


def weighted_sum(
    adj: CSR, x: Tensor, weight: Tensor | None, row_scale: Tensor | None, col_scale: Tensor | None
) -> Tensor:
    """The differentiable kernel: x ``[C, H, D]``, weight ``[E, H]`` in slot order -> ``[R, H, D]``.

    The scales are constants: they get no gradient.
    """
    out: Tensor = _spmm(adj.indptr, adj.indices, weight, x, row_scale, col_scale, adj=adj)
    return out


def _check(
    adj: CSR,
    x: Tensor,
    weight: Tensor | None,
    reduce: str,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
) -> None:
    if reduce not in REDUCTIONS:
        raise ValueError(f"spmm: reduce={reduce!r} is unknown; choose one of {', '.join(REDUCTIONS)}")
    if not x.is_floating_point():
        raise TypeError(f"spmm: x is {x.dtype}; pass floating features, for example x.float()")
    if x.dim() not in (2, 3):
        raise ValueError(f"spmm: x has shape {list(x.shape)}; expected [C, F], or [C, H, D] with heads")
    if x.shape[0] != adj.num_cols:
        raise ValueError(
            f"spmm: x has {x.shape[0]} rows but adj has {adj.num_cols} columns; pass the features of the "
            "source nodes"
        )
    if x.device != adj.device:
        raise ValueError(f"spmm: x is on {x.device} but adj is on {adj.device}; move one with .to(device)")
    if weight is not None:
        heads = x.shape[1] if x.dim() == 3 else 1
        if weight.dim() not in (1, 2) or (weight.dim() == 2 and weight.shape[1] != heads):
            raise ValueError(
                f"spmm: weight has shape {list(weight.shape)}; expected [E], or [E, {heads}] for x with "
                f"{heads} head(s) in [C, H, D]"
            )
        if weight.dim() == 1 and heads != 1:
            raise ValueError(f"spmm: weight has one value an edge but x has {heads} heads; pass [E, {heads}]")
        if weight.device != x.device:
            raise ValueError(f"spmm: weight is on {weight.device} but x is on {x.device}; move one of them")
    for name, scale, size in (("row_scale", row_scale, adj.num_rows), ("col_scale", col_scale, adj.num_cols)):
        if scale is not None and scale.shape != (size,):
            raise ValueError(f"spmm: {name} has shape {list(scale.shape)}; expected [{size}]")


def _forward(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    x: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
) -> Tensor:
    out: Tensor = dispatch("spmm", indptr, indices, weight, x, row_scale, col_scale)
    return out


def _fake(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    x: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
) -> Tensor:
    return x.new_empty(indptr.shape[0] - 1, x.shape[1], x.shape[2])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    indptr, indices, weight, x, row_scale, col_scale = inputs
    ctx.num_cols = x.shape[0]
    ctx.save_for_backward(indptr, indices, weight, x if weight is not None else None, row_scale, col_scale)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    indptr, indices, weight, x, row_scale, col_scale = ctx.saved_tensors
    adj = getattr(ctx, "adj", None) or CSR.trusted(indptr, indices, ctx.num_cols)
    need = ctx.needs_input_grad[-6:]
    d_weight = d_x = None
    if need[2]:
        scaled = grad if row_scale is None else grad * row_scale.to(grad.dtype)[:, None, None]
        source = x if col_scale is None else x * col_scale.to(x.dtype)[:, None, None]
        d_weight = sddmm_slots(adj, scaled, source, "dot")
    if need[3]:
        w = None if weight is None else weight.index_select(0, adj.transpose_perm)
        d_x = weighted_sum(adj.transposed.slot_order, grad, w, col_scale, row_scale)
    return None, None, d_weight, d_x, None, None


_spmm = define(
    "spmm",
    "(Tensor indptr, Tensor indices, Tensor? weight, Tensor x, Tensor? row_scale, Tensor? col_scale)"
    " -> Tensor",
    _forward,
    _fake,
    _setup,
    _backward,
)


class Product(NamedTuple):
    """The constants of a sparse product that autograd recorded: ``out_i = r_i sum_j w_ij c_j x_j``.

    Shapes: indptr ``[R + 1]``, indices ``[E]``, weight ``[E, H]`` in slot order, row_scale ``[R]``, col_scale
    ``[C]``; None where there is none.
    """

    indptr: Tensor
    indices: Tensor
    weight: Tensor | None
    row_scale: Tensor | None
    col_scale: Tensor | None


def recorded_product(node: Any) -> Product | None:
    """What a node of an autograd graph multiplies with, if it is a :func:`spmm` that is linear in x alone."""
    if node.name() != "spmmBackward" or not node.needs_input_grad[-3] or node.needs_input_grad[-4]:
        return None
    indptr, indices, weight, _, row_scale, col_scale = node.saved_tensors
    return Product(indptr, indices, weight, row_scale, col_scale)
