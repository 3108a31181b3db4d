"""Deep adaptive propagation: all hops of a node, each through one shared gate."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from gnnlib.nn.conv.base import Adj, ConvOptions
from gnnlib.nn.conv.gcn_norm import gcn_norm
from gnnlib.nn.conv.hops import repeat
from gnnlib.nn.conv.sums import SumConv
from gnnlib.nn.linear import Linear


class DAGNNConv(SumConv):
    r"""The propagation of DAGNN: every hop, weighed by a gate that all nodes and hops share.

    .. math:: X' = \sum_{l=0}^{K} \operatorname{diag}(\sigma(H_l s + b))\, H_l, \qquad H_l = S^l X, \quad
        S = \tilde D^{-1/2} \tilde A \tilde D^{-1/2}

    Liu et al., Towards Deeper Graph Neural Networks, KDD 2020, Eq. 8; sigma is the logistic function, not a
    softmax over hops. The paper propagates class scores, which is the narrowest place of the network.

    Args:
        channels: width of x and of the output; -1 takes it from the first call.
        K: number of steps, at least 0.
        add_self_loops: give each node that has none a loop.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, channels]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight
        ``[E]`` -> ``[N, channels]``, all of x's dtype, which weights take. The values of a sparse matrix are
        its edge weights.
    Cost: K SpMMs in one call, and the K + 1 hops, ``[K + 1, N, channels]``, for the gates' gradient;
        channels + 1 parameters.
    Raises: ValueError for a negative K, when x, edge_index and edge_weight do not fit, or x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self, channels: int, K: int, *, add_self_loops: bool = True, **kwargs: Unpack[ConvOptions]
    ) -> None:
        super().__init__(**kwargs)
        if K < 0:
            raise ValueError(f"DAGNNConv: K={K} is negative; pass 0 or more")
        self.K = K
        self.add_self_loops = add_self_loops
        self.gate = Linear(channels, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.gate.reset_parameters()

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Propagate x ``[N, channels]`` over the graph and weigh its hops -> ``[N, channels]``."""
        x = self._one(x)
        self.gate.expect(x.size(1))
        adj = self._graph(edge_index, x, x)
        weight = self._weight_like(x, adj, edge_weight)
        step = gcn_norm(adj, weight, x, add_self_loops=self.add_self_loops)
        hops = repeat(step, x, self.K, every=True)  # [K + 1, N, C]
        gates = self.gate(hops).squeeze(-1).sigmoid()  # [K + 1, N]
        return torch.einsum("kn,knc->nc", gates, hops)

    def __repr__(self) -> str:
        return f"DAGNNConv({self.gate.in_channels}, K={self.K})"
