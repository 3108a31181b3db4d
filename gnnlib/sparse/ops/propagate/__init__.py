"""Repeated propagation: K steps of one scaled adjacency, with a way back to the start."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define
from gnnlib.sparse.convert import Adj, as_csr, given_weight
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.numerics import accumulate_dtype, lift
from gnnlib.sparse.ops.sddmm import sddmm_slots
from gnnlib.sparse.registry import dispatch

__all__ = ["propagate"]


def propagate(
    adj: Adj,
    x: Tensor,
    steps: int,
    *,
    weight: Tensor | None = None,
    row_scale: Tensor | None = None,
    col_scale: Tensor | None = None,
    restart: float = 0.0,
    decay: float | None = None,
    every: bool = False,
) -> Tensor:
    r"""Apply a scaled adjacency K times, each time going back to the start by a fixed share.

    .. math:: h^{(0)} = x, \qquad h^{(k)} = d\, \hat A\, h^{(k-1)} + s\, x, \qquad
        \hat A = \operatorname{diag}(r)\, A(w) \operatorname{diag}(c)

    With s = 0 this is the power of the operator (SGC); with d = 1 - s personalised PageRank (APPNP, Gasteiger
    et al., Predict then Propagate, ICLR 2019, Eq. 4); with d = s = 1 the sum of all powers up to the K-th.

    Args:
        adj: the graph, in any form that :func:`as_csr` takes, with as many targets as sources.
        x: features of the nodes.
        steps: K, at least 0.
        weight: edge weights w in the caller's edge order; without them those that :func:`spmm` takes.
        row_scale: r, a factor for each target node.
        col_scale: c, a factor for each source node.
        restart: s, the share of x in each step.
        decay: d, the factor of the propagated features; 1 - s when omitted.
        every: return all hops and not the last one alone.

    Shapes: x ``[N, F]``, weight ``[E]``, row_scale and col_scale ``[N]`` -> ``[N, F]``, or ``[K + 1, N, F]``
        with ``every``, hop 0 being x. Hops are rounded to the dtype of x when they are returned, not between
        the steps.
    Cost: O(K E F) time in one call; memory of the result and two arrays of x's size. The gradient of x takes
        K steps over the transpose; that of the weights all hops, computed again. Scales that ask for a
        gradient become part of an edge array, so that of a node without edges does not count.
    Raises: ValueError when adj is not square, when x, weight or a scale does not match it, or for negative
        steps; TypeError when x is not floating.
    """
    csr = as_csr(adj, num_rows=x.shape[0], num_cols=x.shape[0]) if _is_edge_list(adj) else as_csr(adj)
    if not isinstance(adj, CSR):
        weight = given_weight(csr, weight, x)
    _check(csr, x, steps, weight, row_scale, col_scale)
    if weight is not None:
        dtype = torch.promote_types(x.dtype, weight.dtype)
        x, weight = x.to(dtype), csr.to_slots(weight.to(dtype))
    if steps == 0:
        return x.unsqueeze(0) if every else x
    if any(s is not None and s.requires_grad for s in (row_scale, col_scale)):
        weight, row_scale, col_scale = _on_edges(csr, x, weight, row_scale, col_scale), None, None
    decay = 1.0 - restart if decay is None else decay
    out: Tensor = _propagate(
        *csr.arrays, weight, x, row_scale, col_scale, steps, float(decay), float(restart), every, adj=csr
    )
    return out


def _is_edge_list(adj: Adj) -> bool:
    return isinstance(adj, Tensor) and adj.layout is torch.strided


def _on_edges(
    adj: CSR, x: Tensor, weight: Tensor | None, row_scale: Tensor | None, col_scale: Tensor | None
) -> Tensor:
    """Weights ``[E]`` in slot order that hold both scales, differentiable in all three."""
    one = x.new_ones(adj.num_rows)
    r, c = (one if s is None else s for s in (row_scale, col_scale))
    dtype = torch.promote_types(r.dtype, c.dtype)
    both = sddmm_slots(adj, r.to(dtype)[:, None, None], c.to(dtype)[:, None, None], "dot")[:, 0]
    return (both if weight is None else both * weight).to(x.dtype)


def _check(
    adj: CSR,
    x: Tensor,
    steps: int,
    weight: Tensor | None,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
) -> None:
    if not x.is_floating_point():
        raise TypeError(f"propagate: x is {x.dtype}; pass floating features, for example x.float()")
    if x.dim() != 2:
        raise ValueError(f"propagate: x has shape {list(x.shape)}; expected [N, F]")
    if adj.num_rows != adj.num_cols:
        raise ValueError(
            f"propagate: adj has {adj.num_rows} rows and {adj.num_cols} columns; repeated steps need one set "
            "of nodes, so pass a square matrix, or call spmm for one step of a bipartite graph"
        )
    if x.shape[0] != adj.num_cols:
        raise ValueError(
            f"propagate: x has {x.shape[0]} rows but adj has {adj.num_cols} nodes; pass one row of features "
            "for each"
        )
    if steps < 0:
        raise ValueError(f"propagate: steps={steps} is negative; pass 0 or more")
    if x.device != adj.device:
        raise ValueError(
            f"propagate: x is on {x.device} but adj is on {adj.device}; move one with .to(device)"
        )
    if weight is not None and (weight.dim() != 1 or weight.device != x.device):
        raise ValueError(
            f"propagate: weight has shape {list(weight.shape)} on {weight.device}; expected one weight an "
            f"edge, [E], on {x.device}"
        )
    for name, scale in (("row_scale", row_scale), ("col_scale", col_scale)):
        if scale is not None and scale.shape != (adj.num_rows,):
            raise ValueError(f"propagate: {name} has shape {list(scale.shape)}; expected [{adj.num_rows}]")


# -- the op -------------------------------------------------------------------------------------------


def _forward(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    x: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    steps: int,
    decay: float,
    restart: float,
    every: bool,
) -> Tensor:
    out: Tensor = dispatch(
        "propagate", indptr, indices, weight, x, row_scale, col_scale, steps, decay, restart, every
    )
    return out


def _fake(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    x: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    steps: int,
    decay: float,
    restart: float,
    every: bool,
) -> Tensor:
    return x.new_empty(steps + 1, *x.shape) if every else x.new_empty(x.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    indptr, indices, weight, x, row_scale, col_scale, *rest = inputs
    ctx.num_nodes = x.shape[0]
    ctx.steps, ctx.decay, ctx.restart, ctx.every = rest
    ctx.save_for_backward(indptr, indices, weight, x if weight is not None else None, row_scale, col_scale)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    indptr, indices, weight, x, row_scale, col_scale = ctx.saved_tensors
    adj = getattr(ctx, "adj", None) or CSR.trusted(indptr, indices, ctx.num_nodes)
    adj_t = adj.transposed.slot_order
    steps, decay, restart = ctx.steps, ctx.decay, ctx.restart
    # The adjoint of a step is a step over the transpose, with the scales changing sides.
    back = (*_turned(adj, weight), col_scale, row_scale)
    need = ctx.needs_input_grad[-10:]
    d_weight = d_x = flow = None
    if need[2]:
        dtype = accumulate_dtype(grad.dtype)  # hops that are rounded would cost the products their digits
        if ctx.every:
            flow = _reversed(adj_t, *back, grad.to(dtype), decay)
        else:
            flow = _hops(adj_t, *back, grad.to(dtype), steps, decay, 0.0).flip(0)
        hops = _hops(adj, indptr, indices, weight, row_scale, col_scale, x.to(dtype), steps, decay, restart)
        d_weight = _edge_gradient(adj, flow, hops, row_scale, col_scale, decay).to(weight.dtype)
    if need[3] and ctx.every:
        flow = _reversed(adj_t, *back, grad, decay) if flow is None else flow
        d_x = (flow[0] if restart == 0 else flow[0] + restart * flow[1:].sum(0)).to(grad.dtype)
    elif need[3]:
        d_x = _propagate(*back[:3], grad, *back[3:], steps, decay, restart, False, adj=adj_t)
    return None, None, d_weight, d_x, None, None, None, None, None, None


def _hops(
    adj: CSR,
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    x: Tensor,
    steps: int,
    decay: float,
    restart: float,
) -> Tensor:
    """All hops from x, ``[K + 1, N, F]``."""
    w = lift(weight, x.dtype)
    rest = (row_scale, col_scale, steps, decay, restart, True)
    out: Tensor = _propagate(indptr, indices, w, x, *rest, adj=adj)
    return out


def _turned(adj: CSR, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Offsets, indices and weights of the transpose."""
    w = None if weight is None else weight.index_select(0, adj.transpose_perm)
    return *adj.transposed.arrays, w


def _reversed(
    adj: CSR,
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    grad: Tensor,
    decay: float,
) -> Tensor:
    """What each hop receives from all later ones: ``g_k = grad_k + decay A^T g_(k+1)``, ``[K + 1, N, F]``."""
    w = lift(weight, grad.dtype)
    out: Tensor = _inject(indptr, indices, w, grad.flip(0), row_scale, col_scale, decay, adj=adj)
    return out.flip(0)


def _edge_gradient(
    adj: CSR,
    flow: Tensor,
    hops: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    decay: float,
) -> Tensor:
    """``decay r_i c_j sum_k <g_k[i], h_(k-1)[j]>`` of each slot, ``[E]``: one product over all steps."""
    a, b = _side_by_side(flow[1:]) * decay, _side_by_side(hops[:-1])
    if row_scale is not None:
        a = a * row_scale.to(a.dtype)[:, None, None]
    if col_scale is not None:
        b = b * col_scale.to(b.dtype)[:, None, None]
    return sddmm_slots(adj, a, b, "dot")[:, 0]


def _side_by_side(hops: Tensor) -> Tensor:
    """``[K, N, F]`` -> ``[N, 1, K F]``."""
    return hops.transpose(0, 1).reshape(hops.shape[1], 1, hops.shape[0] * hops.shape[2])


_propagate = define(
    "propagate",
    "(Tensor indptr, Tensor indices, Tensor? weight, Tensor x, Tensor? row_scale, Tensor? col_scale,"
    " SymInt steps, float decay, float restart, bool every) -> Tensor",
    _forward,
    _fake,
    _setup,
    _backward,
)


# -- its adjoint with all hops, which is its own adjoint ----------------------------------------------


def _inject_forward(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    inject: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    decay: float,
) -> Tensor:
    out: Tensor = dispatch("propagate_inject", indptr, indices, weight, inject, row_scale, col_scale, decay)
    return out


def _inject_fake(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    inject: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    decay: float,
) -> Tensor:
    return inject.new_empty(inject.shape)


def _inject_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    indptr, indices, weight, inject, row_scale, col_scale, ctx.decay = inputs
    ctx.num_nodes = inject.shape[1]
    hops = None if weight is None else output
    ctx.save_for_backward(indptr, indices, weight, row_scale, col_scale, hops)


def _inject_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    indptr, indices, weight, row_scale, col_scale, hops = ctx.saved_tensors
    adj = getattr(ctx, "adj", None) or CSR.trusted(indptr, indices, ctx.num_nodes)
    back = (*_turned(adj, weight), col_scale, row_scale)
    flow = _reversed(adj.transposed.slot_order, *back, grad, ctx.decay)
    d_weight = None
    if ctx.needs_input_grad[-7:][2]:
        d_weight = _edge_gradient(adj, flow, hops, row_scale, col_scale, ctx.decay)
    return None, None, d_weight, flow, None, None, None


#: ``h_0 = inject_0, h_k = decay A h_(k-1) + inject_k``: each hop has an input of its own.
_inject = define(
    "propagate_inject",
    "(Tensor indptr, Tensor indices, Tensor? weight, Tensor inject, Tensor? row_scale, Tensor? col_scale,"
    " float decay) -> Tensor",
    _inject_forward,
    _inject_fake,
    _inject_setup,
    _inject_backward,
)
