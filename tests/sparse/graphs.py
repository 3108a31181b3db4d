"""The awkward graphs on which every op is tried."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from gnnlib.sparse import CSR, as_csr
from gnnlib.sparse.native.rows import CUT


@dataclass(frozen=True, eq=False)
class Graph:
    """Edges from ``num_cols`` sources to ``num_rows`` targets, as a caller would hold them."""

    name: str
    edge_index: Tensor
    num_cols: int
    num_rows: int

    @property
    def num_edges(self) -> int:
        return self.edge_index.shape[1]

    @property
    def adj(self) -> CSR:
        return as_csr(self.edge_index, (self.num_cols, self.num_rows))

    def __repr__(self) -> str:
        return self.name

    @functools.cache  # noqa: B019 - one object a device, so that what is kept with its edges is found again
    def to(self, device: torch.device) -> Graph:
        return Graph(self.name, self.edge_index.to(device), self.num_cols, self.num_rows)


def _edges(*pairs: tuple[int, int]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t().contiguous()


def draw(num_cols: int, num_rows: int, num_edges: int, seed: int = 0) -> Tensor:
    """Random edges, duplicates and self-loops among them, in no order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack(
        [
            torch.randint(num_cols, (num_edges,), generator=generator),
            torch.randint(num_rows, (num_edges,), generator=generator),
        ]
    )


def _zoo() -> list[Graph]:
    some = draw(7, 7, 19)
    spread = draw(5, 5, 11, seed=1) + 1  # nodes 1 to 5 of 7
    wide = draw(37, 37, 150, seed=2)
    strided = torch.stack([some, some + 1], dim=-1)[..., 0]
    rows_last = some.t().contiguous().t()
    alternate = torch.stack([some, some.flip(1)], dim=2).reshape(2, -1)[:, ::2]
    return [
        Graph("no-nodes", _edges(), 0, 0),
        Graph("no-edges", _edges(), 5, 5),
        Graph("no-targets", _edges(), 4, 0),
        Graph("no-sources", _edges(), 0, 4),
        Graph("one-loop", _edges((0, 0)), 1, 1),
        Graph("isolated", _edges((1, 4), (4, 1), (6, 4)), 9, 9),
        Graph("leading-and-trailing-empty-rows", spread, 8, 8),
        Graph("duplicates", _edges((0, 1), (0, 1), (2, 1), (0, 1), (1, 0), (1, 0)), 3, 3),
        Graph("self-loops", _edges((0, 0), (1, 1), (0, 1), (1, 1), (2, 2), (1, 0)), 3, 3),
        Graph("star", torch.stack([torch.arange(1, 41).flip(0), torch.zeros(40, dtype=torch.int64)]), 41, 41),
        Graph("more-sources", draw(13, 4, 17, seed=3), 13, 4),
        Graph("more-targets", draw(3, 11, 17, seed=4), 3, 11),
        Graph("sorted", some[:, some[1].argsort(stable=True)], 7, 7),
        Graph("unsorted", wide, 37, 37),
        Graph("strided", strided, 7, 7),
        Graph("columns-first", rows_last, 7, 7),
        Graph("every-other", alternate, 7, 7),
    ]


ZOO = _zoo()

#: Two nodes without edges, duplicates, loops and sizes off powers of two in one graph.
MIXED = Graph("mixed", draw(35, 35, 211, seed=5), 37, 37)

#: Small enough for a numerical derivative: an empty row, a duplicate, a loop, more sources than targets.
TINY = Graph("tiny", _edges((0, 1), (3, 1), (0, 1), (2, 0), (1, 1), (4, 3), (3, 0)), 5, 4)


def _hubs() -> Graph:
    """Rows around the length at which a kernel cuts them, with empty and light rows between."""
    degrees = [0, CUT - 1, 3, CUT, CUT + 1, 0, 2 * CUT + 3, 1, 0]
    target = torch.arange(len(degrees)).repeat_interleave(torch.tensor(degrees))
    generator = torch.Generator().manual_seed(6)
    order = torch.randperm(target.numel(), generator=generator)
    source = torch.randint(11, (target.numel(),), generator=generator)
    return Graph("hubs", torch.stack([source, target[order]]), 11, len(degrees))


def _hub_of(degree: int) -> Graph:
    """One row with ``degree`` edges, an empty one after it, and some light ones before."""
    light = draw(101, 6, 40, seed=7)
    generator = torch.Generator().manual_seed(8)
    source = torch.randint(101, (degree,), generator=generator)
    return Graph(
        f"hub-{degree}", torch.cat([torch.stack([source, torch.full((degree,), 7)]), light], dim=1), 101, 9
    )


def turned(graph: Graph) -> Graph:
    """Edges from the targets to the sources: a hub that gathers is then one that spreads."""
    return Graph(f"{graph.name}-turned", graph.edge_index.flip(0), graph.num_rows, graph.num_cols)


HUBS = _hubs()
HUGE_HUB = _hub_of(100_000)


def _large() -> Graph:
    hub = torch.stack([torch.arange(CUT + 5) % 301, torch.full((CUT + 5,), 17)])
    return Graph("large", torch.cat([draw(301, 301, 3000, seed=9), hub], dim=1), 301, 301)


#: Enough work for several threads, with a hub that is cut.
LARGE = _large()
