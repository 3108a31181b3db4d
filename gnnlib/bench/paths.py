"""The kind of work that path aggregators begin with: every simple path of a few edges that ends at a node."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from gnnlib.bench.graphs import Graph, Ints
from gnnlib.bench.peers import sorted_rows
from gnnlib.bench.problems import Problem
from gnnlib.bench.timing import Run, alone
from gnnlib.bench.traffic import Traffic

#: Of each length k = 1 ... K, ``[P_k, k + 1]``: the nodes of each path from its far end to its centre.
Lists = tuple[Ints, ...]


def _ours(graph: Graph, length: int) -> Callable[[], Lists]:
    from gnnlib.sparse import as_csr, enumerate_paths

    adj = as_csr(graph.edge_index, graph.num_nodes)
    return lambda: tuple(nodes.numpy() for nodes in enumerate_paths(adj, length, "simple").nodes)


def joined(graph: Graph, length: int) -> Lists:
    """Vectorised numpy: every path beside every source of its far end, less those that meet themselves."""
    offsets, sources = (part.numpy() for part in sorted_rows(graph))
    row = np.repeat(np.arange(graph.num_nodes), np.diff(offsets))
    key = np.unique(row * graph.num_nodes + sources)
    row, source = key // graph.num_nodes, key % graph.num_nodes
    start = np.searchsorted(row, np.arange(graph.num_nodes + 1))
    paths: Ints = np.arange(graph.num_nodes)[:, None]
    found = []
    for _ in range(length):
        end = paths[:, 0]
        degree = start[end + 1] - start[end]
        path = np.repeat(np.arange(end.size), degree)
        slot = np.arange(path.size) + np.repeat(start[end] - (np.cumsum(degree) - degree), degree)
        fresh = source[slot]
        apart = (paths[path] != fresh[:, None]).all(1)
        paths = np.concatenate([fresh[apart, None], paths[path[apart]]], axis=1)
        found.append(paths)
    return tuple(found)


_CONTENDERS: dict[str, Callable[[Graph, int], Callable[[], Lists]]] = {
    "ours": _ours,
    "numpy": lambda graph, length: functools.partial(joined, graph, length),
}


def _in_order(paths: Ints) -> Ints:
    return paths[np.lexsort(paths.T)]


def simple_paths(graph: Graph, *, length: int) -> Problem:
    """All simple paths of up to ``length`` edges that end at each node, on one thread."""

    def start(name: str) -> Run:
        run = _CONTENDERS[name](graph, length)
        return lambda: alone(run)

    right = joined(graph, length)

    def verify(name: str) -> str | None:
        for k, (got, value) in enumerate(zip(start(name)(), right, strict=True), start=1):
            if got.shape != value.shape:
                return f"{got.shape[0]:,} paths of {k} edges, {value.shape[0]:,} are to be found"
            if not np.array_equal(_in_order(got), _in_order(value)):
                return f"the paths of {k} edges are not those that numpy finds"
        return None

    # The result, its offsets, and each path's last step: what no search can do without.
    written = sum(p.size for p in right) * 4 + length * (graph.num_nodes + 1) * 8
    moved = written + sum(p.shape[0] for p in right) * 4
    return Problem({n: functools.partial(start, n) for n in _CONTENDERS}, verify, Traffic(moved, moved))
