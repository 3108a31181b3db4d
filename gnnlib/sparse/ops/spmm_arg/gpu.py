"""Largest or smallest neighbour and its slot on a GPU; the gradient is pulled over the transpose."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse.gpu.blocks import (
    coefficient,
    hub_of,
    load_rows,
    longest,
    owner_of,
    program_columns,
    program_items,
    source_of,
    span,
    store_rows,
)
from gnnlib.sparse.gpu.launch import launch, needs_gpu
from gnnlib.sparse.gpu.tiles import Shape, Tile, accumulator, merge_tile, row_tile, row_tiles
from gnnlib.sparse.gpu.tune import choose
from gnnlib.sparse.gpu.work import work_of
from gnnlib.sparse.ops.build import kept_transpose
from gnnlib.sparse.ops.spmm.gpu import merge
from gnnlib.sparse.ops.spmm_arg import arg_dtype
from gnnlib.sparse.registry import FLOATS, kernel


@triton.jit
def _better(value, best, first, live, LARGEST: tl.constexpr):
    """Whether a value takes the place of the best so far: the first one, a larger one, the first NaN."""
    beats = (value > best) if LARGEST else (value < best)
    return live & (first | beats | ((value != value) & (best == best)))


@triton.jit
def _spmm_arg_kernel(
    items,
    indices,
    weight,
    x,
    out,
    arg,
    partial,
    partial_arg,
    num_items,
    num_rows,
    HEADS: tl.constexpr,
    DEPTH: tl.constexpr,
    LARGEST: tl.constexpr,
    PLANNED: tl.constexpr,
    INDEXED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    width: tl.constexpr = HEADS * DEPTH
    start, stop, place = span(items, num_items, program_items(BLOCK_R), PLANNED)
    f = program_columns(BLOCK_F)
    inside = f < width
    best = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    won = tl.full((BLOCK_R, BLOCK_F), -1, tl.int32)  # counted from the item's first slot
    for step in range(0, longest(start, stop), 4):
        s0, s1, s2, s3 = start + step, start + step + 1, start + step + 2, start + step + 3
        j0 = source_of(indices, s0, s0 < stop, INDEXED)
        j1 = source_of(indices, s1, s1 < stop, INDEXED)
        j2 = source_of(indices, s2, s2 < stop, INDEXED)
        j3 = source_of(indices, s3, s3 < stop, INDEXED)
        x0 = load_rows(x, j0, s0 < stop, f, inside, width).to(ACC)
        x1 = load_rows(x, j1, s1 < stop, f, inside, width).to(ACC)
        x2 = load_rows(x, j2, s2 < stop, f, inside, width).to(ACC)
        x3 = load_rows(x, j3, s3 < stop, f, inside, width).to(ACC)
        if weight is not None:  # compared before it is rounded to a short type
            x0 *= coefficient(weight, None, s0, j0, s0 < stop, f, inside, HEADS, DEPTH, ACC)
            x1 *= coefficient(weight, None, s1, j1, s1 < stop, f, inside, HEADS, DEPTH, ACC)
            x2 *= coefficient(weight, None, s2, j2, s2 < stop, f, inside, HEADS, DEPTH, ACC)
            x3 *= coefficient(weight, None, s3, j3, s3 < stop, f, inside, HEADS, DEPTH, ACC)
        take = _better(x0, best, won < 0, (s0 < stop), LARGEST)
        best, won = tl.where(take, x0, best), tl.where(take, step, won)
        take = _better(x1, best, won < 0, (s1 < stop), LARGEST)
        best, won = tl.where(take, x1, best), tl.where(take, step + 1, won)
        take = _better(x2, best, won < 0, (s2 < stop), LARGEST)
        best, won = tl.where(take, x2, best), tl.where(take, step + 2, won)
        take = _better(x3, best, won < 0, (s3 < stop), LARGEST)
        best, won = tl.where(take, x3, best), tl.where(take, step + 3, won)
    slot = tl.where(won < 0, -1, start + won)
    store_rows(out, partial, best, place, num_rows, f, inside, width)
    store_rows(arg, partial_arg, slot, place, num_rows, f, inside, width)


@triton.jit
def _spmm_arg_merge_kernel(
    hubs,
    out,
    arg,
    partial,
    partial_arg,
    num_hubs,
    num_rows,
    WIDTH: tl.constexpr,
    LARGEST: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    row, first, end = hub_of(hubs, num_hubs, num_rows, BLOCK_R)
    f = program_columns(BLOCK_F)
    inside = f < WIDTH
    best = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    won = tl.full((BLOCK_R, BLOCK_F), -1, tl.int64)
    for step in range(longest(first, end)):
        piece = first + step
        live = piece < end
        value = load_rows(partial, piece, live, f, inside, WIDTH)
        take = _better(value, best, won < 0, live, LARGEST)
        best = tl.where(take, value, best)
        won = tl.where(take, load_rows(partial_arg, piece, live, f, inside, WIDTH), won)
    at = row * WIDTH + f
    mask = (row < num_rows) & inside
    tl.store(out + at, best.to(out.dtype.element_ty), mask=mask)
    tl.store(arg + at, won.to(arg.dtype.element_ty), mask=mask)


@kernel("spmm_arg", "gpu", refuse=needs_gpu(FLOATS))
def spmm_arg(
    indptr: Tensor, indices: Tensor, weight: Tensor | None, x: Tensor, largest: bool
) -> tuple[Tensor, Tensor]:
    return gather_extreme(indptr, indices, weight, x, largest, arg_dtype(indices.shape[0]))


def gather_extreme(
    indptr: Tensor,
    indices: Tensor | None,
    weight: Tensor | None,
    x: Tensor,
    largest: bool,
    index_type: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Extreme of ``w_ij x_j`` and its slot, -1 in an empty row. Without ``indices`` slot s gathers row s."""
    num_rows, (_, heads, depth) = indptr.shape[0] - 1, x.shape
    width = heads * depth
    num_slots = x.shape[0] if indices is None else indices.shape[0]
    out = x.new_empty(num_rows, heads, depth)
    arg = x.new_empty(num_rows, heads, depth, dtype=index_type)
    work = work_of(indptr, num_slots)
    dtype, acc = accumulator(x.dtype)
    partial = x.new_empty(work.num_pieces, width, dtype=dtype)
    partial_arg = x.new_empty(work.num_pieces, width, dtype=torch.int64)
    x, weight = x.contiguous(), None if weight is None else weight.contiguous()

    def run(tile: Tile) -> None:
        launch(
            _spmm_arg_kernel,
            tile.grid(work.num_items, width),
            x,
            work.array(indptr),
            indices,
            weight,
            x,
            out,
            arg,
            partial,
            partial_arg,
            work.num_items,
            num_rows,
            HEADS=heads,
            DEPTH=depth,
            LARGEST=largest,
            PLANNED=work.planned,
            INDEXED=indices is not None,
            ACC=acc,
            BLOCK_R=tile.rows,
            BLOCK_F=tile.columns,
            num_warps=tile.warps,
        )

    shape = Shape.of(width, x.element_size(), num_rows, num_slots)
    tile = choose("spmm_arg", x, row_tiles(shape), run, shape, heads, weight is not None)
    run(tile)
    tile = merge_tile(tile)
    launch(
        _spmm_arg_merge_kernel,
        tile.grid(work.num_hubs, width),
        x,
        work.hubs,
        out,
        arg,
        partial,
        partial_arg,
        work.num_hubs,
        num_rows,
        WIDTH=width,
        LARGEST=largest,
        ACC=acc,
        BLOCK_R=tile.rows,
        BLOCK_F=tile.columns,
        num_warps=tile.warps,
    )
    return out, arg


@triton.jit
def _arg_scatter_kernel(
    items,
    targets,
    slots,
    arg,
    weight,
    grad,
    out,
    partial,
    num_items,
    num_rows,
    HEADS: tl.constexpr,
    DEPTH: tl.constexpr,
    PLANNED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    """Each source looks which of its edges won: a row of the transpose lists targets and slots."""
    width: tl.constexpr = HEADS * DEPTH
    start, stop, place = span(items, num_items, program_items(BLOCK_R), PLANNED)
    f = program_columns(BLOCK_F)
    inside = f < width
    total = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    for step in range(0, longest(start, stop), 2):
        s0, s1 = start + step, start + step + 1
        i0 = source_of(targets, s0, s0 < stop, True)
        i1 = source_of(targets, s1, s1 < stop, True)
        e0 = source_of(slots, s0, s0 < stop, True)
        e1 = source_of(slots, s1, s1 < stop, True)
        w0 = load_rows(arg, i0, s0 < stop, f, inside, width) == e0
        w1 = load_rows(arg, i1, s1 < stop, f, inside, width) == e1
        w0 = w0 & (s0 < stop) & inside
        w1 = w1 & (s1 < stop) & inside
        g0 = tl.load(grad + i0 * width + f, mask=w0, other=0).to(ACC)
        g1 = tl.load(grad + i1 * width + f, mask=w1, other=0).to(ACC)
        if weight is not None:
            g0 *= coefficient(weight, None, e0, i0, s0 < stop, f, inside, HEADS, DEPTH, ACC)
            g1 *= coefficient(weight, None, e1, i1, s1 < stop, f, inside, HEADS, DEPTH, ACC)
        total += tl.where(w0, g0, 0.0)  # a NaN weight of an edge that lost counts nothing
        total += tl.where(w1, g1, 0.0)
    store_rows(out, partial, total, place, num_rows, f, inside, width)


@kernel("arg_scatter", "gpu", refuse=needs_gpu(FLOATS))
def arg_scatter(
    arg: Tensor, indptr: Tensor, indices: Tensor, weight: Tensor | None, grad: Tensor, num_cols: int
) -> Tensor:
    _, heads, depth = grad.shape
    width = heads * depth
    starts, targets, slots = kept_transpose(indptr, indices, num_cols)
    out = grad.new_empty(num_cols, heads, depth)
    work = work_of(starts, targets.shape[0])
    dtype, acc = accumulator(grad.dtype)
    partial = grad.new_empty(work.num_pieces, width, dtype=dtype)
    tile = row_tile(Shape.of(width, grad.element_size(), num_cols, targets.shape[0]))
    launch(
        _arg_scatter_kernel,
        tile.grid(work.num_items, width),
        grad,
        work.array(starts),
        targets,
        slots,
        arg.contiguous(),
        None if weight is None else weight.contiguous(),
        grad.contiguous(),
        out,
        partial,
        work.num_items,
        num_cols,
        HEADS=heads,
        DEPTH=depth,
        PLANNED=work.planned,
        ACC=acc,
        BLOCK_R=tile.rows,
        BLOCK_F=tile.columns,
        num_warps=tile.warps,
    )
    merge(work, partial, out, tile)
    return out


@triton.jit
def _arg_to_slots_kernel(
    items,
    arg,
    value,
    out,
    num_items,
    HEADS: tl.constexpr,
    DEPTH: tl.constexpr,
    PLANNED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    item = program_items(BLOCK_R)
    start, stop, place = span(items, num_items, item, PLANNED)
    row = owner_of(items, num_items, item, place, PLANNED)
    head = tl.program_id(1)
    column = tl.arange(0, BLOCK_F)[None, :]
    for step in range(longest(start, stop)):
        slot = start + step
        live = slot < stop
        total = tl.zeros((BLOCK_R, 1), ACC)
        for first in tl.static_range(0, DEPTH, BLOCK_F):
            f, inside = head * DEPTH + first + column, first + column < DEPTH
            won = load_rows(arg, row, live, f, inside, HEADS * DEPTH) == slot
            won = won & live & inside
            at = value + row * (HEADS * DEPTH) + f
            total += tl.sum(tl.load(at, mask=won, other=0).to(ACC), axis=1, keep_dims=True)
        tl.store(out + slot * HEADS + head, total.to(out.dtype.element_ty), mask=live)


@kernel("arg_to_slots", "gpu", refuse=needs_gpu(FLOATS))
def arg_to_slots(arg: Tensor, indptr: Tensor, value: Tensor, num_slots: int) -> Tensor:
    _, heads, depth = value.shape
    out = value.new_zeros(num_slots, heads)
    work = work_of(indptr, num_slots)
    tile = row_tile(Shape.of(depth, value.element_size(), work.num_items, num_slots))
    launch(
        _arg_to_slots_kernel,
        (triton.cdiv(work.num_items, tile.rows), heads),
        value,
        work.array(indptr),
        arg.contiguous(),
        value.contiguous(),
        out,
        work.num_items,
        HEADS=heads,
        DEPTH=depth,
        PLANNED=work.planned,
        ACC=accumulator(value.dtype)[1],
        BLOCK_R=tile.rows,
        BLOCK_F=tile.columns,
        num_warps=tile.warps,
    )
    return out
