"""Personalised PageRank propagation."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.conv.gcn_norm import Propagation, gcn_norm
from gnnlib.nn.conv.hops import repeat
from gnnlib.sparse.dropout import dropout


class APPNP(Conv):
    r"""Approximate personalised propagation of predictions.

    .. math:: X^{(k+1)} = (1 - \alpha)\, \tilde D^{-1/2} \tilde A \tilde D^{-1/2} X^{(k)} + \alpha\, X^{(0)}

    Gasteiger et al., Predict then Propagate, ICLR 2019, Eq. 4. Edge dropout draws a fresh mask at each of
    the K steps, as in the paper; PyG's masks pile up from step to step.

    Args:
        K: number of steps, at least 0.
        alpha: teleport probability in [0, 1].
        dropout: probability in [0, 1] of dropping an edge, loops included, in a step of training.
        cached: keep the normalised graph of the first call for all later ones, whatever graph comes.
        add_self_loops: give each node that has none a loop.
        normalize: apply the normalisation, loops included; otherwise the edges count as they are.
        **kwargs: ``aggr`` (``"sum"``) and ``flow`` of PyG's base class.

    Shapes: x ``[N, F]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, F]``. The values of a sparse matrix are its edge weights.
    Cost: K SpMMs, in one call unless edges are dropped; an array over edges only for weights or dropout.
    Raises: ValueError for a negative K or an alpha outside [0, 1], when x, edge_index and edge_weight do not
        fit, or x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        K: int,
        alpha: float,
        dropout: float = 0.0,
        cached: bool = False,
        add_self_loops: bool = True,
        normalize: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= alpha <= 1 or K < 0:
            raise ValueError(
                f"APPNP: K={K}, alpha={alpha}; pass 0 or more steps and a share of x from 0 to 1"
            )
        self.K = K
        self.alpha = alpha
        self.dropout = dropout
        self.cached = cached
        self.add_self_loops = add_self_loops
        self.normalize = normalize
        self._cached: Propagation | None = None

    def reset_parameters(self) -> None:
        """Forget the cached graph; there are no parameters."""
        self._cached = None

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Propagate x ``[N, F]`` over the graph K times -> ``[N, F]``."""
        x = self._one(x)
        step = self._cached or self._propagation(x, edge_index, edge_weight)
        if self.dropout == 0 or not self.training:
            return repeat(step, x, self.K, self.aggr, restart=self.alpha)
        weight = x.new_ones(step.adj.num_values) if step.weight is None else step.weight
        h = x
        for _ in range(self.K):
            kept = dropout(weight, self.dropout)
            x = (1 - self.alpha) * step(x, self.aggr, kept) + self.alpha * h
        return x

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
        return f"APPNP(K={self.K}, alpha={self.alpha})"
