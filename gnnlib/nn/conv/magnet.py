"""Chebyshev filters of the magnetic Laplacian, which keeps directions as phases."""

from __future__ import annotations

import math
from functools import partial
from typing import Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, ConvOptions
from gnnlib.nn.conv.complex import HermitianStep, complex_columns
from gnnlib.nn.conv.gcn_norm import inverse_sqrt
from gnnlib.nn.conv.hops import chebyshev
from gnnlib.nn.conv.sums import SumConv
from gnnlib.nn.init import glorot, zeros
from gnnlib.sparse import CSR, segment_reduce
from gnnlib.sparse.symmetric import symmetrized


class MagNetConv(SumConv):
    r"""Chebyshev polynomials of the magnetic Laplacian on complex features.

    .. math:: X' = \sum_{k=0}^{K} T_k(\tilde L)\, X W_k + b, \qquad \tilde L = L - I, \quad
        L = I - D_s^{-1/2} \big(A_s \odot e^{i \Theta}\big) D_s^{-1/2}

    .. math:: A_s = \tfrac12 (A + A^\top), \qquad \Theta = 2 \pi q\, (A - A^\top)

    Zhang et al., MagNet: A Neural Network for Directed Graphs, NeurIPS 2021, Eqs. 2 to 5, with 2 for the
    largest eigenvalue, which bounds that of the Hermitian, positive L. The polynomials are those of the
    complex operator; the widely used library runs four real recurrences on its parts instead, which is
    another filter. A complex signal is a real tensor, real parts first and imaginary parts beside them.
    Without weights a parallel edge counts once; in a pair of opposite edges the phases cancel.

    Args:
        in_channels: complex width of x.
        out_channels: complex width of the output.
        K: order of the polynomials, at least 0; K + 1 terms with a real map each.
        q: the charge, in [0, 0.25]; 0 looks away from directions.
        bias: learn b, a complex number a channel.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, 2 in]``, or real ones ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr`
        takes, edge_weight ``[E]`` -> ``[N, 2 out]``. The values of a sparse matrix are its edge weights.
    Cost: K complex SpMMs, each two real ones, on the narrower side of the maps; two numbers an edge.
    Raises: ValueError for a negative K, a q outside [0, 0.25], when x, edge_index and edge_weight do not fit,
        or x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int = 1,
        *,
        q: float = 0.25,
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if K < 0 or not 0 <= q <= 0.25:
            raise ValueError(f"MagNetConv: K={K}, q={q}; pass K of 0 or more and q from 0 to 0.25")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.K = K
        self.q = q
        self.weight = nn.Parameter(torch.empty(K + 1, in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(2 * out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        glorot(self.weight)
        zeros(self.bias)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Filter complex columns x ``[N, 2 in]`` over the graph -> ``[N, 2 out]``."""
        x = complex_columns(self._one(x), self.in_channels, "MagNetConv")
        adj = self._graph(edge_index, x, x)
        step = magnetic_step(adj, self._edge_weight(adj, edge_weight, x), x, self.q)
        narrow = self.out_channels < self.in_channels
        out = chebyshev(step, [partial(self._map, k) for k in range(self.K + 1)], x, narrow=narrow)
        return out if self.bias is None else out + self.bias

    def _map(self, k: int, x: Tensor) -> Tensor:
        return (x.view(x.size(0), 2, self.in_channels) @ self.weight[k]).flatten(1)


def magnetic_step(adj: CSR, weight: Tensor | None, x: Tensor, q: float) -> HermitianStep:
    r"""The scaled Laplacian :math:`L - I = -D_s^{-1/2} H D_s^{-1/2}`, kept on ``adj`` for plain edges.

    Shapes: weight ``[E]`` or None.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    if weight is None:
        parts, scale = adj.derive(("magnetic", q, dtype), lambda a: _magnetic(a, None, q, dtype))
    else:
        parts, scale = _magnetic(adj, adj.to_slots(weight).to(dtype), q, dtype)
    return HermitianStep(symmetrized(adj).adj, parts.to(x.dtype), scale, -1.0)


def _magnetic(adj: CSR, weight: Tensor | None, q: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Real and imaginary parts of H ``[U, 2]`` and the scale ``[N]``."""
    both = symmetrized(adj)
    if weight is None:
        one = torch.ones(adj.num_edges, dtype=dtype, device=adj.device)
        forward, backward = (entry.clamp(max=1) for entry in both.values(one))
    else:
        forward, backward = both.values(weight)
    # A[u, v] is the edge from u to v, so a row, which is a target here, holds the transpose of A.
    phase = 2 * math.pi * q * (backward - forward)
    size = (forward + backward) / 2
    scale = inverse_sqrt(segment_reduce(size, both.adj.indptr))
    return torch.stack([size * phase.cos(), size * phase.sin()], dim=1), scale
