"""Neighbour sampling with Python's lists and dictionaries: the definition.

The stream of random numbers of a target is found from the seed by hop, relation, node and, where each seed
has a subgraph of its own, the number of that seed. So what is drawn for a node depends on nothing else that
is in the batch.
"""

from __future__ import annotations

import math

import torch

from gnnlib.sparse.counter import below, child, draw, unit
from gnnlib.sparse.ops.sample_neighbors.request import Answer, Edges, Nodes, Relation, Request
from gnnlib.sparse.registry import kernel


def _choose(n: int, k: int, state: int) -> list[int]:
    """k of n places, each set equally likely."""
    chosen: list[int] = []
    if k * k > 16 * n:  # one pass over the places
        for i in range(n):
            if unit(draw(state, i)) * (n - i) < k - len(chosen):
                chosen.append(i)
        return chosen
    for c, j in enumerate(range(n - k, n)):  # Floyd's way: as many numbers as places
        place = below(draw(state, c), j + 1)
        chosen.append(j if place in chosen else place)
    return chosen


def _choose_weighted(weight: list[float], k: int, state: int) -> list[int]:
    """The k places with the earliest arrivals, exponential of rate ``weight``: one draw after another."""
    arrival = [(-math.log(1.0 - unit(draw(state, i))) / w, i) for i, w in enumerate(weight) if w > 0]
    return [i for _, i in sorted(arrival)[:k]]


def _choose_again(n: int, k: int, weight: list[float] | None, state: int) -> list[int]:
    """k places with replacement."""
    numbers = [draw(state, c) for c in range(k)]
    if weight is None:
        return [below(z, n) for z in numbers] if n else []
    sums, total = [], 0.0
    for w in weight:
        total += w
        sums.append(total)
    if not total > 0:
        return []
    return [next(i for i, s in enumerate(sums) if unit(z) * total < s) for z in numbers]


def _window(relation: Relation, i: int, limit: float | int | None, last: int) -> range:
    """The slots of target i that a draw may take; of them the last so many, unless that is negative."""
    lo, hi = int(relation.indptr[i]), int(relation.indptr[i + 1])
    if relation.time is not None and limit is not None:
        hi = lo + sum(t <= limit for t in relation.time[lo:hi].tolist())
        if last >= 0:
            lo = max(lo, hi - last)
    return range(lo, hi)


def _drawn(relation: Relation, slots: range, k: int, replace: bool, state: int) -> list[int]:
    weight = None if relation.weight is None else relation.weight[slots.start : slots.stop].tolist()
    n = len(slots)
    if replace and k >= 0:
        places = _choose_again(n, k, weight, state)
    elif weight is not None and 0 <= k < sum(w > 0 for w in weight):
        places = _choose_weighted(weight, k, state)
    elif weight is not None:
        places = [i for i in range(n) if weight[i] > 0]
    elif 0 <= k < n:
        places = _choose(n, k, state)
    else:
        places = list(range(n))
    return [slots[p] for p in places]


@kernel("sample_neighbors", "reference")
def sample_neighbors(request: Request) -> Answer:
    nodes: list[list[tuple[int, int]]] = []  # (tag, node) of each type
    place: list[dict[tuple[int, int], int]] = []
    limits: list[float | int] = []
    for kind, seeds in enumerate(request.seeds):
        start = len(limits)
        if request.limits is not None:
            limits += request.limits[kind].tolist()
        else:
            limits += [0] * len(seeds)
        nodes.append([(start + i if request.disjoint else 0, s) for i, s in enumerate(seeds.tolist())])
        found: dict[tuple[int, int], int] = {}
        for i, key in enumerate(nodes[kind]):
            found.setdefault(key, i)
        place.append(found)
    edges: list[list[tuple[int, int, int]]] = [[] for _ in request.relations]
    node_counts = [[len(n)] for n in nodes]
    edge_counts: list[list[int]] = [[] for _ in request.relations]
    begin = [0] * len(nodes)
    for hop in range(request.num_hops):
        end = [len(n) for n in nodes]
        for r, relation in enumerate(request.relations):
            before = len(edges[r])
            k = request.fanouts[r][hop]
            for col in range(begin[relation.dst], end[relation.dst]):
                tag, node = nodes[relation.dst][col]
                limit = limits[tag] if request.limits is not None else None
                slots = _window(relation, node, limit, k if request.last else -1)
                for slot in _drawn(
                    relation, slots, k, request.replace, child(request.seed, hop, r, node, tag)
                ):
                    key = tag, int(relation.indices[slot])
                    if key not in place[relation.src]:
                        place[relation.src][key] = len(nodes[relation.src])
                        nodes[relation.src].append(key)
                    edges[r].append((place[relation.src][key], col, slot))
            edge_counts[r].append(len(edges[r]) - before)
        for kind in range(len(nodes)):
            node_counts[kind].append(len(nodes[kind]) - end[kind])
        begin = end
    if request.induced:
        for r, relation in enumerate(request.relations):
            edges[r] = [
                (place[relation.src][tag, j], col, slot)
                for col, (tag, node) in enumerate(nodes[relation.dst])
                for slot in _window(relation, node, limits[tag] if request.limits is not None else None, -1)
                if (tag, (j := int(relation.indices[slot]))) in place[relation.src]
            ]
            edge_counts[r] = [len(edges[r])]

    def column(values: list[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int64)

    return (
        [
            Nodes(
                column([n for _, n in found]),
                column([t for t, _ in found]) if request.disjoint else None,
                counts,
            )
            for found, counts in zip(nodes, node_counts, strict=True)
        ],
        [
            Edges(
                column([e[0] for e in found]),
                column([e[1] for e in found]),
                column([e[2] for e in found]),
                counts,
            )
            for found, counts in zip(edges, edge_counts, strict=True)
        ],
    )
