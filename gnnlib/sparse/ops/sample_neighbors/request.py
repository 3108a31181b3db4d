"""What a sampling kernel is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Request:
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


def refuse(request: Any, *_: Any) -> str | None:
    """The CPU kernel's objection: tensors on another device."""
    for t in (*request.seeds, *(r.indptr for r in request.relations)):
        if t.device.type != "cpu":
            return f"takes cpu tensors, got one on {t.device}"
    return None
