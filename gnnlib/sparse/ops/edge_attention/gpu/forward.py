"""Attention on a GPU, forward: an online softmax, so that each row is read once.

A hub row is cut into pieces; each has a maximum of its own, and a second kernel merges them in order.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse.gpu.blocks import longest, owner_of, source_of, span
from gnnlib.sparse.gpu.heads import HeadTile, head_tile, tile_columns, tile_heads, tile_items
from gnnlib.sparse.gpu.launch import launch, needs_gpu
from gnnlib.sparse.gpu.tiles import accumulator
from gnnlib.sparse.gpu.work import Work, work_of
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
)
from gnnlib.sparse.registry import FLOATS, kernel


@triton.jit
def _attention_fwd_kernel(
    items, indices, x_dst, x_src, att, edge, edge_map, value, seed,
    out, above, mass, lse, part, part_above, part_mass, part_top, part_total, num_items, num_rows,
    KIND: tl.constexpr, HEADS: tl.constexpr, DEPTH: tl.constexpr, INNER: tl.constexpr, CHANNELS: tl.constexpr,
    FACTOR: tl.constexpr, THRESHOLD: tl.constexpr, BOOST: tl.constexpr, ACC: tl.constexpr,
    PLANNED: tl.constexpr,
    BLOCK_I: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    item = tile_items(BLOCK_R)
    start, stop, place = span(items, num_items, item, PLANNED)
    row = owner_of(items, num_items, item, place, PLANNED)
    head, column, inner = tile_heads(BLOCK_H), tile_columns(BLOCK_D), tile_columns(BLOCK_I)
    inside = (head < HEADS) & (column < DEPTH)
    a = load_target(x_dst, row, row >= 0, head, inner, KIND, HEADS, INNER, ACC)
    w = load_att(att, head, inner, KIND, HEADS, INNER, ACC)
    top = tl.full((BLOCK_R, BLOCK_H, 1), float("-inf"), ACC)
    total = tl.zeros((BLOCK_R, BLOCK_H, 1), ACC)
    held = tl.zeros((BLOCK_R, BLOCK_H, 1), ACC)
    result = tl.zeros((BLOCK_R, BLOCK_H, BLOCK_D), ACC)
    upper = tl.zeros((BLOCK_R, BLOCK_H, BLOCK_D), ACC)
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
        new = tl.maximum(top, s)
        base = tl.where(new == float("-inf"), 0.0, new)
        shrink, p = tl.exp(top - base), tl.exp(s - base)
        total = total * shrink + p
        m = p
        if seed is not None:
            m = p * keep(seed, slot, head, HEADS, THRESHOLD, BOOST, ACC)
        result = result * shrink + m * v
        if above is not None:
            high = z > 0
            held = held * shrink + tl.where(high, p, 0.0)
            upper = upper * shrink + tl.where(high, m, 0.0) * v
        top = new
    one = tl.where(total == 0, 1.0, total)
    whole = (place >= 0) & (place < num_rows)
    at, scalar = place * (HEADS * DEPTH) + head * DEPTH + column, place * HEADS + head
    tl.store(out + at, (result / one).to(out.dtype.element_ty), mask=whole & inside)
    log = tl.where(total == 0, float("-inf"), top + tl.log(one))
    tl.store(lse + scalar, log, mask=whole & (head < HEADS))
    piece = place - num_rows
    at_piece, of_piece = piece * (HEADS * DEPTH) + head * DEPTH + column, piece * HEADS + head
    tl.store(part + at_piece, result, mask=(piece >= 0) & inside)
    tl.store(part_top + of_piece, top, mask=(piece >= 0) & (head < HEADS))
    tl.store(part_total + of_piece, total, mask=(piece >= 0) & (head < HEADS))
    if above is not None:
        tl.store(above + at, (upper / one).to(above.dtype.element_ty), mask=whole & inside)
        tl.store(mass + scalar, held / one, mask=whole & (head < HEADS))
        tl.store(part_above + at_piece, upper, mask=(piece >= 0) & inside)
        tl.store(part_mass + of_piece, held, mask=(piece >= 0) & (head < HEADS))


@triton.jit
def _attention_merge_kernel(
    hubs, out, above, mass, lse, part, part_above, part_mass, part_top, part_total, num_hubs, num_rows,
    HEADS: tl.constexpr, DEPTH: tl.constexpr, ACC: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    hub = tile_items(BLOCK_R)
    row = tl.load(hubs + hub, mask=hub < num_hubs, other=num_rows)
    first = tl.load(hubs + num_hubs + hub, mask=hub < num_hubs, other=0)
    end = tl.load(hubs + 2 * num_hubs + hub, mask=hub < num_hubs, other=0)
    head, column = tile_heads(BLOCK_H), tile_columns(BLOCK_D)
    inside = (head < HEADS) & (column < DEPTH)
    top = tl.full((BLOCK_R, BLOCK_H, 1), float("-inf"), ACC)
    for step in range(longest(first, end)):
        piece = first + step
        mask = (piece < end) & (head < HEADS)
        top = tl.maximum(top, tl.load(part_top + piece * HEADS + head, mask=mask, other=float("-inf")))
    base = tl.where(top == float("-inf"), 0.0, top)
    total = tl.zeros((BLOCK_R, BLOCK_H, 1), ACC)
    held = tl.zeros((BLOCK_R, BLOCK_H, 1), ACC)
    result = tl.zeros((BLOCK_R, BLOCK_H, BLOCK_D), ACC)
    upper = tl.zeros((BLOCK_R, BLOCK_H, BLOCK_D), ACC)
    for step in range(longest(first, end)):
        piece = first + step
        live = piece < end
        mask = live & (head < HEADS)
        scalar, at = piece * HEADS + head, piece * (HEADS * DEPTH) + head * DEPTH + column
        share = tl.exp(tl.load(part_top + scalar, mask=mask, other=float("-inf")) - base)
        total += share * tl.load(part_total + scalar, mask=mask, other=0)
        result += share * tl.load(part + at, mask=live & inside, other=0)
        if above is not None:
            held += share * tl.load(part_mass + scalar, mask=mask, other=0)
            upper += share * tl.load(part_above + at, mask=live & inside, other=0)
    one = tl.where(total == 0, 1.0, total)
    live = row < num_rows
    at, scalar = row * (HEADS * DEPTH) + head * DEPTH + column, row * HEADS + head
    tl.store(out + at, (result / one).to(out.dtype.element_ty), mask=live & inside)
    log = tl.where(total == 0, float("-inf"), top + tl.log(one))
    tl.store(lse + scalar, log, mask=live & (head < HEADS))
    if above is not None:
        tl.store(above + at, (upper / one).to(above.dtype.element_ty), mask=live & inside)
        tl.store(mass + scalar, held / one, mask=live & (head < HEADS))


@triton.jit
def _weights_fwd_kernel(
    items, indices, x_dst, x_src, att, edge, edge_map, seed, lse, alpha, num_items,
    KIND: tl.constexpr, HEADS: tl.constexpr, DEPTH: tl.constexpr, INNER: tl.constexpr, CHANNELS: tl.constexpr,
    FACTOR: tl.constexpr, THRESHOLD: tl.constexpr, BOOST: tl.constexpr, ACC: tl.constexpr,
    PLANNED: tl.constexpr,
    BLOCK_I: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    item = tile_items(BLOCK_R)
    start, stop, place = span(items, num_items, item, PLANNED)
    row = owner_of(items, num_items, item, place, PLANNED)
    head, inner = tile_heads(BLOCK_H), tile_columns(BLOCK_I)
    a = load_target(x_dst, row, row >= 0, head, inner, KIND, HEADS, INNER, ACC)
    w = load_att(att, head, inner, KIND, HEADS, INNER, ACC)
    norm = tl.load(lse + row * HEADS + head, mask=(row >= 0) & (head < HEADS), other=0).to(ACC)
    for step in range(longest(start, stop)):
        slot = start + step
        live = slot < stop
        source = source_of(indices, slot, live, True)
        b = load_target(x_src, source, live, head, inner, KIND, HEADS, INNER, ACC)
        z = combine(a, b, w, edge, edge_map, slot, live, head, inner, KIND, HEADS, INNER, CHANNELS, ACC)
        s = score(a, z, w, edge, slot, live, head, KIND, HEADS, FACTOR, ACC)
        p = probability(s, norm)
        if seed is not None:
            p *= keep(seed, slot, head, HEADS, THRESHOLD, BOOST, ACC)
        tl.store(alpha + slot * HEADS + head, p.to(alpha.dtype.element_ty), mask=live & (head < HEADS))


@kernel("edge_attention", "gpu", refuse=needs_gpu(FLOATS))
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
    num_slots, heads = indices.shape[0], value.shape[1]
    given = scored(x_dst, x_src, att, edge, edge_map)
    fixed = constants(score, x_dst, value, edge_map, factor, dropout)
    out, _, _, lse = attend(indptr, indices, given, value, place_of(seed), fixed, split=False)
    alpha = value.new_zeros(num_slots if weights else 0, heads)  # slots past the last offset stay 0
    if alpha.numel() > 0:
        work, tile = work_of(indptr, num_slots), head_tile(heads, max(fixed["DEPTH"], fixed["INNER"]))
        launch(
            _weights_fwd_kernel,
            tile.grid(work.num_items),
            value,
            work.array(indptr),
            indices,
            *given,
            place_of(seed),
            lse,
            alpha,
            work.num_items,
            PLANNED=work.planned,
            **fixed,
            **tile.constants,
        )
    return out, lse, alpha


def attend(
    indptr: Tensor,
    indices: Tensor,
    given: tuple[Tensor | None, ...],
    value: Tensor,
    seed: Tensor | None,
    fixed: dict[str, Any],
    *,
    split: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
    """Result, its part over edges above 0 with their share of the softmax (if ``split``), log-sum-exp."""
    num_rows, (_, heads, depth) = indptr.shape[0] - 1, value.shape
    wide = accumulator(value.dtype)[0]
    work = work_of(indptr, indices.shape[0])
    tile = head_tile(heads, max(depth, fixed["INNER"]))

    def empty(rows: int, *tail: int, dtype: torch.dtype = wide) -> Tensor:
        return torch.empty(rows, heads, *tail, dtype=dtype, device=value.device)

    out, lse = empty(num_rows, depth, dtype=value.dtype), empty(num_rows)
    above, mass = (empty(num_rows, depth, dtype=value.dtype), empty(num_rows)) if split else (None, None)
    pieces = work.num_pieces
    apart = (empty(pieces, depth), empty(pieces)) if split else (None, None)
    parts = empty(pieces, depth), *apart, empty(pieces), empty(pieces)
    results = out, above, mass, lse
    if heads * depth > 0:
        launch(
            _attention_fwd_kernel,
            tile.grid(work.num_items),
            value,
            work.array(indptr),
            indices,
            *given,
            value.contiguous(),
            seed,
            *results,
            *parts,
            work.num_items,
            num_rows,
            PLANNED=work.planned,
            **fixed,
            **tile.constants,
        )
        _merge(work, tile, results, parts, fixed)
    return results


def _merge(work: Work, tile: HeadTile, results: Any, parts: Any, fixed: dict[str, Any]) -> None:
    launch(
        _attention_merge_kernel,
        tile.grid(work.num_hubs),
        parts[0],
        work.hubs,
        *results,
        *parts,
        work.num_hubs,
        results[0].shape[0],
        HEADS=fixed["HEADS"],
        DEPTH=fixed["DEPTH"],
        ACC=fixed["ACC"],
        **tile.constants,
    )
