"""leading_sum on a CPU: channel after channel, so that what is gathered of one stays in the cache."""

from __future__ import annotations

import torch
from numba import prange
from torch import Tensor

from gnnlib.sparse.native import tile, vector
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, optional, variant
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.registry import kernel, needs

#: Runs of rows of one channel, which threads share.
RUNS = 8


def _tile_pass(count):
    """Rows lo to hi of ``count`` vectors of features from column f on, which are k on in the scale."""

    @variant(count)
    def run(indptr, indices, weight, x, scale, node, out, lo, hi, f, k):
        one = x.dtype.type(1)
        columns = x.shape[0]
        weighted, scaled = weight.size > 0, scale.size > 0
        for i in range(lo, hi):
            total = tile.zero(x, count)
            for e in range(tile.item(indptr, i), tile.item(indptr, i + 1)):
                j = tile.item(indices, e)
                if j >= columns:
                    break
                total = tile.axpy(total, tile.item(weight, e) if weighted else one, x, j, f)
            if scaled:
                total = vector.times(total, scale, tile.item(node, i), k)
            tile.store(total, out, i, f)

    return run


_tile8 = _tile_pass(8)
_tile4 = _tile_pass(4)
_tile2 = _tile_pass(2)
_tile1 = _tile_pass(1)


@helper
def _narrow(indptr, indices, weight, x, scale, node, out, lo, hi, f, k, width):
    """The ``width`` features from column f on that do not fill a vector."""
    columns = x.shape[0]
    weighted, scaled = weight.size > 0, scale.size > 0
    for i in range(lo, hi):
        for c in range(width):
            out[i, f + c] = 0
        for e in range(tile.item(indptr, i), tile.item(indptr, i + 1)):
            j = tile.item(indices, e)
            if j >= columns:
                break
            for c in range(width):
                out[i, f + c] += weight[e] * x[j, f + c] if weighted else x[j, f + c]
        if scaled:
            for c in range(width):
                out[i, f + c] *= scale[tile.item(node, i), k + c]


@helper
def _block(indptr, indices, weight, x, scale, node, out, lo, hi, f, width):
    """Rows lo to hi of the ``width`` features from column f on."""
    lanes, k = tile.lanes(x), 0
    while width - k >= 8 * lanes:
        _tile8(indptr, indices, weight, x, scale, node, out, lo, hi, f + k, k)
        k += 8 * lanes
    if width - k >= 4 * lanes:
        _tile4(indptr, indices, weight, x, scale, node, out, lo, hi, f + k, k)
        k += 4 * lanes
    if width - k >= 2 * lanes:
        _tile2(indptr, indices, weight, x, scale, node, out, lo, hi, f + k, k)
        k += 2 * lanes
    if width - k >= lanes:
        _tile1(indptr, indices, weight, x, scale, node, out, lo, hi, f + k, k)
        k += lanes
    if k < width:
        _narrow(indptr, indices, weight, x, scale, node, out, lo, hi, f + k, k, width - k)


def _leading_sum(indptr, indices, weight, x, scale, node, out, width):
    rows = out.shape[0]
    for piece in prange(out.shape[1] // width * RUNS):
        channel, run = piece // RUNS, piece % RUNS
        lo, hi = rows * run // RUNS, rows * (run + 1) // RUNS
        _block(indptr, indices, weight, x, scale, node, out, lo, hi, channel * width, width)


_launch = Launcher(_leading_sum)


@kernel("leading_sum", "cpu", refuse=needs("cpu", frozenset({torch.float32, torch.float64})))
def leading_sum(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    x: Tensor,
    rows: int,
    scale: Tensor | None,
    node: Tensor | None,
) -> Tensor:
    shape = (rows, *x.shape[1:])
    if scale is None:
        x = x.flatten(1)[:, None]  # one wide channel
    columns, channels, width = x.shape
    out = empty(rows, channels * width, dtype=x.dtype)
    if not out.numel():
        return out.view(shape)
    _launch(
        2 * rows * channels * width,
        array(indptr),
        array(indices),
        optional(weight, x.dtype),
        array(x.reshape(columns, channels * width)),
        optional(scale, x.dtype, 2),
        optional(node, torch.int64),
        out.numpy(),
        width,
    )
    return out.view(shape)
