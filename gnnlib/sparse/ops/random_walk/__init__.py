"""Random walks of first and second order."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from gnnlib.names import choose
from gnnlib.sparse.autograd import define, traced
from gnnlib.sparse.convert import Adj, as_csr
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops import build
from gnnlib.sparse.ops.alias import alias_table
from gnnlib.sparse.random import as_seed
from gnnlib.sparse.registry import dispatch

__all__ = ["random_walk"]

Adjacency: TypeAlias = Literal["out", "in"]

#: How a kernel asks whether nodes t and x are neighbours: an edge t -> x, an edge x -> t, or, where both are
#: the same question, whichever row is shorter.
OUT, IN, EITHER = 0, 1, 2


def random_walk(
    adj: Adj,
    start: Tensor,
    length: int,
    *,
    p: float = 1.0,
    q: float = 1.0,
    weight: Tensor | None = None,
    adjacency: Adjacency = "out",
    seed: int = 0,
    first: int = 0,
) -> Tensor:
    r"""Walk from each start node along the edges, from source to target.

    .. math:: \Pr(x \mid t, v) \propto w_{vx} \cdot \begin{cases} 1/p & x = t \\ 1 & x \text{ adjacent to } t
        \\ 1/q & \text{otherwise} \end{cases}

    with t the node before v; the first step, and every step of p = q = 1, is in proportion to the weights
    alone (Grover and Leskovec, node2vec, KDD 2016, Sec. 3.2.2). Steps are drawn by rejection, exactly: a
    neighbour is proposed in proportion to its weight and accepted by the bias; what 1/p exceeds the other
    biases by is drawn apart. No table of second order is built.

    Args:
        adj: the graph in any form that :func:`as_csr` takes, with as many targets as sources. Parallel edges
            count as often as they occur.
        start: node of each walk.
        length: nodes of a walk, the start among them, at least 1.
        p: return parameter, above 0.
        q: in-out parameter, above 0.
        weight: edge weights w in the caller's edge order, finite and none negative; of an ``adj`` that brings
            its own, those are taken.
        adjacency: what "x adjacent to t" means in a directed graph: an edge t -> x (``"out"``, the paper's),
            or x -> t (``"in"``, that of the authors' code).
        seed: of the walks.
        first: number of the first walk. Walk k depends on seed and ``first + k`` alone, so a set of walks
            may be made in parts, on any number of threads.

    Shapes: start ``[S]`` -> ``[S, length]`` of int32 (int64 in graphs of 2^31 nodes). A walk that comes to a
        node without outgoing edges ends there; the rest of its row is -1.
    Cost: O(S length) steps; a step of second order takes about one proposal and one search in the shorter of
        two sorted rows. The graph is transposed and inspected once and kept; weights take alias tables,
        O(E) a call. No gradient.
    Raises: TypeError for start nodes that are no integers; ValueError for a graph that is not square, a node
        outside it, a length below 1, p or q that are not above 0, or weights that are negative or not finite.
    """
    csr = as_csr(adj)
    choose("random_walk: adjacency", adjacency, ("out", "in"))
    if weight is None:
        weight = csr.value
    _check(csr, start, length, p, q, weight)
    out = csr.transposed
    symmetric, simple = csr.derive("walk_kind", _kind)
    tables: tuple[Tensor | None, ...] = (None, None, None, None)
    if weight is not None:
        slots = out.to_slots(weight.detach()).float()
        tables = (slots, *alias_table(out.indptr, slots))
    mode = EITHER if symmetric else OUT if adjacency == "out" else IN
    start = start.to(torch.int64).contiguous()
    walks, _ = _walk(
        *out.arrays, *tables, start, length, float(p), float(q), mode, simple, as_seed(seed), first
    )
    found: Tensor = walks
    return found


def _check(adj: CSR, start: Tensor, length: int, p: float, q: float, weight: Tensor | None) -> None:
    if adj.num_rows != adj.num_cols:
        raise ValueError(
            f"random_walk: adj has {adj.num_rows} targets and {adj.num_cols} sources; a walk needs one set "
            "of nodes: give the number of nodes, for example with as_csr(edge_index, num_nodes)"
        )
    if start.is_floating_point() or start.is_complex() or start.dtype == torch.bool:
        raise TypeError(f"random_walk: start is {start.dtype}; pass node numbers as integers (torch.int64)")
    if start.dim() != 1:
        raise ValueError(f"random_walk: start has shape {list(start.shape)}; expected [S], one node a walk")
    if start.device != adj.device:
        raise ValueError(
            f"random_walk: start is on {start.device} but adj is on {adj.device}; move one of them"
        )
    if length < 1:
        raise ValueError(f"random_walk: length={length} nodes; a walk has at least 1, its start")
    for name, value in (("p", p), ("q", q)):
        if not 0 < value < float("inf"):
            raise ValueError(f"random_walk: {name}={value}; expected a number above 0")
    if traced(start) or start.device.type != "cpu":
        return
    if start.numel():
        low, high = (int(v) for v in start.aminmax())
        if low < 0 or high >= adj.num_rows:
            raise ValueError(
                f"random_walk: start names node {low if low < 0 else high} but the graph has {adj.num_rows} "
                f"nodes, 0 to {adj.num_rows - 1}; check the nodes or give the graph all of its own"
            )
    if weight is not None and weight.numel():
        least, most = (float(w) for w in weight.aminmax())
        if not 0 <= least <= most < math.inf:
            raise ValueError(
                f"random_walk: weights run from {least:g} to {most:g}; the chance of a step is in proportion "
                "to its weight, so pass finite ones of 0 or more"
            )


def _kind(adj: CSR) -> tuple[bool, bool]:
    """Whether every edge has its reverse, as often; whether, besides, no edge occurs twice."""
    indptr, indices, _ = adj._transpose
    # the transpose of a transpose has its rows sorted, as that of the graph has
    back_indptr, back, _ = build.csr_transpose(indptr, indices, adj.num_rows)
    symmetric = torch.equal(indptr, back_indptr) and torch.equal(indices, back)
    row = adj.transposed.rows
    twice = (indices[1:] == indices[:-1]) & (row[1:] == row[:-1])
    return symmetric, symmetric and not bool(twice.any())


def _forward(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    threshold: Tensor | None,
    alias: Tensor | None,
    total: Tensor | None,
    start: Tensor,
    length: int,
    p: float,
    q: float,
    mode: int,
    simple: bool,
    seed: int,
    first: int,
) -> tuple[Tensor, Tensor]:
    walks, proposals = dispatch(
        "random_walk", indptr, indices, weight, threshold, alias, total, start, length, p, q, mode, simple,
        seed, first,
    )  # fmt: skip
    return walks, proposals


def _fake(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    threshold: Tensor | None,
    alias: Tensor | None,
    total: Tensor | None,
    start: Tensor,
    length: int,
    *options: object,
) -> tuple[Tensor, Tensor]:
    return indices.new_empty(start.shape[0], length), start.new_empty(start.shape[0])


#: The op takes the rows of outgoing edges, columns sorted; its second result counts each walk's proposals.
_walk = define(
    "random_walk",
    "(Tensor indptr, Tensor indices, Tensor? weight, Tensor? threshold, Tensor? alias, Tensor? total, "
    "Tensor start, int length, float p, float q, int mode, bool simple, int seed, int first) "
    "-> (Tensor, Tensor)",
    _forward,
    _fake,
)
