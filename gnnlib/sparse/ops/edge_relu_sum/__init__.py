"""Sum over neighbours of a rectified sum of node and edge features."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define
from gnnlib.sparse.convert import Adj, as_csr, default_rows
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.multi_reduce import check_messages, fake_gradients, from_messages
from gnnlib.sparse.ops.segment_reduce import expand_rows
from gnnlib.sparse.registry import dispatch

__all__ = ["edge_relu_sum"]


def edge_relu_sum(
    adj: Adj,
    x: Tensor,
    edge: Tensor | None = None,
    edge_map: Tensor | None = None,
    *,
    bias: Tensor | None = None,
) -> Tensor:
    r"""Sum the rectified messages to each node, without a message per edge.

    .. math:: \mathrm{out}_i = \sum_{j \to i} \max(0, x_j + e_{ij} M + b)

    Hu et al., Strategies for Pre-training Graph Neural Networks, ICLR 2020, Appendix A.

    Args:
        adj: the graph, in any form that :func:`as_csr` takes.
        x: features of the source nodes.
        edge: edge features e in the caller's edge order; as wide as x when there is no M.
        edge_map: M, which widens narrow edge features inside the kernel.
        bias: b, the same for all edges.

    Shapes: x ``[C, F]`` or ``[C, H, D]``; edge ``[E, F]`` (``[E, H, D]``), or ``[E, K']`` with edge_map
        ``[K', F]`` (``[K', H, D]``); bias ``[F]`` (``[H, D]``) -> ``[R, F]`` or ``[R, H, D]``. A row without
        entries gives 0; a message of exactly 0 takes no gradient.
    Cost: O(E F K') time, O(R F) memory; the backward makes each message again. A second derivative builds a
        message per edge.
    Raises: ValueError when the sizes do not match the graph; TypeError when x or edge is not floating.
    """
    if isinstance(adj, CSR):
        csr = adj
    else:
        csr = as_csr(adj, num_cols=x.shape[0], num_rows=default_rows(adj, x.shape[0]))
    check_messages("edge_relu_sum", csr, x, edge, edge_map, None)
    dtype = x.dtype
    for t in (edge, edge_map):
        dtype = dtype if t is None else torch.promote_types(dtype, t.dtype)
    x = x.to(dtype) if bias is None else x.to(dtype) + bias.to(dtype)
    out: Tensor = _edge_relu_sum(
        csr.indptr,
        csr.indices,
        x.reshape(x.shape[0], math.prod(x.shape[1:])),
        None if edge is None else edge.flatten(1).to(dtype),
        None if edge_map is None else edge_map.flatten(1).to(dtype),
        csr.perm,
        adj=csr,
    )
    return out.reshape(csr.num_rows, *x.shape[1:])


def _forward(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
) -> Tensor:
    out: Tensor = dispatch("edge_relu_sum", indptr, indices, x, edge, edge_map, perm)
    return out


def _fake(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
) -> Tensor:
    return x.new_empty(indptr.shape[0] - 1, x.shape[1])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    indptr, indices, x, edge, edge_map, perm = ctx.saved_tensors
    need = [bool(k) for k in ctx.needs_input_grad[-6:][2:5]]
    adj = getattr(ctx, "adj", None) or CSR.trusted(indptr, indices, x.shape[0], perm)
    found: tuple[Tensor | None, ...]
    if torch.is_grad_enabled():
        found = _differentiable(adj, x, edge, edge_map, perm, grad)
    else:
        t = adj.transposed
        found = _gradient(
            indptr, indices, t.indptr, t.indices, adj.transpose_perm, x, edge, edge_map, perm, grad, need
        )
    given = [
        g.to(t.dtype) if wanted and t is not None and g is not None else None
        for g, t, wanted in zip(found, (x, edge, edge_map), need, strict=True)
    ]
    return None, None, *given, None


_edge_relu_sum = define(
    "edge_relu_sum",
    "(Tensor indptr, Tensor indices, Tensor x, Tensor? edge, Tensor? edge_map, Tensor? perm) -> Tensor",
    _forward,
    _fake,
    _setup,
    _backward,
)


def _differentiable(
    adj: CSR, x: Tensor, edge: Tensor | None, edge_map: Tensor | None, perm: Tensor | None, grad: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients made of ops that can be differentiated again; edge features give a message per edge."""
    from gnnlib.sparse.ops.spmm import weighted_sum

    dtype = accumulate_dtype(x.dtype)
    grad = grad.to(dtype)
    if edge is None:
        back = weighted_sum(adj.transposed.slot_order, grad.unsqueeze(1), None, None, None).squeeze(1)
        return torch.where(x <= 0, 0, back), None, None
    values = (edge if perm is None else edge.index_select(0, perm)).to(dtype)
    values = values if edge_map is None else values @ edge_map.to(dtype)
    message = x.to(dtype).index_select(0, adj.indices.long()) + values
    d = torch.where(message <= 0, 0, expand_rows(adj.indptr, grad, adj.num_edges))
    return from_messages(adj, x, edge, edge_map, perm, d)


def _grad_forward(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_rows: Tensor,
    t_slots: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    grad: Tensor,
    need: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    d_x, d_edge, d_map = dispatch(
        "edge_relu_sum_grad", indptr, indices, t_indptr, t_rows, t_slots, x, edge, edge_map, perm, grad, need
    )
    return d_x, d_edge, d_map


def _grad_fake(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_rows: Tensor,
    t_slots: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    grad: Tensor,
    need: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    return fake_gradients(x, edge, edge_map, need)


_gradient = define(
    "edge_relu_sum_grad",
    "(Tensor indptr, Tensor indices, Tensor t_indptr, Tensor t_rows, Tensor t_slots, Tensor x, Tensor? edge,"
    " Tensor? edge_map, Tensor? perm, Tensor grad, bool[] need) -> (Tensor, Tensor, Tensor)",
    _grad_forward,
    _grad_fake,
)
