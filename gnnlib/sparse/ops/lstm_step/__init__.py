"""One step of a recurrent network whose sequences begin alike and then part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define
from gnnlib.sparse.ops.lstm_step.reference import lstm_step as plain
from gnnlib.sparse.registry import dispatch

__all__ = ["lstm_step"]

Optional: TypeAlias = Tensor | None
#: Tables that an input may be the sum of.
PARTS = 3


def lstm_step(
    tables: Sequence[Tensor],
    rows: Sequence[Tensor],
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    parent: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""States of an LSTM after one more element of each sequence, without the gates in memory.

    .. math:: (i, f, g, o)_t = \sum_k \mathrm{table}^k_{\mathrm{row}^k_t}
        + \mathrm{hidden}_{\mathrm{parent}_t}

    .. math:: c'_t = \sigma(f) \odot c_{\mathrm{parent}_t} + \sigma(i) \odot \tanh(g), \quad
        h'_t = \sigma(o) \odot \tanh(c'_t)

    A sequence goes on from the state of its parent, and several may go on from one, so what sequences have in
    common at their beginning is computed once. The inputs are mapped to gates before, once for each row of a
    table and not for each sequence; so are the states, as ``hidden``. Hochreiter and Schmidhuber, Long
    Short-Term Memory, Neural Computation 1997, with forget gates and the order of gates of
    :class:`torch.nn.LSTM`.

    Args:
        tables: what the inputs contribute to the gates, one to three tables; their rows are added.
        rows: the row of each table for each sequence.
        hidden: what the states before contribute to the gates; None where sequences begin.
        cell: the cells c before.
        parent: the state that each sequence goes on from.

    Shapes: tables ``[M_k, 4 H]``, rows and parent ``[T]``, hidden ``[P, 4 H]``, cell ``[P, H]`` -> h' and c',
        both ``[T, H]``.
    Cost: O(T H); the backward computes the gates again. A second derivative is taken of the plain formula.
    Raises: ValueError when shapes do not fit or only some of hidden, cell and parent are given; TypeError for
        values that are not floating; IndexError for a row that is not there.
    """
    state = (hidden, cell, parent)
    _check(tables, rows, *state)
    given = [t for t in (*tables, hidden, cell) if t is not None]
    dtype = given[0].dtype
    for t in given[1:]:
        dtype = torch.promote_types(dtype, t.dtype)
    parts: list[Tensor | None] = []
    for table, row in zip(tables, rows, strict=True):
        parts += [table.to(dtype), row]
    parts += [None, None] * (PARTS - len(tables))
    states = [None if t is None else t.to(dtype) for t in (hidden, cell)]
    h, c = _lstm_step(*parts, *states, parent)
    return h, c


def _check(
    tables: Sequence[Tensor],
    rows: Sequence[Tensor],
    hidden: Tensor | None,
    cell: Tensor | None,
    parent: Tensor | None,
) -> None:
    if not 1 <= len(tables) <= PARTS or len(rows) != len(tables):
        raise ValueError(
            f"lstm_step: {len(tables)} tables and {len(rows)} rows came; pass one to {PARTS} of each"
        )
    names = [(f"tables[{k}]", t) for k, t in enumerate(tables)]
    values = [*names, *((n, t) for n, t in (("hidden", hidden), ("cell", cell)) if t is not None)]
    for name, t in values:
        if not t.is_floating_point():
            raise TypeError(
                f"lstm_step: {name} is {t.dtype}; pass floating values, for example {name}.float()"
            )
    shapes = [list(t.shape) for t in tables]
    width = shapes[0][-1] if shapes[0] else 0
    if any(len(s) != 2 or s[1] != width for s in shapes) or width % 4:
        raise ValueError(
            f"lstm_step: the tables have shapes {shapes}; expected [M, 4 H] with one H, the four gates"
        )
    lengths = [list(r.shape) for r in (*rows, *([] if parent is None else [parent]))]
    if any(s != lengths[0] or len(s) != 1 for s in lengths):
        raise ValueError(
            f"lstm_step: rows and parent have shapes {lengths}; expected [T] each, one a sequence"
        )
    if (hidden is None) != (cell is None) or (hidden is None) != (parent is None):
        raise ValueError("lstm_step: hidden, cell and parent belong together; pass all three or none")
    if hidden is not None and cell is not None:
        found = [list(hidden.shape), list(cell.shape)]
        if found != [[found[0][0], width], [found[0][0], width // 4]]:
            raise ValueError(
                f"lstm_step: hidden has shape {found[0]} and cell {found[1]}; expected [P, {width}] and "
                f"[P, {width // 4}]"
            )


def _forward(*args: Optional) -> tuple[Tensor, Tensor]:
    h, c = dispatch("lstm_step", *args)
    return h, c


def _fake(a: Tensor, a_row: Tensor, *_: Optional) -> tuple[Tensor, Tensor]:
    shape = a_row.shape[0], a.shape[1] // 4
    return a.new_empty(shape), a.new_empty(shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs)


#: Places of the floating arguments: the tables, hidden and cell.
_VALUES = (0, 2, 4, 6, 7)


def _backward(ctx: Any, grad_h: Tensor, grad_c: Tensor) -> tuple[Optional, ...]:
    args = ctx.saved_tensors
    need = ctx.needs_input_grad[-len(args) :]
    out: list[Optional] = [None] * len(args)
    if torch.is_grad_enabled():
        wanted = [k for k in _VALUES if args[k] is not None and need[k]]

        def of(*given: Tensor) -> tuple[Tensor, Tensor]:
            return plain(*(given[wanted.index(k)] if k in wanted else a for k, a in enumerate(args)))

        found = torch.func.vjp(of, *(args[k] for k in wanted))[1]((grad_h, grad_c))
    else:
        wanted = list(_VALUES)
        found = _lstm_step_grad(*args, grad_h.contiguous(), grad_c.contiguous())
    for k, d in zip(wanted, found, strict=True):
        out[k] = d if args[k] is not None and need[k] else None
    return tuple(out)


_SIX = "Tensor a, Tensor a_row, Tensor? b, Tensor? b_row, Tensor? d, Tensor? d_row"
_STATE = "Tensor? hidden, Tensor? cell, Tensor? parent"

_lstm_step = define(
    "lstm_step", f"({_SIX}, {_STATE}) -> (Tensor, Tensor)", _forward, _fake, _setup, _backward
)


def _grad_forward(*args: Optional) -> tuple[Tensor, ...]:
    return tuple(dispatch("lstm_step_grad", *args))


def _grad_fake(*args: Optional) -> tuple[Tensor, ...]:
    grad = args[-1]
    assert grad is not None
    return tuple(grad.new_empty(0) if t is None else torch.empty_like(t) for t in (args[k] for k in _VALUES))


_lstm_step_grad = define(
    "lstm_step_grad",
    f"({_SIX}, {_STATE}, Tensor grad_h, Tensor grad_c) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _grad_forward,
    _grad_fake,
)
