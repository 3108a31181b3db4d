"""sddmm on a GPU: a program owns a few target rows, keeps them, and passes over their edges."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse.gpu.blocks import (
    load_rows,
    longest,
    owner_of,
    program_columns,
    program_items,
    source_of,
    span,
)
from gnnlib.sparse.gpu.launch import launch, needs_gpu
from gnnlib.sparse.gpu.tiles import Shape, accumulator, row_tile
from gnnlib.sparse.gpu.work import work_of
from gnnlib.sparse.registry import FLOATS, kernel

#: Columns of a head that are multiplied at a time.
_DEEPEST = 256


@triton.jit
def _products(x_dst, x_src, place, whole, source, live, f, inside, WIDTH: tl.constexpr, ACC: tl.constexpr):
    """Sum of the products of columns f of each target with those of its source, ``[BLOCK_R, 1]``."""
    a = load_rows(x_dst, place, whole, f, inside, WIDTH).to(ACC)
    return tl.sum(a * load_rows(x_src, source, live, f, inside, WIDTH).to(ACC), axis=1, keep_dims=True)


@triton.jit
def _sddmm_dot_kernel(
    items,
    indices,
    x_dst,
    x_src,
    out,
    num_items,
    HEADS: tl.constexpr,
    DEPTH: tl.constexpr,
    PLANNED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    width: tl.constexpr = HEADS * DEPTH
    item = program_items(BLOCK_R)
    start, stop, place = span(items, num_items, item, PLANNED)
    row = owner_of(items, num_items, item, place, PLANNED)
    whole = row >= 0
    head = tl.program_id(1)
    column = tl.arange(0, BLOCK_F)[None, :]
    f = head * DEPTH + column
    inside = column < DEPTH
    a = load_rows(x_dst, row, whole, f, inside, width).to(ACC)
    for step in range(0, longest(start, stop), 4):
        s0, s1, s2, s3 = start + step, start + step + 1, start + step + 2, start + step + 3
        j0 = source_of(indices, s0, s0 < stop, True)
        j1 = source_of(indices, s1, s1 < stop, True)
        j2 = source_of(indices, s2, s2 < stop, True)
        j3 = source_of(indices, s3, s3 < stop, True)
        x0 = load_rows(x_src, j0, s0 < stop, f, inside, width)
        x1 = load_rows(x_src, j1, s1 < stop, f, inside, width)
        x2 = load_rows(x_src, j2, s2 < stop, f, inside, width)
        x3 = load_rows(x_src, j3, s3 < stop, f, inside, width)
        y0, y1 = (
            tl.sum(a * x0.to(ACC), axis=1, keep_dims=True),
            tl.sum(a * x1.to(ACC), axis=1, keep_dims=True),
        )
        y2, y3 = (
            tl.sum(a * x2.to(ACC), axis=1, keep_dims=True),
            tl.sum(a * x3.to(ACC), axis=1, keep_dims=True),
        )
        for more in tl.static_range(BLOCK_F, DEPTH, BLOCK_F):
            g, rest = f + more, column + more < DEPTH
            y0 += _products(x_dst, x_src, row, whole, j0, s0 < stop, g, rest, width, ACC)
            y1 += _products(x_dst, x_src, row, whole, j1, s1 < stop, g, rest, width, ACC)
            y2 += _products(x_dst, x_src, row, whole, j2, s2 < stop, g, rest, width, ACC)
            y3 += _products(x_dst, x_src, row, whole, j3, s3 < stop, g, rest, width, ACC)
        tl.store(out + s0 * HEADS + head, y0.to(out.dtype.element_ty), mask=s0 < stop)
        tl.store(out + s1 * HEADS + head, y1.to(out.dtype.element_ty), mask=s1 < stop)
        tl.store(out + s2 * HEADS + head, y2.to(out.dtype.element_ty), mask=s2 < stop)
        tl.store(out + s3 * HEADS + head, y3.to(out.dtype.element_ty), mask=s3 < stop)


@triton.jit
def _sddmm_add_kernel(
    items,
    indices,
    x_dst,
    x_src,
    out,
    num_items,
    WIDTH: tl.constexpr,
    SUBTRACT: tl.constexpr,
    PLANNED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    item = program_items(BLOCK_R)
    start, stop, place = span(items, num_items, item, PLANNED)
    row = owner_of(items, num_items, item, place, PLANNED)
    f = program_columns(BLOCK_F)
    inside = f < WIDTH
    a = load_rows(x_dst, row, row >= 0, f, inside, WIDTH).to(ACC)
    for step in range(longest(start, stop)):
        slot = start + step
        live = slot < stop
        source = source_of(indices, slot, live, True)
        b = load_rows(x_src, source, live, f, inside, WIDTH).to(ACC)
        value = a - b if SUBTRACT else a + b
        at = out + slot * WIDTH + f
        tl.store(at, value.to(out.dtype.element_ty), mask=live & inside)


@kernel("sddmm", "gpu", refuse=needs_gpu(FLOATS))
def sddmm(indptr: Tensor, indices: Tensor, x_dst: Tensor, x_src: Tensor, op: str) -> Tensor:
    heads, depth = x_dst.shape[1:]
    width, num_slots = heads * depth, indices.shape[0]
    dot = op == "dot"
    # Slots past the last offset belong to no row and stay 0.
    out = x_dst.new_zeros((num_slots, heads) if dot else (num_slots, heads, depth))
    if width == 0:
        return out
    work = work_of(indptr, num_slots)
    given = work.array(indptr), indices, x_dst.contiguous(), x_src.contiguous(), out
    acc = accumulator(x_dst.dtype)[1]
    shape = Shape.of(min(depth, _DEEPEST) if dot else width, x_dst.element_size(), work.num_items, num_slots)
    tile = row_tile(shape)
    if dot:
        # The order of the sum over a row's columns follows the tile, so it is not tuned.
        columns = min(triton.next_power_of_2(depth), _DEEPEST)
        launch(
            _sddmm_dot_kernel,
            (triton.cdiv(work.num_items, tile.rows), heads),
            out,
            *given,
            work.num_items,
            HEADS=heads,
            DEPTH=depth,
            PLANNED=work.planned,
            ACC=acc,
            BLOCK_R=tile.rows,
            BLOCK_F=columns,
            num_warps=tile.warps,
        )
    else:
        launch(
            _sddmm_add_kernel,
            tile.grid(work.num_items, width),
            out,
            *given,
            work.num_items,
            WIDTH=width,
            SUBTRACT=op == "sub",
            PLANNED=work.planned,
            ACC=acc,
            BLOCK_R=tile.rows,
            BLOCK_F=tile.columns,
            num_warps=tile.warps,
        )
    return out
