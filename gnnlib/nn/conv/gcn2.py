"""Graph convolution with initial residual and identity mapping."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.conv.gcn_norm import Propagation, gcn_norm
from gnnlib.nn.init import glorot


class GCN2Conv(Conv):
    r"""Graph convolution for deep networks: a way back to the first features, and maps close to the identity.

    .. math:: X' = \big((1 - \alpha)\, S X + \alpha X^{(0)}\big) \big((1 - \beta) I + \beta W_1\big),
        \qquad S = \tilde D^{-1/2} \tilde A \tilde D^{-1/2}, \quad \beta = \log(\theta / l + 1)

    Chen et al., Simple and Deep Graph Convolutional Networks, ICML 2020, Eq. 5. With ``shared_weights=False``
    the first features have a map of their own:

    .. math:: X' = (1 - \alpha)\, S X \big((1 - \beta) I + \beta W_1\big)
        + \alpha X^{(0)} \big((1 - \beta) I + \beta W_2\big)

    Args:
        channels: width of x, of the first features and of the output.
        alpha: share of the first features, in [0, 1].
        theta: strength of the map, positive; comes with ``layer``. Without both, beta is 1.
        layer: l, which layer this is, from 1.
        shared_weights: use one map for both parts.
        cached: keep the normalised graph of the first call for all later ones, whatever graph comes.
        add_self_loops: give each node that has none a loop.
        normalize: apply the normalisation, loops included; otherwise the edges count as they are.
        **kwargs: ``aggr`` (``"sum"``) and ``flow`` of PyG's base class.

    Shapes: x and x_0 ``[N, channels]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes,
        edge_weight ``[E]`` -> ``[N, channels]``. Of an x_0 with more rows the first N count. The values of a
        sparse matrix are its edge weights.
    Cost: one SpMM and one or two dense products.
    Raises: ValueError when theta and layer do not come together, for an alpha outside [0, 1], when x, x_0,
        edge_index and edge_weight do not fit, or when x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        channels: int,
        alpha: float,
        theta: float | None = None,
        layer: int | None = None,
        shared_weights: bool = True,
        cached: bool = False,
        add_self_loops: bool = True,
        normalize: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if (theta is None) != (layer is None):
            raise ValueError(
                f"GCN2Conv: theta={theta} and layer={layer} must come together; pass both or none"
            )
        if not 0 <= alpha <= 1:
            raise ValueError(f"GCN2Conv: alpha={alpha}; pass a share of x_0 from 0 to 1")
        self.channels = channels
        self.alpha = alpha
        self.beta = 1.0 if theta is None or layer is None else math.log(theta / layer + 1)
        self.cached = cached
        self.add_self_loops = add_self_loops
        self.normalize = normalize
        self._cached: Propagation | None = None
        self.weight1 = nn.Parameter(torch.empty(channels, channels))
        self.weight2 = None if shared_weights else nn.Parameter(torch.empty(channels, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters and forget the cached graph."""
        glorot(self.weight1)
        glorot(self.weight2)
        self._cached = None

    def forward(self, x: Tensor, x_0: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Convolve x ``[N, channels]`` over the graph, with the first features x_0 -> ``[N, channels]``."""
        x, x_0 = self._one(x), self._one(x_0)
        for name, value in (("x", x), ("x_0", x_0)):
            if value.size(1) != self.channels:
                raise ValueError(
                    f"GCN2Conv: {name} has {value.size(1)} features but channels={self.channels}; map it to "
                    "that width first"
                )
        if x_0.size(0) < x.size(0):
            raise ValueError(
                f"GCN2Conv: x_0 has {x_0.size(0)} rows but x has {x.size(0)}; pass those of all nodes"
            )
        step = self._cached or self._propagation(x, edge_index, edge_weight)
        h = (1 - self.alpha) * step(x, self.aggr)
        start = self.alpha * x_0[: x.size(0)]
        if self.weight2 is None:
            return self._map(h + start, self.weight1)
        return self._map(h, self.weight1) + self._map(start, self.weight2)

    def _map(self, h: Tensor, weight: Tensor) -> Tensor:
        return torch.addmm(h, h, weight, beta=1.0 - self.beta, alpha=self.beta)

    def _propagation(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None) -> Propagation:
        adj = self._graph(edge_index, x, x)
        weight = self._edge_weight(adj, edge_weight, x)
        if not self.normalize:
            return Propagation(adj, weight)
        step = gcn_norm(adj, weight, x, add_self_loops=self.add_self_loops)
        if self.cached:
            self._cached = step
        return step

    def __repr__(self) -> str:
        return f"GCN2Conv({self.channels}, alpha={self.alpha}, beta={self.beta})"
