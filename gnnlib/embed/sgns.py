"""The trainer behind every skip-gram method: tables, negatives, learning rate, blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gnnlib.sparse.ops.alias import alias_draw, alias_table
from gnnlib.sparse.ops.skipgram import ABREAST, UNIT, block_size, skipgram

__all__: list[str] = []

#: Centres whose pairs are made at a time.
PART = 1 << 16


@dataclass
class Sgns:
    """Two tables under training.

    Args:
        num_nodes, dim: size of the tables.
        negative: K, negatives of each centre.
        lr: first learning rate; it falls to 1e-4 of it in a line, as in word2vec.
        total: centres of the whole training.
        seed: of everything.
        count: how often each node is drawn as a negative, before ``power``, ``[N]``.
        power: 0.75 in word2vec.
        spread: contexts begin evenly in -spread / dim .. spread / dim: 1 as in gensim; 0.5 as in word2vec.
        one_table: contexts and centres share their vectors.
        keep_hits: a negative that is the centre itself counts (LINE) or is left out (word2vec).
    """

    num_nodes: int
    dim: int
    negative: int
    lr: float
    total: int
    seed: int
    count: Tensor
    power: float = 0.75
    spread: float = 0.5
    one_table: bool = False
    keep_hits: bool = False
    done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        width = -(-self.dim // UNIT) * UNIT
        draw = torch.Generator().manual_seed(self.seed & (2**63 - 1))
        start = (torch.rand(self.num_nodes, self.dim, generator=draw) - 0.5) * (2 * self.spread / self.dim)
        self.table = torch.zeros(self.num_nodes, width)
        self.table[:, : self.dim] = start
        self.table = self.table.to(self.count.device)
        self.other = self.table if self.one_table else torch.zeros_like(self.table)
        whole = torch.tensor([0, self.num_nodes], device=self.count.device)
        self.threshold, self.alias, _ = alias_table(whole, self.count.double() ** self.power)
        self.block = block_size(self.table)

    @property
    def vectors(self) -> Tensor:
        """The trained rows of contexts, ``[N, dim]``."""
        return self.table[:, : self.dim]

    def step(self, ptr: Tensor, context: Tensor, centre: Tensor) -> None:
        """Train on centres and their contexts."""
        size = centre.shape[0]
        first = self.done * self.negative
        drawn = alias_draw(self.threshold, self.alias, size * self.negative, self.seed + 1, first)
        negative = drawn.view(size, self.negative)
        if not self.keep_hits:
            negative = torch.where(negative == centre[:, None], -1, negative)
        out = torch.cat([centre[:, None].int(), negative], dim=1)
        floor = 1e-4 * self.lr
        skipgram(
            self.table, self.other, ptr, context, out, self.lr, floor, self.done, self.total + 1, self.block
        )
        self.done += size


def parts(walks: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Runs of walks of about ``PART`` nodes, each with the number of its first walk."""
    rows = max(ABREAST, PART // walks.shape[1] // ABREAST * ABREAST)
    for start in range(0, walks.shape[0], rows):
        yield start, walks[start : start + rows]
