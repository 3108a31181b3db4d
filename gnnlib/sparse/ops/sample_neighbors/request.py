"""What a sampling kernel is asked and what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Relation:
    """The edges of one kind, by target, with what a draw looks at, in slot order.

    Attributes:
        src: number of the source's node type.
        dst: number of the target's node type.
        indptr: row offsets, int64 ``[R + 1]``.
        indices: source of each slot, ``[E]``.
        weight: weight of each slot, float64 ``[E]``, or None for equal ones.
        time: time of each slot, ascending within a row, int64 or float64 ``[E]``, or None.
    """

    src: int
    dst: int
    indptr: Tensor
    indices: Tensor
    weight: Tensor | None = None
    time: Tensor | None = None


class Placed:
    """Where a request is to be met: on the device of its graph. Dispatch asks this of its first argument."""

    relations: tuple[Relation, ...]
    seeds: tuple[Tensor, ...]

    @property
    def device(self) -> torch.device:
        return next((t.device for t in self._tensors()), torch.device("cpu"))

    @property
    def is_cuda(self) -> bool:
        return any(t.is_cuda for t in self._tensors())

    def _tensors(self) -> Iterator[Tensor]:
        yield from (r.indptr for r in self.relations)
        yield from self.seeds


@dataclass(frozen=True)
class Request(Placed):
    """A sample to draw.

    Attributes:
        relations: the kinds of edges.
        sizes: number of nodes of each node type.
        seeds: nodes to begin with, of each node type, int64.
        fanouts: edges to draw into each target, of each relation and hop; -1 takes all.
        replace: whether an edge may be drawn again.
        disjoint: every seed gets a subgraph of its own; else subgraphs share their nodes.
        limits: for each node type the latest time of an edge in the subgraph of each seed, or None; needs
            ``disjoint``.
        last: take the latest edges within the limit, not any.
        induced: return all edges among the sampled nodes, not the drawn ones.
        seed: state of the random stream, 64 bits.
    """

    relations: tuple[Relation, ...]
    sizes: tuple[int, ...]
    seeds: tuple[Tensor, ...]
    fanouts: tuple[tuple[int, ...], ...]
    replace: bool = False
    disjoint: bool = False
    limits: tuple[Tensor, ...] | None = None
    last: bool = False
    induced: bool = False
    seed: int = 0

    @property
    def num_hops(self) -> int:
        return max((len(f) for f in self.fanouts), default=0)


@dataclass(frozen=True)
class Nodes:
    """The sampled nodes of one type, in the order in which they were met.

    Attributes:
        node: number of each, int64.
        tag: the seed whose subgraph it belongs to, int64; None where subgraphs share nodes.
        counts: how many are seeds, and how many each hop added.
    """

    node: Tensor
    tag: Tensor | None
    counts: list[int]


@dataclass(frozen=True)
class Edges:
    """The sampled edges of one relation.

    Attributes:
        row: place of the source among the sampled nodes of its type, int64.
        col: place of the target, int64.
        slot: slot of the relation, int64.
        counts: how many each hop added; one number for all with ``induced``.
    """

    row: Tensor
    col: Tensor
    slot: Tensor
    counts: list[int]


Answer = tuple[list[Nodes], list[Edges]]


def refuse(request: Placed, *_: Any) -> str | None:
    """The CPU kernel's objection: tensors on another device."""
    return f"takes cpu tensors, got one on {request.device}" if request.is_cuda else None
