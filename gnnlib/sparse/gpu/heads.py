"""Tiles of whole rows with heads: items, heads and columns of a head, ``[BLOCK_R, BLOCK_H, BLOCK_D]``.

What is one number an item is ``[BLOCK_R, 1, 1]``, what is one a head ``[BLOCK_R, BLOCK_H, 1]``.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import triton
import triton.language as tl

from gnnlib.sparse.gpu.launch import INTERPRETED

#: Values of a tile for which a warp has room: eight registers a lane.
_ROOM = 256


class HeadTile(NamedTuple):
    """Items, heads and columns of a program, and the warps that share them."""

    rows: int
    heads: int
    columns: int
    warps: int

    def grid(self, num_items: int) -> tuple[int]:
        """Programs along the items."""
        return (triton.cdiv(num_items, self.rows),)

    @property
    def constants(self) -> dict[str, int]:
        """What a kernel is compiled with."""
        return {
            "BLOCK_R": self.rows,
            "BLOCK_H": self.heads,
            "BLOCK_D": self.columns,
            "num_warps": self.warps,
        }


@functools.cache
def head_tile(heads: int, depth: int) -> HeadTile:
    """The tile for rows of ``heads`` times ``depth`` values: light rows share a warp, wide ones take several.

    It follows the width alone, since the order in which a score's products are added follows it.
    """
    h, d = triton.next_power_of_2(max(heads, 1)), triton.next_power_of_2(max(depth, 1))
    if INTERPRETED:  # its cost is the number of operations, not their size
        return HeadTile(64, h, d, 1)
    return HeadTile(max(_ROOM // (h * d), 1), h, d, min(max(h * d // _ROOM, 1), 8))


@triton.jit
def tile_items(BLOCK_R: tl.constexpr):
    """Numbers of this program's items, int64 ``[BLOCK_R, 1, 1]``."""
    return tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)[:, None, None]


@triton.jit
def tile_heads(BLOCK_H: tl.constexpr):
    """Heads ``[1, BLOCK_H, 1]``."""
    return tl.arange(0, BLOCK_H)[None, :, None]


@triton.jit
def tile_columns(BLOCK_D: tl.constexpr):
    """Columns of a head ``[1, 1, BLOCK_D]``."""
    return tl.arange(0, BLOCK_D)[None, None, :]


@triton.jit
def over_columns(value):
    """Sum over the columns of a head, ``[BLOCK_R, BLOCK_H, 1]``."""
    return tl.sum(value, axis=2)[:, :, None]


__all__ = ["HeadTile", "head_tile", "over_columns", "tile_columns", "tile_heads", "tile_items"]
