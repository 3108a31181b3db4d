"""A graph made ready for sampling: weights and times in slot order, rows sorted by time, all checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops import build
from gnnlib.sparse.ops.sample_neighbors.request import Relation


@dataclass(frozen=True)
class Prepared:
    """A relation, and the caller's edge of each of its slots (None: they are the same)."""

    relation: Relation
    edge: Tensor | None

    def edges(self, slot: Tensor) -> Tensor:
        """The caller's edges of these slots."""
        return slot if self.edge is None else self.edge.index_select(0, slot)


def prepare(
    adj: CSR,
    weight: Tensor | None = None,
    node_time: Tensor | None = None,
    edge_time: Tensor | None = None,
    *,
    ends: tuple[int, int] = (0, 0),
    who: str = "sample_neighbors",
) -> Prepared:
    """Bring what a draw looks at into slot order.

    Args:
        adj: the graph, row = target.
        weight: of the caller's edges, finite and not negative, ``[E]``.
        node_time: of the source nodes ``[C]``, or
        edge_time: of the caller's edges ``[E]``: rows are then sorted by it.
        ends: numbers of the node types of source and target.
        who: whom errors name.

    Cost: O(E), and a sort by time where rows are not sorted by it yet.
    """
    check_values(who, "weight", weight, adj.num_values, "edges")
    check_values(who, "node_time", node_time, adj.num_cols, "source nodes")
    check_values(who, "edge_time", edge_time, adj.num_values, "edges")
    if node_time is not None and edge_time is not None:
        raise ValueError(f"{who}: node_time and edge_time cannot both be given; drop one")
    if weight is not None and weight.numel() and (not bool(torch.isfinite(weight).all()) or weight.min() < 0):
        raise ValueError(
            f"{who}: weights run from {float(weight.min())} to {float(weight.max())}; they must be "
            "finite and not negative"
        )
    slots = None if weight is None else adj.to_slots(weight.detach()).double()
    time = None
    if node_time is not None:
        time = node_time[adj.indices.long()]
    elif edge_time is not None:
        time = adj.to_slots(edge_time)
    indptr, indices, edge = adj.indptr, adj.indices, adj.perm
    if time is not None:
        time = time.detach().double() if time.is_floating_point() else time.to(torch.int64)
        rows = adj.rows
        if bool(((time.diff() < 0) & (rows.diff() == 0)).any()):
            order = time.argsort(stable=True)
            # A stable sort by row of what is sorted by time.
            indptr, indices, place = build.coo_to_csr(rows[order], adj.indices[order].long(), *adj.shape)
            order = order[place]
            time, slots = time[order], None if slots is None else slots[order]
            edge = order if edge is None else edge[order]
    arrays = (None if t is None else t.contiguous() for t in (slots, time))
    return Prepared(Relation(*ends, indptr, indices, *arrays), edge)


def check_values(who: str, name: str, value: Tensor | None, count: int, what: str) -> None:
    """Complain unless there is one value for each of ``count``."""
    if value is not None and value.shape != (count,):
        raise ValueError(
            f"{who}: {name} has shape {list(value.shape)} but the graph has {count} {what}; pass one "
            "value each"
        )


def check_nodes(who: str, name: str, nodes: Tensor, num_nodes: int) -> Tensor:
    """These node numbers as int64, or a complaint."""
    if nodes.is_floating_point() or nodes.is_complex() or nodes.dtype == torch.bool:
        raise TypeError(f"{who}: {name} is {nodes.dtype}; pass node numbers as integers (torch.int64)")
    if nodes.dim() != 1:
        raise ValueError(f"{who}: {name} has shape {list(nodes.shape)}; expected one dimension")
    nodes = nodes.to(torch.int64)
    if nodes.numel():
        low, high = (int(v) for v in nodes.aminmax())
        if low < 0 or high >= num_nodes:
            raise ValueError(
                f"{who}: {name} names node {low if low < 0 else high} but the graph has {num_nodes} nodes, "
                f"0 to {num_nodes - 1}"
            )
    return nodes


def check_fanouts(who: str, fanouts: Sequence[int]) -> tuple[int, ...]:
    """The numbers of neighbours of each hop, or a complaint."""
    found = tuple(int(k) for k in fanouts)
    if any(k < -1 for k in found):
        raise ValueError(f"{who}: fanouts={list(found)}; each is a number of neighbours, or -1 for all")
    return found


def limits_of(
    who: str,
    name: str,
    seeds: Tensor,
    seed_time: Tensor | None,
    node_time: Tensor | None,
) -> Tensor:
    """The latest time that the subgraph of each seed may see, int64 or float64."""
    if seed_time is None:
        if node_time is None:
            raise ValueError(
                f"{who}: times of edges were given but no {name}; pass the time of each seed, since it has "
                "none of its own"
            )
        seed_time = node_time[seeds]
    check_values(who, name, seed_time, seeds.numel(), "seeds")
    return seed_time.double() if seed_time.is_floating_point() else seed_time.to(torch.int64)
