"""Budget sampling on a CPU: budgets in arrays over all nodes, of which only what was owed is looked at."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from gnnlib.sparse.counter import child
from gnnlib.sparse.native.counter import draw, unit
from gnnlib.sparse.ops.sample_budget.request import BudgetRequest
from gnnlib.sparse.ops.sample_neighbors.cpu import Sampled
from gnnlib.sparse.ops.sample_neighbors.cpu.places import Kept
from gnnlib.sparse.ops.sample_neighbors.request import Answer, refuse
from gnnlib.sparse.registry import kernel


@njit(cache=True)
def _owe(indptr, indices, node, table, budget, owed, count):
    """Add to the budgets of the sources of these nodes; ``owed`` lists, once each, who has one."""
    for f in range(node.size):
        lo, hi = indptr[node[f]], indptr[node[f] + 1]
        for s in range(lo, hi):
            j = indices[s]
            if table[j] < 0:
                if budget[j] == 0:
                    owed[count] = j
                    count += 1
                budget[j] += 1.0 / (hi - lo)
    return count


@njit(cache=True)
def _arrivals(owed, budget, state, arrival):
    """When the exponential clock of each node, of rate budget squared, goes off."""
    for i in range(owed.size):
        b = budget[owed[i]]
        arrival[i] = -math.log(1.0 - unit(draw(state, owed[i]))) / (b * b)


@njit(cache=True)
def _degrees(indptr, node):
    total = 0
    for f in range(node.size):
        total += indptr[node[f] + 1] - indptr[node[f]]
    return total


_kept = Kept(0.0, np.float64)


class _Budget:
    """What the nodes of one type are owed."""

    def __init__(self, size: int) -> None:
        self.value, self.owed, self.count = _kept.take(size), np.empty(0, np.int64), 0

    def reserve(self, more: int) -> None:
        if self.count + more > self.owed.size:
            self.owed = np.concatenate([self.owed[: self.count], np.empty(self.count + 2 * more, np.int64)])

    def take(self, k: int, state: np.uint64) -> np.ndarray:
        """The k nodes whose clocks go off first, which are then owed nothing."""
        owed = self.owed[: self.count]
        arrival = np.empty(owed.size)
        _arrivals(owed, self.value, state, arrival)
        order = np.lexsort((owed, arrival))
        chosen, rest = owed[order[:k]], owed[np.sort(order[k:])]
        self.value[chosen] = 0
        self.owed[: rest.size] = rest
        self.count = rest.size
        return chosen

    def clear(self) -> None:
        self.value[self.owed[: self.count]] = 0
        _kept.give(self.value)


@kernel("sample_budget", "cpu", refuse=refuse)
def sample_budget(request: BudgetRequest) -> Answer:
    with Sampled(request.relations, request.sizes, request.seeds) as sampled:
        places = sampled.places
        budgets = [_Budget(p.size) for p in places]
        try:
            counts = [[p.num_nodes] for p in places]
            begin = [0] * len(places)
            for step in range(request.num_steps):
                end = [p.num_nodes for p in places]
                for of in sampled.relations:
                    node, _ = places[of.dst].between(begin[of.dst], end[of.dst])
                    owed = budgets[of.src]
                    owed.reserve(_degrees(of.indptr, node))
                    owed.count = _owe(
                        of.indptr, of.indices, node, places[of.src].table, owed.value, owed.owed, owed.count
                    )
                for kind, owed in enumerate(budgets):
                    chosen = owed.take(
                        request.num_samples[kind][step], np.uint64(child(request.seed, step, kind))
                    )
                    places[kind].enter(chosen, chosen[:0])
                    counts[kind].append(chosen.size)
                begin = end
            nodes = [p.answer(c) for p, c in zip(places, counts, strict=True)]
            return nodes, [sampled.inside(r) for r in range(len(sampled.relations))]
        finally:
            for owed in budgets:
                owed.clear()
