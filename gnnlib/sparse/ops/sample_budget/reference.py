"""Budget sampling with Python's dictionaries: the definition."""

from __future__ import annotations

import math

import torch

from gnnlib.sparse.counter import child, draw, unit
from gnnlib.sparse.ops.sample_budget.request import BudgetRequest
from gnnlib.sparse.ops.sample_neighbors.request import Answer, Edges, Nodes
from gnnlib.sparse.registry import kernel


@kernel("sample_budget", "reference")
def sample_budget(request: BudgetRequest) -> Answer:
    nodes = [seeds.tolist() for seeds in request.seeds]
    place: list[dict[int, int]] = [{} for _ in nodes]
    for kind, found in enumerate(nodes):
        for i, v in enumerate(found):
            place[kind].setdefault(v, i)
    budget: list[dict[int, float]] = [{} for _ in nodes]
    counts = [[len(found)] for found in nodes]
    begin = [0] * len(nodes)
    for step in range(request.num_steps):
        end = [len(found) for found in nodes]
        for relation in request.relations:
            for v in nodes[relation.dst][begin[relation.dst] : end[relation.dst]]:
                lo, hi = int(relation.indptr[v]), int(relation.indptr[v + 1])
                for j in relation.indices[lo:hi].tolist():
                    if j not in place[relation.src]:
                        budget[relation.src][j] = budget[relation.src].get(j, 0.0) + 1.0 / (hi - lo)
        for kind, owed in enumerate(budget):
            state = child(request.seed, step, kind)
            arrival = sorted((-math.log(1.0 - unit(draw(state, v))) / (b * b), v) for v, b in owed.items())
            for _, v in arrival[: request.num_samples[kind][step]]:
                place[kind][v] = len(nodes[kind])
                nodes[kind].append(v)
                del owed[v]
            counts[kind].append(len(nodes[kind]) - end[kind])
        begin = end
    edges = []
    for relation in request.relations:
        found = [
            (place[relation.src][j], col, slot)
            for col, v in enumerate(nodes[relation.dst])
            for slot in range(int(relation.indptr[v]), int(relation.indptr[v + 1]))
            if (j := int(relation.indices[slot])) in place[relation.src]
        ]
        row, col, slot = torch.tensor(found, dtype=torch.int64).reshape(-1, 3).t().contiguous()
        edges.append(Edges(row, col, slot, [len(found)]))
    return [
        Nodes(torch.tensor(v, dtype=torch.int64), None, c) for v, c in zip(nodes, counts, strict=True)
    ], edges
