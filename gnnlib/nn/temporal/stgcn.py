"""The block of STGCN: a graph convolution between two gated convolutions along time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Conv
from gnnlib.nn.conv.cheb import Normalization, scaled_laplacian
from gnnlib.nn.conv.gcn_norm import gcn_norm
from gnnlib.nn.conv.hops import chebyshev, narrower
from gnnlib.nn.init import zeros
from gnnlib.nn.linear import Linear
from gnnlib.nn.temporal.gated import GatedTemporalConv
from gnnlib.nn.temporal.series import fold, unfold


class STGCNBlock(nn.Module):
    r"""Gated convolution along time, graph convolution, and once more along time.

    .. math:: X' = \operatorname{LayerNorm}\big( \Gamma_1 *_T \operatorname{ReLU}(\Theta *_G
        (\Gamma_0 *_T X)) \big)

    where the convolution along time is :class:`GatedTemporalConv` in its linear form and that over the graph
    a Chebyshev filter, or GCN's. Yu et al., Spatio-Temporal Graph Convolutional Networks: A Deep Learning
    Framework for Traffic Forecasting, IJCAI 2018. The norm is over the channels of each node and step; the
    authors' code norms over nodes and channels together with parameters of each node, which ties the block to
    one graph, and has short cuts past the convolutions, which the equation has not.

    Args:
        in_channels: width of x.
        hidden_channels: width between the two convolutions along time.
        out_channels: width of the output.
        kernel_size: k, steps that each convolution along time sees.
        K: number of Chebyshev terms, at least 1; None for GCN's first-order filter with loops.
        normalization: of the Laplacian, as in :class:`ChebConv`; without use where K is None.

    Shapes: x ``[*, T, N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight
        ``[E]`` -> ``[*, T - 2 (k - 1), N, out]``.
    Cost: K - 1 SpMMs (one where K is None) of ``N x (B T hidden)``, B all that stands before the steps.
    Raises: ValueError for K under 1, fewer than 2 k - 1 steps, or x, edge_index and edge_weight that do not
        fit.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        K: int | None = 3,
        *,
        normalization: Normalization = "sym",
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.first = GatedTemporalConv(in_channels, hidden_channels, kernel_size)
        self.spatial = _Spatial(hidden_channels, hidden_channels, K, normalization)
        self.second = GatedTemporalConv(hidden_channels, out_channels, kernel_size)
        self.norm = nn.LayerNorm(out_channels)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.first.reset_parameters()
        self.spatial.reset_parameters()
        self.second.reset_parameters()
        self.norm.reset_parameters()

    @property
    def shortens(self) -> int:
        """By how many steps the output is shorter, 2 (k - 1)."""
        return self.first.shortens + self.second.shortens

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Convolve x ``[*, T, N, in]`` -> ``[*, T - 2 (k - 1), N, out]``."""
        h = self.spatial(self.first(x), edge_index, edge_weight).relu()
        out: Tensor = self.norm(self.second(h))
        return out

    def __repr__(self) -> str:
        return f"STGCNBlock({self.in_channels}, {self.out_channels}, K={self.spatial.K})"


class _Spatial(Conv):
    """A Chebyshev filter of K terms, or GCN's filter, of every step: ``[*, N, in]`` -> ``[*, N, out]``."""

    takes_edge_weight = True

    def __init__(
        self, in_channels: int, out_channels: int, K: int | None, normalization: Normalization
    ) -> None:
        super().__init__()
        if K is not None and K < 1:
            raise ValueError(f"STGCNBlock: K={K} leaves no term; pass 1 or more, or None for GCN's filter")
        if normalization not in ("sym", "rw", None):
            raise ValueError(
                f"STGCNBlock: normalization={normalization!r} is unknown; choose 'sym', 'rw' or None"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.K = K
        self.normalization: Normalization = normalization
        self.lins = nn.ModuleList(
            Linear(in_channels, out_channels, bias=False, weight_initializer="glorot") for _ in range(K or 1)
        )
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for lin in self._maps():
            lin.reset_parameters()
        zeros(self.bias)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None) -> Tensor:
        h, lins = fold(x, "STGCNBlock"), list(self._maps())
        narrow = narrower(lins, h, "sum")
        adj = self._graph(edge_index, h, h)
        weight = self._edge_weight(adj, edge_weight, h)
        step = (
            gcn_norm(adj, weight, h)
            if self.K is None
            else scaled_laplacian(adj, weight, h, self.normalization)
        )

        def walk(z: Tensor) -> Tensor:
            return step(z.flatten(1)).view_as(z)

        if self.K is not None:
            out = chebyshev(walk, lins, h, narrow=narrow)
        else:
            out = walk(lins[0](h)) if narrow else lins[0](walk(h))
        return unfold(out + self.bias, x.shape[:-2])

    def _maps(self) -> Iterator[Linear]:
        for lin in self.lins:
            assert isinstance(lin, Linear)
            yield lin
