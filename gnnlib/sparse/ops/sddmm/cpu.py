"""sddmm on a CPU: edges in equal runs, each edge on its own."""

from __future__ import annotations

import torch
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import tile
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import AHEAD, RUNS, row_of
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import FLOATS, kernel, needs


@helper
def _dot_edges(indptr, indices, a, b, out, lo, hi):
    heads = out.shape[1]
    depth = a.shape[1] // max(heads, 1)
    lanes = tile.lanes(a)
    i = row_of(indptr, lo)
    for e in range(lo, hi):
        while tile.item(indptr, i + 1) <= e:
            i += 1
        coming = tile.item(indices, min(e + AHEAD, indices.size - 1))
        tile.prefetch_row(b, coming)
        j = tile.item(indices, e)
        for head in range(heads):
            f = head * depth
            stop = f + depth
            wide = tile.zero(a, 4)
            while stop - f >= 4 * lanes:
                wide = tile.multiply_add(wide, a, i, b, j, f)
                f += 4 * lanes
            single = tile.zero(a, 1)
            while stop - f >= lanes:
                single = tile.multiply_add(single, a, i, b, j, f)
                f += lanes
            value = tile.total(wide) + tile.total(single)
            while f < stop:
                value += a[i, f] * b[j, f]
                f += 1
            out[e, head] = value


def _dot(indptr, indices, a, b, out):
    num_edges = indptr[-1]
    for t in prange(RUNS):
        _dot_edges(indptr, indices, a, b, out, num_edges * t // RUNS, num_edges * (t + 1) // RUNS)


@helper
def _combine_edges(indptr, indices, a, b, sign, out, lo, hi):
    i = row_of(indptr, lo)
    for e in range(lo, hi):
        while tile.item(indptr, i + 1) <= e:
            i += 1
        j = tile.item(indices, e)
        for f in range(a.shape[1]):
            out[e, f] = a[i, f] + sign * b[j, f]


def _combine(indptr, indices, a, b, sign, out):
    num_edges = indptr[-1]
    for t in prange(RUNS):
        _combine_edges(indptr, indices, a, b, sign, out, num_edges * t // RUNS, num_edges * (t + 1) // RUNS)


_dot_launch = Launcher(_dot)
_combine_launch = Launcher(_combine)


@kernel("sddmm", "cpu", refuse=needs("cpu", FLOATS))
def sddmm(indptr: Tensor, indices: Tensor, x_dst: Tensor, x_src: Tensor, op: str) -> Tensor:
    dtype = accumulate_dtype(x_dst.dtype)
    num_edges, (num_rows, heads, depth) = indices.shape[0], x_dst.shape
    width = heads * depth
    a = array(x_dst.reshape(num_rows, width), dtype)
    b = array(x_src.reshape(x_src.shape[0], width), dtype)
    shape = (num_edges, heads) if op == "dot" else (num_edges, heads, depth)
    out = torch.zeros(shape, dtype=dtype) if width == 0 else empty(*shape, dtype=dtype)
    used = int(indptr[-1])
    out[used:] = 0  # slots past the last offset belong to no row
    if used and out.numel():
        flat = out.view(num_edges, -1).numpy()
        if op == "dot":
            _dot_launch(used * width, array(indptr), array(indices), a, b, flat)
        else:
            sign = a.dtype.type(1 if op == "add" else -1)
            _combine_launch(used * width, array(indptr), array(indices), a, b, sign, flat)
    return out.to(x_dst.dtype)
