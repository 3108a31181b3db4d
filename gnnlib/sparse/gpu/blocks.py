"""Parts of kernels: the items of a program, the edges of an item, and the merge of a hub's pieces.

A program takes ``BLOCK_R`` items times ``BLOCK_F`` columns. Every item adds its edges one after the other in
CSR order, whatever the tile, so no choice of tile changes a bit of a result. Node numbers become int64 before
they are multiplied by a width. What belongs to items is ``[BLOCK_R, 1]`` and what belongs to columns
``[1, BLOCK_F]``, never one-dimensional: Triton 3.6 fails on narrow tiles that mix both forms.

The compiler keeps loads in the order in which they are written and waits where a value is used. Loops over
edges therefore take four at a time: all their columns first, then all their rows, then the sums.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def program_items(BLOCK_R: tl.constexpr):
    """Numbers of this program's items, int64 ``[BLOCK_R, 1]``."""
    return tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)[:, None]


@triton.jit
def program_columns(BLOCK_F: tl.constexpr):
    """Columns of this program, ``[1, BLOCK_F]``."""
    return tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)[None, :]


@triton.jit
def span(items, num_items, item, PLANNED: tl.constexpr):
    """First edge, end and place of each item; no edges and place -1 past the last one."""
    live = item < num_items
    start = tl.load(items + item, mask=live, other=0)
    if PLANNED:
        stop = tl.load(items + num_items + item, mask=live, other=0)
        place = tl.load(items + 2 * num_items + item, mask=live, other=-1)
    else:
        stop = tl.load(items + item + 1, mask=live, other=0)
        place = tl.where(live, item, -1)
    return start, stop, place


@triton.jit
def owner_of(items, num_items, item, place, PLANNED: tl.constexpr):
    """Row of each item, also of a piece; -1 past the last item."""
    if PLANNED:
        row = tl.load(items + 3 * num_items + item, mask=item < num_items, other=-1)
    else:
        row = place
    return row


@triton.jit
def longest(start, stop):
    """Edges of the longest item of this program; an item has few, so int32."""
    return tl.max(stop - start).to(tl.int32)


@triton.jit
def source_of(indices, slot, live, INDEXED: tl.constexpr):
    """Column of each slot, int64; without indices slot s holds column s."""
    if INDEXED:
        column = tl.load(indices + slot, mask=live, other=0).to(tl.int64)
    else:
        column = slot
    return column


@triton.jit
def load_rows(x, row, live, f, inside, WIDTH: tl.constexpr):
    """Columns f of some rows of ``x`` as they are stored, ``[BLOCK_R, BLOCK_F]``; 0 where nothing is read."""
    return tl.load(x + row * WIDTH + f, mask=live & inside, other=0)


@triton.jit
def logistic(z):
    """The logistic function; exactly 0 where the exponential of -z is infinite."""
    return 1.0 / (1.0 + tl.exp(-z))


@triton.jit
def coefficient(
    weight,
    col_scale,
    slot,
    source,
    live,
    f,
    inside,
    HEADS: tl.constexpr,
    DEPTH: tl.constexpr,
    ACC: tl.constexpr,
):
    """Factor of each edge's message, ``w_e c_j``: ``[BLOCK_R, 1]``, or one for each column with heads.

    Columns of the first head are f = 0 to DEPTH - 1, and so on. Call it only where there is a factor.
    """
    if weight is None:
        factor = tl.load(col_scale + source, mask=live, other=0).to(ACC)
    else:
        if HEADS == 1:
            factor = tl.load(weight + slot, mask=live, other=0).to(ACC)
        else:
            of_head = weight + slot * HEADS + (f // DEPTH)
            factor = tl.load(of_head, mask=live & inside, other=0).to(ACC)
        if col_scale is not None:
            factor *= tl.load(col_scale + source, mask=live, other=0).to(ACC)
    return factor


@triton.jit
def store_rows(out, partial, value, place, num_rows, f, inside, WIDTH: tl.constexpr):
    """Store ``[BLOCK_R, BLOCK_F]`` values of whole rows to ``out`` and those of pieces to ``partial``."""
    whole = (place >= 0) & (place < num_rows)
    tl.store(
        out + place * WIDTH + f,
        value.to(out.dtype.element_ty),
        mask=whole & inside,
    )
    tl.store(
        partial + (place - num_rows) * WIDTH + f,
        value.to(partial.dtype.element_ty),
        mask=(place >= num_rows) & inside,
    )


@triton.jit
def hub_of(hubs, num_hubs, num_rows, BLOCK_R: tl.constexpr):
    """Row, first piece and end of each hub of this program; row ``num_rows`` and no pieces past the last."""
    hub = program_items(BLOCK_R)
    live = hub < num_hubs
    row = tl.load(hubs + hub, mask=live, other=num_rows)
    first = tl.load(hubs + num_hubs + hub, mask=live, other=0)
    return row, first, tl.load(hubs + 2 * num_hubs + hub, mask=live, other=0)
