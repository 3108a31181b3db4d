"""The normalised adjacency of GCN, which SGC and APPNP apply as well."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnlib.sparse import CSR, segment_reduce, spmm
from gnnlib.sparse.ops.spmm import Reduce


@dataclass(frozen=True)
class Propagation:
    r"""One step over a weighted graph, scaled on both sides: :math:`D A D x` with D = diag(scale).

    Shapes: adj ``[N, N]`` with E edges, weight ``[E]`` or None, scale ``[N]`` or None; x ``[N, F]`` ->
        ``[N, F]``.
    """

    adj: CSR
    weight: Tensor | None = None
    scale: Tensor | None = None

    def __call__(self, x: Tensor, reduce: Reduce = "sum", weight: Tensor | None = None) -> Tensor:
        """Reduce the scaled neighbours of x ``[N, F]``; ``weight`` ``[E]`` stands in for the own one."""
        weight = self.weight if weight is None else weight
        return spmm(self.adj, x, weight, reduce, row_scale=self.scale, col_scale=self.scale)


def gcn_norm(
    adj: CSR, weight: Tensor | None, x: Tensor, *, loop_weight: float = 1.0, add_self_loops: bool = True
) -> Propagation:
    r"""The symmetric normalisation :math:`\tilde D^{-1/2} \tilde A \tilde D^{-1/2}`, without an edge array.

    Degrees are sums over incoming edges and at least float32; a node of degree 0 is scaled by 0. Loops that
    exist keep their weight; of several of one node the last one counts and the others do not, as in PyG,
    though parallel edges between two nodes all count. The result is kept on ``adj`` when the edges have no
    weights.

    Args:
        adj: the graph, one row a node.
        weight: edge weights in the caller's order; differentiable.
        x: the features to come, for the precision of the scale.
        loop_weight: weight of an added loop; edges without weights have loops without weights.
        add_self_loops: give every node one loop.

    Shapes: weight ``[E]``; the scale is ``[N]``.
    """
    if add_self_loops:
        if weight is not None:
            weight = torch.cat([weight, weight.new_full((adj.num_rows,), loop_weight)])
        adj = adj.add_self_loops(remaining=True)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    if weight is None:
        scale = adj.derive(("inverse_sqrt_degree", dtype), lambda a: inverse_sqrt(a.degree.to(dtype)))
        return Propagation(adj, None, scale)
    weight, adj = adj.to_slots(weight), adj.slot_order  # once here, not at each step
    degree = segment_reduce(weight.to(torch.promote_types(weight.dtype, dtype)), adj.indptr)
    return Propagation(adj, weight, inverse_sqrt(degree))


def inverse_sqrt(degree: Tensor) -> Tensor:
    """``degree ** -0.5``, 0 where the degree is 0, and no NaN in the gradient there."""
    empty = degree == 0
    return torch.where(empty, 0, degree.masked_fill(empty, 1).pow(-0.5))
