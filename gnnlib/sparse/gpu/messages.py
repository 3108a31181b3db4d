"""Messages made of a source's features and those of the edge: parts of kernels, and the gradients they share.

An edge brings features as wide as x, or a few that a matrix maps on the way; nothing of edges x features is
kept. ``perm`` names the row of ``edge`` that belongs to a slot.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.gpu.blocks import (
    load_rows,
    longest,
    owner_of,
    program_columns,
    program_items,
    source_of,
    span,
    store_rows,
)
from gnnlib.sparse.gpu.launch import launch
from gnnlib.sparse.gpu.tiles import Shape, Tile, accumulator, row_tile
from gnnlib.sparse.gpu.work import work_of
from gnnlib.sparse.ops.spmm.gpu import merge

#: Slots that a program takes at a time for sums over all edges, and the most programs. Not yet measured.
SLOTS = 8
SHARES = 1024


@triton.jit
def place_of(perm, slot, live):
    """The row of the edge features that belongs to each slot."""
    if perm is None:
        place = slot
    else:
        place = tl.load(perm + slot, mask=live, other=0).to(tl.int64)
    return place


@triton.jit
def mapped(
    edge, edge_map, place, live, f, inside, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, ACC: tl.constexpr
):
    """What each edge's features add, ``[BLOCK_R, BLOCK_F]``; CHANNELS is 0 where they are as wide as x."""
    if CHANNELS == 0:
        total = load_rows(edge, place, live, f, inside, WIDTH).to(ACC)
    else:
        total = tl.zeros(place.shape, ACC) + tl.zeros(f.shape, ACC)
        for c in range(CHANNELS):
            by = tl.load(edge_map + c * WIDTH + f, mask=inside, other=0).to(ACC)
            total += tl.load(edge + place * CHANNELS + c, mask=live, other=0).to(ACC) * by
    return total


@triton.jit
def message(
    x, edge, edge_map, perm, source, slot, live, f, inside,
    WIDTH: tl.constexpr, CHANNELS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The message of each edge, ``x_j + e``."""
    total = load_rows(x, source, live, f, inside, WIDTH).to(ACC)
    if edge is not None:
        place = place_of(perm, slot, live)
        total += mapped(edge, edge_map, place, live, f, inside, WIDTH, CHANNELS, ACC)
    return total


@triton.jit
def message_gradient(
    value, row, slot, live, f, inside, c, b, mean, arg, extreme,
    WIDTH: tl.constexpr, EXTREMES: tl.constexpr, RELU: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The gradient of each message ``value`` of a target row: ``c_i + b_i (m - mean_i)``, the gradients of
    the extremes that it is, or c_i where the message is above 0."""
    d = load_rows(c, row, live, f, inside, WIDTH).to(ACC)
    if RELU:
        d = tl.where(value <= 0, 0.0, d)
    if b is not None:
        centre = load_rows(mean, row, live, f, inside, WIDTH).to(ACC)
        d += load_rows(b, row, live, f, inside, WIDTH).to(ACC) * (value - centre)
    for k in tl.static_range(EXTREMES):
        at = row * (EXTREMES * WIDTH) + k * WIDTH + f
        won = tl.load(arg + at, mask=live & inside, other=-1).to(tl.int64) == slot
        d += tl.where(won, tl.load(extreme + at, mask=live & inside, other=0).to(ACC), 0.0)
    return tl.where(live & inside, d, 0.0)


@triton.jit
def _to_sources_kernel(
    items, targets, slots, x, edge, edge_map, perm, c, b, mean, arg, extreme, out, partial,
    num_items, num_cols,
    WIDTH: tl.constexpr, CHANNELS: tl.constexpr, EXTREMES: tl.constexpr, RELU: tl.constexpr,
    ACC: tl.constexpr, PLANNED: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    item = program_items(BLOCK_R)
    start, stop, place = span(items, num_items, item, PLANNED)
    source = owner_of(items, num_items, item, place, PLANNED)
    f = program_columns(BLOCK_F)
    inside = f < WIDTH
    own = load_rows(x, source, source >= 0, f, inside, WIDTH).to(ACC)
    total = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    for step in range(longest(start, stop)):
        at = start + step
        live = at < stop
        row = source_of(targets, at, live, True)
        slot = source_of(slots, at, live, True)
        value = own
        if edge is not None:
            value += mapped(edge, edge_map, place_of(perm, slot, live), live, f, inside, WIDTH, CHANNELS, ACC)
        total += message_gradient(
            value, row, slot, live, f, inside, c, b, mean, arg, extreme, WIDTH, EXTREMES, RELU, ACC
        )
    store_rows(out, partial, total, place, num_cols, f, inside, WIDTH)


@triton.jit
def _to_edges_kernel(
    items, indices, x, edge, edge_map, perm, c, b, mean, arg, extreme, d_edge, num_items,
    WIDTH: tl.constexpr, CHANNELS: tl.constexpr, EXTREMES: tl.constexpr, RELU: tl.constexpr,
    ACC: tl.constexpr, PLANNED: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    item = program_items(BLOCK_R)
    start, stop, place = span(items, num_items, item, PLANNED)
    row = owner_of(items, num_items, item, place, PLANNED)
    f = program_columns(BLOCK_F)
    inside = f < WIDTH
    for step in range(longest(start, stop)):
        slot = start + step
        live = slot < stop
        source = source_of(indices, slot, live, True)
        value = message(x, edge, edge_map, perm, source, slot, live, f, inside, WIDTH, CHANNELS, ACC)
        d = message_gradient(
            value, row, slot, live, f, inside, c, b, mean, arg, extreme, WIDTH, EXTREMES, RELU, ACC
        )
        at = place_of(perm, slot, live)
        if CHANNELS == 0:
            tl.store(d_edge + at * WIDTH + f, d, mask=live & inside)
        else:
            for k in range(CHANNELS):
                by = tl.load(edge_map + k * WIDTH + f, mask=inside, other=0).to(ACC)
                tl.store(d_edge + at * CHANNELS + k, tl.sum(d * by, axis=1, keep_dims=True), mask=live)


@triton.jit
def _to_map_kernel(
    rows, indices, x, edge, edge_map, perm, c, b, mean, arg, extreme, d_map, used, share_size,
    WIDTH: tl.constexpr, CHANNELS: tl.constexpr, EXTREMES: tl.constexpr, RELU: tl.constexpr,
    ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    share = tl.program_id(0).to(tl.int64)
    f = program_columns(BLOCK_F)
    inside = f < WIDTH
    for begin in range(0, share_size, BLOCK_E):
        slot = share * share_size + begin + tl.arange(0, BLOCK_E)[:, None]
        live = slot < tl.minimum((share + 1) * share_size, tl.load(used))
        row = tl.load(rows + slot, mask=live, other=0)
        source = source_of(indices, slot, live, True)
        value = message(x, edge, edge_map, perm, source, slot, live, f, inside, WIDTH, CHANNELS, ACC)
        d = message_gradient(
            value, row, slot, live, f, inside, c, b, mean, arg, extreme, WIDTH, EXTREMES, RELU, ACC
        )
        place = place_of(perm, slot, live)
        for k in range(CHANNELS):
            part = tl.sum(tl.load(edge + place * CHANNELS + k, mask=live, other=0).to(ACC) * d, axis=0)[
                None, :
            ]
            at = d_map + (share * CHANNELS + k) * WIDTH + f
            tl.store(at, tl.load(at, mask=inside, other=0) + part, mask=inside)


def whole_row_tile(width: int, itemsize: int, num_rows: int, num_slots: int) -> Tile:
    """A tile as wide as a row, for sums over its columns."""
    columns = triton.next_power_of_2(max(width, 1))
    tile = row_tile(Shape.of(width, itemsize, num_rows, num_slots))
    return tile if tile.columns == columns else Tile(1, columns, min(max(columns // 256, 1), 8))


def shares_of(num_slots: int) -> tuple[int, int]:
    """In how many shares the slots are cut, by their number alone, and the size of one."""
    size = max(triton.cdiv(triton.cdiv(num_slots, SHARES), SLOTS) * SLOTS, 16 * SLOTS)
    return triton.cdiv(num_slots, size), size


def gradients(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_rows: Tensor,
    t_slots: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    c: Tensor,
    b: Tensor | None,
    mean: Tensor | None,
    arg: Tensor | None,
    extreme: Tensor | None,
    need: list[bool],
    *,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, edge and edge_map from those of :func:`message_gradient`; empty where nobody asks."""
    (num_cols, width), num_slots = x.shape, indices.shape[0]
    dtype, acc = accumulator(x.dtype)
    given = tuple(
        None if t is None else t.contiguous() for t in (edge, edge_map, perm, c, b, mean, arg, extreme)
    )
    x = x.contiguous()
    fixed: dict[str, Any] = {
        "WIDTH": width,
        "CHANNELS": 0 if edge_map is None else edge_map.shape[0],
        "EXTREMES": 0 if arg is None else arg.shape[1],
        "RELU": relu,
        "ACC": acc,
    }
    d_x = x.new_empty(num_cols if need[0] else 0, width)
    d_edge = x.new_zeros(edge.shape if edge is not None and need[1] else (0, 0), dtype=dtype)
    d_map = x.new_zeros(0 if edge_map is None else edge_map.shape[0], width, dtype=dtype)
    if width == 0:
        return d_x, d_edge, d_map
    if need[0]:
        work, tile = (
            work_of(t_indptr, num_slots),
            row_tile(Shape.of(width, x.element_size(), num_cols, num_slots)),
        )
        partial = x.new_empty(work.num_pieces, width, dtype=dtype)
        launch(
            _to_sources_kernel, tile.grid(work.num_items, width), x, work.array(t_indptr), t_rows, t_slots, x,
            *given, d_x, partial, work.num_items, num_cols, PLANNED=work.planned, BLOCK_R=tile.rows,
            BLOCK_F=tile.columns, num_warps=tile.warps, **fixed,
        )  # fmt: skip
        merge(work, partial, d_x, tile)
    if d_edge.numel() > 0:
        work = work_of(indptr, num_slots)
        tile = whole_row_tile(width, x.element_size(), indptr.shape[0] - 1, num_slots)
        launch(
            _to_edges_kernel, tile.grid(work.num_items, width), x, work.array(indptr), indices, x, *given,
            d_edge, work.num_items, PLANNED=work.planned, BLOCK_R=tile.rows, BLOCK_F=tile.columns,
            num_warps=tile.warps, **fixed,
        )  # fmt: skip
    if d_map.numel() > 0 and need[2]:
        shares, size = shares_of(num_slots)
        parts = x.new_zeros(shares, *d_map.shape, dtype=dtype)
        columns = min(triton.next_power_of_2(width), 128)
        launch(
            _to_map_kernel, (shares, triton.cdiv(width, columns)), x, row_of_slot(indptr, num_slots), indices,
            x, *given, parts, indptr[-1:], size, BLOCK_E=SLOTS, BLOCK_F=columns, **fixed,
        )  # fmt: skip
        d_map = parts.sum(0)
    return d_x, d_edge, d_map
