"""Partitions by METIS: of one graph, and of many small graphs at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnlib.sparse.convert import as_csr
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.graphs import Graphs
from gnnlib.sparse.random import draw, unit
from gnnlib.sparse.symmetric import from_keys

__all__ = ["metis", "partition_graphs"]


def metis(
    edge_index: Tensor, num_nodes: int, num_parts: int, *, recursive: bool = False, seed: int = 0
) -> Tensor:
    """Cut a graph into parts of about equal size with few edges between them.

    Karypis and Kumar, A Fast and High Quality Multilevel Scheme for Partitioning Irregular Graphs, SIAM J.
    Sci. Comput. 20(1), 1998, through pymetis. Directions, loops and parallel edges are dropped before.

    Args:
        edge_index: the edges, ``[2, E]``.
        num_nodes: N.
        num_parts: at least 1.
        recursive: cut in two again and again, not in all parts at once.
        seed: of METIS.

    Shapes: -> the part of each node, int64 ``[N]``, on the CPU.
    Raises: ImportError without pymetis; ValueError for fewer than one part, or more parts than nodes.
    """
    _check_parts("metis", num_parts)
    if 0 < num_nodes < num_parts:
        raise ValueError(f"metis: num_parts={num_parts} but there are {num_nodes} nodes; ask for fewer parts")
    cut = _Cut(num_parts, recursive)
    if num_parts == 1 or num_nodes == 0:
        return torch.zeros(num_nodes, dtype=torch.int64)
    adj = _simple(as_csr(edge_index.cpu(), num_nodes))
    return torch.from_numpy(cut(adj.indptr.numpy(), adj.indices.numpy(), seed))


def partition_graphs(graphs: Graphs, num_parts: int, seeds: Tensor, *, drop: float = 0.0) -> Tensor:
    """Cut each of many graphs into at most so many parts, the numbers of which are slots.

    A graph with fewer nodes than there are slots has one node in a slot, and which slot is random. Parts of
    a larger one are numbered by METIS (recursive) and then shifted, so that unused slots come first. What a
    graph gets depends on that graph and its seed alone, never on the other graphs.

    He et al., A Generalization of ViT/MLP-Mixer to Graphs, ICML 2023, cut so.

    Args:
        graphs: G graphs side by side.
        num_parts: number of slots, at least 1.
        seeds: a seed for each graph.
        drop: probability in [0, 1) with which an edge (each direction for itself) is not shown to METIS.

    Shapes: seeds int64 ``[G]`` -> the slot of each node, int64 ``[N]``, nodes as in ``graphs``, on the CPU.
    Cost: one call of METIS for each graph that has at least ``num_parts`` nodes.
    Raises: ImportError without pymetis; ValueError for fewer than one part, a probability out of range, or
        not one seed for each graph.
    """
    _check_parts("partition_graphs", num_parts)
    if not 0 <= drop < 1:
        raise ValueError(f"partition_graphs: drop={drop}; pass a probability from 0 to below 1")
    if seeds.shape != (graphs.num_graphs,):
        raise ValueError(
            f"partition_graphs: seeds has shape {list(seeds.shape)} but there are {graphs.num_graphs} "
            "graphs; pass one seed for each"
        )
    cut = _Cut(num_parts, True)
    start = draw(seeds.cpu(), 0)
    slots = draw(start[:, None], torch.arange(num_parts)).argsort(dim=1, stable=True)
    size = graphs.size
    slot = slots[graphs.batch, graphs.local % num_parts]
    if num_parts == 1 or not bool((size >= num_parts).any()):
        return slot
    edge_index = graphs.edge_index
    if drop:
        word = draw(start[graphs.edge_batch], num_parts + graphs.edge_local)
        edge_index = edge_index[:, unit(word) >= drop]
    adj = _simple(as_csr(edge_index, graphs.num_nodes))
    indptr, indices, ptr = adj.indptr.numpy(), adj.indices.numpy(), graphs.ptr.tolist()
    found = slot.numpy()
    for g in (size >= num_parts).nonzero()[:, 0].tolist():
        first, last = ptr[g], ptr[g + 1]
        rows = indptr[first : last + 1]
        part = cut(rows - rows[0], indices[rows[0] : rows[-1]] - first, int(seeds[g]))
        found[first:last] = part + (num_parts - 1 - part.max())
    return slot


class _Cut:
    """A call of METIS on the arrays of a simple undirected graph."""

    def __init__(self, num_parts: int, recursive: bool) -> None:
        try:
            import pymetis
        except ImportError:
            raise ImportError("'pymetis' is not installed; run: pip install pymetis") from None
        self.pymetis: Any = pymetis
        self.num_parts, self.recursive = num_parts, recursive

    def __call__(self, indptr: Any, indices: Any, seed: int) -> Any:
        if hasattr(self.pymetis, "CSRAdjacency"):
            graph = {"adjacency": self.pymetis.CSRAdjacency(indptr, indices)}
        else:  # before 2025.2
            graph = {"xadj": indptr, "adjncy": indices}
        options = self.pymetis.Options(seed=seed & 0x7FFFFFFF)
        _, part = self.pymetis.part_graph(self.num_parts, **graph, recursive=self.recursive, options=options)
        return np.asarray(part, dtype=np.int64)


def _simple(adj: CSR) -> CSR:
    """The graph and its reverse without loops and parallel edges."""
    n, row, col = adj.num_rows, adj.rows, adj.indices.long()
    apart = row != col
    row, col = row[apart], col[apart]
    key = torch.cat([row * n + col, col * n + row]).unique()  # type: ignore[no-untyped-call]
    return from_keys(key, n, adj.indices.dtype)


def _check_parts(who: str, num_parts: int) -> None:
    if num_parts < 1:
        raise ValueError(f"{who}: num_parts={num_parts}; at least 1 is needed")
