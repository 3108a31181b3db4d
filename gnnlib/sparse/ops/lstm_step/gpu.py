"""lstm_step on a GPU: a program takes a tile of sequences; what they send to one row is then added up."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse.gpu.blocks import load_rows, logistic, program_columns, program_items
from gnnlib.sparse.gpu.launch import launch, needs_gpu
from gnnlib.sparse.gpu.tiles import Shape, accumulator, row_tile
from gnnlib.sparse.ops.scatter.gpu import scatter
from gnnlib.sparse.registry import FLOATS, kernel


@triton.jit
def _tanh(z):
    return 2.0 * logistic(2.0 * z) - 1.0


@triton.jit
def _gate(
    a, a_row, b, b_row, d, d_row, hidden, parent, t, live, f, inside, PLACE: tl.constexpr,
    WIDTH: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One of the four gates of each sequence before its function."""
    at: tl.constexpr = PLACE * WIDTH
    row = tl.load(a_row + t, mask=live, other=0).to(tl.int64)
    total = load_rows(a + at, row, live, f, inside, 4 * WIDTH).to(ACC)
    if b is not None:
        row = tl.load(b_row + t, mask=live, other=0).to(tl.int64)
        total += load_rows(b + at, row, live, f, inside, 4 * WIDTH).to(ACC)
    if d is not None:
        row = tl.load(d_row + t, mask=live, other=0).to(tl.int64)
        total += load_rows(d + at, row, live, f, inside, 4 * WIDTH).to(ACC)
    if hidden is not None:
        row = tl.load(parent + t, mask=live, other=0).to(tl.int64)
        total += load_rows(hidden + at, row, live, f, inside, 4 * WIDTH).to(ACC)
    return total


@triton.jit
def _lstm_step_fwd_kernel(
    a, a_row, b, b_row, d, d_row, hidden, cell, parent, h, c, num_items,
    WIDTH: tl.constexpr, ACC: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    t, f = program_items(BLOCK_R), program_columns(BLOCK_F)
    live, inside = t < num_items, f < WIDTH
    i = _gate(a, a_row, b, b_row, d, d_row, hidden, parent, t, live, f, inside, 0, WIDTH, ACC)
    g = _gate(a, a_row, b, b_row, d, d_row, hidden, parent, t, live, f, inside, 2, WIDTH, ACC)
    o = _gate(a, a_row, b, b_row, d, d_row, hidden, parent, t, live, f, inside, 3, WIDTH, ACC)
    value = logistic(i) * _tanh(g)
    if hidden is not None:
        keep = _gate(a, a_row, b, b_row, d, d_row, hidden, parent, t, live, f, inside, 1, WIDTH, ACC)
        row = tl.load(parent + t, mask=live, other=0).to(tl.int64)
        value += logistic(keep) * load_rows(cell, row, live, f, inside, WIDTH).to(ACC)
    at, mask = t * WIDTH + f, live & inside
    tl.store(c + at, value.to(c.dtype.element_ty), mask=mask)
    tl.store(h + at, (logistic(o) * _tanh(value)).to(h.dtype.element_ty), mask=mask)


@triton.jit
def _lstm_step_bwd_kernel(
    a, a_row, b, b_row, d, d_row, hidden, cell, parent, grad_h, grad_c, d_gates, d_before, num_items,
    WIDTH: tl.constexpr, ACC: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    """Gradients of each sequence's gates, and of the cell that it goes on from."""
    t, f = program_items(BLOCK_R), program_columns(BLOCK_F)
    live, inside = t < num_items, f < WIDTH
    mask = live & inside
    i = logistic(_gate(a, a_row, b, b_row, d, d_row, hidden, parent, t, live, f, inside, 0, WIDTH, ACC))
    g = _tanh(_gate(a, a_row, b, b_row, d, d_row, hidden, parent, t, live, f, inside, 2, WIDTH, ACC))
    o = logistic(_gate(a, a_row, b, b_row, d, d_row, hidden, parent, t, live, f, inside, 3, WIDTH, ACC))
    value = i * g
    if hidden is not None:
        z = _gate(a, a_row, b, b_row, d, d_row, hidden, parent, t, live, f, inside, 1, WIDTH, ACC)
        row = tl.load(parent + t, mask=live, other=0).to(tl.int64)
        keep, before = logistic(z), load_rows(cell, row, live, f, inside, WIDTH).to(ACC)
        value += keep * before
    top = _tanh(value)
    up = load_rows(grad_h, t, live, f, inside, WIDTH).to(ACC)
    d_c = load_rows(grad_c, t, live, f, inside, WIDTH).to(ACC) + up * o * (1.0 - top * top)
    at = t * 4 * WIDTH + f
    tl.store(d_gates + at, d_c * g * i * (1.0 - i), mask=mask)
    tl.store(d_gates + at + 2 * WIDTH, d_c * i * (1.0 - g * g), mask=mask)
    tl.store(d_gates + at + 3 * WIDTH, up * top * o * (1.0 - o), mask=mask)
    if hidden is not None:
        tl.store(d_gates + at + WIDTH, d_c * before * keep * (1.0 - keep), mask=mask)
        tl.store(d_before + t * WIDTH + f, d_c * keep, mask=mask)
    else:
        tl.store(d_gates + at + WIDTH, tl.zeros((BLOCK_R, BLOCK_F), ACC), mask=mask)


def _given(*args: Tensor | None) -> list[Tensor | None]:
    return [None if t is None else t.contiguous() for t in args]


@kernel("lstm_step", "gpu", refuse=needs_gpu(FLOATS))
def lstm_step(
    a: Tensor,
    a_row: Tensor,
    b: Tensor | None,
    b_row: Tensor | None,
    d: Tensor | None,
    d_row: Tensor | None,
    hidden: Tensor | None,
    cell: Tensor | None,
    parent: Tensor | None,
) -> tuple[Tensor, Tensor]:
    count, width = a_row.shape[0], a.shape[1] // 4
    h, c = a.new_empty(count, width), a.new_empty(count, width)
    tile = row_tile(Shape.of(width, a.element_size(), count, count))
    launch(
        _lstm_step_fwd_kernel, tile.grid(count, width), a,
        *_given(a, a_row, b, b_row, d, d_row, hidden, cell, parent), h, c, count, WIDTH=width,
        ACC=accumulator(a.dtype)[1], BLOCK_R=tile.rows, BLOCK_F=tile.columns, num_warps=tile.warps,
    )  # fmt: skip
    return h, c


@kernel("lstm_step_grad", "gpu", refuse=needs_gpu(FLOATS))
def lstm_step_grad(
    a: Tensor,
    a_row: Tensor,
    b: Tensor | None,
    b_row: Tensor | None,
    d: Tensor | None,
    d_row: Tensor | None,
    hidden: Tensor | None,
    cell: Tensor | None,
    parent: Tensor | None,
    grad_h: Tensor,
    grad_c: Tensor,
) -> list[Tensor]:
    count, width = a_row.shape[0], a.shape[1] // 4
    dtype, acc = accumulator(a.dtype)
    d_gates = a.new_empty(count, 4 * width, dtype=dtype)
    d_before = a.new_empty(0 if parent is None else count, width, dtype=dtype)
    tile = row_tile(Shape.of(width, a.element_size(), count, count))
    launch(
        _lstm_step_bwd_kernel, tile.grid(count, width), a,
        *_given(a, a_row, b, b_row, d, d_row, hidden, cell, parent, grad_h, grad_c), d_gates, d_before, count,
        WIDTH=width, ACC=acc, BLOCK_R=tile.rows, BLOCK_F=tile.columns, num_warps=tile.warps,
    )  # fmt: skip

    def sent(table: Tensor | None, row: Tensor | None, values: Tensor) -> Tensor:
        if table is None or row is None:
            return a.new_empty(0)
        return scatter(row, values, table.shape[0], "sum")[0].to(a.dtype)

    pairs = ((a, a_row), (b, b_row), (d, d_row), (hidden, parent))
    return [*(sent(table, row, d_gates) for table, row in pairs), sent(cell, parent, d_before)]
