"""Many graphs side by side on the CPU, each in one run, and what was computed for a graph seen before."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse.convert import Adj, as_csr

__all__ = ["GraphCache", "Graphs"]


@dataclass(frozen=True, eq=False)
class Graphs:
    """Graphs side by side, the nodes and the edges of each in one run.

    Args:
        edge_index: sources and targets, sorted by graph.
        ptr: where the nodes of each graph start.
        edge_ptr: where its edges start.
        node: the caller's node of each node.
        edge: the caller's edge of each edge.

    Shapes: edge_index ``[2, E]``, ptr and edge_ptr ``[G + 1]``, node ``[N]``, edge ``[E]``, all int64 on the
        CPU.
    """

    edge_index: Tensor
    ptr: Tensor
    edge_ptr: Tensor
    node: Tensor
    edge: Tensor

    @classmethod
    def of(
        cls, adj: Adj, num_nodes: int, batch: Tensor | None = None, num_graphs: int | None = None
    ) -> Graphs:
        """The graphs of a batch.

        Args:
            adj: sources and targets ``[2, E]``, or any form that :func:`as_csr` takes.
            num_nodes: N.
            batch: the graph of each node ``[N]``, in any order; None for one graph.
            num_graphs: number of graphs G; the largest entry of ``batch`` plus one when omitted.

        Raises: ValueError for a batch of another length, a graph that ``num_graphs`` does not count, or an
            edge between two graphs.
        """
        plain = isinstance(adj, Tensor) and adj.layout is torch.strided
        edge_index = (adj if plain else as_csr(adj, num_nodes).edge_index).detach().cpu().long()
        batch = torch.zeros(num_nodes, dtype=torch.int64) if batch is None else batch.cpu()
        if batch.shape != (num_nodes,):
            raise ValueError(
                f"Graphs: batch has shape {list(batch.shape)} but there are {num_nodes} nodes; pass the "
                "graph of each node"
            )
        owner = batch[edge_index[1]]
        if not torch.equal(owner, batch[edge_index[0]]):
            raise ValueError("Graphs: an edge joins two graphs of the batch; pass the edges within graphs")
        size = batch.bincount(minlength=num_graphs or int(num_nodes > 0))
        if num_graphs is not None and size.numel() > max(num_graphs, int(num_nodes > 0)):
            raise ValueError(
                f"Graphs: batch names graph {size.numel() - 1} but there are {num_graphs} graphs; pass the "
                "graph of each node, counted from 0"
            )
        edges = owner.bincount(minlength=size.numel())
        node, edge = torch.arange(num_nodes), torch.arange(owner.numel())
        if bool((batch[1:] < batch[:-1]).any()):
            node = batch.argsort(stable=True)
            edge_index = torch.empty_like(node).index_copy(0, node, torch.arange(num_nodes))[edge_index]
        if bool((owner[1:] < owner[:-1]).any()):
            edge = owner.argsort(stable=True)
            edge_index = edge_index[:, edge]
        return cls(edge_index, _offsets(size), _offsets(edges), node, edge)

    @property
    def num_graphs(self) -> int:
        """Number of graphs G."""
        return self.ptr.numel() - 1

    @property
    def num_nodes(self) -> int:
        """Number of nodes N of all graphs."""
        return self.node.numel()

    @property
    def size(self) -> Tensor:
        """Number of nodes of each graph, ``[G]``."""
        return self.ptr.diff()

    @cached_property
    def batch(self) -> Tensor:
        """The graph of each node, ``[N]``."""
        return torch.repeat_interleave(self.size)

    @cached_property
    def local(self) -> Tensor:
        """The number of each node in its graph, ``[N]``."""
        return torch.arange(self.num_nodes) - self.ptr[self.batch]

    @cached_property
    def edge_batch(self) -> Tensor:
        """The graph of each edge, ``[E]``."""
        return torch.repeat_interleave(self.edge_ptr.diff())

    @cached_property
    def edge_local(self) -> Tensor:
        """The number of each edge in its graph, ``[E]``."""
        return torch.arange(self.edge.numel()) - self.edge_ptr[self.edge_batch]

    @cached_property
    def keys(self) -> list[tuple[int, bytes]]:
        """What tells graphs apart: the number of nodes and a digest of the edges in their order."""
        local = (self.edge_index - self.ptr[self.edge_batch]).int().t().contiguous().numpy()
        ptr, size = self.edge_ptr.tolist(), self.size.tolist()
        return [
            (size[g], hashlib.blake2b(local[ptr[g] : ptr[g + 1]].tobytes(), digest_size=16).digest())
            for g in range(self.num_graphs)
        ]

    def take(self, graphs: Sequence[int]) -> Graphs:
        """Some of the graphs, in this order; ``node`` and ``edge`` count within this object."""
        chosen = torch.tensor(list(graphs), dtype=torch.int64)
        ptr, node = _ranges(self.ptr, chosen)
        edge_ptr, edge = _ranges(self.edge_ptr, chosen)
        owner = torch.repeat_interleave(edge_ptr.diff())
        shift = (ptr[:-1] - self.ptr[chosen])[owner]
        return Graphs(self.edge_index[:, edge] + shift, ptr, edge_ptr, node, edge)

    def in_callers_order(self, rows: Tensor) -> Tensor:
        """Rows of the nodes as the caller counts them, ``[N, ...]``."""
        return torch.empty_like(rows).index_copy(0, self.node, rows)


class GraphCache:
    """Rows of the nodes of graphs seen before, by the content of the graph; the oldest go first.

    A copy or a pickle of it is empty.

    Args:
        limit: most bytes that are kept.
    """

    def __init__(self, limit: int = 1 << 28) -> None:
        self.limit = limit
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._kept: OrderedDict[tuple[int, bytes], Tensor] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.limit = state["limit"]
        self.clear()

    def rows(self, graphs: Graphs, make: Callable[[Graphs], Tensor]) -> Tensor:
        """Rows ``[N, ...]`` in the order of ``graphs.node``; ``make`` gives those of graphs not seen yet."""
        keys = graphs.keys
        known = {key: self._kept[key] for key in keys if key in self._kept}
        missing = list({key: g for g, key in enumerate(keys) if key not in known}.values())
        if missing:
            some = graphs.take(missing)
            for g, rows in zip(missing, torch.split(make(some), some.size.tolist()), strict=True):
                known[keys[g]] = rows.clone()  # not a view of all of them
        if not keys:
            return make(graphs)
        for key, rows in known.items():
            self._keep(key, rows)
        return torch.cat([known[key] for key in keys])

    def _keep(self, key: tuple[int, bytes], rows: Tensor) -> None:
        if key not in self._kept:
            self._bytes += rows.nbytes
        self._kept[key] = rows
        self._kept.move_to_end(key)
        while self._bytes > self.limit:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes


def _offsets(count: Tensor) -> Tensor:
    return torch.cat([count.new_zeros(1), count.cumsum(0)])


def _ranges(ptr: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets of the chosen runs, and the places that they had."""
    offsets = _offsets(ptr.diff()[chosen])
    owner = torch.repeat_interleave(offsets.diff())
    return offsets, torch.arange(owner.numel()) + (ptr[chosen] - offsets[:-1])[owner]
