"""Sampled dense-dense product: one value an edge from its two end nodes."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define
from gnnlib.sparse.convert import Adj, as_csr
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.registry import dispatch

__all__ = ["sddmm"]

EdgeOp = Literal["dot", "add", "sub"]
EDGE_OPS = ("dot", "add", "sub")


def sddmm(adj: Adj, x_dst: Tensor, x_src: Tensor, op: EdgeOp = "dot") -> Tensor:
    r"""Combine, on each edge, the row of its target with the row of its source.

    .. math:: \mathrm{out}_{ij} = \langle a_i, b_j \rangle \;\text{ or }\; a_i + b_j \;\text{ or }\; a_i - b_j

    Args:
        adj: the graph, in any form that :func:`as_csr` takes.
        x_dst: a, rows of the target nodes.
        x_src: b, rows of the source nodes.
        op: ``"dot"`` (over the last dimension), ``"add"`` or ``"sub"``.

    Shapes: with the E edges in the caller's order, dot: ``[R, D], [C, D] -> [E]`` and
        ``[R, H, D], [C, H, D] -> [E, H]``; add and sub: ``[R, ...], [C, ...] -> [E, ...]``.
    Cost: O(E F) time; memory is the result alone.
    Raises: ValueError when the rows do not match the graph or each other; TypeError when not floating.
    """
    csr = as_csr(adj, num_rows=x_dst.shape[0], num_cols=x_src.shape[0])
    _check(csr, x_dst, x_src, op)
    dtype = torch.promote_types(x_dst.dtype, x_src.dtype)
    a, b = x_dst.to(dtype), x_src.to(dtype)
    if op == "dot":
        shape = (1, a.shape[-1]) if a.dim() == 2 else tuple(a.shape[1:])
    else:
        shape = (1, math.prod(a.shape[1:]))
    out = sddmm_slots(csr, a.reshape(a.shape[0], *shape), b.reshape(b.shape[0], *shape), op)
    tail = a.shape[1:-1] if op == "dot" else a.shape[1:]
    return csr.from_slots(out.reshape(csr.num_edges, *tail))


def sddmm_slots(adj: CSR, x_dst: Tensor, x_src: Tensor, op: EdgeOp) -> Tensor:
    """:func:`sddmm` of ``[R, H, D]`` and ``[C, H, D]`` in slot order, unchecked."""
    out: Tensor = _sddmm(adj.indptr, adj.indices, x_dst, x_src, op, adj=adj)
    return out


def _check(adj: CSR, x_dst: Tensor, x_src: Tensor, op: str) -> None:
    if op not in EDGE_OPS:
        raise ValueError(f"sddmm: op={op!r} is unknown; choose one of {', '.join(EDGE_OPS)}")
    for name, x in (("x_dst", x_dst), ("x_src", x_src)):
        if not x.is_floating_point():
            raise TypeError(f"sddmm: {name} is {x.dtype}; pass floating values, for example {name}.float()")
        if x.device != adj.device:
            raise ValueError(f"sddmm: {name} is on {x.device} but adj is on {adj.device}; move one of them")
    if x_dst.shape[1:] != x_src.shape[1:] or (op == "dot" and x_dst.dim() not in (2, 3)):
        raise ValueError(
            f"sddmm: x_dst has shape {list(x_dst.shape)} and x_src {list(x_src.shape)}; all but the first "
            "dimension must agree, and dot takes [N, D] or [N, H, D]"
        )


def _forward(indptr: Tensor, indices: Tensor, x_dst: Tensor, x_src: Tensor, op: str) -> Tensor:
    out: Tensor = dispatch("sddmm", indptr, indices, x_dst, x_src, op)
    return out


def _fake(indptr: Tensor, indices: Tensor, x_dst: Tensor, x_src: Tensor, op: str) -> Tensor:
    if op == "dot":
        return x_dst.new_empty(indices.shape[0], x_dst.shape[1])
    return x_dst.new_empty(indices.shape[0], x_dst.shape[1], x_dst.shape[2])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    indptr, indices, x_dst, x_src, op = inputs
    ctx.op, ctx.num_cols = op, x_src.shape[0]
    ctx.save_for_backward(indptr, indices, *((x_dst, x_src) if op == "dot" else (None, None)))


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    from gnnlib.sparse.ops.spmm import weighted_sum

    indptr, indices, x_dst, x_src = ctx.saved_tensors
    adj = getattr(ctx, "adj", None) or CSR.trusted(indptr, indices, ctx.num_cols)
    need = ctx.needs_input_grad[-5:]
    d_dst = d_src = None
    if ctx.op == "dot":
        if need[2]:
            d_dst = weighted_sum(adj, x_src, grad, None, None)
        if need[3]:
            by_source = grad.index_select(0, adj.transpose_perm)
            d_src = weighted_sum(adj.transposed.slot_order, x_dst, by_source, None, None)
        return None, None, d_dst, d_src, None
    if need[2]:
        d_dst = _edge_sum(adj.indptr, None, grad)
    if need[3]:
        d_src = _edge_sum(adj.transposed.indptr, adj.transpose_perm, grad)
        d_src = -d_src if ctx.op == "sub" else d_src
    return None, None, d_dst, d_src, None


def _edge_sum(indptr: Tensor, edge: Tensor | None, value: Tensor) -> Tensor:
    """Sum edge values ``[E, H, D]`` over the segments of ``indptr``, whose slots name the edges."""
    from gnnlib.sparse.ops.spmm import weighted_sum

    if edge is None:
        edge = torch.arange(value.shape[0], device=value.device)
    by_edge = CSR.trusted(indptr, edge, value.shape[0])
    return weighted_sum(by_edge, value, None, None, None)


_sddmm = define(
    "sddmm",
    "(Tensor indptr, Tensor indices, Tensor x_dst, Tensor x_src, str op) -> Tensor",
    _forward,
    _fake,
    _setup,
    _backward,
)
