"""The kind of work that mini-batch training begins with: a batch of seeds and some of their neighbours."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from gnnlib.bench.graphs import Graph, Ints, UnavailableError
from gnnlib.bench.peers import sorted_rows
from gnnlib.bench.problems import Problem
from gnnlib.bench.timing import Run, alone
from gnnlib.bench.traffic import Traffic

#: Nodes, and of each edge the places of source and target among them and its slot among the sorted rows.
Drawn = tuple[Tensor, Tensor, Tensor, Tensor]
Draw = Callable[[Tensor], Drawn]
#: Batches that a run takes in turn, so that no batch is in a cache from the call before.
BATCHES = 8


def _ours(indptr: Tensor, indices: Tensor, fanouts: Sequence[int]) -> Draw:
    from gnnlib.sparse import CSR, sample_neighbors

    adj, number = CSR(indptr, indices), iter(range(1 << 62))

    def draw(seeds: Tensor) -> Drawn:
        s = sample_neighbors(adj, seeds, fanouts, seed=next(number))
        return s.node, s.row, s.col, s.edge

    return draw


def _torch_sparse(indptr: Tensor, indices: Tensor, fanouts: Sequence[int]) -> Draw:
    if importlib.util.find_spec("torch_sparse") is None:
        raise UnavailableError("'torch-sparse' is not installed; run: pip install torch-sparse (it compiles)")
    importlib.import_module("torch_sparse")
    return torch_sparse_draw(indptr, indices, fanouts)


def torch_sparse_draw(indptr: Tensor, indices: Tensor, fanouts: Sequence[int]) -> Draw:
    """The operator that PyG's loader calls where torch-sparse is installed."""
    return lambda seeds: torch.ops.torch_sparse.neighbor_sample(
        indptr, indices, seeds, list(fanouts), False, True
    )


def _numpy(indptr: Tensor, indices: Tensor, fanouts: Sequence[int]) -> Draw:
    """Vectorised numpy: random keys for the frontier's edges, the least of each row, a look-up array."""
    offsets, sources = indptr.numpy(), indices.numpy()
    place = np.full(offsets.size - 1, -1)
    rng = np.random.default_rng(0)

    def draw(seeds: Tensor) -> Drawn:
        node: Ints = seeds.numpy()
        place[node] = np.arange(node.size)
        found: list[tuple[Ints, Ints, Ints]] = []
        begin = 0
        for k in fanouts:
            frontier, first = node[begin:], begin
            begin = node.size
            degree = offsets[frontier + 1] - offsets[frontier]
            row = np.repeat(np.arange(frontier.size), degree)
            start = np.cumsum(degree) - degree
            slot = np.arange(row.size) + np.repeat(offsets[frontier] - start, degree)
            order = np.lexsort((rng.random(row.size), row))
            kept = order[np.arange(row.size) - start[row] < k]
            slot, col = slot[kept], row[kept] + first
            source = sources[slot]
            fresh = np.unique(source[place[source] < 0])
            place[fresh] = np.arange(node.size, node.size + fresh.size)
            node = np.concatenate([node, fresh])
            found.append((place[source], col, slot))
        place[node] = -1
        parts = (torch.from_numpy(np.concatenate(p)) for p in zip(*found, strict=True))
        row_place, col_place, slots = parts
        return torch.from_numpy(node), row_place, col_place, slots

    return draw


_CONTENDERS = {"ours": _ours, "torch-sparse": _torch_sparse, "numpy": _numpy}


def fault(indptr: Tensor, indices: Tensor, seeds: Tensor, fanouts: Sequence[int], drawn: Drawn) -> str | None:
    """What is wrong with a sample, or None: edges that are not the graph's, too many or too few of a node."""
    node, row, col, slot = drawn
    target = torch.searchsorted(indptr, slot, right=True) - 1
    if not torch.equal(node[: seeds.numel()], seeds):
        return "the seeds are not the first nodes"
    if not torch.equal(indices[slot], node[row]) or not torch.equal(target, node[col]):
        return "the ends of the sampled edges are not those of the graph's"
    if torch.unique(slot).numel() != slot.numel():
        return "an edge was drawn twice"
    count = col.bincount(minlength=node.numel())
    degree = indptr.diff()[node]
    if not torch.equal(count[: seeds.numel()], degree[: seeds.numel()].clamp(max=fanouts[0])):
        return "a seed has another number of edges than its fan-out or its degree"
    return None if int(count.max()) <= max(fanouts) else "a node has more edges than any fan-out"


def neighbor_sampling(graph: Graph, *, fanouts: Sequence[int], batch: int) -> Problem:
    """One batch of seeds and its sampled neighbours, without replacement, as one worker draws it.

    Every contender gets the same sorted rows and returns nodes, places and slots; features are not looked up.
    """
    indptr, indices = sorted_rows(graph)
    order = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(0))
    size = min(batch, graph.num_nodes // 2)
    batches = [order[(k * size) % (graph.num_nodes - size) :][:size] for k in range(BATCHES)]

    def start(name: str) -> Run:
        draw, turn = _CONTENDERS[name](indptr, indices, fanouts), iter(range(1 << 62))
        return lambda: alone(lambda: draw(batches[next(turn) % BATCHES]))

    def verify(name: str) -> str | None:
        draw = _CONTENDERS[name](indptr, indices, fanouts)
        return fault(indptr, indices, batches[0], fanouts, alone(lambda: draw(batches[0])))

    node, row, _, _ = _ours(indptr, indices, fanouts)(batches[0])
    # An index and a place read, two places and a slot written for each edge; each node's offsets and number.
    moved = row.numel() * (4 + 4 + 3 * 8) + node.numel() * (16 + 8)
    return Problem({n: functools.partial(start, n) for n in _CONTENDERS}, verify, Traffic(moved, moved))
