"""Sum of rectified messages on a GPU: a program owns a few rows and adds their edges in order."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse.gpu.blocks import longest, program_columns, program_items, source_of, span, store_rows
from gnnlib.sparse.gpu.launch import launch, needs_gpu
from gnnlib.sparse.gpu.messages import message
from gnnlib.sparse.gpu.tiles import Shape, accumulator, row_tile
from gnnlib.sparse.gpu.work import work_of
from gnnlib.sparse.ops.spmm.gpu import merge
from gnnlib.sparse.registry import FLOATS, kernel


@triton.jit
def _edge_relu_sum_fwd_kernel(
    items, indices, x, edge, edge_map, perm, out, partial, num_items, num_rows,
    WIDTH: tl.constexpr, CHANNELS: tl.constexpr, ACC: tl.constexpr, PLANNED: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    start, stop, place = span(items, num_items, program_items(BLOCK_R), PLANNED)
    f = program_columns(BLOCK_F)
    inside = f < WIDTH
    total = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    for step in range(longest(start, stop)):
        slot = start + step
        live = slot < stop
        source = source_of(indices, slot, live, True)
        value = message(x, edge, edge_map, perm, source, slot, live, f, inside, WIDTH, CHANNELS, ACC)
        total += tl.where((value <= 0) | ~live, 0.0, value)
    store_rows(out, partial, total, place, num_rows, f, inside, WIDTH)


@kernel("edge_relu_sum", "gpu", refuse=needs_gpu(FLOATS))
def edge_relu_sum(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
) -> Tensor:
    num_rows, width, num_slots = indptr.shape[0] - 1, x.shape[1], indices.shape[0]
    dtype, acc = accumulator(x.dtype)
    work, tile = work_of(indptr, num_slots), row_tile(Shape.of(width, x.element_size(), num_rows, num_slots))
    out = x.new_empty(num_rows, width)
    partial = x.new_empty(work.num_pieces, width, dtype=dtype)
    launch(
        _edge_relu_sum_fwd_kernel,
        tile.grid(work.num_items, width),
        x,
        work.array(indptr),
        indices,
        *(None if t is None else t.contiguous() for t in (x, edge, edge_map, perm)),
        out,
        partial,
        work.num_items,
        num_rows,
        WIDTH=width,
        CHANNELS=0 if edge_map is None else edge_map.shape[0],
        ACC=acc,
        PLANNED=work.planned,
        BLOCK_R=tile.rows,
        BLOCK_F=tile.columns,
        num_warps=tile.warps,
    )
    if width > 0:
        merge(work, partial, out, tile)
    return out
