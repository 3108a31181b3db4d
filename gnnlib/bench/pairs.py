"""The kind of work that link prediction begins with: what the two ends of each pair have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnnlib.bench.graphs import Graph, Ints
from gnnlib.bench.problems import Problem
from gnnlib.bench.timing import Run
from gnnlib.bench.traffic import Traffic

#: Offsets ``[P+1]`` and sorted nodes: the common neighbours of each pair.
Lists = tuple[Ints, Ints]


def draw_pairs(graph: Graph, count: int) -> Tensor:
    """``[2, count]``: half are edges, half are uniform, as link prediction scores them."""
    rng = np.random.default_rng(1)
    positive = graph.edge_index[:, torch.from_numpy(rng.integers(0, graph.num_edges, count // 2))]
    negative = torch.from_numpy(rng.integers(0, graph.num_nodes, (2, count - count // 2)))
    return torch.cat([positive, negative], 1)


def _rows(graph: Graph) -> tuple[Ints, Ints, Ints]:
    """Sorted keys ``target * N + source`` of the edges, each once; offsets; sources."""
    src, dst = graph.edge_index.numpy()
    keys = np.unique(dst * graph.num_nodes + src)
    indptr = np.searchsorted(keys, np.arange(graph.num_nodes + 1) * graph.num_nodes)
    return keys, indptr, keys % graph.num_nodes


def _shorter(indptr: Ints, pairs: Tensor) -> tuple[Ints, Ints]:
    """The end of each pair with fewer neighbours, and the other."""
    u, v = pairs.numpy()
    degree = np.diff(indptr)
    swap = degree[u] > degree[v]
    return np.where(swap, v, u), np.where(swap, u, v)


def expected_lists(graph: Graph, pairs: Tensor) -> Lists:
    """Look every neighbour of the shorter end up among the edges of the other."""
    keys, indptr, indices = _rows(graph)
    short, long = _shorter(indptr, pairs)
    length = np.diff(indptr)[short]
    pair = np.repeat(np.arange(short.size), length)
    start = np.repeat(indptr[short] - (np.cumsum(length) - length), length)
    node = indices[start + np.arange(pair.size)]
    wanted = long[pair] * graph.num_nodes + node
    place = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    found = keys[place] == wanted
    count = np.bincount(pair[found], minlength=short.size)
    return np.concatenate([[0], np.cumsum(count)]), node[found]


def _ours(graph: Graph, pairs: Tensor) -> Callable[[], Lists]:
    from gnnlib.sparse import as_csr, common_neighbors

    adj = as_csr(graph.edge_index, graph.num_nodes)

    def run() -> Lists:
        found = common_neighbors(adj, pairs)
        return found.indptr.numpy(), found.indices.numpy()

    return run


def _scipy(graph: Graph, pairs: Tensor) -> Callable[[], Lists]:
    from scipy.sparse import csr_matrix

    _, indptr, indices = _rows(graph)
    ones: NDArray[np.float32] = np.ones(indices.size, np.float32)
    adj = csr_matrix((ones, indices.astype(np.int32), indptr.astype(np.int32)), (graph.num_nodes,) * 2)
    u, v = pairs.numpy()

    def run() -> Lists:
        found = adj[u].multiply(adj[v]).tocsr()
        return found.indptr, found.indices

    return run


_CONTENDERS = {"ours": _ours, "scipy": _scipy}


def common_neighbors(graph: Graph, *, count: int) -> Problem:
    """The common neighbours of ``count`` pairs; of fewer where the graph has fewer nodes than pairs.

    The peer is the product, entry by entry, of the two ends' rows of the adjacency matrix, as examples of
    the Open Graph Benchmark compute it. A product of the whole matrix with itself would hold every pair.
    """
    pairs = draw_pairs(graph, min(count, graph.num_nodes))

    def start(name: str) -> Run:
        return _CONTENDERS[name](graph, pairs)

    right = expected_lists(graph, pairs)

    def verify(name: str) -> str | None:
        for what, got, value in zip(("counts", "nodes"), start(name)(), right, strict=True):
            if not np.array_equal(got, value):
                return f"the {what} of the common neighbours are not those of a search among the edges"
        return None

    # The shorter row of each pair, once for the graph or once for each pair, and as many places of the other.
    _, indptr, _ = _rows(graph)
    short, _ = _shorter(indptr, pairs)
    length = np.diff(indptr)
    fixed = pairs.numel() * 8 + right[0].size * 8 + right[1].size * 4
    traffic = Traffic(
        fixed + int(length[np.unique(short)].sum()) * 4, fixed + 2 * int(length[short].sum()) * 4
    )
    # Two matrices of selected rows, an int32 and a float32 for each entry, and room for one result.
    held = 3 * 8 * int(length[pairs.numpy()].sum(1).max())
    return Problem(
        {n: functools.partial(start, n) for n in _CONTENDERS}, verify, traffic, needs={"scipy": held}
    )
