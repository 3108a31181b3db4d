"""Simple spectral graph convolution."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.conv.gcn_norm import gcn_norm
from gnnlib.nn.conv.hops import narrower, repeat
from gnnlib.nn.linear import Linear


class SSGConv(Conv):
    r"""Simple spectral graph convolution: the mean of K powers of the GCN operator, and the node itself.

    .. math:: X' = \Big(\alpha X + \frac{1 - \alpha}{K} \sum_{k=1}^{K} S^k X\Big) W + b,
        \qquad S = \tilde D^{-1/2} \tilde A \tilde D^{-1/2}

    Zhu and Koniusz, Simple Spectral Graph Convolution, ICLR 2021.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        alpha: share of the node itself, in [0, 1].
        K: number of steps, at least 0; with 0 the node's share alone remains.
        cached: keep the propagated features of the first call for all later ones, whatever comes, so that
            training is a linear model; they get no gradient.
        add_self_loops: give each node that has none a loop.
        bias: learn b.
        **kwargs: ``aggr`` (``"sum"``) and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, out]``. The values of a sparse matrix are its edge weights.
    Cost: K SpMMs on the narrower side of W, in one call, without keeping the hops; with ``cached`` once, on
        x.
    Raises: ValueError when x, edge_index and edge_weight do not fit, or x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        alpha: float,
        K: int = 1,
        cached: bool = False,
        add_self_loops: bool = True,
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.alpha = alpha
        self.K = K
        self.cached = cached
        self.add_self_loops = add_self_loops
        self._cached_h: Tensor | None = None
        self.lin = Linear(in_channels, out_channels, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters and forget the cached features."""
        self.lin.reset_parameters()
        self._cached_h = None

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Filter x ``[N, in]`` over the graph and map it -> ``[N, out]``."""
        if self._cached_h is not None:
            return self._map(self._cached_h.detach())
        x = self._one(x)
        if narrower([self.lin], x, self.aggr) and not self.cached:
            out = self._filter(x @ self.lin.weight.t(), edge_index, edge_weight)
            return out if self.lin.bias is None else out + self.lin.bias.to(out.dtype)
        h = self._filter(x, edge_index, edge_weight)
        if self.cached:
            self._cached_h = h
        return self._map(h)

    def _filter(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None) -> Tensor:
        if self.K == 0:
            return self.alpha * x
        adj = self._graph(edge_index, x, x)
        step = gcn_norm(adj, self._edge_weight(adj, edge_weight, x), x, add_self_loops=self.add_self_loops)
        share = (1 - self.alpha) / self.K
        if self.aggr != "sum":
            return self.alpha * x + share * repeat(step, x, self.K, self.aggr, every=True)[1:].sum(0)
        powers = repeat(step, x, self.K, decay=1.0, restart=1.0)  # x itself is the power 0 among them
        return (self.alpha - share) * x + share * powers

    def _map(self, h: Tensor) -> Tensor:
        out: Tensor = self.lin(h)
        return out

    def __repr__(self) -> str:
        return f"SSGConv({self.in_channels}, {self.out_channels}, K={self.K}, alpha={self.alpha})"
