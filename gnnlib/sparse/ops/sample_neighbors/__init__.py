"""Samples of the neighbourhood of some nodes, over several hops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from gnnlib.sparse.convert import Adj, as_csr
from gnnlib.sparse.ops.sample_neighbors.graph import (
    Prepared,
    check_fanouts,
    check_nodes,
    limits_of,
    prepare,
)
from gnnlib.sparse.ops.sample_neighbors.request import Answer, Request
from gnnlib.sparse.registry import dispatch

__all__ = ["HeteroSample", "Sample", "sample_hetero_neighbors", "sample_neighbors"]

EdgeType: TypeAlias = tuple[str, str, str]
Strategy: TypeAlias = Literal["uniform", "last"]
Subgraph: TypeAlias = Literal["directional", "bidirectional", "induced"]


@dataclass(frozen=True)
class Sample:
    """A sampled subgraph; node places count from 0 in the order in which nodes were met, seeds first.

    Attributes:
        node: number of each sampled node in the graph, int64 ``[n]``.
        row: place of the source of each sampled edge, int64 ``[e]``.
        col: place of its target, int64 ``[e]``.
        edge: its number among the caller's edges, int64 ``[e]``.
        batch: the seed whose subgraph a node belongs to, int64 ``[n]``; None where subgraphs share nodes.
        num_sampled_nodes: seeds, then the new nodes of each hop.
        num_sampled_edges: edges of each hop; None unless the subgraph is directional.
    """

    node: Tensor
    row: Tensor
    col: Tensor
    edge: Tensor
    batch: Tensor | None
    num_sampled_nodes: list[int]
    num_sampled_edges: list[int] | None

    @property
    def edge_index(self) -> Tensor:
        """Places of sources and targets, int64 ``[2, e]``."""
        return torch.stack([self.row, self.col])


@dataclass(frozen=True)
class HeteroSample:
    """A sampled subgraph with several kinds of nodes and edges; each field of :class:`Sample`, by type.

    Attributes:
        node: by node type.
        row: by edge type: places among the nodes of the source's type.
        col: by edge type: places among the nodes of the target's type.
        edge: by edge type.
        batch: by node type, seeds counted through the types in their order; None where subgraphs share nodes.
        num_sampled_nodes: by node type.
        num_sampled_edges: by edge type; None unless the subgraph is directional.
    """

    node: dict[str, Tensor]
    row: dict[EdgeType, Tensor]
    col: dict[EdgeType, Tensor]
    edge: dict[EdgeType, Tensor]
    batch: dict[str, Tensor] | None
    num_sampled_nodes: dict[str, list[int]]
    num_sampled_edges: dict[EdgeType, list[int]] | None


def sample_neighbors(
    adj: Adj,
    seeds: Tensor,
    fanouts: Sequence[int],
    *,
    replace: bool = False,
    weight: Tensor | None = None,
    disjoint: bool = False,
    subgraph: Subgraph = "directional",
    node_time: Tensor | None = None,
    edge_time: Tensor | None = None,
    seed_time: Tensor | None = None,
    strategy: Strategy = "uniform",
    num_nodes: int | None = None,
    seed: int = 0,
) -> Sample:
    r"""Draw some incoming edges of the seeds, then of their sources, and so on.

    A node of in-degree d is drawn k of its edges for, in the hop after it was met first. Without replacement
    and without weights each edge is among them with probability

    .. math:: \pi = \min(1, k / d)

    and each set of k edges is equally likely. With weights, edges are drawn one after another, in proportion
    to the weights of those that are left; one of weight 0 never is. With replacement, k draws are made of
    every node that has an edge. What is drawn for a node depends on the seed, the hop, the node and (where
    each seed has a subgraph of its own) the number of its seed, and on nothing else in the batch.

    Hamilton et al., Inductive Representation Learning on Large Graphs, NeurIPS 2017, Sec. 3.1; weighted
    draws without replacement by exponential clocks, Efraimidis and Spirakis, 2006.

    Args:
        adj: the graph, in any form that :func:`as_csr` takes; its values are not looked at.
        seeds: the nodes to begin with; one that comes twice keeps two places.
        fanouts: k of each hop; -1 takes all edges, each once.
        replace: whether an edge may be drawn again.
        weight: of the edges, finite and not negative.
        disjoint: give every seed a subgraph of its own; else subgraphs share their nodes.
        subgraph: ``directional``: the drawn edges; ``bidirectional``: those and their reverses, each pair of
            nodes once, sorted by target; ``induced``: all edges among the sampled nodes.
        node_time: times of the nodes: a source is drawn only if it is not later than the time of the seed.
            The subgraphs must be disjoint.
        edge_time: times of the edges, in place of those of nodes.
        seed_time: times of the seeds; their ``node_time`` when omitted.
        strategy: ``uniform``: any of the edges within the time; ``last``: the latest k of them, each once.
        num_nodes: N, where ``adj`` does not tell.
        seed: of the random stream; the same one draws the same sample, whatever the number of threads.

    Shapes: adj ``[N, N]``, seeds ``[S]``, weight and edge_time ``[E]``, node_time ``[N]``, seed_time ``[S]``
        -> :class:`Sample`. No gradient; not for code under ``torch.compile``.
    Cost: the drawn edges; with weights, the in-degrees of the nodes they are drawn for. An array of N
        numbers is kept for the next call of the thread; disjoint subgraphs use a table of the sample's size
        in its place. Weights and times are brought into slot order in each call; a loader does it once.
    Raises: TypeError for seeds that are no integers; ValueError for a wrong shape, a node outside the graph,
        a fan-out below -1, negative weights, or times without disjoint subgraphs.
    """
    csr = as_csr(adj, num_nodes)
    ready = prepare(csr, weight, node_time, edge_time)
    timed = node_time is not None or edge_time is not None
    seeds = check_nodes("sample_neighbors", "seeds", seeds, csr.num_rows)
    if csr.num_rows != csr.num_cols:
        raise ValueError(
            f"sample_neighbors: adj is {csr.num_rows} x {csr.num_cols}; the sources of a hop are the "
            "targets of the next, so pass a square one, or use sample_hetero_neighbors"
        )
    if timed and not disjoint:
        raise ValueError("sample_neighbors: times need disjoint=True: each seed has a time of its own")
    limits = None
    if timed:
        limits = (limits_of("sample_neighbors", "seed_time", seeds, seed_time, node_time),)
    nodes, edges = draw_sample(
        (ready,),
        (csr.num_rows,),
        (seeds,),
        (check_fanouts("sample_neighbors", fanouts),),
        replace=replace,
        disjoint=disjoint,
        limits=limits,
        last=_is_last("sample_neighbors", strategy),
        induced=_is_induced("sample_neighbors", subgraph),
        seed=seed,
    )
    row, col, edge = edges[0].row, edges[0].col, ready.edges(edges[0].slot)
    if subgraph == "bidirectional":
        row, col, edge = both_ways(row, col, edge, nodes[0].node.numel())
    return Sample(
        nodes[0].node,
        row,
        col,
        edge,
        nodes[0].tag,
        nodes[0].counts,
        edges[0].counts if subgraph == "directional" else None,
    )


def sample_hetero_neighbors(
    adjs: Mapping[EdgeType, Adj],
    seeds: Mapping[str, Tensor],
    fanouts: Sequence[int] | Mapping[EdgeType, Sequence[int]],
    *,
    num_nodes: Mapping[str, int],
    replace: bool = False,
    weight: Mapping[EdgeType, Tensor] | None = None,
    disjoint: bool = False,
    subgraph: Literal["directional", "induced"] = "directional",
    node_time: Mapping[str, Tensor] | None = None,
    edge_time: Mapping[EdgeType, Tensor] | None = None,
    seed_time: Mapping[str, Tensor] | None = None,
    strategy: Strategy = "uniform",
    seed: int = 0,
) -> HeteroSample:
    r"""Draw incoming edges of each kind, as :func:`sample_neighbors` does for one kind.

    Args:
        adjs: by edge type ``(source type, relation, target type)``, the edges, in any form that
            :func:`as_csr` takes.
        seeds: by node type, the nodes to begin with.
        fanouts: edges to draw of each kind in each hop: one list for all kinds, or one for each.
        num_nodes: by node type, the number of nodes.
        replace: whether an edge may be drawn again.
        weight: by edge type, where its edges have weights.
        disjoint: give every seed a subgraph of its own.
        subgraph: ``directional``: the drawn edges; ``induced``: all edges among the sampled nodes.
        node_time: by node type; a type without times is never too late.
        edge_time: by edge type, in place of the times of nodes.
        seed_time: by node type, the times of its seeds; their ``node_time`` when omitted.
        strategy: as in :func:`sample_neighbors`.
        seed: of the random stream.

    Shapes: by type as in :func:`sample_neighbors` -> :class:`HeteroSample`. No gradient.
    Cost: as :func:`sample_neighbors`, summed over the edge types.
    Raises: ValueError, also for an edge or node type that nobody described.
    """
    who = "sample_hetero_neighbors"
    types = {name: k for k, name in enumerate(num_nodes)}
    for kind in adjs:
        if kind[0] not in types or kind[-1] not in types:
            raise ValueError(f"{who}: num_nodes lacks an end of {kind}; it has {', '.join(types)}")
    if unknown := set(seeds) - set(types):
        raise ValueError(
            f"{who}: seeds of the unknown node types {sorted(unknown)}; known: {', '.join(types)}"
        )
    timed = node_time is not None or edge_time is not None
    if timed and not disjoint:
        raise ValueError(f"{who}: times need disjoint=True: each seed has a time of its own")
    ready = {
        kind: prepare(
            as_csr(adj, (num_nodes[kind[0]], num_nodes[kind[-1]])),
            (weight or {}).get(kind),
            (node_time or {}).get(kind[0]),
            (edge_time or {}).get(kind),
            ends=(types[kind[0]], types[kind[-1]]),
            who=who,
        )
        for kind, adj in adjs.items()
    }
    given = {
        name: check_nodes(who, f"seeds[{name!r}]", seeds.get(name, torch.empty(0, dtype=torch.int64)), count)
        for name, count in num_nodes.items()
    }
    limits = None
    if timed:
        limits = tuple(
            limits_of(who, "seed_time", s, (seed_time or {}).get(name), (node_time or {}).get(name))
            if s.numel()
            else s
            for name, s in given.items()
        )
    by_kind = {k: check_fanouts(who, fanouts[k] if isinstance(fanouts, Mapping) else fanouts) for k in adjs}
    if len({len(f) for f in by_kind.values()}) > 1:
        raise ValueError(
            f"{who}: fanouts of {sorted({len(f) for f in by_kind.values()})} hops; give all as many"
        )
    answer = draw_sample(
        tuple(ready.values()),
        tuple(num_nodes.values()),
        tuple(given.values()),
        tuple(by_kind.values()),
        replace=replace,
        disjoint=disjoint,
        limits=limits,
        last=_is_last(who, strategy),
        induced=_is_induced(who, subgraph),
        seed=seed,
    )
    return hetero_sample(answer, ready, list(num_nodes), directional=subgraph == "directional")


def draw_sample(
    relations: Sequence[Prepared],
    sizes: Sequence[int],
    seeds: Sequence[Tensor],
    fanouts: Sequence[tuple[int, ...]],
    *,
    replace: bool,
    disjoint: bool,
    limits: tuple[Tensor, ...] | None,
    last: bool,
    induced: bool,
    seed: int,
) -> Answer:
    """Run the fastest kernel on what was checked before."""
    if limits is not None and len({t.dtype for t in limits}) > 1:
        limits = tuple(t.double() for t in limits)
    request = Request(
        tuple(r.relation for r in relations),
        tuple(sizes),
        tuple(seeds),
        tuple(fanouts),
        replace=replace and not last,
        disjoint=disjoint,
        limits=limits,
        last=last,
        induced=induced,
        seed=seed,
    )
    answer: Answer = dispatch("sample_neighbors", request)
    return answer


def hetero_sample(
    answer: Answer, relations: Mapping[EdgeType, Prepared], node_types: Sequence[str], *, directional: bool
) -> HeteroSample:
    """A kernel's answer under the names of its types."""
    nodes = dict(zip(node_types, answer[0], strict=True))
    edges = dict(zip(relations, answer[1], strict=True))
    tags = {name: n.tag for name, n in nodes.items() if n.tag is not None}
    return HeteroSample(
        {name: n.node for name, n in nodes.items()},
        {kind: e.row for kind, e in edges.items()},
        {kind: e.col for kind, e in edges.items()},
        {kind: relations[kind].edges(e.slot) for kind, e in edges.items()},
        tags or None,
        {name: n.counts for name, n in nodes.items()},
        {kind: e.counts for kind, e in edges.items()} if directional else None,
    )


def both_ways(row: Tensor, col: Tensor, edge: Tensor, num_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """The edges and their reverses, each pair of ends once, by target then source.

    A pair that was drawn keeps an edge that was drawn for it; a reverse has that of the edge it reverses.
    """
    key = torch.cat([col * num_nodes + row, row * num_nodes + col])
    kept, first = torch.unique(key, return_inverse=True)
    place = torch.full_like(kept, key.numel()).scatter_reduce_(
        0, first, torch.arange(key.numel(), device=key.device), "amin"
    )
    return kept % num_nodes, kept // num_nodes, torch.cat([edge, edge])[place]


def _is_last(who: str, strategy: str) -> bool:
    if strategy not in ("uniform", "last"):
        raise ValueError(f"{who}: strategy is {strategy!r}; choose 'uniform' or 'last'")
    return strategy == "last"


def _is_induced(who: str, subgraph: str) -> bool:
    if subgraph not in ("directional", "bidirectional", "induced"):
        raise ValueError(
            f"{who}: subgraph is {subgraph!r}; choose 'directional', 'bidirectional' or 'induced'"
        )
    return subgraph == "induced"
