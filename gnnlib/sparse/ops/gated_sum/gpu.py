"""Sums through a gate on a GPU: a program owns a few rows and passes over their edges; no gate is kept."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.gpu.blocks import (
    load_rows,
    logistic,
    longest,
    owner_of,
    program_columns,
    program_items,
    source_of,
    span,
    store_rows,
)
from gnnlib.sparse.gpu.launch import launch, needs_gpu
from gnnlib.sparse.gpu.messages import SLOTS, mapped, place_of, shares_of, whole_row_tile
from gnnlib.sparse.gpu.tiles import Shape, accumulator, row_tile
from gnnlib.sparse.gpu.work import work_of
from gnnlib.sparse.ops.spmm.gpu import merge
from gnnlib.sparse.registry import FLOATS, kernel


@triton.jit
def _terms(
    edge, gate_map, value_map, at, live, f, inside, WIDTH: tl.constexpr, CHANNELS: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """What edges add inside the gate and to the value; without channels they stand side by side."""
    if CHANNELS == 0:
        to_gate = load_rows(edge, 2 * at, live, f, inside, WIDTH).to(ACC)
        to_value = load_rows(edge, 2 * at + 1, live, f, inside, WIDTH).to(ACC)
    else:
        to_gate = mapped(edge, gate_map, at, live, f, inside, WIDTH, CHANNELS, ACC)
        to_value = mapped(edge, value_map, at, live, f, inside, WIDTH, CHANNELS, ACC)
    return to_gate, to_value


@triton.jit
def _gated_sum_fwd_kernel(
    items, indices, perm, k, q, v, factor, edge, gate_map, value_map, out, out_part, rate, rate_part,
    num_items, num_rows,
    WIDTH: tl.constexpr, CHANNELS: tl.constexpr, SLOPE: tl.constexpr, ACC: tl.constexpr,
    PLANNED: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    item = program_items(BLOCK_R)
    start, stop, place = span(items, num_items, item, PLANNED)
    row = owner_of(items, num_items, item, place, PLANNED)
    f = program_columns(BLOCK_F)
    inside = f < WIDTH
    own = load_rows(k, row, row >= 0, f, inside, WIDTH).to(ACC)
    total = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    slopes = tl.zeros((BLOCK_R, BLOCK_F), ACC)
    for step in range(longest(start, stop)):
        slot = start + step
        live = slot < stop
        j = source_of(indices, slot, live, True)
        z = own + load_rows(q, j, live, f, inside, WIDTH).to(ACC)
        message = load_rows(v, j, live, f, inside, WIDTH).to(ACC)
        if factor is not None:
            second = load_rows(factor, row, row >= 0, f, inside, WIDTH).to(ACC)
        if edge is not None:
            at = place_of(perm, slot, live)
            inner, extra = _terms(edge, gate_map, value_map, at, live, f, inside, WIDTH, CHANNELS, ACC)
            z += inner
            if factor is not None:
                second += extra
            else:
                message += extra
        gate = logistic(z)
        total += tl.where(live, gate * message, 0.0)
        if SLOPE:
            slope = gate * (1.0 - gate) * message
            if factor is not None:
                slope *= second
            slopes += tl.where(live, slope, 0.0)
    store_rows(out, out_part, total, place, num_rows, f, inside, WIDTH)
    if SLOPE:
        store_rows(rate, rate_part, slopes, place, num_rows, f, inside, WIDTH)


@kernel("gated_sum", "gpu", refuse=needs_gpu(FLOATS))
def gated_sum(
    indptr: Tensor,
    indices: Tensor,
    slot: Tensor | None,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    factor: Tensor | None,
    edge: Tensor | None,
    gate_map: Tensor | None,
    value_map: Tensor | None,
    slope: bool,
) -> tuple[Tensor, Tensor]:
    (num_rows, width), num_slots = k.shape, indices.shape[0]
    dtype, acc = accumulator(k.dtype)
    work, tile = work_of(indptr, num_slots), row_tile(Shape.of(width, k.element_size(), num_rows, num_slots))
    channels = 0 if gate_map is None else gate_map.shape[0]
    if gate_map is not None and channels == 0:  # a map of no channels adds nothing
        edge = gate_map = value_map = None
    out, rate = k.new_empty(num_rows, width), k.new_empty(num_rows if slope else 0, width)
    parts = [k.new_empty(work.num_pieces, width, dtype=dtype) for _ in range(2)]
    given = (slot, k, q, v, factor, edge, gate_map, value_map)
    launch(
        _gated_sum_fwd_kernel, tile.grid(work.num_items, width), k, work.array(indptr), indices,
        *(None if t is None else t.contiguous() for t in given), out, parts[0], rate, parts[1],
        work.num_items, num_rows, WIDTH=width, CHANNELS=channels, SLOPE=slope, ACC=acc, PLANNED=work.planned,
        BLOCK_R=tile.rows, BLOCK_F=tile.columns, num_warps=tile.warps,
    )  # fmt: skip
    if width > 0:
        merge(work, parts[0], out, tile)
        if slope:
            merge(work, parts[1], rate, tile)
    return out, rate if slope else k.new_empty(0)


@triton.jit
def _spent(
    k, q, v, grad, edge, gate_map, value_map, row, source, slot, live, f, inside,
    WIDTH: tl.constexpr, CHANNELS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Gradients of the two sums of each edge, inside the gate and behind it."""
    z = load_rows(k, row, live, f, inside, WIDTH).to(ACC) + load_rows(q, source, live, f, inside, WIDTH).to(
        ACC
    )
    to_gate, to_value = _terms(edge, gate_map, value_map, slot, live, f, inside, WIDTH, CHANNELS, ACC)
    z += to_gate
    message = load_rows(v, source, live, f, inside, WIDTH).to(ACC) + to_value
    gate = logistic(z)
    behind = gate * load_rows(grad, row, live, f, inside, WIDTH).to(ACC)
    inner = (1.0 - gate) * behind * message
    kept = live & inside
    return tl.where(kept, inner, 0.0), tl.where(kept, behind, 0.0)


@triton.jit
def _gated_edge_bwd_kernel(
    items, indices, k, q, v, grad, edge, gate_map, value_map, d_edge, num_items,
    WIDTH: tl.constexpr, CHANNELS: tl.constexpr, ACC: tl.constexpr, PLANNED: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_F: tl.constexpr,
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
        inner, behind = _spent(
            k, q, v, grad, edge, gate_map, value_map, row, source, slot, live, f, inside, WIDTH, CHANNELS, ACC
        )
        if CHANNELS == 0:
            at = d_edge + 2 * slot * WIDTH + f
            tl.store(at, inner.to(d_edge.dtype.element_ty), mask=live & inside)
            tl.store(at + WIDTH, behind.to(d_edge.dtype.element_ty), mask=live & inside)
        else:
            for c in range(CHANNELS):
                to_gate = tl.load(gate_map + c * WIDTH + f, mask=inside, other=0).to(ACC)
                to_value = tl.load(value_map + c * WIDTH + f, mask=inside, other=0).to(ACC)
                total = tl.sum(inner * to_gate + behind * to_value, axis=1, keep_dims=True)
                tl.store(d_edge + slot * CHANNELS + c, total.to(d_edge.dtype.element_ty), mask=live)


@triton.jit
def _gated_map_bwd_kernel(
    rows, indices, k, q, v, grad, edge, gate_map, value_map, d_gate, d_value, used, share_size,
    WIDTH: tl.constexpr, CHANNELS: tl.constexpr, ACC: tl.constexpr,
    BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    share = tl.program_id(0).to(tl.int64)
    f = program_columns(BLOCK_F)
    inside = f < WIDTH
    for begin in range(0, share_size, BLOCK_E):
        slot = share * share_size + begin + tl.arange(0, BLOCK_E)[:, None]
        live = slot < tl.minimum((share + 1) * share_size, tl.load(used))
        row = tl.load(rows + slot, mask=live, other=0)
        source = source_of(indices, slot, live, True)
        inner, behind = _spent(
            k, q, v, grad, edge, gate_map, value_map, row, source, slot, live, f, inside, WIDTH, CHANNELS, ACC
        )
        for c in range(CHANNELS):
            amount = tl.load(edge + slot * CHANNELS + c, mask=live, other=0).to(ACC)
            at = (share * CHANNELS + c) * WIDTH + f
            gate = tl.load(d_gate + at, mask=inside, other=0) + tl.sum(amount * inner, axis=0)[None, :]
            value = tl.load(d_value + at, mask=inside, other=0) + tl.sum(amount * behind, axis=0)[None, :]
            tl.store(d_gate + at, gate, mask=inside)
            tl.store(d_value + at, value, mask=inside)


@kernel("gated_sum_edge", "gpu", refuse=needs_gpu(FLOATS))
def gated_sum_edge(
    indptr: Tensor,
    indices: Tensor,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    grad: Tensor,
    edge: Tensor,
    gate_map: Tensor | None,
    value_map: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    num_slots, width = indices.shape[0], k.shape[1]
    channels = 0 if gate_map is None else gate_map.shape[0]
    dtype, acc = accumulator(k.dtype)
    tensors = (k, q, v, grad, edge, gate_map, value_map)
    given = tuple(None if t is None else t.contiguous() for t in tensors)
    d_edge = k.new_zeros(edge.shape)  # slots past the last offset stay 0
    fixed = {"WIDTH": width, "CHANNELS": channels, "ACC": acc}
    if edge.shape[1] > 0 and width > 0:
        work = work_of(indptr, num_slots)
        tile = whole_row_tile(width, k.element_size(), indptr.shape[0] - 1, num_slots)
        launch(
            _gated_edge_bwd_kernel, tile.grid(work.num_items, width), k, work.array(indptr), indices, *given,
            d_edge, work.num_items, PLANNED=work.planned, BLOCK_R=tile.rows, BLOCK_F=tile.columns,
            num_warps=tile.warps, **fixed,
        )  # fmt: skip
    if gate_map is None:
        return d_edge, k.new_empty(0), k.new_empty(0)
    shares, size = shares_of(num_slots)
    d_gate, d_value = (k.new_zeros(shares, channels, width, dtype=dtype) for _ in range(2))
    if channels > 0 and width > 0:
        columns = min(triton.next_power_of_2(width), 128)
        launch(
            _gated_map_bwd_kernel, (shares, triton.cdiv(width, columns)), k, row_of_slot(indptr, num_slots),
            indices, *given, d_gate, d_value, indptr[-1:], size, BLOCK_E=SLOTS, BLOCK_F=columns, **fixed,
        )  # fmt: skip
    return d_edge, d_gate.sum(0).to(k.dtype), d_value.sum(0).to(k.dtype)
