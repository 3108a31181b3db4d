"""Attention over the neighbours of a node: scores, softmax and weighted sum in one op."""

from __future__ import annotations

import math
from typing import Any, Literal, overload

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define, only_first, traced
from gnnlib.sparse.convert import Adj, as_csr
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.edge_attention.additive import additive_attention
from gnnlib.sparse.ops.edge_attention.composed import composed, gradients
from gnnlib.sparse.ops.segment_reduce import segment_rows
from gnnlib.sparse.registry import dispatch

__all__ = ["edge_attention"]

Score = Literal["additive", "gatv2", "dot"]
SCORES = ("additive", "gatv2", "dot")


@overload
def edge_attention(
    adj: Adj,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor | None = None,
    score: Score = "additive",
    *,
    att: Tensor | None = None,
    edge: Tensor | None = None,
    edge_map: Tensor | None = None,
    negative_slope: float = 0.2,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int | Tensor | None = None,
    return_attention_weights: Literal[False] = False,
) -> Tensor: ...


@overload
def edge_attention(
    adj: Adj,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor | None = None,
    score: Score = "additive",
    *,
    att: Tensor | None = None,
    edge: Tensor | None = None,
    edge_map: Tensor | None = None,
    negative_slope: float = 0.2,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int | Tensor | None = None,
    return_attention_weights: Literal[True],
) -> tuple[Tensor, Tensor]: ...


def edge_attention(
    adj: Adj,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor | None = None,
    score: Score = "additive",
    *,
    att: Tensor | None = None,
    edge: Tensor | None = None,
    edge_map: Tensor | None = None,
    negative_slope: float = 0.2,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int | Tensor | None = None,
    return_attention_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Sum the values of each node's neighbours with weights from a softmax over their scores.

    .. math:: \mathrm{out}_i = \sum_{j \to i} m_{ij}\, \alpha_{ij}\, v_j, \qquad
        \alpha_{ij} = \operatorname{softmax}_j s_{ij}

    for each head, with m the factor of dropout and s one of

    .. math::
        \text{additive:}\quad & \mathrm{LeakyReLU}(a_i + b_j + e_{ij}) \\
        \text{gatv2:}\quad & \langle w, \mathrm{LeakyReLU}(a_i + b_j + M^\top e_{ij}) \rangle \\
        \text{dot:}\quad & c\, \langle a_i, b_j \rangle + e_{ij}

    Velickovic et al., Graph Attention Networks, ICLR 2018, Eqs. 1 to 4 (additive); Brody et al., How
    Attentive are Graph Attention Networks?, ICLR 2022, Eq. 7 (gatv2); Shi et al., Masked Label Prediction,
    IJCAI 2021 (dot). The backward computes the scores again from the saved log-sum-exp of each row.

    Args:
        adj: the graph, in any form that :func:`as_csr` takes.
        x_dst: a, the targets' part of the scores.
        x_src: b, the sources' part.
        value: v; for ``"gatv2"`` it is b and must be left out.
        score: which score.
        att: w of ``"gatv2"``.
        edge: e, in the caller's edge order.
        edge_map: M of ``"gatv2"``, applied on the way. Without it e is M^T e already, as one product gives
            it; wide features are faster so.
        negative_slope: slope of the LeakyReLU below 0.
        scale: c of ``"dot"``; one over the square root of K when omitted.
        dropout: probability in [0, 1) of dropping an attention weight; the others grow by 1 / (1 - dropout).
        seed: of the dropout, an integer or an int64 tensor of one element; the same seed drops the same.
        return_attention_weights: also return m alpha.

    Shapes: value ``[C, H, D]``; additive: x_dst ``[R, H]``, x_src ``[C, H]``, edge ``[E, H]``; gatv2:
        x_dst ``[R, H, D]``, x_src ``[C, H, D]``, att ``[H, D]``, edge ``[E, K]``, edge_map ``[K, H, D]``,
        or edge ``[E, H, D]``; dot: x_dst ``[R, H, K]``, x_src ``[C, H, K]``, edge ``[E, H]`` ->
        ``[R, H, D]``, and the weights ``[E, H]`` in the caller's order. A row without entries gives 0.
    Cost: O(E H D) time; O((R + C) H D) memory, O(E H) in the backward; nothing of E x H x D but a gradient
        of edges that are so wide. Second derivatives and ``torch.func`` compute the score of each edge
        apart, which takes E x H x D for gatv2.
    Raises: ValueError when shapes, devices or options do not fit; TypeError when a tensor is not floating.
    """
    csr = as_csr(adj, num_rows=x_dst.shape[0], num_cols=x_src.shape[0])
    value = _value(x_src, value, score)
    tensors = {"x_dst": x_dst, "x_src": x_src, "value": value, "att": att, "edge": edge, "edge_map": edge_map}
    _check(csr, tensors, score, dropout, seed)
    dtype = x_dst.dtype
    for t in tensors.values():
        dtype = dtype if t is None else torch.promote_types(dtype, t.dtype)
    same = value is x_src
    x_dst, x_src = x_dst.to(dtype), x_src.to(dtype)
    value = x_src if same else value.to(dtype)
    att, edge, edge_map = (None if t is None else t.to(dtype) for t in (att, edge, edge_map))
    edge = None if edge is None else csr.to_slots(edge)
    factor = negative_slope
    if score == "dot":
        factor = 1 / math.sqrt(max(x_dst.shape[-1], 1)) if scale is None else scale
    number = None
    if dropout > 0 and seed is not None:
        number = seed if isinstance(seed, Tensor) else torch.tensor([seed], device=value.device)
    weights = return_attention_weights
    out, alpha = _attend(
        csr, x_dst, x_src, value, att, edge, edge_map, number, score, factor, dropout, weights
    )
    return (out, csr.from_slots(alpha)) if weights else out


def _attend(
    adj: CSR,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor,
    att: Tensor | None,
    edge: Tensor | None,
    edge_map: Tensor | None,
    seed: Tensor | None,
    score: str,
    factor: float,
    dropout: float,
    weights: bool,
) -> tuple[Tensor, Tensor]:
    """:func:`edge_attention` with edges in slot order, unchecked; the weights are empty unless asked for."""
    if torch._C._are_functorch_transforms_active() and not traced(x_dst):
        return composed(adj, x_dst, x_src, value, att, edge, edge_map, seed, score, factor, dropout)
    nodes = score == "additive" and edge is None and not weights and factor >= 0
    if nodes and torch.is_grad_enabled() and any(t.requires_grad for t in (x_dst, x_src, value)):
        return additive_attention(adj, x_dst, x_src, value, seed, factor, dropout), value.new_empty(0)
    out, _, alpha = _edge_attention(
        adj.indptr,
        adj.indices,
        x_dst,
        x_src,
        value,
        att,
        edge,
        edge_map,
        seed,
        score,
        factor,
        dropout,
        weights,
        adj=adj,
    )
    return out, alpha


# -- checks -------------------------------------------------------------------------------------------


def _value(x_src: Tensor, value: Tensor | None, score: str) -> Tensor:
    if score not in SCORES:
        raise ValueError(f"edge_attention: score={score!r} is unknown; choose one of {', '.join(SCORES)}")
    if score == "gatv2":
        if value is not None and value is not x_src:
            raise ValueError("edge_attention: the values of score='gatv2' are x_src; leave value out")
        return x_src
    if value is None:
        raise ValueError(f"edge_attention: score={score!r} needs value [C, H, D], the features to sum")
    return value


def _check(
    adj: CSR, tensors: dict[str, Tensor | None], score: str, dropout: float, seed: int | Tensor | None
) -> None:
    for name, t in tensors.items():
        if t is None:
            continue
        if not t.is_floating_point():
            raise TypeError(f"edge_attention: {name} is {t.dtype}; pass floating values")
        if t.device != adj.device:
            raise ValueError(f"edge_attention: {name} is on {t.device} but adj is on {adj.device}; move one")
    value = tensors["value"]
    assert value is not None
    if value.dim() != 3:
        raise ValueError(f"edge_attention: value has shape {list(value.shape)}; expected [C, H, D]")
    for name, wanted in _expected(adj, tensors, score).items():
        t = tensors[name]
        if (t is None) != (wanted is None):
            state = "is missing" if t is None else "came"
            raise ValueError(f"edge_attention: {name} {state}; see the shapes of score={score!r}")
        if t is not None and wanted is not None and t.shape != wanted:
            raise ValueError(f"edge_attention: {name} has shape {list(t.shape)}; expected {list(wanted)}")
    if not 0 <= dropout < 1:
        raise ValueError(f"edge_attention: dropout={dropout}; choose a probability in [0, 1)")
    if dropout > 0 and seed is None:
        raise ValueError("edge_attention: dropout needs a seed; pass an integer")


def _expected(adj: CSR, tensors: dict[str, Tensor | None], score: str) -> dict[str, tuple[int, ...] | None]:
    """The shape that each tensor must have, None for one that must be absent."""
    value, edge, dst = tensors["value"], tensors["edge"], tensors["x_dst"]
    assert value is not None
    assert dst is not None
    heads, depth = value.shape[1:]
    if score == "gatv2":
        mapped = tensors["edge_map"] is None
        width = edge.shape[-1] if edge is not None else 0
        return {
            "x_dst": (adj.num_rows, heads, depth),
            "x_src": (adj.num_cols, heads, depth),
            "att": (heads, depth),
            "edge": None if edge is None else (adj.num_values, *((heads, depth) if mapped else (width,))),
            "edge_map": None if edge is None or mapped else (width, heads, depth),
        }
    tail = (heads,) if score == "additive" else (heads, dst.shape[-1])
    return {
        "x_dst": (adj.num_rows, *tail),
        "x_src": (adj.num_cols, *tail),
        "value": (adj.num_cols, heads, depth),
        "att": None,
        "edge": None if edge is None else (adj.num_values, heads),
        "edge_map": None,
    }


# -- the op -------------------------------------------------------------------------------------------


def _forward(
    indptr: Tensor,
    indices: Tensor,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor,
    att: Tensor | None,
    edge: Tensor | None,
    edge_map: Tensor | None,
    seed: Tensor | None,
    score: str,
    factor: float,
    dropout: float,
    weights: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    out, lse, alpha = dispatch(
        "edge_attention",
        indptr, indices, x_dst, x_src, value, att, edge, edge_map, seed, score, factor, dropout, weights,
    )  # fmt: skip
    return out, lse, alpha


def _fake(
    indptr: Tensor,
    indices: Tensor,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor,
    att: Tensor | None,
    edge: Tensor | None,
    edge_map: Tensor | None,
    seed: Tensor | None,
    score: str,
    factor: float,
    dropout: float,
    weights: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    num_rows, heads = indptr.shape[0] - 1, value.shape[1]
    wide = torch.float64 if value.dtype == torch.float64 else torch.float32
    return (
        value.new_empty(num_rows, heads, value.shape[2]),
        value.new_empty(num_rows, heads, dtype=wide),
        value.new_empty(indices.shape[0] if weights else 0, heads),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.score, ctx.factor, ctx.dropout, ctx.weights = inputs[9:]
    if ctx.weights:
        ctx.mark_non_differentiable(output[1])
    else:
        only_first(ctx, output)
    ctx.save_for_backward(*inputs[:9], *output)


def _backward(ctx: Any, grad: Tensor, _: Any, grad_alpha: Tensor | None) -> tuple[Tensor | None, ...]:
    indptr, indices, x_dst, x_src, value, att, edge, edge_map, seed, out, lse, alpha = ctx.saved_tensors
    adj = getattr(ctx, "adj", None) or CSR.trusted(indptr, indices, x_src.shape[0])
    grad_alpha = grad_alpha if ctx.weights else None
    if torch.is_grad_enabled() and not traced(grad):
        inputs, options = ctx.saved_tensors[2:8], (ctx.score, ctx.factor, ctx.dropout)
        return None, None, *gradients(adj.slot_order, inputs, seed, *options, grad, grad_alpha), *[None] * 5
    through_weights = None  # what the gradient of the weights adds to <grad, out>, [R, H]
    if grad_alpha is not None:
        through_weights = segment_rows(indptr, (alpha * grad_alpha).to(lse.dtype), "sum")
    flipped = adj.transposed
    d_dst, d_src, d_value, d_att, d_edge, d_map = _edge_attention_grad(
        indptr, indices, flipped.indptr, flipped.indices, adj.transpose_perm,
        x_dst, x_src, value, att, edge, edge_map, seed, out, lse, through_weights, grad, grad_alpha,
        ctx.score, ctx.factor, ctx.dropout,
    )  # fmt: skip
    return (
        None,
        None,
        d_dst,
        d_src,
        None if ctx.score == "gatv2" else d_value,
        None if att is None else d_att,
        None if edge is None else d_edge,
        None if edge_map is None else d_map,
        *[None] * 5,
    )


_edge_attention = define(
    "edge_attention",
    "(Tensor indptr, Tensor indices, Tensor x_dst, Tensor x_src, Tensor value, Tensor? att, Tensor? edge, "
    "Tensor? edge_map, Tensor? seed, str score, float factor, float dropout, bool weights)"
    " -> (Tensor, Tensor, Tensor)",
    _forward,
    _fake,
    _setup,
    _backward,
)


def _grad_forward(*args: Any) -> tuple[Tensor, ...]:
    found: tuple[Tensor, ...] = dispatch("edge_attention_grad", *args)
    return found


def _grad_fake(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    t_slots: Tensor,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor,
    att: Tensor | None,
    edge: Tensor | None,
    edge_map: Tensor | None,
    seed: Tensor | None,
    out: Tensor,
    lse: Tensor,
    through_weights: Tensor | None,
    grad: Tensor,
    grad_alpha: Tensor | None,
    score: str,
    factor: float,
    dropout: float,
) -> tuple[Tensor, ...]:
    def like(t: Tensor | None) -> Tensor:
        return value.new_empty(0) if t is None else value.new_empty(t.shape)

    if score == "gatv2":
        return like(x_dst), like(x_src), like(None), like(att), like(edge), like(edge_map)
    scores = value.new_empty(indices.shape[0], value.shape[1])
    return like(x_dst), like(x_src), like(value), like(None), scores, like(None)


_edge_attention_grad = define(
    "edge_attention_grad",
    "(Tensor indptr, Tensor indices, Tensor t_indptr, Tensor t_indices, Tensor t_slots, Tensor x_dst, "
    "Tensor x_src, Tensor value, Tensor? att, Tensor? edge, Tensor? edge_map, Tensor? seed, Tensor out, "
    "Tensor lse, Tensor? through_weights, Tensor grad, Tensor? grad_alpha, str score, "
    "float factor, float dropout)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _grad_forward,
    _grad_fake,
)
