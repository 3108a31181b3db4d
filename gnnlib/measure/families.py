"""Graphs that message passing cannot tell apart and that have a rule, so that no file is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["counterexamples", "Family"]

#: Skips of the ten classes of circular skip links on 41 nodes.
SKIPS = (2, 3, 4, 5, 6, 9, 11, 12, 13, 16)


class Family(NamedTuple):
    """Graphs side by side, no two of which are isomorphic.

    Shapes: edge_index ``[2, E]``, batch ``[N]``, the graph of each node from 0; x ``[N]`` or ``[N, F]``, the
        discrete features of the nodes, or None where all are alike.
    """

    edge_index: Tensor
    batch: Tensor
    x: Tensor | None = None

    @property
    def num_graphs(self) -> int:
        """Number of graphs B."""
        return int(self.batch.max()) + 1 if self.batch.numel() else 0

    @classmethod
    def of(cls, graphs: Sequence[Any]) -> Family:
        """The family of some PyG graphs, such as those of a dataset; equal features of all nodes are none."""
        from torch_geometric.data import Batch

        every = Batch.from_data_list(list(graphs))
        x = every.x
        alike = x is None or bool((x == x[:1]).all())
        return cls(every.edge_index, every.batch, None if alike else x)


def _family(*graphs: tuple[int, Sequence[tuple[int, int]]]) -> Family:
    """Undirected graphs, each a number of nodes and its edges."""
    edges, owner, first = [], [], 0
    for g, (count, pairs) in enumerate(graphs):
        one_way = torch.tensor(pairs, dtype=torch.int64).t() + first
        edges += [one_way, one_way.flip(0)]
        owner += [g] * count
        first += count
    return Family(torch.cat(edges, 1), torch.tensor(owner))


def _ring(count: int, skip: int = 1, first: int = 0) -> list[tuple[int, int]]:
    return [(first + v, first + (v + skip) % count) for v in range(count)]


def counterexamples() -> dict[str, Family]:
    """The classical counterexamples to colour refinement, by name.

    ``"hexagon"``: a ring of six and two triangles. ``"decalin"``: decalin, two rings of six with a common
    bond, and bicyclopentyl, two rings of five with a bond between them. ``"csl"``: circular skip links, rings
    of 41 nodes with chords of ten lengths (Murphy et al., Relational Pooling for Graph Representations, ICML
    2019). 1-WL sees one class in each.
    """
    return {
        "hexagon": _family((6, _ring(6)), (6, _ring(3) + _ring(3, first=3))),
        "decalin": _family((10, [*_ring(10), (0, 5)]), (10, [*_ring(5), *_ring(5, first=5), (0, 5)])),
        "csl": _family(*((41, _ring(41) + _ring(41, skip)) for skip in SKIPS)),
    }
