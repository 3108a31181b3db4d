"""lstm_step in plain torch: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.numerics import accumulate_dtype, logistic
from gnnlib.sparse.registry import kernel


def _gates(
    a: Tensor,
    a_row: Tensor,
    b: Tensor | None,
    b_row: Tensor | None,
    d: Tensor | None,
    d_row: Tensor | None,
    hidden: Tensor | None,
    parent: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Input, forget, cell and output gate before their functions, ``[T, H]`` each."""
    dtype = accumulate_dtype(a.dtype)
    total = a.to(dtype).index_select(0, a_row)
    for table, row in ((b, b_row), (d, d_row), (hidden, parent)):
        if table is not None and row is not None:
            total = total + table.to(dtype).index_select(0, row)
    i, f, g, o = total.chunk(4, dim=1)
    return i, f, g, o


@kernel("lstm_step", "reference")
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
    i, f, g, o = _gates(a, a_row, b, b_row, d, d_row, hidden, parent)
    c = logistic(i) * g.tanh()
    if cell is not None and parent is not None:
        c = c + logistic(f) * cell.to(c.dtype).index_select(0, parent)
    return (logistic(o) * c.tanh()).to(a.dtype), c.to(a.dtype)


@kernel("lstm_step_grad", "reference")
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
    """Gradients of a, b, d, hidden and cell; an empty tensor for what is not there."""
    i, f, g, o = _gates(a, a_row, b, b_row, d, d_row, hidden, parent)
    i, f, g, o = logistic(i), logistic(f), g.tanh(), logistic(o)
    before = None if cell is None or parent is None else cell.to(i.dtype).index_select(0, parent)
    c = i * g if before is None else i * g + f * before
    top = c.tanh()
    d_c = grad_c + grad_h * o * (1 - top.square())
    d_f = d_c.new_zeros(d_c.shape) if before is None else d_c * before * f * (1 - f)
    d_gates = [d_c * g * i * (1 - i), d_f, d_c * i * (1 - g.square()), grad_h * top * o * (1 - o)]

    def sent(table: Tensor | None, row: Tensor | None, parts: list[Tensor]) -> Tensor:
        if table is None or row is None:
            return a.new_empty(0)
        out = i.new_zeros(table.shape)
        for part, place in zip(parts, torch.split(out, i.shape[1], dim=1), strict=True):
            place.index_add_(0, row, part)
        return out.to(a.dtype)

    pairs = ((a, a_row), (b, b_row), (d, d_row), (hidden, parent))
    return [*(sent(table, row, d_gates) for table, row in pairs), sent(cell, parent, [d_c * f])]
