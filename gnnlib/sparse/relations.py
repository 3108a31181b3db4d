"""The edges of a graph sorted by relation, and the sum over relations that needs no message per edge."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse.autograd import each_sample, in_turn, traced
from gnnlib.sparse.cache import structures
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.build import coo_to_csr
from gnnlib.sparse.ops.spmm import Reduce, spmm_slots


@dataclass(frozen=True)
class Group:
    """Some relations whose segments are handled at once; a segment is a node and one of its relations.

    Shapes: edges ``[S, other nodes]``, the edges of each segment; node ``[S]``, the node of each; weight
        ``[slots of edges, 1]`` or None; parts, the relations with the bounds of their segments; home
        ``[nodes, S]``, the segments of each node.
    """

    edges: CSR
    node: Tensor
    weight: Tensor | None
    parts: tuple[tuple[int, int, int], ...]
    home: CSR

    def gather(self, x: Tensor, reduce: Reduce = "sum") -> Tensor:
        """Reduce the other ends' rows over each segment: ``[S, F]``."""
        weight = self.weight if reduce == "sum" else None
        return spmm_slots(self.edges, x[:, None], weight, reduce)[:, 0]

    def scatter(self, y: Tensor) -> Tensor:
        """Spread the segments' rows ``[S, F]`` to their other ends: the adjoint of the sum."""
        back = self.edges.transposed.slot_order
        weight = None
        if self.weight is not None:
            weight = self.weight.index_select(0, self.edges.transpose_perm)
        return spmm_slots(back, y[:, None], weight)[:, 0]

    def collect(self, y: Tensor) -> Tensor:
        """Sum the segments of each node: ``[nodes, F]``."""
        return spmm_slots(self.home, y[:, None])[:, 0]

    def map(self, rows: Tensor, weight: Tensor) -> Tensor:
        """Each segment's row through the map of its relation."""
        return torch.cat([apply_map(rows[a:b], weight[r]) for r, a, b in self.parts])


@dataclass(frozen=True)
class Segments:
    """All groups of one direction: segments of targets (``by_target``) or of sources."""

    by_target: bool
    groups: tuple[Group, ...]
    num_nodes: int
    num_others: int
    num_segments: int

    def forward(self, x: Tensor, weight: Tensor, reduce: Reduce = "sum") -> Tensor:
        """Sum the mapped segments: rows of the others' ends in, rows of the nodes out."""
        out = None
        for g in self.groups:
            y = g.collect(g.map(g.gather(x, reduce), weight))
            out = y if out is None else out + y
        return self._or_zeros(out, x, weight, self.num_nodes)

    def adjoint(self, x: Tensor, weight: Tensor) -> Tensor:
        """Map the nodes' rows for each segment and spread them: rows of the nodes in, of the others out."""
        out = None
        for g in self.groups:
            y = g.scatter(g.map(x.index_select(0, g.node), weight))
            out = y if out is None else out + y
        return self._or_zeros(out, x, weight, self.num_others)

    def maps(self, others: Tensor, nodes: Tensor, like: Tensor) -> Tensor:
        """Gradient of the maps: the products of sources' and targets' rows, summed over each relation."""
        found: list[Tensor | None] = [None] * like.shape[0]
        for g in self.groups:
            gathered, own = g.gather(others), nodes.index_select(0, g.node)
            for r, a, b in g.parts:
                left, right = (gathered, own) if self.by_target else (own, gathered)
                found[r] = map_gradient(left[a:b], right[a:b], like[r])
        return torch.stack(
            [torch.zeros_like(w) if f is None else f for f, w in zip(found, like, strict=True)]
        )

    @staticmethod
    def _or_zeros(out: Tensor | None, x: Tensor, weight: Tensor, rows: int) -> Tensor:
        blocks = weight.shape[1] if weight.dim() == 4 else 1
        return x.new_zeros(rows, weight.shape[-1] * blocks) if out is None else out


def apply_map(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight`` for ``[in, out]``, or block by block for ``[blocks, in / blocks, out / blocks]``."""
    if weight.dim() == 2:
        return x @ weight
    blocks, width, _ = weight.shape
    return (x.view(-1, blocks, width).transpose(0, 1) @ weight).transpose(0, 1).flatten(1)


def map_gradient(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """Gradient of the weight of :func:`apply_map`."""
    if weight.dim() == 2:
        return x.t() @ grad
    blocks, width, out = weight.shape
    return x.view(-1, blocks, width).permute(1, 2, 0) @ grad.view(-1, blocks, out).transpose(0, 1)


def relational_sum(segments: Segments, x: Tensor, weight: Tensor) -> Tensor:
    r"""Sum over relations of the mapped, weighted neighbours, :math:`\sum_r A_r X W_r`.

    The backward gathers again instead of keeping rows of segments, of which there may be as many as edges; a
    second derivative keeps them.

    Shapes: x ``[C, in]``, weight ``[relations, in, out]`` or ``[relations, blocks, in/blocks, out/blocks]``
        -> ``[R, out]``.
    Cost: O(E in + S in out) time for S segments of targets, or O(E out + S in out) for S segments of sources;
        memory of nodes, since groups of at most as many segments as nodes are handled in turn.
    """
    out: Tensor = _RelationalSum.apply(segments, x, weight)  # type: ignore[no-untyped-call]  # torch has none
    return out


class _RelationalSum(torch.autograd.Function):
    @staticmethod
    def forward(segments: Segments, x: Tensor, weight: Tensor) -> Tensor:
        return segments.forward(x, weight) if segments.by_target else segments.adjoint(x, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.segments, x, weight = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return each_sample(_RelationalSum, info, in_dims, *args)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return in_turn(_RelationalSum.back, ctx, grads)

    @staticmethod
    def back(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        segments: Segments = ctx.segments
        x, weight = ctx.saved_tensors
        dtype = torch.promote_types(x.dtype, weight.dtype)  # under autocast the output has a shorter one
        grad, rows, maps = grads[0].to(dtype), x.to(dtype), weight.to(dtype)
        d_x = d_weight = None
        if ctx.needs_input_grad[1]:
            back = maps.transpose(-1, -2)
            d_x = segments.adjoint(grad, back) if segments.by_target else segments.forward(grad, back)
            d_x = d_x.to(x.dtype)
        if ctx.needs_input_grad[2]:
            others, nodes = (rows, grad) if segments.by_target else (grad, rows)
            d_weight = segments.maps(others, nodes, maps).to(weight.dtype)
        return None, d_x, d_weight


# -- structure ----------------------------------------------------------------------------------------


class _Name:
    """Stands for an unchanged tensor of edge types; lives as long as it does."""


def derive_by_type(
    adj: CSR, edge_type: Tensor, key: tuple[Any, ...], fn: Callable[[CSR, Tensor], Any]
) -> Any:
    """``fn(adj, edge_type)``, kept while the graph and the unchanged tensor of types both live."""
    if traced(adj.indptr, edge_type):
        return fn(adj, edge_type)
    name = structures.get(edge_type, (edge_type,), "edge types", _Name)
    known: Any = adj.derive("by edge type", lambda _: weakref.WeakKeyDictionary())
    found = known.setdefault(name, {})
    if key not in found:
        found[key] = fn(adj, edge_type)
    return found[key]


def unknown_type(edge_type: Tensor, num_relations: int) -> int | None:
    """A relation outside ``[0, num_relations)`` that the edges name, if there is one.

    None while a compiler traces, and on other devices than the CPU, where reading waits for the device.
    """
    if traced(edge_type) or edge_type.device.type != "cpu" or edge_type.numel() == 0:
        return None
    low, high = (int(v) for v in edge_type.aminmax())
    return low if low < 0 else high if high >= num_relations else None


def inverse_counts(adj: CSR, types: Tensor, num_relations: int, dtype: torch.dtype) -> Tensor:
    """1 / number of edges with the target and the type of each slot, ``[E]``; types in slot order."""
    _, kind, slot = coo_to_csr(types, types, num_relations, num_relations)
    segment = _starts(adj.rows.index_select(0, slot), kind).cumsum(0) - 1
    count = torch.zeros_like(segment).index_add(0, segment, torch.ones_like(segment))
    scale = count.index_select(0, segment).to(dtype).reciprocal()
    return torch.empty_like(scale).index_copy(0, slot, scale)


def _starts(node: Tensor, kind: Tensor) -> Tensor:
    """Whether a new segment starts at each of the sorted slots."""
    first = torch.ones_like(node, dtype=torch.bool)
    first[1:] = (node[1:] != node[:-1]) | (kind[1:] != kind[:-1])
    return first


def segments_of(
    adj: CSR, edge_type: Tensor, num_relations: int, weight: Tensor | None, *, by_target: bool
) -> Segments:
    """The segments of the targets, or of the sources, of a graph.

    Args:
        adj: the graph.
        edge_type: relation of each edge, in the caller's order.
        num_relations: number of relations.
        weight: a constant factor of each slot of ``adj``.
        by_target: whose segments.

    Shapes: edge_type ``[num_values]``, weight ``[E]``.
    """
    nodes = adj if by_target else adj.transposed
    types = nodes.to_slots(edge_type).long()
    ends, others, slot = coo_to_csr(types, nodes.indices, num_relations, nodes.num_cols)
    node, kind = nodes.rows.index_select(0, slot), types.index_select(0, slot)
    if weight is not None:
        weight = weight if by_target else weight.index_select(0, adj.transpose_perm)
        weight = weight.index_select(0, slot)[:, None]
    start = _starts(node, kind).nonzero()[:, 0]
    offsets = torch.cat([start, start.new_full((1,), node.shape[0])])
    owner = node.index_select(0, start)
    bounds = torch.searchsorted(start, ends).tolist()
    groups: list[Group] = []
    pending: list[tuple[int, int, int]] = []
    for r in range(num_relations):
        a, b = bounds[r], bounds[r + 1]
        if pending and b - pending[0][1] > nodes.num_rows:
            groups.append(_group(pending, offsets, owner, others, weight, nodes))
            pending = []
        if b > a:
            pending.append((r, a, b))
    if pending:
        groups.append(_group(pending, offsets, owner, others, weight, nodes))
    return Segments(by_target, tuple(groups), nodes.num_rows, nodes.num_cols, start.shape[0])


def _group(
    relations: list[tuple[int, int, int]],
    offsets: Tensor,
    owner: Tensor,
    others: Tensor,
    weight: Tensor | None,
    nodes: CSR,
) -> Group:
    a, b = relations[0][1], relations[-1][2]
    lo, hi = int(offsets[a]), int(offsets[b])
    node = owner[a:b].contiguous()
    edges = CSR.trusted(offsets[a : b + 1] - lo, others[lo:hi].contiguous(), nodes.num_cols)
    home, segment, _ = coo_to_csr(node, torch.arange(b - a, device=node.device), nodes.num_rows, b - a)
    return Group(
        edges,
        node,
        None if weight is None else weight[lo:hi].contiguous(),
        tuple((r, p - a, q - a) for r, p, q in relations),
        CSR.trusted(home, segment, b - a),
    )
