"""What a kernel of budget sampling is asked; it answers as neighbour sampling does."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gnnlib.sparse.ops.sample_neighbors.request import Placed, Relation


@dataclass(frozen=True)
class BudgetRequest(Placed):
    """A sample to draw.

    Attributes:
        relations: the kinds of edges; weights and times are not looked at.
        sizes: number of nodes of each node type.
        seeds: nodes to begin with, of each node type, int64.
        num_samples: nodes to add of each node type in each step.
        seed: state of the random stream, 64 bits.
    """

    relations: tuple[Relation, ...]
    sizes: tuple[int, ...]
    seeds: tuple[Tensor, ...]
    num_samples: tuple[tuple[int, ...], ...]
    seed: int = 0

    @property
    def num_steps(self) -> int:
        return max((len(n) for n in self.num_samples), default=0)
