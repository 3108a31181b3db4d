"""spmm on a GPU: a program owns a few rows and a tile of their columns, and adds their edges in order."""

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
    program_columns,
    program_items,
    source_of,
    span,
    store_rows,
)
from gnnlib.sparse.gpu.launch import launch, needs_gpu
from gnnlib.sparse.gpu.tiles import Shape, Tile, accumulator, merge_tile, row_tiles
from gnnlib.sparse.gpu.tune import choose
from gnnlib.sparse.gpu.work import Work, work_of
from gnnlib.sparse.registry import FLOATS, kernel


@triton.jit
def _finish(total, row, live, f, inside, row_scale, base, factors, WIDTH: tl.constexpr, ACC: tl.constexpr):
    """``decay r_i total + restart base_i``, each part where it is given."""
    if row_scale is not None:
        total *= tl.load(row_scale + row, mask=live, other=0).to(ACC)
    if factors is not None:
        total *= tl.load(factors)
    if base is not None:
        at = base + row * WIDTH + f
        own = tl.load(at, mask=live & inside, other=0).to(ACC)
        if factors is not None:
            own *= tl.load(factors + 1)
        total += own
    return total


@triton.jit
def _spmm_fwd_kernel(
    items,
    indices,
    weight,
    x,
    row_scale,
    col_scale,
    base,
    factors,
    out,
    partial,
    num_items,
    num_rows,
    HEADS: tl.constexpr,
    DEPTH: tl.constexpr,
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
    total = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    for step in range(0, longest(start, stop), 4):
        s0, s1, s2, s3 = start + step, start + step + 1, start + step + 2, start + step + 3
        j0 = source_of(indices, s0, s0 < stop, INDEXED)
        j1 = source_of(indices, s1, s1 < stop, INDEXED)
        j2 = source_of(indices, s2, s2 < stop, INDEXED)
        j3 = source_of(indices, s3, s3 < stop, INDEXED)
        x0 = load_rows(x, j0, s0 < stop, f, inside, width)
        x1 = load_rows(x, j1, s1 < stop, f, inside, width)
        x2 = load_rows(x, j2, s2 < stop, f, inside, width)
        x3 = load_rows(x, j3, s3 < stop, f, inside, width)
        if weight is None and col_scale is None:
            total += x0.to(ACC)
            total += x1.to(ACC)
            total += x2.to(ACC)
            total += x3.to(ACC)
        else:
            c0 = coefficient(weight, col_scale, s0, j0, s0 < stop, f, inside, HEADS, DEPTH, ACC)
            c1 = coefficient(weight, col_scale, s1, j1, s1 < stop, f, inside, HEADS, DEPTH, ACC)
            c2 = coefficient(weight, col_scale, s2, j2, s2 < stop, f, inside, HEADS, DEPTH, ACC)
            c3 = coefficient(weight, col_scale, s3, j3, s3 < stop, f, inside, HEADS, DEPTH, ACC)
            total += c0 * x0.to(ACC)
            total += c1 * x1.to(ACC)
            total += c2 * x2.to(ACC)
            total += c3 * x3.to(ACC)
    whole = (place >= 0) & (place < num_rows)
    done = _finish(total, place, whole, f, inside, row_scale, base, factors, width, ACC)
    value = tl.where((place < num_rows), done, total)  # a piece is finished with its hub
    store_rows(out, partial, value, place, num_rows, f, inside, width)


@triton.jit
def _spmm_merge_kernel(
    hubs,
    partial,
    row_scale,
    base,
    factors,
    out,
    num_hubs,
    num_rows,
    WIDTH: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    row, first, end = hub_of(hubs, num_hubs, num_rows, BLOCK_R)
    live = row < num_rows
    f = program_columns(BLOCK_F)
    inside = f < WIDTH
    total = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    for step in range(longest(first, end)):
        piece = first + step
        at = partial + piece * WIDTH + f
        total += tl.load(at, mask=(piece < end) & inside, other=0)
    total = _finish(total, row, live, f, inside, row_scale, base, factors, WIDTH, ACC)
    at = out + row * WIDTH + f
    tl.store(at, total.to(out.dtype.element_ty), mask=live & inside)


@kernel("spmm", "gpu", refuse=needs_gpu(FLOATS))
def spmm(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    x: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
) -> Tensor:
    return gather_sum(indptr, indices, weight, x, row_scale, col_scale)


def gather_sum(
    indptr: Tensor,
    indices: Tensor | None,
    weight: Tensor | None,
    x: Tensor,
    row_scale: Tensor | None = None,
    col_scale: Tensor | None = None,
    base: Tensor | None = None,
    factors: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """``out_i = decay r_i sum_j w_ij c_j x_j + restart base_i``.

    Without ``indices`` slot s gathers row s of x. ``factors`` holds decay and restart, in the type of sums;
    ``base`` is shaped like ``out``, whose dtype is that of x unless it is given.
    """
    num_rows, (_, heads, depth) = indptr.shape[0] - 1, x.shape
    width = heads * depth
    num_slots = x.shape[0] if indices is None else indices.shape[0]
    if out is None:
        out = torch.empty(num_rows, heads, depth, dtype=x.dtype, device=x.device)
    work = work_of(indptr, num_slots)
    dtype, acc = accumulator(x.dtype)
    partial = torch.empty(work.num_pieces, width, dtype=dtype, device=x.device)
    x, weight = x.contiguous(), None if weight is None else weight.contiguous()
    finish = row_scale, base, factors

    def run(tile: Tile) -> None:
        launch(
            _spmm_fwd_kernel,
            tile.grid(work.num_items, width),
            x,
            work.array(indptr),
            indices,
            weight,
            x,
            row_scale,
            col_scale,
            base,
            factors,
            out,
            partial,
            work.num_items,
            num_rows,
            HEADS=heads,
            DEPTH=depth,
            PLANNED=work.planned,
            INDEXED=indices is not None,
            ACC=acc,
            BLOCK_R=tile.rows,
            BLOCK_F=tile.columns,
            num_warps=tile.warps,
        )

    shape = Shape.of(width, x.element_size(), num_rows, num_slots)
    tile = choose("spmm", x, row_tiles(shape), run, shape, heads, weight is not None)
    run(tile)
    merge(work, partial, out, tile, *finish)
    return out


def merge(
    work: Work,
    partial: Tensor,
    out: Tensor,
    tile: Tile,
    row_scale: Tensor | None = None,
    base: Tensor | None = None,
    factors: Tensor | None = None,
) -> None:
    """Add up the pieces of each hub in order, ``partial`` ``[pieces, width]``, into its row of ``out``."""
    width, tile = partial.shape[1], merge_tile(tile)
    launch(
        _spmm_merge_kernel,
        tile.grid(work.num_hubs, width),
        out,
        work.hubs,
        partial,
        row_scale,
        base,
        factors,
        out,
        work.num_hubs,
        out.shape[0],
        WIDTH=width,
        ACC=accumulator(partial.dtype)[1],
        BLOCK_R=tile.rows,
        BLOCK_F=tile.columns,
        num_warps=tile.warps,
    )
