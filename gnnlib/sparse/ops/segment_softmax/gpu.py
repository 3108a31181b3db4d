"""Softmax over sorted segments on a GPU: a lane walks the scores of one segment and head three times."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse.gpu.blocks import hub_of, longest, program_columns, program_items, span
from gnnlib.sparse.gpu.launch import launch, needs_gpu
from gnnlib.sparse.gpu.tiles import accumulator, lane_tile, merge_tile
from gnnlib.sparse.gpu.work import work_of
from gnnlib.sparse.ops.segment_reduce import expand_rows, segment_rows
from gnnlib.sparse.registry import FLOATS, kernel


@triton.jit
def _read(src, slot, stop, head, inside, HEADS: tl.constexpr, ACC: tl.constexpr):
    """Scores of one slot of each item, -inf past its end."""
    mask = (slot < stop) & inside
    return tl.load(src + slot * HEADS + head, mask=mask, other=float("-inf")).to(ACC)


@triton.jit
def _finite(top):
    """The largest score; 0 where all are -inf, whose differences would be NaN."""
    return tl.where(top == float("-inf"), 0.0, top)


@triton.jit
def _write(src, out, start, stop, top, total, head, inside, HEADS: tl.constexpr, ACC: tl.constexpr):
    total = tl.where(total == 0, 1.0, total)
    for step in range(longest(start, stop)):
        slot = start + step
        value = tl.exp(_read(src, slot, stop, head, inside, HEADS, ACC) - top) / total
        mask = (slot < stop) & inside
        tl.store(out + slot * HEADS + head, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _softmax_fwd_kernel(
    items,
    src,
    out,
    tops,
    totals,
    num_items,
    num_rows,
    HEADS: tl.constexpr,
    PLANNED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    start, stop, place = span(items, num_items, program_items(BLOCK_R), PLANNED)
    head = program_columns(BLOCK_F)
    inside = head < HEADS
    top = tl.full((BLOCK_R, BLOCK_F), float("-inf"), ACC)
    for step in range(0, longest(start, stop), 4):
        v0 = _read(src, start + step, stop, head, inside, HEADS, ACC)
        v1 = _read(src, start + step + 1, stop, head, inside, HEADS, ACC)
        v2 = _read(src, start + step + 2, stop, head, inside, HEADS, ACC)
        v3 = _read(src, start + step + 3, stop, head, inside, HEADS, ACC)
        top = tl.maximum(tl.maximum(tl.maximum(tl.maximum(top, v0), v1), v2), v3)
    top = _finite(top)
    total = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    for step in range(0, longest(start, stop), 4):
        v0 = _read(src, start + step, stop, head, inside, HEADS, ACC)
        v1 = _read(src, start + step + 1, stop, head, inside, HEADS, ACC)
        v2 = _read(src, start + step + 2, stop, head, inside, HEADS, ACC)
        v3 = _read(src, start + step + 3, stop, head, inside, HEADS, ACC)
        total += tl.exp(v0 - top)
        total += tl.exp(v1 - top)
        total += tl.exp(v2 - top)
        total += tl.exp(v3 - top)
    piece = place >= num_rows
    at = (place - num_rows) * HEADS + head
    tl.store(tops + at, top, mask=piece & inside)
    tl.store(totals + at, total, mask=piece & inside)
    _write(src, out, start, tl.where(piece, start, stop), top, total, head, inside, HEADS, ACC)


@triton.jit
def _softmax_merge_kernel(
    hubs,
    tops,
    totals,
    num_hubs,
    num_rows,
    HEADS: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    _, first, end = hub_of(hubs, num_hubs, num_rows, BLOCK_R)
    head = program_columns(BLOCK_F)
    inside = head < HEADS
    top = tl.full((BLOCK_R, BLOCK_F), float("-inf"), ACC)
    for step in range(longest(first, end)):
        top = tl.maximum(top, _read(tops, first + step, end, head, inside, HEADS, ACC))
    top = _finite(top)
    total = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    for step in range(longest(first, end)):
        at = totals + (first + step) * HEADS + head
        part = tl.load(at, mask=((first + step) < end) & inside, other=0)
        total += part * tl.exp(_read(tops, first + step, end, head, inside, HEADS, ACC) - top)
    for step in range(longest(first, end)):  # every piece needs those of its whole row
        at = (first + step) * HEADS + head
        mask = ((first + step) < end) & inside
        tl.store(tops + at, top, mask=mask)
        tl.store(totals + at, total, mask=mask)


@triton.jit
def _softmax_pieces_kernel(
    items,
    src,
    out,
    tops,
    totals,
    num_items,
    num_rows,
    HEADS: tl.constexpr,
    PLANNED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    start, stop, place = span(items, num_items, program_items(BLOCK_R), PLANNED)
    head = program_columns(BLOCK_F)
    inside = head < HEADS
    piece = place >= num_rows
    at = (place - num_rows) * HEADS + head
    top = tl.load(tops + at, mask=piece & inside, other=0)
    total = tl.load(totals + at, mask=piece & inside, other=1)
    _write(src, out, start, tl.where(piece, stop, start), top, total, head, inside, HEADS, ACC)


@kernel("segment_softmax", "gpu", refuse=needs_gpu(FLOATS))
def segment_softmax(indptr: Tensor, src: Tensor) -> Tensor:
    num_rows, heads = indptr.shape[0] - 1, src.shape[1]
    src = src.contiguous()
    out = torch.zeros_like(src)  # slots past the last offset belong to no row
    work = work_of(indptr, src.shape[0])
    dtype, acc = accumulator(src.dtype)
    tops, totals = (src.new_empty(work.num_pieces, heads, dtype=dtype) for _ in range(2))
    tile = lane_tile(heads)
    given = work.array(indptr), src, out, tops, totals, work.num_items, num_rows
    constants = {"HEADS": heads, "ACC": acc}
    blocks = {"BLOCK_R": tile.rows, "BLOCK_F": tile.columns, "num_warps": tile.warps}
    grid = tile.grid(work.num_items, heads)
    launch(_softmax_fwd_kernel, grid, src, *given, PLANNED=work.planned, **constants, **blocks)
    if work.num_hubs:
        small = merge_tile(tile)
        launch(
            _softmax_merge_kernel,
            small.grid(work.num_hubs, heads),
            src,
            work.hubs,
            tops,
            totals,
            work.num_hubs,
            num_rows,
            **constants,
            BLOCK_R=small.rows,
            BLOCK_F=small.columns,
            num_warps=small.warps,
        )
        launch(_softmax_pieces_kernel, grid, src, *given, PLANNED=work.planned, **constants, **blocks)
    return out


@kernel("segment_softmax_grad", "gpu", refuse=needs_gpu(FLOATS))
def segment_softmax_grad(indptr: Tensor, out: Tensor, grad: Tensor) -> Tensor:
    """Made of sums over rows, which are kernels of their own."""
    weighted = out * grad
    total = expand_rows(indptr, segment_rows(indptr, weighted, "sum"), out.shape[0])
    return weighted - out * total
