"""lstm_step on a CPU: the gates of a few features stay in registers, in the backward too."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import gate, lanes, tile
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, num_threads, optional, variant
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import BLOCK, RUNS
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import FLOATS, kernel, needs


def _pass(part: bool) -> tuple[Any, Any]:
    """The step and its gradient for one vector of features from column f on, for sequences lo to hi."""
    get = lanes.get_part if part else lanes.get
    put = lanes.put_part if part else lanes.put

    @variant(part)
    def forward(a, a_row, b, b_row, d, d_row, hidden, cell, parent, h, c, lo, hi, f, width):
        n = h.shape[1]
        second, third, old = b_row.size > 0, d_row.size > 0, parent.size > 0
        for t in range(lo, hi):
            r = tile.item(a_row, t)
            z_i, z_f = get(a, r, f, h, 1, width), get(a, r, n + f, h, 1, width)
            z_g, z_o = get(a, r, 2 * n + f, h, 1, width), get(a, r, 3 * n + f, h, 1, width)
            if second:
                r = tile.item(b_row, t)
                z_i = lanes.plus(z_i, get(b, r, f, h, 1, width))
                z_f = lanes.plus(z_f, get(b, r, n + f, h, 1, width))
                z_g = lanes.plus(z_g, get(b, r, 2 * n + f, h, 1, width))
                z_o = lanes.plus(z_o, get(b, r, 3 * n + f, h, 1, width))
            if third:
                r = tile.item(d_row, t)
                z_i = lanes.plus(z_i, get(d, r, f, h, 1, width))
                z_f = lanes.plus(z_f, get(d, r, n + f, h, 1, width))
                z_g = lanes.plus(z_g, get(d, r, 2 * n + f, h, 1, width))
                z_o = lanes.plus(z_o, get(d, r, 3 * n + f, h, 1, width))
            if old:
                r = tile.item(parent, t)
                z_i = lanes.plus(z_i, get(hidden, r, f, h, 1, width))
                z_f = lanes.plus(z_f, get(hidden, r, n + f, h, 1, width))
                z_g = lanes.plus(z_g, get(hidden, r, 2 * n + f, h, 1, width))
                z_o = lanes.plus(z_o, get(hidden, r, 3 * n + f, h, 1, width))
            value = lanes.times(gate.sigmoid(z_i), gate.tanh(z_g))
            if old:
                value = lanes.fused(value, gate.sigmoid(z_f), get(cell, r, f, h, 1, width))
            put(value, c, t, f, width)
            put(lanes.times(gate.sigmoid(z_o), gate.tanh(value)), h, t, f, width)

    @variant(part)
    def add(out, r, f, n, d_i, d_f, d_g, d_o, like, width):
        put(lanes.plus(get(out, r, f, like, 1, width), d_i), out, r, f, width)
        put(lanes.plus(get(out, r, n + f, like, 1, width), d_f), out, r, n + f, width)
        put(lanes.plus(get(out, r, 2 * n + f, like, 1, width), d_g), out, r, 2 * n + f, width)
        put(lanes.plus(get(out, r, 3 * n + f, like, 1, width), d_o), out, r, 3 * n + f, width)

    @variant(part)
    def backward(
        a, a_row, b, b_row, d, d_row, hidden, cell, parent, grad_h, grad_c, d_a, d_b, d_d, d_hidden, d_cell,
        lo, hi, f, width,
    ):  # fmt: skip
        n, none = grad_h.shape[1], tile.zero(grad_h, 1)
        one = lanes.fill(grad_h, 1, grad_h.dtype.type(1))
        second, third, old = b_row.size > 0, d_row.size > 0, parent.size > 0
        for t in range(lo, hi):
            r, p = tile.item(a_row, t), 0
            z_i, z_f = get(a, r, f, grad_h, 1, width), get(a, r, n + f, grad_h, 1, width)
            z_g, z_o = get(a, r, 2 * n + f, grad_h, 1, width), get(a, r, 3 * n + f, grad_h, 1, width)
            if second:
                r = tile.item(b_row, t)
                z_i = lanes.plus(z_i, get(b, r, f, grad_h, 1, width))
                z_f = lanes.plus(z_f, get(b, r, n + f, grad_h, 1, width))
                z_g = lanes.plus(z_g, get(b, r, 2 * n + f, grad_h, 1, width))
                z_o = lanes.plus(z_o, get(b, r, 3 * n + f, grad_h, 1, width))
            if third:
                r = tile.item(d_row, t)
                z_i = lanes.plus(z_i, get(d, r, f, grad_h, 1, width))
                z_f = lanes.plus(z_f, get(d, r, n + f, grad_h, 1, width))
                z_g = lanes.plus(z_g, get(d, r, 2 * n + f, grad_h, 1, width))
                z_o = lanes.plus(z_o, get(d, r, 3 * n + f, grad_h, 1, width))
            before = keep = d_f = none
            if old:
                p = tile.item(parent, t)
                z_i = lanes.plus(z_i, get(hidden, p, f, grad_h, 1, width))
                z_f = lanes.plus(z_f, get(hidden, p, n + f, grad_h, 1, width))
                z_g = lanes.plus(z_g, get(hidden, p, 2 * n + f, grad_h, 1, width))
                z_o = lanes.plus(z_o, get(hidden, p, 3 * n + f, grad_h, 1, width))
                before, keep = get(cell, p, f, grad_h, 1, width), gate.sigmoid(z_f)
            i, g, o = gate.sigmoid(z_i), gate.tanh(z_g), gate.sigmoid(z_o)
            top = gate.tanh(lanes.fused(lanes.times(i, g), keep, before))
            up = get(grad_h, t, f, grad_h, 1, width)
            flat = lanes.minus(one, lanes.times(top, top))
            d_c = lanes.fused(get(grad_c, t, f, grad_h, 1, width), lanes.times(up, o), flat)
            d_i = lanes.times(lanes.times(d_c, g), gate.steepness(i))
            if old:
                d_f = lanes.times(lanes.times(d_c, before), gate.steepness(keep))
            d_g = lanes.times(lanes.times(d_c, i), lanes.minus(one, lanes.times(g, g)))
            d_o = lanes.times(lanes.times(up, top), gate.steepness(o))
            add(d_a, tile.item(a_row, t), f, n, d_i, d_f, d_g, d_o, grad_h, width)
            if second:
                add(d_b, tile.item(b_row, t), f, n, d_i, d_f, d_g, d_o, grad_h, width)
            if third:
                add(d_d, tile.item(d_row, t), f, n, d_i, d_f, d_g, d_o, grad_h, width)
            if old:
                add(d_hidden, p, f, n, d_i, d_f, d_g, d_o, grad_h, width)
                put(lanes.fused(get(d_cell, p, f, grad_h, 1, width), d_c, keep), d_cell, p, f, width)

    return forward, backward


_step, _step_grad = _pass(False)
_step_rest, _step_grad_rest = _pass(True)


@helper
def _rows(a, a_row, b, b_row, d, d_row, hidden, cell, parent, h, c, first, last):
    size, n = tile.lanes(h), h.shape[1]
    for lo in range(first, last, BLOCK):
        hi, f = min(lo + BLOCK, last), 0
        while n - f >= size:
            _step(a, a_row, b, b_row, d, d_row, hidden, cell, parent, h, c, lo, hi, f, size)
            f += size
        if f < n:
            _step_rest(a, a_row, b, b_row, d, d_row, hidden, cell, parent, h, c, lo, hi, f, n - f)


def _lstm_step(a, a_row, b, b_row, d, d_row, hidden, cell, parent, h, c):
    for run in prange(RUNS):
        lo, hi = h.shape[0] * run // RUNS, h.shape[0] * (run + 1) // RUNS
        _rows(a, a_row, b, b_row, d, d_row, hidden, cell, parent, h, c, lo, hi)


@helper
def _features(
    a, a_row, b, b_row, d, d_row, hidden, cell, parent, grad_h, grad_c, d_a, d_b, d_d, d_hidden, d_cell,
    first, last,
):  # fmt: skip
    size, rows = tile.lanes(grad_h), grad_h.shape[0]
    for lo in range(0, rows, BLOCK):
        hi, f = min(lo + BLOCK, rows), first
        while last - f >= size:
            _step_grad(
                a, a_row, b, b_row, d, d_row, hidden, cell, parent, grad_h, grad_c, d_a, d_b, d_d, d_hidden,
                d_cell, lo, hi, f, size,
            )  # fmt: skip
            f += size
        if f < last:
            _step_grad_rest(
                a, a_row, b, b_row, d, d_row, hidden, cell, parent, grad_h, grad_c, d_a, d_b, d_d, d_hidden,
                d_cell, lo, hi, f, last - f,
            )  # fmt: skip


def _lstm_step_grad(
    a, a_row, b, b_row, d, d_row, hidden, cell, parent, grad_h, grad_c, d_a, d_b, d_d, d_hidden, d_cell, cut
):
    # A thread owns features, since many sequences send to one row.
    for run in prange(cut.size - 1):
        _features(
            a, a_row, b, b_row, d, d_row, hidden, cell, parent, grad_h, grad_c, d_a, d_b, d_d, d_hidden,
            d_cell, cut[run], cut[run + 1],
        )  # fmt: skip


_launch = Launcher(_lstm_step)
_grad_launch = Launcher(_lstm_step_grad)

#: What a feature of a state costs beside an addition: five exponentials.
_COST = 16


def _inputs(
    a: Tensor,
    a_row: Tensor,
    b: Tensor | None,
    b_row: Tensor | None,
    d: Tensor | None,
    d_row: Tensor | None,
    hidden: Tensor | None,
    cell: Tensor | None,
    parent: Tensor | None,
) -> list[Any]:
    """The arguments of a kernel; no number may lead out of its table."""
    dtype, found = accumulate_dtype(a.dtype), []
    for name, table, row in (("rows[0]", a, a_row), ("rows[1]", b, b_row), ("rows[2]", d, d_row)):
        _inside(name, table, row)
        found += [optional(table, dtype, 2), optional(row, torch.int64)]
    _inside("parent", hidden, parent)
    return [*found, optional(hidden, dtype, 2), optional(cell, dtype, 2), optional(parent, torch.int64)]


def _inside(name: str, table: Tensor | None, row: Tensor | None) -> None:
    if table is None or row is None or not row.numel():
        return
    low, high = (int(end) for end in row.aminmax())
    if low < 0 or high >= table.shape[0]:
        raise IndexError(
            f"lstm_step: {name} reaches from {low} to {high} but its table has {table.shape[0]} rows; pass "
            f"numbers from 0 to {table.shape[0] - 1}"
        )


def _cuts(width: int, dtype: torch.dtype) -> np.ndarray[Any, Any]:
    """Where the features of one thread end and those of the next begin: whole cache lines of them."""
    line = tile.CACHE_LINE // dtype.itemsize
    lines = -(-width // line)
    runs = min(num_threads(), lines)
    return np.minimum(np.arange(runs + 1) * lines // runs * line, width)


@kernel("lstm_step", "cpu", refuse=needs("cpu", FLOATS))
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
    inputs = _inputs(a, a_row, b, b_row, d, d_row, hidden, cell, parent)
    shape, dtype = (a_row.shape[0], a.shape[1] // 4), accumulate_dtype(a.dtype)
    h, c = empty(*shape, dtype=dtype), empty(*shape, dtype=dtype)
    if h.numel():
        _launch(_COST * h.numel(), *inputs, h.numpy(), c.numpy())
    return h.to(a.dtype), c.to(a.dtype)


@kernel("lstm_step_grad", "cpu", refuse=needs("cpu", FLOATS))
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
    dtype, tables = accumulate_dtype(a.dtype), (a, b, d, hidden, cell)
    inputs = _inputs(a, a_row, b, b_row, d, d_row, hidden, cell, parent)
    out = [torch.zeros((0, 0) if t is None else t.shape, dtype=dtype) for t in tables]
    if grad_h.numel():
        up = array(grad_h, dtype), array(grad_c, dtype)
        work = 2 * _COST * grad_h.numel()
        _grad_launch(work, *inputs, *up, *(t.numpy() for t in out), _cuts(grad_h.shape[1], dtype))
    return [a.new_empty(0) if t is None else d_t.to(a.dtype) for t, d_t in zip(tables, out, strict=True)]
