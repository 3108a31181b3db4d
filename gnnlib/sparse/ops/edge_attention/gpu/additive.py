"""Additive attention for training on a GPU: one pass over the edges forward, one backward.

See :mod:`gnnlib.sparse.ops.edge_attention.additive` for the sums that the forward keeps.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse.gpu.blocks import longest, owner_of, source_of, span
from gnnlib.sparse.gpu.heads import head_tile, over_columns, tile_columns, tile_heads, tile_items
from gnnlib.sparse.gpu.launch import launch, needs_gpu
from gnnlib.sparse.gpu.tiles import accumulator
from gnnlib.sparse.gpu.work import work_of
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.edge_attention.gpu.forward import attend
from gnnlib.sparse.ops.edge_attention.gpu.pieces import gradient, join
from gnnlib.sparse.ops.edge_attention.gpu.score import (
    constants,
    keep,
    leaky,
    place_of,
    probability,
    scored,
    slope,
)
from gnnlib.sparse.registry import FLOATS, kernel


@triton.jit
def _additive_bwd_kernel(
    items, targets, slots, x_dst, x_src, value, seed, lse, delta, grad,
    d_value, d_value_part, d_src, d_src_part,
    num_items, num_cols,
    HEADS: tl.constexpr, DEPTH: tl.constexpr, FACTOR: tl.constexpr, THRESHOLD: tl.constexpr,
    BOOST: tl.constexpr,
    ACC: tl.constexpr, PLANNED: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    item = tile_items(BLOCK_R)
    start, stop, place = span(items, num_items, item, PLANNED)
    source = owner_of(items, num_items, item, place, PLANNED)
    head, column = tile_heads(BLOCK_H), tile_columns(BLOCK_D)
    there, inside = head < HEADS, (head < HEADS) & (column < DEPTH)
    b = tl.load(x_src + source * HEADS + head, mask=(source >= 0) & there, other=0).to(ACC)
    low = tl.zeros((BLOCK_R, BLOCK_H, BLOCK_D), ACC)
    high = tl.zeros((BLOCK_R, BLOCK_H, BLOCK_D), ACC)
    paid = tl.zeros((BLOCK_R, BLOCK_H, 1), ACC)  # sum of slope p <grad_i, out_i>
    for step in range(longest(start, stop)):
        at = start + step
        live = at < stop
        i = source_of(targets, at, live, True)
        slot = tl.load(slots + at, mask=live, other=0).to(tl.int64)
        scalar, mask = i * HEADS + head, live & there
        z = b + tl.load(x_dst + scalar, mask=mask, other=0).to(ACC)
        norm = tl.load(lse + scalar, mask=mask, other=float("-inf")).to(ACC)
        g = tl.load(grad + i * (HEADS * DEPTH) + head * DEPTH + column, mask=live & inside, other=0).to(ACC)
        p = probability(leaky(z, FACTOR), norm)
        paid += slope(z, FACTOR, ACC) * p * tl.load(delta + scalar, mask=mask, other=0)
        if seed is not None:
            p *= keep(seed, slot, head, HEADS, THRESHOLD, BOOST, ACC)
        high += tl.where(z > 0, p, 0.0) * g
        low += tl.where(z > 0, 0.0, p) * g
    v = tl.load(
        value + source * (HEADS * DEPTH) + head * DEPTH + column, mask=(source >= 0) & inside, other=0
    )
    d = over_columns(v.to(ACC) * (FACTOR * low + high)) - paid
    whole = (place >= 0) & (place < num_cols)
    piece = place - num_cols
    at = place * (HEADS * DEPTH) + head * DEPTH + column
    tl.store(d_value + at, (low + high).to(d_value.dtype.element_ty), mask=whole & inside)
    tl.store(d_src + place * HEADS + head, d.to(d_src.dtype.element_ty), mask=whole & there)
    at = piece * (HEADS * DEPTH) + head * DEPTH + column
    tl.store(d_value_part + at, low + high, mask=(piece >= 0) & inside)
    tl.store(d_src_part + piece * HEADS + head, d, mask=(piece >= 0) & there)


@kernel("additive_attention", "gpu", refuse=needs_gpu(FLOATS))
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
    given = scored(x_dst, x_src, None, None, None)
    fixed = constants("additive", x_dst, value, None, factor, dropout)
    out, above, mass, lse = attend(indptr, indices, given, value, place_of(seed), fixed, split=True)
    assert above is not None, "split=True asks for it"
    assert mass is not None, "split=True asks for it"
    return out, above, mass, lse


@kernel("additive_attention_grad", "gpu", refuse=needs_gpu(FLOATS))
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
    num_cols, heads, depth = value.shape
    dtype = accumulate_dtype(value.dtype)
    g = grad.to(dtype)
    delta = (g * out).sum(-1)  # [R, H]
    slopes = factor + (1 - factor) * mass
    d_dst = factor * delta + (1 - factor) * (g * above).sum(-1) - delta * slopes
    d_dst = torch.where(lse == -torch.inf, 0, d_dst)
    work, tile = work_of(t_indptr, t_indices.shape[0]), head_tile(heads, depth)
    d_value, d_src = gradient(work, value), gradient(work, x_src)
    if heads * depth > 0:
        launch(
            _additive_bwd_kernel,
            tile.grid(work.num_items),
            value,
            work.array(t_indptr),
            t_indices,
            t_slots,
            x_dst.contiguous(),
            x_src.contiguous(),
            value.contiguous(),
            place_of(seed),
            lse,
            delta,
            grad.contiguous(),
            *d_value,
            *d_src,
            work.num_items,
            num_cols,
            HEADS=heads,
            DEPTH=depth,
            FACTOR=factor,
            THRESHOLD=constants("additive", x_dst, value, None, factor, dropout)["THRESHOLD"],
            BOOST=1 / (1 - dropout),
            ACC=accumulator(value.dtype)[1],
            PLANNED=work.planned,
            **tile.constants,
        )
    return d_dst.to(value.dtype), join(work, d_src), join(work, d_value)
