"""Bytes that a neighbour pass must move, and the bandwidth at which this machine copies."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from gnnlib.bench.graphs import Graph

_FLOAT = 4


@dataclass(frozen=True)
class Traffic:
    """Bytes of a call: ``once`` with each source row read once, ``per_edge`` with a read for every edge.

    The first is compulsory, the second is what moves when no row stays in a cache.
    """

    once: int
    per_edge: int

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.once + other.once, self.per_edge + other.per_edge)


NOTHING = Traffic(0, 0)


def rows_pass(sources: int, targets: int, edges: int, width: int, itemsize: int = _FLOAT) -> Traffic:
    """One pass over ``edges``: source rows, int32 indices, int64 offsets, and the target rows."""
    row = width * itemsize
    rest = edges * 4 + (targets + 1) * 8 + targets * row
    return Traffic(sources * row + rest, edges * row + rest)


def neighbor_pass(graph: Graph, width: int, itemsize: int = _FLOAT) -> Traffic:
    """One pass over the edges of a graph, where every node with an edge out is a source."""
    sources = int((torch.bincount(graph.edge_index[0], minlength=graph.num_nodes) > 0).sum())
    return rows_pass(sources, graph.num_nodes, graph.num_edges, width, itemsize)


def node_arrays(graph: Graph, width: int, count: int) -> Traffic:
    """``count`` arrays of four-byte entries, ``[N, width]``, each read or written once."""
    size = count * graph.num_nodes * width * 4
    return Traffic(size, size)


def copy_bandwidth(size: int = 256 * 2**20, rounds: int = 5) -> float:
    """Bytes read and written per second by a copy too large for any cache; the best of ``rounds``."""
    source = torch.ones(size // 8, dtype=torch.float64)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(rounds + 1):
        start = time.perf_counter()
        target.copy_(source)
        best = min(best, time.perf_counter() - start)
    return 2 * size / best
