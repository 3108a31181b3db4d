"""Several reductions on a GPU: a program owns a few rows and takes every moment from one read of a message.

Mean and squared deviation are updated message by message (Welford) and joined piece by piece (Chan, Golub and
LeVeque), so no sum of squares cancels.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse.gpu.blocks import (
    hub_of,
    load_rows,
    longest,
    program_columns,
    program_items,
    source_of,
    span,
)
from gnnlib.sparse.gpu.launch import launch, needs_gpu
from gnnlib.sparse.gpu.messages import message
from gnnlib.sparse.gpu.tiles import Shape, accumulator, merge_tile, row_tile
from gnnlib.sparse.gpu.work import work_of
from gnnlib.sparse.ops.multi_reduce.names import needs_mean, places
from gnnlib.sparse.ops.multi_reduce.reference import THRESHOLD
from gnnlib.sparse.ops.spmm_arg.gpu import _better
from gnnlib.sparse.registry import FLOATS, kernel

_FLAT = tl.constexpr(THRESHOLD)


@triton.jit
def _write(
    out, mean_out, arg, target, row, live, f, inside, count, total, spread, high, high_at, low, low_at,
    WIDTH: tl.constexpr, NUM: tl.constexpr, SUM: tl.constexpr, MEAN: tl.constexpr, MAX: tl.constexpr,
    MIN: tl.constexpr, VAR: tl.constexpr, STD: tl.constexpr, KEPT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Store the results of whole rows; a row's own term is added to what it shifts."""
    mask = live & inside
    n = tl.maximum(count, 1).to(ACC)
    mean = total / n
    at = out + row * (NUM * WIDTH) + f
    own = tl.zeros(total.shape, ACC)
    if target is not None:
        own = tl.where(count > 0, load_rows(target, row, live, f, inside, WIDTH).to(ACC), 0.0)
    if SUM >= 0:
        tl.store(at + SUM * WIDTH, total + count.to(ACC) * own, mask=mask)
    if MEAN >= 0:
        tl.store(at + MEAN * WIDTH, mean + own, mask=mask)
    if MAX >= 0:
        tl.store(at + MAX * WIDTH, high + own, mask=mask)
        slots: tl.constexpr = 2 if MIN >= 0 else 1
        tl.store(arg + row * (slots * WIDTH) + f, high_at.to(arg.dtype.element_ty), mask=mask)
    if MIN >= 0:
        tl.store(at + MIN * WIDTH, low + own, mask=mask)
        before: tl.constexpr = 1 if MAX >= 0 else 0
        where = arg + row * ((before + 1) * WIDTH) + before * WIDTH + f
        tl.store(where, low_at.to(arg.dtype.element_ty), mask=mask)
    var = spread / n
    if VAR >= 0:
        tl.store(at + VAR * WIDTH, var, mask=mask)
    if STD >= 0:
        tl.store(at + STD * WIDTH, tl.where(var <= _FLAT, 0.0, tl.sqrt(var)), mask=mask)
    if KEPT:
        tl.store(mean_out + row * WIDTH + f, mean, mask=mask)


@triton.jit
def _multi_reduce_fwd_kernel(
    items, indices, x, edge, edge_map, perm, target, out, mean_out, arg,
    part, part_mean, part_spread, part_high, part_low, part_high_at, part_low_at, part_count,
    num_items, num_rows,
    WIDTH: tl.constexpr, CHANNELS: tl.constexpr, NUM: tl.constexpr, SUM: tl.constexpr, MEAN: tl.constexpr,
    MAX: tl.constexpr, MIN: tl.constexpr, VAR: tl.constexpr, STD: tl.constexpr, KEPT: tl.constexpr,
    ACC: tl.constexpr, PLANNED: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    start, stop, place = span(items, num_items, program_items(BLOCK_R), PLANNED)
    f = program_columns(BLOCK_F)
    inside = f < WIDTH
    total = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    centre = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    spread = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    high = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    low = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    high_at = tl.full((BLOCK_R, BLOCK_F), -1, tl.int64)
    low_at = tl.full((BLOCK_R, BLOCK_F), -1, tl.int64)
    for step in range(longest(start, stop)):
        slot = start + step
        live = slot < stop
        source = source_of(indices, slot, live, True)
        value = message(x, edge, edge_map, perm, source, slot, live, f, inside, WIDTH, CHANNELS, ACC)
        value = tl.where(live, value, 0.0)
        total += value
        if VAR >= 0 or STD >= 0:
            gap = tl.where(live, value - centre, 0.0)
            centre += gap / tl.full((1, 1), step + 1, ACC)
            spread += gap * tl.where(live, value - centre, 0.0)
        if MAX >= 0:
            take = _better(value, high, high_at < 0, live, True)
            high, high_at = tl.where(take, value, high), tl.where(take, slot, high_at)
        if MIN >= 0:
            take = _better(value, low, low_at < 0, live, False)
            low, low_at = tl.where(take, value, low), tl.where(take, slot, low_at)
    count = stop - start
    whole = (place >= 0) & (place < num_rows)
    _write(
        out, mean_out, arg, target, place, whole, f, inside, count, total, spread, high, high_at, low, low_at,
        WIDTH, NUM, SUM, MEAN, MAX, MIN, VAR, STD, KEPT, ACC,
    )  # fmt: skip
    piece, mask = place - num_rows, (place >= num_rows) & inside
    tl.store(part + piece * WIDTH + f, total, mask=mask)
    if VAR >= 0 or STD >= 0:
        tl.store(part_mean + piece * WIDTH + f, centre, mask=mask)
        tl.store(part_spread + piece * WIDTH + f, spread, mask=mask)
    if MAX >= 0:
        tl.store(part_high + piece * WIDTH + f, high, mask=mask)
        tl.store(part_high_at + piece * WIDTH + f, high_at, mask=mask)
    if MIN >= 0:
        tl.store(part_low + piece * WIDTH + f, low, mask=mask)
        tl.store(part_low_at + piece * WIDTH + f, low_at, mask=mask)
    tl.store(part_count + piece, count, mask=place >= num_rows)


@triton.jit
def _multi_reduce_merge_kernel(
    hubs, target, out, mean_out, arg,
    part, part_mean, part_spread, part_high, part_low, part_high_at, part_low_at, part_count,
    num_hubs, num_rows,
    WIDTH: tl.constexpr, NUM: tl.constexpr, SUM: tl.constexpr, MEAN: tl.constexpr, MAX: tl.constexpr,
    MIN: tl.constexpr, VAR: tl.constexpr, STD: tl.constexpr, KEPT: tl.constexpr, ACC: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    row, first, end = hub_of(hubs, num_hubs, num_rows, BLOCK_R)
    f = program_columns(BLOCK_F)
    inside = f < WIDTH
    count = tl.zeros((BLOCK_R, 1), tl.int64)
    total = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    centre = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    spread = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    high = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    low = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    high_at = tl.full((BLOCK_R, BLOCK_F), -1, tl.int64)
    low_at = tl.full((BLOCK_R, BLOCK_F), -1, tl.int64)
    for step in range(longest(first, end)):
        piece = first + step
        live = piece < end
        more = tl.load(part_count + piece, mask=live, other=0)
        total += load_rows(part, piece, live, f, inside, WIDTH)
        if VAR >= 0 or STD >= 0:
            n, k = count.to(ACC), more.to(ACC)
            both = tl.maximum(n + k, 1.0)
            gap = tl.where(live, load_rows(part_mean, piece, live, f, inside, WIDTH) - centre, 0.0)
            spread += load_rows(part_spread, piece, live, f, inside, WIDTH) + gap * gap * (n * k / both)
            centre += gap * (k / both)
        if MAX >= 0:
            value = load_rows(part_high, piece, live, f, inside, WIDTH)
            take = _better(value, high, high_at < 0, live, True)
            high = tl.where(take, value, high)
            high_at = tl.where(take, load_rows(part_high_at, piece, live, f, inside, WIDTH), high_at)
        if MIN >= 0:
            value = load_rows(part_low, piece, live, f, inside, WIDTH)
            take = _better(value, low, low_at < 0, live, False)
            low = tl.where(take, value, low)
            low_at = tl.where(take, load_rows(part_low_at, piece, live, f, inside, WIDTH), low_at)
        count += more
    _write(
        out, mean_out, arg, target, row, row < num_rows, f, inside, count, total, spread, high, high_at, low,
        low_at, WIDTH, NUM, SUM, MEAN, MAX, MIN, VAR, STD, KEPT, ACC,
    )  # fmt: skip


@kernel("multi_reduce", "gpu", refuse=needs_gpu(FLOATS))
def multi_reduce(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    target: Tensor | None,
    reduces: str,
) -> tuple[Tensor, Tensor, Tensor]:
    names = reduces.split(",")
    num_rows, width, num_slots = indptr.shape[0] - 1, x.shape[1], indices.shape[0]
    dtype, acc = accumulator(x.dtype)
    kept, extremes = needs_mean(names, target is not None), ("max" in names) + ("min" in names)
    work, tile = work_of(indptr, num_slots), row_tile(Shape.of(width, x.element_size(), num_rows, num_slots))

    def pieces(asked: bool, kind: torch.dtype = dtype) -> Tensor:
        return x.new_empty(work.num_pieces if asked else 0, width, dtype=kind)

    out = x.new_empty(num_rows, len(names), width, dtype=dtype)
    mean = x.new_empty(num_rows if kept else 0, width, dtype=dtype)
    arg = x.new_empty(
        num_rows, extremes, width, dtype=torch.int32 if indices.numel() < 2**31 else torch.int64
    )
    spread, high, low = "var" in names or "std" in names, "max" in names, "min" in names
    results = out, mean, arg
    parts = (
        pieces(True),
        pieces(spread),
        pieces(spread),
        pieces(high),
        pieces(low),
        pieces(high, torch.int64),
        pieces(low, torch.int64),
        x.new_empty(work.num_pieces, dtype=torch.int64),
    )
    at = zip(("SUM", "MEAN", "MAX", "MIN", "VAR", "STD"), places(names).tolist(), strict=True)
    fixed: dict[str, Any] = {"WIDTH": width, "NUM": len(names), "KEPT": kept, "ACC": acc, **dict(at)}
    own = None if target is None else target.contiguous()
    if width == 0:
        return results
    launch(
        _multi_reduce_fwd_kernel, tile.grid(work.num_items, width), x, work.array(indptr), indices,
        *(None if t is None else t.contiguous() for t in (x, edge, edge_map, perm)), own, *results, *parts,
        work.num_items, num_rows, CHANNELS=0 if edge_map is None else edge_map.shape[0], PLANNED=work.planned,
        BLOCK_R=tile.rows, BLOCK_F=tile.columns, num_warps=tile.warps, **fixed,
    )  # fmt: skip
    tile = merge_tile(tile)
    launch(
        _multi_reduce_merge_kernel, tile.grid(work.num_hubs, width), x, work.hubs, own, *results, *parts,
        work.num_hubs, num_rows, BLOCK_R=tile.rows, BLOCK_F=tile.columns, num_warps=tile.warps, **fixed,
    )  # fmt: skip
    return results
