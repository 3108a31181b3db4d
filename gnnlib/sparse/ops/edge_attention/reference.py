"""Attention in plain torch: the definition, and its gradient written out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.edge_attention.dropout import keep_factor
from gnnlib.sparse.registry import kernel


def _hidden(
    row: Tensor, col: Tensor, x_dst: Tensor, x_src: Tensor, edge: Tensor | None, edge_map: Tensor | None
) -> Tensor:
    """GATv2's sum inside the LeakyReLU, ``[E, H, D]``."""
    z = x_dst[row] + x_src[col]
    if edge is None:
        return z
    edge = edge[: row.numel()]
    return z + (edge if edge_map is None else torch.einsum("ek,khd->ehd", edge, edge_map))


def _scores(
    row: Tensor,
    col: Tensor,
    x_dst: Tensor,
    x_src: Tensor,
    att: Tensor | None,
    edge: Tensor | None,
    edge_map: Tensor | None,
    score: str,
    factor: float,
) -> Tensor:
    """The score of each edge, ``[E, H]``."""
    if score == "gatv2":
        assert att is not None
        return (F.leaky_relu(_hidden(row, col, x_dst, x_src, edge, edge_map), factor) * att).sum(-1)
    term = 0 if edge is None else edge[: row.numel()]
    if score == "dot":
        return factor * (x_dst[row] * x_src[col]).sum(-1) + term
    return F.leaky_relu(x_dst[row] + x_src[col] + term, factor)


Inputs = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]


def _wide(dtype: torch.dtype, x_dst: Tensor, x_src: Tensor, *rest: Tensor | None) -> Inputs:
    att, edge, edge_map = (None if t is None else t.to(dtype) for t in rest)
    return x_dst.to(dtype), x_src.to(dtype), att, edge, edge_map


@kernel("edge_attention", "reference")
def edge_attention(
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
    used, num_rows, heads = int(indptr[-1]), indptr.numel() - 1, value.shape[1]
    dtype = accumulate_dtype(value.dtype)
    row, col = row_of_slot(indptr, used), indices[:used].long()
    dst, src, a, term, by = _wide(dtype, x_dst, x_src, att, edge, edge_map)
    s = _scores(row, col, dst, src, a, term, by, score, factor)
    at = row[:, None].expand_as(s)
    top = s.new_full((num_rows, heads), -torch.inf).scatter_reduce(0, at, s, "amax")
    power = (s - torch.where(top == -torch.inf, 0, top)[row]).exp()
    total = torch.zeros_like(top).scatter_add(0, at, power)
    alpha = power / torch.where(total == 0, 1, total)[row]
    if seed is not None:
        alpha = alpha * keep_factor(seed, used, heads, dropout, dtype)
    out = s.new_zeros(num_rows, *value.shape[1:])
    out = out.index_add(0, row, alpha[:, :, None] * value.to(dtype)[col])
    spare = alpha.new_zeros(indices.numel() - used, heads)
    kept = torch.cat([alpha, spare]) if weights else spare[:0]
    return out.to(value.dtype), top + total.log(), kept.to(value.dtype)


@kernel("edge_attention_grad", "reference")
def edge_attention_grad(
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    used, heads = int(indptr[-1]), value.shape[1]
    dtype = accumulate_dtype(value.dtype)
    row, col = row_of_slot(indptr, used), indices[:used].long()
    dst, src, a, term, by = _wide(dtype, x_dst, x_src, att, edge, edge_map)
    v, g = value.to(dtype), grad.to(dtype)
    s = _scores(row, col, dst, src, a, term, by, score, factor)
    p = torch.where(lse[row] == -torch.inf, 0, (s - lse[row]).exp())  # [E, H]
    m = torch.ones_like(p) if seed is None else keep_factor(seed, used, heads, dropout, dtype)
    d_alpha = (g[row] * v[col]).sum(-1)
    if grad_alpha is not None:
        d_alpha = d_alpha + grad_alpha[:used]
    delta = (g * out.to(dtype)).sum(-1)
    if through_weights is not None:
        delta = delta + through_weights
    d = p * (m * d_alpha - delta[row])
    d_value = torch.zeros_like(v).index_add(0, col, (m * p)[:, :, None] * g[row])
    if score == "gatv2":
        assert a is not None
        z = _hidden(row, col, dst, src, term, by)
        inner = d[:, :, None] * a * torch.where(z > 0, z.new_ones(()), factor)  # [E, H, D]
        d_att = (d[:, :, None] * F.leaky_relu(z, factor)).sum(0)
        d_edge, d_map = v.new_empty(0), v.new_empty(0)
        if term is not None:
            d_edge = torch.zeros_like(term)
            d_edge[:used] = inner if by is None else torch.einsum("ehd,khd->ek", inner, by)
        if term is not None and by is not None:
            d_map = torch.einsum("ek,ehd->khd", term[:used], inner)
        d_dst, d_src = torch.zeros_like(dst).index_add(0, row, inner), d_value.index_add(0, col, inner)
        found = d_dst, d_src, v.new_empty(0), d_att, d_edge, d_map
    else:
        if score == "additive":
            pre = dst[row] + src[col] + (0 if term is None else term[:used])
            d = d * torch.where(pre > 0, pre.new_ones(()), factor)
            d_dst, d_src = d, d
        else:
            d_dst, d_src = factor * d[:, :, None] * src[col], factor * d[:, :, None] * dst[row]
        d_edge = torch.cat([d, d.new_zeros(indices.numel() - used, heads)])
        d_dst = torch.zeros_like(dst).index_add(0, row, d_dst)
        d_src = torch.zeros_like(src).index_add(0, col, d_src)
        found = d_dst, d_src, d_value, v.new_empty(0), d_edge, v.new_empty(0)
    return tuple(t.to(value.dtype) for t in found)  # type: ignore[return-value]


@kernel("additive_attention", "reference")
def additive_attention(
    indptr: Tensor,
    indices: Tensor,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor,
    seed: Tensor | None,
    factor: float,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    used, heads = int(indptr[-1]), value.shape[1]
    dtype = accumulate_dtype(value.dtype)
    row, col = row_of_slot(indptr, used), indices[:used].long()
    out, lse, _ = edge_attention(
        indptr, indices, x_dst, x_src, value, None, None, None, seed, "additive", factor, dropout, False
    )
    before = x_dst.to(dtype)[row] + x_src.to(dtype)[col]
    p = torch.where(lse[row] == -torch.inf, 0, (F.leaky_relu(before, factor) - lse[row]).exp()) * (before > 0)
    mass = torch.zeros_like(lse).index_add(0, row, p)
    if seed is not None:
        p = p * keep_factor(seed, used, heads, dropout, dtype)
    above = torch.zeros_like(out, dtype=dtype).index_add(0, row, p[:, :, None] * value.to(dtype)[col])
    return out, above.to(value.dtype), mass, lse


@kernel("additive_attention_grad", "reference")
def additive_attention_grad(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    t_slots: Tensor,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor,
    seed: Tensor | None,
    out: Tensor,
    above: Tensor,
    mass: Tensor,
    lse: Tensor,
    grad: Tensor,
    factor: float,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return edge_attention_grad(
        indptr, indices, t_indptr, t_indices, t_slots, x_dst, x_src, value, None, None, None, seed, out, lse,
        None, grad, None, "additive", factor, dropout,
    )[:3]  # fmt: skip
