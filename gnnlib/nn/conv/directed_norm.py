"""The adjacency of a directed graph, scaled by both of its degrees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnlib.sparse import CSR, sddmm, segment_reduce, spmm


@dataclass(frozen=True)
class DirectedStep:
    r"""One step over a directed graph: :math:`\operatorname{diag}(r) A \operatorname{diag}(c)\, x`.

    Shapes: adj ``[N, N]`` with E edges, weight ``[E]`` or None, row_scale and col_scale ``[N]``;
        x ``[N, F]`` -> ``[N, F]``.
    """

    adj: CSR
    weight: Tensor | None
    row_scale: Tensor
    col_scale: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Sum the scaled sources of each node: x ``[N, F]`` -> ``[N, F]``."""
        return spmm(self.adj, x, self.weight, row_scale=self.row_scale, col_scale=self.col_scale)

    @property
    def reversed(self) -> DirectedStep:
        """The transpose, which goes against the edges."""
        return DirectedStep(self.adj.transposed, self.weight, self.col_scale, self.row_scale)

    @property
    def factors(self) -> Tensor:
        """What multiplies the source of each edge, in the order of ``weight``, ``[E]``."""
        factor = sddmm(self.adj, self.row_scale[:, None], self.col_scale[:, None])
        return factor if self.weight is None else factor * self.weight


def directed_norm(adj: CSR, weight: Tensor | None, x: Tensor, exponent: float = -0.5) -> DirectedStep:
    r"""The directed normalisation :math:`D_{in}^{e} A D_{out}^{e}`, without loops and without an edge array.

    A target counts what comes in, a source what goes out, so that a source without edges in still sends.
    Degrees are at least float32; a node of degree 0 is scaled by 0. Kept on ``adj`` for plain edges.

    Args:
        adj: the graph, one row a target.
        weight: edge weights in the caller's order; differentiable.
        x: the features to come, for the precision of the scales.
        exponent: e, -1/2 in Dir-GCN and -1/4 in FaberNet.

    Shapes: weight ``[E]``; the scales are ``[N]``.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    if weight is None:
        rows, cols = adj.derive(
            ("directed_norm", exponent, dtype),
            lambda a: tuple(power_of(d.to(dtype), exponent) for d in (a.degree, a.col_degree)),
        )
        return DirectedStep(adj, None, rows, cols)
    rows, cols = (power_of(d, exponent) for d in degrees(adj, weight, dtype))
    return DirectedStep(adj.slot_order, adj.to_slots(weight), rows, cols)


def degrees(adj: CSR, weight: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights that come into and that leave each node, ``[N]`` and ``[N]``, at least of ``dtype``."""
    if weight is None:
        return adj.degree.to(dtype), adj.col_degree.to(dtype)
    wide = weight.to(torch.promote_types(weight.dtype, dtype))
    back = adj.transposed
    return segment_reduce(adj.to_slots(wide), adj.indptr), segment_reduce(back.to_slots(wide), back.indptr)


def power_of(degree: Tensor, exponent: float) -> Tensor:
    """``degree ** exponent``, 0 where the degree is 0, and no NaN in the gradient there."""
    empty = degree == 0
    return torch.where(empty, 0, degree.masked_fill(empty, 1).pow(exponent))
