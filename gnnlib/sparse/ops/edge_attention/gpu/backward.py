"""Attention on a GPU, backward: targets weigh their edges, sources gather the gradients of their targets.

The scores are computed again from the saved log-sum-exp. Weight and gradient of the score of each edge lie
side by side in ``pair``, ``[E, 2 H]``, between the two.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse.gpu.blocks import longest, owner_of, source_of, span
from gnnlib.sparse.gpu.heads import head_tile, over_columns, tile_columns, tile_heads, tile_items
from gnnlib.sparse.gpu.launch import launch, needs_gpu
from gnnlib.sparse.gpu.work import work_of
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.edge_attention.gpu.maps import map_gradients
from gnnlib.sparse.ops.edge_attention.gpu.pieces import gradient, join
from gnnlib.sparse.ops.edge_attention.gpu.score import (
    combine,
    constants,
    keep,
    load_att,
    load_target,
    place_of,
    probability,
    score,
    scored,
    slope,
)
from gnnlib.sparse.registry import FLOATS, kernel


@triton.jit
def _store(whole_at, part_at, value, place, num_rows, offset, WIDTH: tl.constexpr, inside):
    """Store values of whole rows and of pieces; ``offset`` is the place in a row of ``WIDTH`` values."""
    whole, piece = (place >= 0) & (place < num_rows), place - num_rows
    tl.store(whole_at + place * WIDTH + offset, value.to(whole_at.dtype.element_ty), mask=whole & inside)
    tl.store(part_at + piece * WIDTH + offset, value, mask=(piece >= 0) & inside)


@triton.jit
def _targets_bwd_kernel(
    items, indices, x_dst, x_src, att, edge, edge_map, value, seed, out, lse, through, grad, grad_alpha,
    pair, d_dst, d_dst_part, d_edge, num_items, num_rows,
    KIND: tl.constexpr, HEADS: tl.constexpr, DEPTH: tl.constexpr, INNER: tl.constexpr, CHANNELS: tl.constexpr,
    FACTOR: tl.constexpr, THRESHOLD: tl.constexpr, BOOST: tl.constexpr, ACC: tl.constexpr,
    PLANNED: tl.constexpr,
    BLOCK_I: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    item = tile_items(BLOCK_R)
    start, stop, place = span(items, num_items, item, PLANNED)
    row = owner_of(items, num_items, item, place, PLANNED)
    head, column, inner = tile_heads(BLOCK_H), tile_columns(BLOCK_D), tile_columns(BLOCK_I)
    there, inside = head < HEADS, (head < HEADS) & (column < DEPTH)
    a = load_target(x_dst, row, row >= 0, head, inner, KIND, HEADS, INNER, ACC)
    w = load_att(att, head, inner, KIND, HEADS, INNER, ACC)
    at = row * (HEADS * DEPTH) + head * DEPTH + column
    g = tl.load(grad + at, mask=(row >= 0) & inside, other=0).to(ACC)
    delta = over_columns(g * tl.load(out + at, mask=(row >= 0) & inside, other=0).to(ACC))
    if through is not None:
        delta += tl.load(through + row * HEADS + head, mask=(row >= 0) & there, other=0).to(ACC)
    norm = tl.load(lse + row * HEADS + head, mask=(row >= 0) & there, other=float("-inf")).to(ACC)
    found = tl.zeros((BLOCK_R, BLOCK_H, BLOCK_I), ACC)
    for step in range(longest(start, stop)):
        slot = start + step
        live = slot < stop
        source = source_of(indices, slot, live, True)
        v = tl.load(value + source * (HEADS * DEPTH) + head * DEPTH + column, mask=live & inside, other=0).to(
            ACC
        )
        if KIND == "gatv2":
            b = v
        else:
            b = load_target(x_src, source, live, head, inner, KIND, HEADS, INNER, ACC)
        z = combine(a, b, w, edge, edge_map, slot, live, head, inner, KIND, HEADS, INNER, CHANNELS, ACC)
        s = score(a, z, w, edge, slot, live, head, KIND, HEADS, FACTOR, ACC)
        p = probability(s, norm)
        earned = over_columns(g * v)
        if grad_alpha is not None:
            earned += tl.load(grad_alpha + slot * HEADS + head, mask=live & there, other=0).to(ACC)
        m = p
        if seed is not None:
            factor = keep(seed, slot, head, HEADS, THRESHOLD, BOOST, ACC)
            m, earned = p * factor, earned * factor
        d = p * (earned - delta)
        if KIND == "additive":
            d *= slope(z, FACTOR, ACC)
        d = tl.where(live & there, d, 0.0)
        tl.store(pair + slot * (2 * HEADS) + head, m, mask=live & there)
        tl.store(pair + slot * (2 * HEADS) + HEADS + head, d, mask=live & there)
        if KIND == "additive":
            found += d
        else:
            if KIND == "dot":
                found += FACTOR * d * z
            else:
                own = tl.where(live, d * w * slope(z, FACTOR, ACC), 0.0)
                found += own
                if edge is not None and CHANNELS == 0:
                    spent = d_edge + slot * (HEADS * INNER) + head * INNER + inner
                    tl.store(spent, own, mask=live & there & (inner < INNER))
                if CHANNELS > 0:  # without a map its loop could not be compiled, though it is never entered
                    for c in range(CHANNELS):
                        by = tl.load(
                            edge_map + c * (HEADS * INNER) + head * INNER + inner,
                            mask=there & (inner < INNER),
                            other=0,
                        )
                        total = tl.sum(over_columns(own * by.to(ACC)), axis=1)[:, :, None]
                        tl.store(d_edge + slot * CHANNELS + c, total, mask=live)
    _store(
        d_dst,
        d_dst_part,
        found,
        place,
        num_rows,
        head * INNER + inner,
        HEADS * INNER,
        there & (inner < INNER),
    )


@triton.jit
def _sources_bwd_kernel(
    items, targets, slots, x_dst, x_src, att, edge, edge_map, grad, pair,
    d_value, d_value_part, d_src, d_src_part, num_items, num_cols,
    KIND: tl.constexpr, HEADS: tl.constexpr, DEPTH: tl.constexpr, INNER: tl.constexpr, CHANNELS: tl.constexpr,
    FACTOR: tl.constexpr, ACC: tl.constexpr, PLANNED: tl.constexpr,
    BLOCK_I: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    item = tile_items(BLOCK_R)
    start, stop, place = span(items, num_items, item, PLANNED)
    source = owner_of(items, num_items, item, place, PLANNED)
    head, column, inner = tile_heads(BLOCK_H), tile_columns(BLOCK_D), tile_columns(BLOCK_I)
    there, inside = head < HEADS, (head < HEADS) & (column < DEPTH)
    w = load_att(att, head, inner, KIND, HEADS, INNER, ACC)
    b = load_target(x_src, source, source >= 0, head, inner, KIND, HEADS, INNER, ACC)
    to_value = tl.zeros((BLOCK_R, BLOCK_H, BLOCK_D), ACC)
    to_score = tl.zeros((BLOCK_R, BLOCK_H, BLOCK_I), ACC)
    for step in range(longest(start, stop)):
        at = start + step
        live = at < stop
        i = source_of(targets, at, live, True)
        slot = tl.load(slots + at, mask=live, other=0).to(tl.int64)
        m = tl.load(pair + slot * (2 * HEADS) + head, mask=live & there, other=0)
        d = tl.load(pair + slot * (2 * HEADS) + HEADS + head, mask=live & there, other=0)
        g = tl.load(grad + i * (HEADS * DEPTH) + head * DEPTH + column, mask=live & inside, other=0).to(ACC)
        to_value += m * g
        if KIND == "additive":
            to_score += d
        else:
            a = load_target(x_dst, i, live, head, inner, KIND, HEADS, INNER, ACC)
            if KIND == "dot":
                to_score += FACTOR * d * a
            else:
                z = combine(
                    a, b, w, edge, edge_map, slot, live, head, inner, KIND, HEADS, INNER, CHANNELS, ACC
                )
                to_value += tl.where(live, d * w * slope(z, FACTOR, ACC), 0.0)
    _store(d_value, d_value_part, to_value, place, num_cols, head * DEPTH + column, HEADS * DEPTH, inside)
    if KIND != "gatv2":
        offset = head * INNER + inner
        _store(d_src, d_src_part, to_score, place, num_cols, offset, HEADS * INNER, there & (inner < INNER))


@kernel("edge_attention_grad", "gpu", refuse=needs_gpu(FLOATS))
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
) -> tuple[Tensor, ...]:
    num_slots, (num_cols, heads, depth) = indices.shape[0], value.shape
    dtype, gatv2 = accumulate_dtype(value.dtype), score == "gatv2"
    given, fixed = (
        scored(x_dst, x_src, att, edge, edge_map),
        constants(score, x_dst, value, edge_map, factor, dropout),
    )
    grad = grad.contiguous()
    # Slots past the last offset belong to no row and stay 0.
    pair = torch.zeros(num_slots, 2 * heads, dtype=dtype, device=value.device)
    of_edges = edge.shape if gatv2 and edge is not None else (num_slots, 0)
    d_edge = torch.zeros(of_edges, dtype=dtype, device=value.device)
    work, t_work = work_of(indptr, num_slots), work_of(t_indptr, num_slots)
    d_dst, d_value, d_src = gradient(work, x_dst), gradient(t_work, value), gradient(t_work, x_src)
    tile = head_tile(heads, max(depth, fixed["INNER"]))
    if heads * depth > 0:
        launch(
            _targets_bwd_kernel,
            tile.grid(work.num_items),
            value,
            work.array(indptr),
            indices,
            *given,
            value.contiguous(),
            place_of(seed),
            out.contiguous(),
            lse.contiguous(),
            None if through_weights is None else through_weights.contiguous(),
            grad,
            None if grad_alpha is None else grad_alpha.contiguous(),
            pair,
            *d_dst,
            d_edge,
            work.num_items,
            indptr.shape[0] - 1,
            PLANNED=work.planned,
            **fixed,
            **tile.constants,
        )
        launch(
            _sources_bwd_kernel,
            tile.grid(t_work.num_items),
            value,
            t_work.array(t_indptr),
            t_indices,
            t_slots,
            *given,
            grad,
            pair,
            *d_value,
            *d_src,
            t_work.num_items,
            num_cols,
            PLANNED=t_work.planned,
            **{k: v for k, v in fixed.items() if k not in ("THRESHOLD", "BOOST")},
            **tile.constants,
        )
    none = value.new_empty(0)
    to_dst, to_value = join(work, d_dst), join(t_work, d_value)
    if not gatv2:
        return to_dst, join(t_work, d_src), to_value, none, pair[:, heads:].to(value.dtype).contiguous(), none
    d_att, d_map = map_gradients(indptr, indices, given, pair, fixed)
    to_edge = none if edge is None else d_edge.to(value.dtype)
    to_map = none if edge_map is None else d_map.to(value.dtype)
    return to_dst, to_value, none, d_att.to(value.dtype), to_edge, to_map
