"""Shape of a program's tile, by the width of a row, its type and the lengths of rows."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import triton

from gnnlib.sparse.gpu.launch import INTERPRETED
from gnnlib.sparse.numerics import accumulate_dtype

#: Bytes that a thread loads at once.
_WIDE = 16
_WARP = 32


class Tile(NamedTuple):
    """Items and columns of a program, and the warps that share them."""

    rows: int
    columns: int
    warps: int

    def grid(self, num_items: int, width: int) -> tuple[int, int]:
        """Programs along the items and along the columns; all items of a column tile come first, so that the
        part of the features that is gathered at a time stays in the L2 cache.
        """
        return triton.cdiv(num_items, self.rows), triton.cdiv(width, self.columns)


class Shape(NamedTuple):
    """What a tile is chosen by: columns, bytes of one, and powers of two of edges a row and of edges."""

    width: int
    itemsize: int
    degree: int
    size: int

    @classmethod
    def of(cls, width: int, itemsize: int, num_rows: int, num_slots: int) -> Shape:
        """The shape class of rows of ``width`` values gathered over ``num_slots`` edges."""
        return cls(width, itemsize, (num_slots // max(num_rows, 1)).bit_length(), num_slots.bit_length())


def accumulator(dtype: torch.dtype) -> tuple[torch.dtype, triton.language.dtype]:
    """The type in which sums are taken, for torch and for Triton."""
    dtype = accumulate_dtype(dtype)
    return dtype, triton.language.float64 if dtype == torch.float64 else triton.language.float32


@functools.cache
def row_tile(shape: Shape) -> Tile:
    """A tile for kernels that gather rows: as many light rows as a warp has room for.

    A long row should keep its warp to itself; with short ones, several warps save the start of a program.
    """
    columns = triton.next_power_of_2(max(shape.width, 1))
    if INTERPRETED:  # its cost is the number of operations, not their size
        return Tile(64, columns, 1)
    warps = 1 if shape.degree > 6 else 2 if shape.degree > 4 else 4
    return _filled(min(columns, _WARP * _lane(shape)), _lane(shape), warps)


@functools.cache
def row_tiles(shape: Shape) -> tuple[Tile, ...]:
    """The tile of :func:`row_tile` and others worth measuring against it, none of which changes a bit."""
    first, lane = row_tile(shape), _lane(shape)
    found = [first]
    for columns in (first.columns, first.columns // 2):
        if columns >= 16:
            found += [_filled(columns, lane, warps) for warps in (1, 2, 4)]
            found.append(Tile(max(_WARP * lane // columns // 2, 1), columns, 1))
    return tuple(dict.fromkeys(found))


def lane_tile(width: int) -> Tile:
    """A tile for kernels whose lanes each walk the few values of one row and column."""
    columns = triton.next_power_of_2(max(width, 1))
    if INTERPRETED:
        return Tile(64, columns, 1)
    columns = min(columns, _WARP)
    return Tile(4 * _WARP // columns, columns, 4)


def merge_tile(tile: Tile) -> Tile:
    """The tile of a kernel that merges pieces: a hub to a program, since hubs are few."""
    return tile if INTERPRETED else Tile(1, tile.columns, 1)


def _lane(shape: Shape) -> int:
    """Columns that a thread loads at once."""
    return max(_WIDE // shape.itemsize, 1)


def _filled(columns: int, lane: int, warps: int) -> Tile:
    return Tile(max(_WARP * lane // columns, 1) * warps, columns, warps)
