"""Largest or smallest neighbour on a CPU, value and slot in registers while the edges of a row pass by.

The smallest is the largest of the negatives: negation is exact and keeps the order of ties.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import tile
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, num_threads, optional, variant
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import AHEAD, BLOCK, CUT, RUNS, hub_pieces, pieces_of, run_start
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import FLOATS, kernel, needs

#: Neighbours above which a row's winners are too few of them to ask for all.
MANY = 64


def _tile_pass(count):
    lines = max(count * tile.VECTOR_BYTES // tile.CACHE_LINE, 1)

    @variant(count)
    def run(first, last, indices, weight, x, sign, out, arg, lo, hi, head, f):
        end = indices.size - 1
        step = tile.CACHE_LINE // x.itemsize
        weighted = weight.size > 0
        for i in range(lo, hi):
            start, stop = tile.item(first, i), tile.item(last, i)
            if stop - start > CUT:
                continue
            if start == stop:
                tile.store(tile.zero(x, count), out, i, f)
                tile.store(tile.index(x, count, np.int32(-1)), arg, i, f)
                continue
            c = sign * weight[start, head] if weighted else sign
            best = tile.load(c, x, tile.item(indices, start), f, count)
            slot = tile.index(x, count, np.int32(start))
            for e in range(start + 1, stop):
                coming = tile.item(indices, min(e + AHEAD, end))
                for k in range(lines):
                    tile.prefetch(x, coming, f + k * step)
                c = sign * weight[e, head] if weighted else sign
                value = tile.load(c, x, tile.item(indices, e), f, count)
                wins = tile.beats(best, value)
                best = tile.choose(wins, value, best)
                slot = tile.choose(wins, tile.index(x, count, np.int32(e)), slot)
            tile.store_scaled(best, sign, out, i, f)
            tile.store(slot, arg, i, f)

    return run


_tile4 = _tile_pass(4)
_tile1 = _tile_pass(1)


@helper
def _narrow(first, last, indices, weight, x, sign, out, arg, lo, hi, head, f, width):
    weighted = weight.size > 0
    for i in range(lo, hi):
        start, stop = tile.item(first, i), tile.item(last, i)
        if stop - start > CUT:
            continue
        for k in range(f, f + width):
            out[i, k] = 0
            arg[i, k] = -1
        for e in range(start, stop):
            j = tile.item(indices, e)
            c = sign * weight[e, head] if weighted else sign
            for k in range(f, f + width):
                value = c * x[j, k]
                best = sign * out[i, k]
                if e == start or value > best or (value != value and best == best):
                    out[i, k] = sign * value
                    arg[i, k] = e


@helper
def _best_rows(first, last, indices, weight, x, sign, out, arg, lo, hi):
    heads = max(weight.shape[1], 1)
    depth = x.shape[1] // heads
    lanes = tile.lanes(x)
    for a in range(lo, hi, BLOCK):
        b = min(a + BLOCK, hi)
        for head in range(heads):
            f = head * depth
            stop = f + depth
            while stop - f >= 4 * lanes:
                _tile4(first, last, indices, weight, x, sign, out, arg, a, b, head, f)
                f += 4 * lanes
            while stop - f >= lanes:
                _tile1(first, last, indices, weight, x, sign, out, arg, a, b, head, f)
                f += lanes
            if f < stop:
                _narrow(first, last, indices, weight, x, sign, out, arg, a, b, head, f, stop - f)


@helper
def _combine(indptr, hub, partial, partial_arg, sign, out, arg):
    """The best of the pieces of each hub row, the first among equals."""
    for p in range(hub.shape[1]):
        i = hub[0, p]
        for f in range(out.shape[1]):
            value, best = sign * partial[p, f], sign * out[i, f]
            if hub[1, p] == indptr[i] or value > best or (value != value and best == best):
                out[i, f] = partial[p, f]
                arg[i, f] = partial_arg[p, f]


def _spmm_arg(indptr, first, last, hub, indices, weight, x, sign, out, arg, partial, partial_arg):
    for run in prange(RUNS):
        lo, hi = run_start(indptr, run), run_start(indptr, run + 1)
        _best_rows(first, last, indices, weight, x, sign, out, arg, lo, hi)
        lo, hi = pieces_of(hub, run)
        _best_rows(hub[1], hub[2], indices, weight, x, sign, partial, partial_arg, lo, hi)
    _combine(indptr, hub, partial, partial_arg, sign, out, arg)


_spmm_arg_launch = Launcher(_spmm_arg)
_accepts = needs("cpu", FLOATS)


def _refuse(indptr: Tensor, indices: Tensor, weight: Tensor | None, x: Tensor, largest: bool) -> str | None:
    if indices.shape[0] >= 2**31:
        return f"numbers slots in 32 bits, got {indices.shape[0]} edges"
    return _accepts(indptr, indices, weight, x)


@kernel("spmm_arg", "cpu", refuse=_refuse)
def spmm_arg(
    indptr: Tensor, indices: Tensor, weight: Tensor | None, x: Tensor, largest: bool
) -> tuple[Tensor, Tensor]:
    dtype = accumulate_dtype(x.dtype)
    num_rows, (num_cols, heads, depth) = indptr.shape[0] - 1, x.shape
    width = heads * depth
    out = empty(num_rows, width, dtype=dtype)
    arg = empty(num_rows, width, dtype=torch.int32)
    values, offsets = array(x.reshape(num_cols, width), dtype), array(indptr)
    hub = hub_pieces(offsets, indices.shape[0])
    _spmm_arg_launch(
        (indices.shape[0] + num_rows) * width,
        offsets,
        offsets[:-1],
        offsets[1:],
        hub,
        array(indices),
        optional(weight, dtype, 2),
        values,
        values.dtype.type(1 if largest else -1),
        out.numpy(),
        arg.numpy(),
        np.empty((hub.shape[1], width), values.dtype),
        np.empty((hub.shape[1], width), np.int32),
    )
    return out.view(num_rows, heads, depth).to(x.dtype), arg.view(num_rows, heads, depth)


@helper
def _scatter_block(arg, indptr, indices, weight, grad, out, lo, hi):
    """Features lo to hi of all rows in order; the rows written next are asked for one row ahead."""
    depth = max(grad.shape[1] // max(weight.shape[1], 1), 1)
    step = tile.CACHE_LINE // grad.itemsize
    weighted = weight.size > 0
    for i in range(grad.shape[0]):
        if i + 2 < indptr.size:
            start, stop = tile.item(indptr, i + 1), tile.item(indptr, i + 2)
            if stop - start <= MANY:
                for e in range(start, stop):
                    j = tile.item(indices, e)
                    for f in range(lo, hi, step):
                        tile.prefetch(out, j, f)
        for f in range(lo, hi):
            e = arg[i, f]
            if e >= 0:
                value = grad[i, f]
                if weighted:
                    value *= weight[e, f // depth]
                out[tile.item(indices, e), f] += value


def _arg_scatter(arg, indptr, indices, weight, grad, blocks, out):
    """Each block of features belongs to one thread: no two threads write the same number."""
    for b in prange(blocks):
        lo, hi = grad.shape[1] * b // blocks, grad.shape[1] * (b + 1) // blocks
        _scatter_block(arg, indptr, indices, weight, grad, out, lo, hi)


_arg_scatter_launch = Launcher(_arg_scatter)


@kernel("arg_scatter", "cpu", refuse=needs("cpu", FLOATS))
def arg_scatter(
    arg: Tensor, indptr: Tensor, indices: Tensor, weight: Tensor | None, grad: Tensor, num_cols: int
) -> Tensor:
    dtype = accumulate_dtype(grad.dtype)
    num_rows, heads, depth = grad.shape
    width = heads * depth
    out = empty(num_cols, width, dtype=dtype).zero_()
    if grad.numel() and num_cols:
        _arg_scatter_launch(
            grad.numel(),
            array(arg.reshape(num_rows, width)),
            array(indptr),
            array(indices),
            optional(weight, dtype, 2),
            array(grad.reshape(num_rows, width), dtype),
            min(num_threads(), width),
            out.numpy(),
        )
    return out.view(num_cols, heads, depth).to(grad.dtype)


def _arg_to_slots(arg, value, depth, out):
    """A row's winners are slots of its own: no two threads write the same number."""
    for i in prange(arg.shape[0]):
        for c in range(arg.shape[1]):
            if arg[i, c] >= 0:
                out[arg[i, c], c // depth] += value[i, c]


_arg_to_slots_launch = Launcher(_arg_to_slots)


@kernel("arg_to_slots", "cpu", refuse=needs("cpu", FLOATS))
def arg_to_slots(arg: Tensor, indptr: Tensor, value: Tensor, num_slots: int) -> Tensor:
    dtype = accumulate_dtype(value.dtype)
    num_rows, heads, depth = value.shape
    out = torch.zeros(num_slots, heads, dtype=dtype)
    if value.numel() and num_slots:
        shape = num_rows, heads * depth
        _arg_to_slots_launch(
            value.numel(), array(arg.reshape(shape)), array(value.reshape(shape), dtype), depth, out.numpy()
        )
    return out.to(value.dtype)
