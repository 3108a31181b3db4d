"""The graphs that the cases run on: each is a function of its scale alone, so a seed names a graph.

Generators use numpy's own streams; the tensors are then copied by torch, so that every array of a run
comes from torch's allocator and follows the same huge-page setting.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]


class UnavailableError(RuntimeError):
    """A graph or a peer that cannot run here; the message says why and what would help."""


@dataclass(frozen=True)
class Graph:
    """A graph to measure on: ``edge_index`` ``[2, E]`` (row 0 source, row 1 target) over N nodes.

    For a hypergraph the columns are incidences: row 0 a node, row 1 a hyperedge that holds it.
    """

    name: str
    edge_index: Tensor  # int64 [2, E]
    num_nodes: int
    batch: Tensor | None = None  # int64 [N], the graph of each node, where the case holds several
    num_graphs: int = 1
    num_hyperedges: int = 0

    @property
    def num_edges(self) -> int:
        return int(self.edge_index.size(1))

    @property
    def device(self) -> torch.device:
        return self.edge_index.device

    def to(self, device: torch.device | str) -> Graph:
        """The same graph with its arrays on ``device``."""
        batch = None if self.batch is None else self.batch.to(device)
        return dataclasses.replace(self, edge_index=self.edge_index.to(device), batch=batch)


def _graph(name: str, src: Ints, dst: Ints, num_nodes: int) -> Graph:
    return Graph(name, torch.from_numpy(np.stack([src, dst])).clone(), num_nodes)


def arxiv_like(scale: float = 1.0) -> Graph:
    """Both ends drawn in proportion to Zipf(2.1) degrees clipped at 5,000; edges and their reverses."""
    num_nodes, num_edges = int(169_343 * scale), int(1_166_243 * scale)
    rng = np.random.default_rng(0)
    degree = np.minimum(rng.zipf(2.1, num_nodes), 5000)
    p = degree / degree.sum()
    src, dst = (rng.choice(num_nodes, num_edges, p=p) for _ in range(2))
    return _graph("arxiv-like", np.concatenate([src, dst]), np.concatenate([dst, src]), num_nodes)


def in_cache(scale: float = 1.0) -> Graph:
    """Uniform edges over few enough nodes that the features stay in the last cache."""
    num_nodes, num_edges = int(20_000 * scale), int(400_000 * scale)
    rng = np.random.default_rng(0)
    src, dst = rng.integers(0, num_nodes, (2, num_edges))
    return _graph("in-cache", src, dst, num_nodes)


def hub(scale: float = 1.0) -> Graph:
    """A ring, and node 0 joined to every node (itself included) in both directions."""
    n = int(100_000 * scale)
    node = np.arange(n)
    nxt = (node + 1) % n
    zero = np.zeros_like(node)
    src = np.concatenate([node, nxt, node, zero[1:]])
    dst = np.concatenate([nxt, node, zero, node[1:]])
    return _graph("hub", src, dst, n)


def molecules(scale: float = 1.0) -> Graph:
    """128 small graphs of 18 to 32 nodes: a chain-like tree each, with a ring closed every few atoms."""
    num_graphs = max(2, int(128 * scale))
    rng = np.random.default_rng(0)
    src, dst, batch, start = [], [], [], 0
    for g in range(num_graphs):
        n = int(rng.integers(18, 33))
        child = np.arange(1, n)
        parent = child - rng.integers(1, np.minimum(child, 3) + 1)
        ring = np.arange(5, n, 6)
        a, b = start + np.concatenate([child, ring]), start + np.concatenate([parent, ring - 5])
        src += [a, b]
        dst += [b, a]
        batch.append(np.full(n, g))
        start += n
    flat = _graph("molecules", np.concatenate(src), np.concatenate(dst), start)
    return Graph(
        flat.name, flat.edge_index, start, torch.from_numpy(np.concatenate(batch)).clone(), num_graphs
    )


def hyper(scale: float = 1.0) -> Graph:
    """Hyperedges of Zipf(1.5) sizes clipped at 500, their members drawn uniformly and no member twice."""
    num_nodes, num_hyperedges = int(50_000 * scale), int(20_000 * scale)
    rng = np.random.default_rng(0)
    sizes = np.minimum(rng.zipf(1.5, num_hyperedges), 500)
    hyperedge = np.repeat(np.arange(num_hyperedges), sizes)
    member = rng.integers(0, num_nodes, hyperedge.size)
    once = np.unique(hyperedge * num_nodes + member)
    flat = _graph("hyper", once % num_nodes, once // num_nodes, num_nodes)
    return Graph(flat.name, flat.edge_index, num_nodes, num_hyperedges=num_hyperedges)


def products_like(scale: float = 1.0) -> Graph:
    """As many nodes and edges as ogbn-products, drawn like ``arxiv_like``."""
    num_nodes, num_edges = int(2_449_029 * scale), int(61_859_140 * scale)
    rng = np.random.default_rng(0)
    share = np.cumsum(np.minimum(rng.zipf(2.1, num_nodes), 5000).astype(np.float64))
    # A search in the running sum, a part at a time: rng.choice would do it in one piece of 1 GB and more.
    ends = [
        np.concatenate(
            [
                np.searchsorted(share, rng.random(len(part)) * share[-1], side="right")
                for part in np.array_split(np.empty(num_edges, np.bool_), 16)
            ]
        )
        for _ in range(2)
    ]
    src, dst = ends
    return _graph("products-like", np.concatenate([src, dst]), np.concatenate([dst, src]), num_nodes)


def cora_like(scale: float = 1.0) -> Graph:
    """As many nodes and edges as Cora, uniform: for a machine without the data; it has one size."""
    rng = np.random.default_rng(0)
    src, dst = rng.integers(0, 2708, (2, 5278))
    return _graph("cora-like", np.concatenate([src, dst]), np.concatenate([dst, src]), 2708)


def _real(name: str) -> Callable[[float], Graph]:
    def load(scale: float = 1.0) -> Graph:  # a real graph has one size
        root = os.environ.get("GNNLIB_DATA")
        if root is None or not Path(root).is_dir():
            raise UnavailableError(f"{name} is a real graph; set GNNLIB_DATA to a folder that holds it")
        from torch_geometric.data import Batch

        from gnnlib.data import load as load_dataset

        graphs = load_dataset(name).dataset
        if len(graphs) == 1:
            return Graph(name, graphs[0].edge_index, int(graphs[0].num_nodes))
        every = Batch.from_data_list(list(graphs))
        return Graph(name, every.edge_index, int(every.num_nodes), every.batch, len(graphs))

    return load


GRAPHS: dict[str, Callable[[float], Graph]] = {
    "arxiv-like": arxiv_like,
    "blogcatalog": _real("blogcatalog"),
    "citeseer": _real("citeseer"),
    "cora": _real("cora"),
    "cora-like": cora_like,
    "hub": hub,
    "huangpu": _real("huangpu"),
    "hyper": hyper,
    "in-cache": in_cache,
    "molecules": molecules,
    "nci1": _real("nci1"),
    "products-like": products_like,
}

#: Scale of ``--quick``: every path runs, no figure means anything.
QUICK = 0.01
