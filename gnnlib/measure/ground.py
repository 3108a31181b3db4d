"""Where gradients from few outputs live: rows of a union of balls, nearest first, and edges among them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnlib.sparse import CSR
from gnnlib.sparse.hops import Balls, ball_edges
from gnnlib.sparse.symmetric import from_keys

__all__ = ["Block", "cut", "Ground", "runs"]


class Block(NamedTuple):
    """Gradients of the rows of a union that lie within ``level`` hops; those of rows farther out are 0.

    Shapes: value ``[n, G, F]`` for G mixtures of output channels.
    """

    value: Tensor
    level: int


class Ground:
    """A union of balls, all nearest first, and what backward steps need of it, made once each.

    Args:
        found: the balls.
        depth: the last hop, that of the balls.
        device: where the gradients are.

    Shapes: node, hop, owner (the ball of each row) and place (the row of each of the balls' nodes) ``[n]``;
        rows: how many lie within h hops, for h = 0 .. depth.
    """

    def __init__(self, found: Balls, depth: int, device: torch.device) -> None:
        # Backwards within a hop: a model with edges of its own must not meet all nodes in their order.
        order = found.hop.numel() - 1 - found.hop.flip(0).argsort(stable=True)
        owner = torch.repeat_interleave(torch.arange(found.ptr.numel() - 1), found.ptr.diff())
        self.hop, self.owner, self.node = found.hop[order], owner[order], found.node[order].to(device)
        self.rows: list[int] = torch.searchsorted(self.hop, torch.arange(depth + 1), right=True).tolist()
        self.place = torch.empty_like(order)
        self.place[order] = torch.arange(order.numel())
        self._found, self._made = found, {}  # type: ignore[var-annotated]

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What was made under this key, or is now."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def transposed(self, adj: CSR) -> tuple[CSR, Tensor]:
        """The transpose among the rows, each in ascending order, and the slot of ``adj`` of each edge.

        Shapes: -> CSR ``[n, n]``, ``[e]``.
        """
        structure = tuple(array.data_ptr() for array in adj.arrays)
        made: tuple[CSR, Tensor] = self.once(structure, lambda: self._transposed(adj))
        return made

    def edges(self, adj: CSR) -> tuple[Tensor, Tensor]:
        """Source and target of the edges inside balls, by rows ``[2, e]``, and the caller's edge of each."""
        ends, edge = ball_edges(adj, self._found)
        return self.place[ends], edge

    def _transposed(self, adj: CSR) -> tuple[CSR, Tensor]:
        rows = self.place.numel()
        (source, target), slot = self.edges(adj)
        key, order = (source * rows + target).sort()
        made = from_keys(key, rows, adj.indices.dtype)
        return made.to(self.node.device), slot[order].to(self.node.device)


def cut(every: Balls, first: int, last: int) -> Balls:
    """The balls ``first .. last - 1``."""
    a, b = int(every.ptr[first]), int(every.ptr[last])
    return Balls(every.ptr[first : last + 1] - a, every.node[a:b], every.hop[a:b])


def runs(ptr: Tensor, rows: int) -> Iterator[tuple[int, int]]:
    """Cut balls into runs of about so many rows, at least one ball each."""
    first, count = 0, ptr.numel() - 1
    while first < count:
        last = int(torch.searchsorted(ptr, ptr[first] + rows, right=True)) - 1
        last = min(max(last, first + 1), count)
        yield first, last
        first = last
