"""Chebyshev spectral graph convolution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.conv.gcn_norm import Propagation, inverse_sqrt
from gnnlib.nn.conv.hops import chebyshev, narrower
from gnnlib.nn.init import zeros
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, sddmm, segment_reduce

Normalization = Literal["sym", "rw"] | None


class ChebConv(Conv):
    r"""Chebyshev polynomials of the scaled Laplacian with a matrix for each.

    .. math:: X' = \sum_{k=1}^{K} Z^{(k)} W_k + b, \quad Z^{(1)} = X, \quad Z^{(2)} = \hat L X, \quad
        Z^{(k)} = 2 \hat L Z^{(k-1)} - Z^{(k-2)}, \qquad \hat L = \frac{2 L}{\lambda_{\max}} - I

    Defferrard et al., Convolutional Neural Networks on Graphs with Fast Localized Spectral Filtering, NIPS
    2016, Sect. 2.1. On a directed graph the degree of a node counts the edges that leave it, and ``"rw"``
    divides an edge by the degree of its source, both as in PyG; with ``flow="target_to_source"`` that is
    the graph with its edges turned, where PyG still counts those that leave ``edge_index[0]``.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        K: number of terms, at least 1.
        normalization: ``"sym"`` for :math:`L = I - D^{-1/2} A D^{-1/2}`, ``"rw"`` for
            :math:`L = I - D^{-1} A`, None for :math:`L = D - A`. Loops of the graph do not count.
        bias: learn b.
        **kwargs: ``aggr`` (``"sum"``) and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``,
        batch ``[N]``, lambda_max a number or ``[1]`` or, with batch, ``[B]`` -> ``[N, out]``. The values of a
        sparse matrix are its edge weights.
    Cost: K - 1 SpMMs on the narrower side of the maps, and an array over edges.
    Raises: ValueError for K under 1, an unknown normalization, or x, edge_index and edge_weight that do not
        fit, or when x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int,
        normalization: Normalization = "sym",
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if K < 1:
            raise ValueError(f"ChebConv: K={K} leaves no term; pass 1 or more")
        if normalization not in ("sym", "rw", None):
            raise ValueError(
                f"ChebConv: normalization={normalization!r} is unknown; choose 'sym', 'rw' or None"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.normalization: Normalization = normalization
        self.lins = nn.ModuleList(
            Linear(in_channels, out_channels, bias=False, weight_initializer="glorot") for _ in range(K)
        )
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for lin in self._maps():
            lin.reset_parameters()
        zeros(self.bias)

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        lambda_max: Tensor | float | None = None,
    ) -> Tensor:
        """Filter x ``[N, in]`` over the graph -> ``[N, out]``.

        ``lambda_max`` is the largest eigenvalue of L, for each graph of the batch; twice the largest entry of
        L when omitted, which is 2 for a normalised Laplacian.
        """
        x = self._one(x)
        lins = list(self._maps())
        clenshaw = narrower(lins, x, self.aggr)
        adj = self._graph(edge_index, x, x)
        weight = self._edge_weight(adj, edge_weight, x)
        step = scaled_laplacian(adj, weight, x, self.normalization, batch, lambda_max)
        out = chebyshev(lambda h: step(h, self.aggr), lins, x, narrow=clenshaw)
        return out if self.bias is None else out + self.bias

    def _maps(self) -> Iterator[Linear]:
        for lin in self.lins:
            assert isinstance(lin, Linear)
            yield lin

    def __repr__(self) -> str:
        return (
            f"ChebConv({self.in_channels}, {self.out_channels}, K={len(self.lins)}, "
            f"normalization={self.normalization})"
        )


def scaled_laplacian(
    adj: CSR,
    weight: Tensor | None,
    x: Tensor,
    normalization: Normalization,
    batch: Tensor | None = None,
    lambda_max: Tensor | float | None = None,
) -> Propagation:
    """The Laplacian scaled to [-1, 1], a loop at each node.

    ``lambda_max`` is as in :meth:`ChebConv.forward`; x, the features to come, gives the precision.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    n = adj.num_rows
    looped = adj.add_self_loops(remaining=False)
    entry = laplacian(adj, weight, dtype, normalization)
    if lambda_max is None:
        top = 2 * torch.cat([entry, entry.new_zeros(1)]).max()
    else:
        top = torch.as_tensor(lambda_max, dtype=entry.dtype, device=x.device)
        if batch is not None and top.numel() > 1:
            node = top.reshape(-1).index_select(0, batch)
            top = sddmm(looped, torch.ones_like(node)[:, None], node[:, None])  # that of the edge's source
    zero = top == 0
    value = torch.where(zero, 0, 2 * entry / top.masked_fill(zero, 1))
    value = value - torch.cat([value.new_zeros(adj.num_values), value.new_ones(n)])
    return Propagation(looped.slot_order, looped.to_slots(value).to(x.dtype))


def laplacian(adj: CSR, weight: Tensor | None, dtype: torch.dtype, normalization: Normalization) -> Tensor:
    """Entries of the Laplacian of the graph without its loops, for ``adj.add_self_loops(remaining=False)``.

    Kept on ``adj`` when the edges have no weights.

    Shapes: weight ``[E]`` -> ``[E + N]``, the caller's edges and then the diagonal.
    """
    if weight is None:
        return adj.derive(
            ("laplacian", normalization, dtype),
            lambda a: _laplacian(a, torch.ones(a.num_values, dtype=dtype, device=a.device), normalization),
        )
    return _laplacian(adj, weight.to(torch.promote_types(weight.dtype, dtype)), normalization)


def _laplacian(adj: CSR, weight: Tensor, normalization: Normalization) -> Tensor:
    looped = adj.add_self_loops(remaining=False)
    n = adj.num_rows
    by_source = looped.transposed
    one = weight.new_ones(n, 1)
    kept = looped.derive(("kept", weight.dtype), lambda a: sddmm(a, one, one))[: adj.num_values]
    weight = torch.where(kept == 0, 0, weight)  # loops of the graph, which have lost their place
    off_diagonal = torch.cat([weight, weight.new_zeros(n)])
    degree = segment_reduce(by_source.to_slots(off_diagonal), by_source.indptr)
    if normalization is None:
        return torch.cat([-weight, degree])
    empty = degree == 0
    if normalization == "sym":
        scale = other = inverse_sqrt(degree)
    else:
        scale, other = torch.where(empty, 0, 1 / degree.masked_fill(empty, 1)), torch.ones_like(degree)
    both = sddmm(looped, other[:, None], scale[:, None])
    return torch.cat([-weight * both[: adj.num_values], weight.new_ones(n)])
