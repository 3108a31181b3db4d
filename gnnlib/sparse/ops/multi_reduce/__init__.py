"""Several reductions of the same neighbours at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define
from gnnlib.sparse.convert import Adj, as_csr, default_rows
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.multi_reduce.names import MOMENTS, Moment, needs_mean, num_extremes
from gnnlib.sparse.ops.scatter import scatter_rows
from gnnlib.sparse.ops.segment_reduce import expand_rows, spread
from gnnlib.sparse.ops.spmm_arg import arg_dtype
from gnnlib.sparse.registry import dispatch

__all__ = ["Moment", "multi_reduce"]


def multi_reduce(
    adj: Adj,
    x: Tensor,
    reduces: Sequence[Moment],
    *,
    edge: Tensor | None = None,
    edge_map: Tensor | None = None,
    target: Tensor | None = None,
) -> Tensor:
    r"""Reduce the messages to each node in several ways, without a message per edge.

    .. math:: \mathrm{out}_{ik} = \operatorname{reduce}^{(k)}_{j \to i} \; (x_j + e_{ij} M + t_i)

    Corso et al., Principal Neighbourhood Aggregation for Graph Nets, NeurIPS 2020, Eq. 8 (the aggregators).
    The variance divides by the number of messages. The standard deviation is 0, without a gradient, where
    the variance is at most 1e-5, as in PyG.

    Args:
        adj: the graph, in any form that :func:`as_csr` takes.
        x: features of the source nodes.
        reduces: names among ``"sum"``, ``"mean"``, ``"max"``, ``"min"``, ``"var"``, ``"std"``.
        edge: edge features e in the caller's edge order; as wide as x when there is no M.
        edge_map: M, which widens narrow edge features inside the kernel.
        target: t, a term of the target node, the same in all messages to it: it shifts sum, mean, max and min
            once, and var and std not at all.

    Shapes: x ``[C, F]`` or ``[C, H, D]``; edge ``[E, F]`` (``[E, H, D]``), or ``[E, K']`` with edge_map
        ``[K', F]`` (``[K', H, D]``); target ``[R, F]`` (``[R, H, D]``) -> ``[R, K, F]`` or ``[R, K, H, D]``
        for K reductions. A row without entries gives 0. A tie of max or min sends its whole gradient to the
        first edge of the row.
    Cost: one pass over the gathered rows of x, whatever K; backward one over two numbers a target and
        feature, and one over the winners of max and min. Memory of the result, with a slot number for each
        maximum and minimum; a second derivative with edge features builds a message per edge.
    Raises: ValueError when the sizes do not match the graph or a name is unknown; TypeError when x is not
        floating.
    """
    if isinstance(adj, CSR):
        csr = adj
    else:
        csr = as_csr(adj, num_cols=x.shape[0], num_rows=default_rows(adj, x.shape[0]))
    names = tuple(reduces)
    _check_names(names)
    check_messages("multi_reduce", csr, x, edge, edge_map, target)
    dtype = x.dtype
    for t in (edge, edge_map, target):
        dtype = dtype if t is None else torch.promote_types(dtype, t.dtype)
    width, unique = math.prod(x.shape[1:]), tuple(dict.fromkeys(names))
    out = _multi_reduce(
        csr.indptr,
        csr.indices,
        x.reshape(x.shape[0], width).to(dtype),
        None if edge is None else edge.flatten(1).to(dtype),
        None if edge_map is None else edge_map.flatten(1).to(dtype),
        csr.perm,
        None if target is None else target.flatten(1).to(dtype),
        ",".join(unique),
        adj=csr,
    )[0]
    if unique != names:
        out = torch.stack([out[:, unique.index(n)] for n in names], dim=1)
    result: Tensor = out.to(dtype).reshape(csr.num_rows, len(names), *x.shape[1:])
    return result


def _check_names(names: tuple[str, ...]) -> None:
    if not names:
        raise ValueError(f"multi_reduce: reduces is empty; name some of {', '.join(MOMENTS)}")
    for name in names:
        if name not in MOMENTS:
            raise ValueError(
                f"multi_reduce: reduces has {name!r}, which is unknown; choose among {', '.join(MOMENTS)}"
            )


def check_messages(
    op: str, adj: CSR, x: Tensor, edge: Tensor | None, edge_map: Tensor | None, target: Tensor | None
) -> None:
    """Refuse features of nodes and edges that do not go together."""
    if not x.is_floating_point():
        raise TypeError(f"{op}: x is {x.dtype}; pass floating features, for example x.float()")
    if x.dim() not in (2, 3):
        raise ValueError(f"{op}: x has shape {list(x.shape)}; expected [C, F], or [C, H, D] with heads")
    if x.shape[0] != adj.num_cols:
        raise ValueError(
            f"{op}: x has {x.shape[0]} rows but adj has {adj.num_cols} columns; pass the features of the "
            "source nodes"
        )
    tail = list(x.shape[1:])
    if edge_map is not None:
        if edge is None or edge.dim() != 2:
            raise ValueError(f"{op}: edge_map came without edge features [E, K]; pass them as edge")
        if list(edge_map.shape) != [edge.shape[1], *tail]:
            raise ValueError(
                f"{op}: edge_map has shape {list(edge_map.shape)}; expected {[edge.shape[1], *tail]}"
            )
    elif edge is not None and list(edge.shape[1:]) != tail:
        raise ValueError(
            f"{op}: edge has shape {list(edge.shape)}; expected {[adj.num_values, *tail]}, or pass "
            "an edge_map"
        )
    if edge is not None and edge.shape[0] != adj.num_values:
        raise ValueError(
            f"{op}: {edge.shape[0]} edge values came but the graph has {adj.num_values} edges; pass one row "
            "an edge"
        )
    if target is not None and list(target.shape) != [adj.num_rows, *tail]:
        raise ValueError(
            f"{op}: target has shape {list(target.shape)}; expected {[adj.num_rows, *tail]}, one row a target"
        )
    for name, t in (("x", x), ("edge", edge), ("edge_map", edge_map), ("target", target)):
        if t is not None and t.device != adj.device:
            raise ValueError(f"{op}: {name} is on {t.device} but adj is on {adj.device}; move one of them")
        if t is not None and not t.is_floating_point():
            raise TypeError(f"{op}: {name} is {t.dtype}; pass floating values, for example {name}.float()")


def _forward(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    target: Tensor | None,
    reduces: str,
) -> tuple[Tensor, Tensor, Tensor]:
    out, mean, arg = dispatch("multi_reduce", indptr, indices, x, edge, edge_map, perm, target, reduces)
    return out, mean, arg


def _fake(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    target: Tensor | None,
    reduces: str,
) -> tuple[Tensor, Tensor, Tensor]:
    names, rows, width = reduces.split(","), indptr.shape[0] - 1, x.shape[1]
    dtype = accumulate_dtype(x.dtype)
    return (
        x.new_empty(rows, len(names), width, dtype=dtype),
        x.new_empty(rows if needs_mean(names, target is not None) else 0, width, dtype=dtype),
        indices.new_empty(rows, num_extremes(names), width, dtype=arg_dtype(indices.shape[0])),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, reduces = inputs
    out, mean, arg = output
    ctx.reduces = reduces
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(arg)
    squares = "var" in reduces or "std" in reduces
    ctx.save_for_backward(*tensors, out if squares else None, mean, arg)


def _backward(ctx: Any, grad: Tensor | None, grad_mean: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    indptr, indices, x, edge, edge_map, perm, target, out, mean, arg = ctx.saved_tensors
    names = ctx.reduces.split(",")
    need = [bool(ctx.needs_input_grad[-8:][k]) for k in (2, 3, 4, 6)]
    if grad is None and (grad_mean is None or not needs_mean(names, target is not None)):
        return (None,) * 8
    if grad is None:
        grad = grad_mean.new_zeros(indptr.shape[0] - 1, len(names), x.shape[1])  # type: ignore[union-attr]
    adj = getattr(ctx, "adj", None) or CSR.trusted(indptr, indices, x.shape[0], perm)
    if not needs_mean(names, target is not None):
        grad_mean = None
    if torch.is_grad_enabled() or grad_mean is not None:
        found = _differentiable(
            adj, x, edge, edge_map, perm, target, out, mean, arg, grad, grad_mean, names, need
        )
    else:
        t = adj.transposed
        found = _gradient(
            indptr,
            indices,
            t.indptr,
            t.indices,
            adj.transpose_perm,
            x,
            edge,
            edge_map,
            perm,
            target,
            grad,
            grad if out is None else out,
            mean,
            arg,
            ctx.reduces,
            need,
        )
    given = [
        g.to(t.dtype) if wanted and t is not None and g is not None else None
        for g, t, wanted in zip(found, (x, edge, edge_map, target), need, strict=True)
    ]
    return None, None, given[0], given[1], given[2], None, given[3], None


_multi_reduce = define(
    "multi_reduce",
    "(Tensor indptr, Tensor indices, Tensor x, Tensor? edge, Tensor? edge_map, Tensor? perm, Tensor? target,"
    " str reduces) -> (Tensor, Tensor, Tensor)",
    _forward,
    _fake,
    _setup,
    _backward,
)


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
    target: Tensor | None,
    grad: Tensor,
    out: Tensor,
    mean: Tensor,
    arg: Tensor,
    reduces: str,
    need: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    d_x, d_edge, d_map, d_target = dispatch(
        "multi_reduce_grad", indptr, indices, t_indptr, t_rows, t_slots, x, edge, edge_map, perm, target,
        grad, out, mean, arg, reduces, need,
    )  # fmt: skip
    return d_x, d_edge, d_map, d_target


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
    target: Tensor | None,
    grad: Tensor,
    out: Tensor,
    mean: Tensor,
    arg: Tensor,
    reduces: str,
    need: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (*fake_gradients(x, edge, edge_map, need), x.new_empty(
        indptr.shape[0] - 1 if need[3] else 0, x.shape[1], dtype=accumulate_dtype(x.dtype)
    ))  # fmt: skip


def fake_gradients(
    x: Tensor, edge: Tensor | None, edge_map: Tensor | None, need: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Shapes of the gradients of x, edge and edge_map; those that nobody wants are empty."""
    dtype = accumulate_dtype(x.dtype)
    return (
        x.new_empty(x.shape[0] if need[0] else 0, x.shape[1]),
        x.new_empty(edge.shape if need[1] and edge is not None else (0, 0), dtype=dtype),
        x.new_empty(0 if edge_map is None else edge_map.shape[0], x.shape[1], dtype=dtype),
    )


_gradient = define(
    "multi_reduce_grad",
    "(Tensor indptr, Tensor indices, Tensor t_indptr, Tensor t_rows, Tensor t_slots, Tensor x, Tensor? edge,"
    " Tensor? edge_map, Tensor? perm, Tensor? target, Tensor grad, Tensor out, Tensor mean, Tensor arg,"
    " str reduces, bool[] need) -> (Tensor, Tensor, Tensor, Tensor)",
    _grad_forward,
    _grad_fake,
)


def _differentiable(
    adj: CSR,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    target: Tensor | None,
    out: Tensor | None,
    mean: Tensor,
    arg: Tensor,
    grad: Tensor,
    grad_mean: Tensor | None,
    names: list[str],
    need: list[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor]:
    """The gradients made of ops that can be differentiated again.

    Message m of row i gets ``c_i + b_i (m - mean_i)`` and the gradients of the extremes that it is. Without
    edge features that is node-sized; with them a message per edge is built.
    """
    degree = adj.degree[:, None]
    n = degree.clamp(min=1).to(grad.dtype)
    full = degree > 0
    of = {name: grad[:, k] for k, name in enumerate(names)}
    c = own = torch.zeros_like(grad[:, 0])
    if "sum" in of:
        c, own = of["sum"], of["sum"] * degree
    if "mean" in of:
        c, own = c + of["mean"] / n, own + of["mean"]
    if grad_mean is not None:
        c = c + grad_mean / n
    b: Tensor | None = None
    if out is not None:
        b = 2 * of["var"] if "var" in of else torch.zeros_like(c)
        if "std" in of:
            std = out[:, names.index("std")]
            flat = std == 0
            b = b + torch.where(flat, 0, of["std"] / torch.where(flat, 1, std))
        b = b / n
        if not needs_mean(names, target is not None):
            mean = out[:, names.index("mean")]
        c = c - b * mean
    extremes = [m for m in ("max", "min") if m in of]
    own = torch.where(full, sum((of[m] for m in extremes), own), 0)
    if edge is None:
        return _to_sources(adj, x, b, c, arg, [of[m] for m in extremes]), None, None, own
    slots = adj.num_edges
    d = expand_rows(adj.indptr, c, slots)
    values = edge if perm is None else edge.index_select(0, perm)
    if b is not None:
        extra = values.to(d.dtype)
        extra = extra if edge_map is None else extra @ edge_map.to(d.dtype)
        message = x.to(d.dtype).index_select(0, adj.indices.long()) + extra
        d = d + expand_rows(adj.indptr, b, slots) * message
    for k, m in enumerate(extremes):
        d = d + spread(arg[:, k].long(), of[m], slots)
    return (*from_messages(adj, x, edge, edge_map, perm, d), own)


def from_messages(
    adj: CSR, x: Tensor, edge: Tensor, edge_map: Tensor | None, perm: Tensor | None, d: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of x, edge and edge_map from that of the messages, d ``[E, F]``, by differentiable ops."""
    values = edge if perm is None else edge.index_select(0, perm)
    d_x = scatter_rows(adj.indices.long(), d, x.shape[0], "sum")
    d_edge = d if edge_map is None else d @ edge_map.to(d.dtype).t()
    if perm is not None:
        d_edge = scatter_rows(perm, d_edge, edge.shape[0], "sum")
    return d_x, d_edge, None if edge_map is None else values.to(d.dtype).t() @ d


def _to_sources(
    adj: CSR, x: Tensor, b: Tensor | None, c: Tensor, arg: Tensor, extremes: list[Tensor]
) -> Tensor:
    """Gradient of x without edge features, of node-sized ops."""
    from gnnlib.sparse.ops.spmm import weighted_sum
    from gnnlib.sparse.ops.spmm_arg import _arg_scatter

    back = adj.transposed.slot_order
    d_x = weighted_sum(back, c.unsqueeze(1), None, None, None).squeeze(1)
    if b is not None:
        d_x = d_x + x.to(c.dtype) * weighted_sum(back, b.unsqueeze(1), None, None, None).squeeze(1)
    for k, g in enumerate(extremes):
        won = arg[:, k].unsqueeze(1)
        d_x = d_x + _arg_scatter(won, *adj.arrays, None, g.unsqueeze(1), adj.num_cols).squeeze(1)
    return d_x
