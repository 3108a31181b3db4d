"""How rows are shared among programs: light rows whole, hub rows in pieces that are merged in order.

A row of more than ``CUT`` edges is cut into pieces of ``CUT``. Rows and pieces are *items*; a kernel gives
each item to one lane or one program, adds its edges in CSR order, and a second small kernel adds the pieces
of a hub in order. The cuts depend on the structure alone, so neither the tile nor the device changes a bit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from gnnlib.sparse.cache import structures

#: Edges in one piece of a hub row. A piece is walked edge by edge, so it bounds the longest program; the
#: pieces' own traffic is 2 / CUT of what is gathered. Not measured on a device.
CUT = 512


class Work(NamedTuple):
    """The items of a structure and the hub rows to merge.

    ``items`` is None where rows and items are the same. Otherwise it holds the first edge, the end, the place
    and the row of each item, ``[4, items]``: a place below R is that row, one from R on a piece's number plus
    R, and -1 belongs to nobody. ``hubs`` holds for each hub its row (R for none), its first piece and the end
    of its pieces, ``[3, hubs]``.
    """

    items: Tensor | None
    hubs: Tensor
    num_items: int
    num_pieces: int

    @property
    def num_hubs(self) -> int:
        """Hub rows, or a bound of them where nobody counted."""
        return self.hubs.shape[1]

    @property
    def planned(self) -> bool:
        """Whether a kernel reads its items from ``items`` and not from the offsets."""
        return self.items is not None

    def array(self, indptr: Tensor) -> Tensor:
        """What a kernel reads its items from."""
        return indptr if self.items is None else self.items


def work_of(indptr: Tensor, num_slots: int) -> Work:
    """How the rows of ``indptr`` over at most ``num_slots`` edges are shared, kept while the offsets live.

    The hubs are counted once for a structure that lives, which waits for the device. Where that may not be,
    in compiled code or while a graph is captured, the result has room for as many as there can be.
    """
    rows = indptr.shape[0] - 1
    if num_slots <= CUT or rows == 0:  # no row can be a hub, and so few edges need no order
        return Work(None, indptr.new_empty(3, 0), rows, 0)
    return structures.get(
        indptr,
        (indptr,),
        ("work", CUT),
        lambda: (_counted if structures.keeps(indptr) else _bounded)(indptr, num_slots),
    )


def _counted(indptr: Tensor, num_slots: int) -> Work:
    """The rows as they are if their lengths are alike, else the items in order of length, the longest first:
    rows of one program then end together, and no long one starts last.
    """
    degree = indptr.diff()
    hub = degree > CUT
    pieces = _first_pieces(degree, hub)
    longest, total = torch.stack([degree.max(), pieces[-1]]).tolist()
    if longest <= min(CUT, max(16, 4 * num_slots // degree.numel())):
        return Work(None, indptr.new_empty(3, 0), degree.numel(), 0)
    items = _items(indptr, degree, hub, pieces, total)
    items = items[:, _length_class(items[1] - items[0]).argsort(descending=True, stable=True)]
    rows = hub.nonzero()[:, 0]
    hubs = torch.stack([rows, pieces[rows], pieces[rows + 1]])
    return Work(items.contiguous(), hubs, items.shape[1], total)


def _bounded(indptr: Tensor, num_slots: int) -> Work:
    """The same pieces without waiting for the device, with room for as many as there can be."""
    degree = indptr.diff()
    hub = degree > CUT
    pieces = _first_pieces(degree, hub)
    most_hubs = num_slots // (CUT + 1)
    most = num_slots // CUT + most_hubs
    items = _items(indptr, degree, hub, pieces, most)
    number = torch.arange(1, most_hubs + 1, device=indptr.device)
    row = torch.searchsorted(hub.cumsum(0), number)  # R past the last hub
    inside = row.clamp(max=degree.numel() - 1)
    bounds = torch.where(row < degree.numel(), torch.stack([pieces[inside], pieces[inside + 1]]), 0)
    return Work(items, torch.cat([row[None], bounds]), items.shape[1], most)


def _first_pieces(degree: Tensor, hub: Tensor) -> Tensor:
    """Number of the first piece of each row, and their sum: ``[R + 1]``."""
    count = torch.where(hub, (degree + (CUT - 1)) // CUT, 0)
    return pad(count.cumsum(0), (1, 0))


def _items(indptr: Tensor, degree: Tensor, hub: Tensor, pieces: Tensor, count: int) -> Tensor:
    """Rows in their order, then ``count`` pieces in theirs."""
    rows = degree.numel()
    row = torch.arange(rows, device=indptr.device)
    end = torch.where(hub, indptr[:-1], indptr[1:])  # a hub itself is an item without edges
    whole = torch.stack([indptr[:-1], end, torch.where(hub, -1, row), row])
    piece = torch.arange(count, device=indptr.device)
    owner = torch.searchsorted(pieces[1:], piece, right=True).clamp(max=max(rows - 1, 0))
    start = indptr[owner] + (piece - pieces[owner]) * CUT
    end = torch.minimum(start + CUT, indptr[owner + 1])
    start = torch.where(piece < pieces[-1], start, end)  # a piece that nobody needs is empty
    return torch.cat([whole, torch.stack([start, end, piece + rows, owner])], 1)


def _length_class(length: Tensor) -> Tensor:
    """Equal for lengths that differ by less than a factor of two: rows of a class keep their order."""
    return torch.frexp(length.to(torch.float32)).exponent
