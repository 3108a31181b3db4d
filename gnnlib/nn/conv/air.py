"""Adaptive initial residual: each node decides how far to go back to where it began."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, ConvOptions
from gnnlib.nn.conv.gcn_norm import gcn_norm
from gnnlib.nn.conv.sums import SumConv
from gnnlib.nn.linear import Linear


class AIRGate(nn.Module):
    r"""Residual to the first representation, with a weight of each node's own.

    .. math:: h'_v = (1 - a_v)\, h_v + a_v h^{(0)}_v, \qquad
        a_v = \sigma(u_1^\top h_v + u_2^\top h^{(0)}_v + c)

    Zhang et al., Model Degradation Hinders Deep Graph Neural Networks, KDD 2022, Sect. 5. One gate serves all
    layers of a network.

    Args:
        channels: width of both representations; -1 takes it from the first call.

    Shapes: h and h_0 ``[N, channels]`` -> ``[N, channels]``.
    Cost: two inner products a node.
    Raises: ValueError when the two differ in shape or have another width.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.here = Linear(channels, 1)
        self.start = Linear(channels, 1, bias=False)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.here.reset_parameters()
        self.start.reset_parameters()

    def forward(self, h: Tensor, h_0: Tensor) -> Tensor:
        """Go back from h ``[N, channels]`` to h_0 by each node's share -> ``[N, channels]``."""
        if h.shape != h_0.shape:
            raise ValueError(
                f"AIRGate: h has shape {list(h.shape)} but h_0 has {list(h_0.shape)}; pass one width"
            )
        share = (self.here(h) + self.start(h_0)).sigmoid()
        dtype = torch.promote_types(h.dtype, h_0.dtype)  # autocast gives a share that is narrower
        return torch.lerp(h.to(dtype), h_0.to(dtype), share.to(dtype))

    def __repr__(self) -> str:
        return f"AIRGate({self.here.in_channels})"


class AIRConv(SumConv):
    r"""K steps of propagation that pass the adaptive initial residual each time.

    .. math:: H^{(k)} = S \big((1 - a) \odot H^{(k-1)} + a \odot X\big), \qquad H^{(0)} = X, \quad
        S = \tilde D^{-1/2} \tilde A \tilde D^{-1/2}

    Zhang et al., Model Degradation Hinders Deep Graph Neural Networks, KDD 2022, Sect. 5: the form for SGC
    and APPNP, with a as in :class:`AIRGate`.

    Args:
        channels: width of x and of the output; -1 takes it from the first call.
        K: number of steps, at least 0.
        add_self_loops: give each node that has none a loop.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, channels]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight
        ``[E]`` -> ``[N, channels]``, all of x's dtype, which weights take. The values of a sparse matrix are
        its edge weights.
    Cost: K SpMMs and the K hops for the gate's gradient.
    Raises: ValueError for a negative K, when x, edge_index and edge_weight do not fit, or x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self, channels: int, K: int, *, add_self_loops: bool = True, **kwargs: Unpack[ConvOptions]
    ) -> None:
        super().__init__(**kwargs)
        if K < 0:
            raise ValueError(f"AIRConv: K={K} is negative; pass 0 or more")
        self.K = K
        self.add_self_loops = add_self_loops
        self.gate = AIRGate(channels)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.gate.reset_parameters()

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Propagate x ``[N, channels]`` over the graph -> ``[N, channels]``."""
        x = self._one(x)
        self.gate.here.expect(x.size(1))
        adj = self._graph(edge_index, x, x)
        weight = self._weight_like(x, adj, edge_weight)
        step = gcn_norm(adj, weight, x, add_self_loops=self.add_self_loops)
        h = x
        for _ in range(self.K):
            h = step(self.gate(h, x))
        return h

    def __repr__(self) -> str:
        return f"AIRConv({self.gate.here.in_channels}, K={self.K})"
