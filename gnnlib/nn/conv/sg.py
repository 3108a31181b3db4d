"""Simple graph convolution."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.conv.gcn_norm import gcn_norm
from gnnlib.nn.conv.hops import repeat
from gnnlib.nn.linear import Linear


class SGConv(Conv):
    r"""Simple graph convolution: K steps of the GCN operator and one linear map.

    .. math:: X' = \big(\tilde D^{-1/2} \tilde A \tilde D^{-1/2}\big)^K X W + b

    Wu et al., Simplifying Graph Convolutional Networks, ICML 2019, Eq. 8 (without the softmax).

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        K: number of steps, at least 0.
        cached: keep the propagated features of the first call for all later ones, whatever comes, so that
            training is a linear model; they get no gradient.
        add_self_loops: give each node that has none a loop.
        bias: learn b.
        **kwargs: ``aggr`` (``"sum"``) and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, out]``. The values of a sparse matrix are its edge weights.
    Cost: K SpMMs on the narrower side of W, in one call; with ``cached`` once, on x.
    Raises: ValueError when x, edge_index and edge_weight do not fit, or x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int = 1,
        cached: bool = False,
        add_self_loops: bool = True,
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.K = K
        self.cached = cached
        self.add_self_loops = add_self_loops
        self._cached_x: Tensor | None = None
        self.lin = Linear(in_channels, out_channels, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters and forget the cached features."""
        self.lin.reset_parameters()
        self._cached_x = None

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Propagate x ``[N, in]`` over the graph K times and map it -> ``[N, out]``."""
        if self._cached_x is not None:
            return self._map(self._cached_x.detach())
        x = self._one(x)
        self.lin.expect(x.size(1))
        narrow = self.out_channels < x.size(1) and self.aggr in ("sum", "mean")
        if narrow and not self.cached and not self.lin.hooked:
            x = self.precompute(x @ self.lin.weight.t(), edge_index, edge_weight)
            return x if self.lin.bias is None else x + self.lin.bias.to(x.dtype)
        x = self.precompute(x, edge_index, edge_weight)
        if self.cached and self.K > 0:
            self._cached_x = x
        return self._map(x)

    def precompute(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """The K steps alone: x ``[N, F]`` -> ``[N, F]``, after which training is a linear model."""
        x = self._one(x)
        adj = self._graph(edge_index, x, x)
        step = gcn_norm(adj, self._edge_weight(adj, edge_weight, x), x, add_self_loops=self.add_self_loops)
        return repeat(step, x, self.K, self.aggr)

    def _map(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin(x)
        return out

    def __repr__(self) -> str:
        return f"SGConv({self.in_channels}, {self.out_channels}, K={self.K})"
