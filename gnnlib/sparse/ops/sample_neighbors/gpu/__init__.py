"""Neighbour samples on a GPU: the draws in kernels, the numbering of nodes by sorts, all on the device.

Every target draws from its own stream, as the definition says, so the sample has the definition's edges in
its order; only a weighted draw without replacement may differ, where two arrivals are equal but for the
rounding of a logarithm.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from gnnlib.sparse.counter import child
from gnnlib.sparse.gpu.launch import unfit
from gnnlib.sparse.ops.sample_neighbors.gpu.draws import drawn_slots, expand, window
from gnnlib.sparse.ops.sample_neighbors.request import Answer, Edges, Nodes, Relation, Request
from gnnlib.sparse.random import draw
from gnnlib.sparse.registry import kernel

__all__ = ["draws"]  # the kernel registers itself


class _Found:
    """The nodes of one type that were met, in that order, and the place of each."""

    def __init__(self, seeds: Tensor, tag: Tensor, size: int) -> None:
        self.node, self.tag, self.size = seeds, tag, size
        self.key, self.place = _first_places(tag * size + seeds)
        self.counts = [seeds.shape[0]]

    def find(self, tag: Tensor, node: Tensor) -> tuple[Tensor, Tensor]:
        """The place of each node, where it is known."""
        wanted = tag * self.size + node
        if self.key.shape[0] == 0:
            return wanted, torch.zeros_like(wanted, dtype=torch.bool)
        at = torch.searchsorted(self.key, wanted).clamp(max=self.key.shape[0] - 1)
        return self.place[at], self.key[at] == wanted

    def add(self, tag: Tensor, node: Tensor) -> Tensor:
        """The places of nodes; those that are new come last, in the order in which they occur."""
        place, known = self.find(tag, node)
        fresh = (tag * self.size + node)[~known]
        key, first = _first_places(fresh)
        order = first.argsort()
        rank = torch.empty_like(order)
        rank[order] = torch.arange(order.shape[0], device=order.device)
        number = self.node.shape[0] + rank
        place[~known] = number[torch.searchsorted(key, fresh)]
        self.node = torch.cat([self.node, key[order] % self.size])
        self.tag = torch.cat([self.tag, key[order] // self.size])
        self.key, sorted_by = torch.cat([self.key, key]).sort()
        self.place = torch.cat([self.place, number])[sorted_by]
        return place


def _first_places(key: Tensor) -> tuple[Tensor, Tensor]:
    """The keys once each, sorted, and the place at which each occurs first."""
    ordered, perm = key.sort(stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first], perm[first]


def _refuse(request: Request, *_: Any) -> str | None:
    return unfit(request.device)


@kernel("sample_neighbors", "gpu", refuse=_refuse)
def sample_neighbors(request: Request) -> Answer:
    device = request.device
    limits = None if request.limits is None else torch.cat(request.limits).to(device)
    found, start = [], 0
    for seeds, size in zip(request.seeds, request.sizes, strict=True):
        tag = torch.arange(start, start + seeds.shape[0], device=device)
        found.append(
            _Found(seeds.to(device), tag if request.disjoint else torch.zeros_like(tag), max(size, 1))
        )
        start += seeds.shape[0]
    edges: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in request.relations]
    counts: list[list[int]] = [[] for _ in request.relations]
    begin = [0] * len(found)
    for hop in range(request.num_hops):
        end = [f.node.shape[0] for f in found]
        for r, relation in enumerate(request.relations):
            k = request.fanouts[r][hop]
            target = found[relation.dst]
            node = target.node[begin[relation.dst] : end[relation.dst]]
            tag = target.tag[begin[relation.dst] : end[relation.dst]]
            stream = draw(draw(torch.tensor(_signed(child(request.seed, hop, r)), device=device), node), tag)
            limit = None if limits is None else limits[tag]
            low, high = window(relation, node, limit, k if request.last else -1)
            col, slot = drawn_slots(relation, low, high, k, request.replace, stream)
            row = found[relation.src].add(tag[col], relation.indices[slot].long())
            edges[r].append((row, col + begin[relation.dst], slot))
            counts[r].append(slot.shape[0])
        for kind, f in enumerate(found):
            f.counts.append(f.node.shape[0] - end[kind])
        begin = end
    if request.induced:
        for r, relation in enumerate(request.relations):
            edges[r] = [_induced(relation, found[relation.dst], found[relation.src], limits)]
            counts[r] = [edges[r][0][0].shape[0]]
    return (
        [Nodes(f.node, f.tag if request.disjoint else None, f.counts) for f in found],
        [Edges(*_joined(hops, device), n) for hops, n in zip(edges, counts, strict=True)],
    )


def _joined(hops: list[tuple[Tensor, Tensor, Tensor]], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, columns and slots of all hops."""
    if not hops:
        nothing = torch.zeros(0, dtype=torch.int64, device=device)
        return nothing, nothing, nothing
    row, col, slot = (torch.cat(part) for part in zip(*hops, strict=True))
    return row, col, slot


def _induced(
    relation: Relation, targets: _Found, sources: _Found, limits: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """All edges into sampled nodes from sampled nodes of the same subgraph."""
    limit = None if limits is None else limits[targets.tag]
    low, high = window(relation, targets.node, limit, -1)
    bound = pad((high - low).cumsum(0), (1, 0))
    col, within = expand(bound)
    slot = low[col] + within
    row, known = sources.find(targets.tag[col], relation.indices[slot].long())
    return row[known], col[known], slot[known]


def _signed(word: int) -> int:
    """64 bits as the signed number that holds them."""
    return word - (1 << 64) if word >> 63 else word
