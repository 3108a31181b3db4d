"""Generalised PageRank: propagation with a learned weight for each hop."""

from __future__ import annotations

from typing import Literal, Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, ConvOptions
from gnnlib.nn.conv.gcn_norm import gcn_norm
from gnnlib.nn.conv.hops import repeat
from gnnlib.nn.conv.sums import SumConv

Start = Literal["ppr", "nppr", "sgc", "random"]
_STARTS = ("ppr", "nppr", "sgc", "random")


class GPRConv(SumConv):
    r"""Generalised PageRank propagation, whose weights may be negative.

    .. math:: X' = \sum_{k=0}^{K} \gamma_k\, S^k X, \qquad S = \tilde D^{-1/2} \tilde A \tilde D^{-1/2}

    Chien et al., Adaptive Universal Generalized PageRank Graph Neural Network, ICLR 2021.

    Args:
        K: number of steps, at least 0.
        alpha: what the first weights are made of, in [0, 1].
        init: the first weights: ``"ppr"``: alpha (1 - alpha)^k and (1 - alpha)^K, APPNP's; ``"nppr"``:
            alpha^k divided by their sum; ``"sgc"``: the last hop alone; ``"random"``: uniform, their
            magnitudes summing to 1.
        add_self_loops: give each node that has none a loop.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, F]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, F]``. The values of a sparse matrix are its edge weights.
    Cost: K SpMMs in one call, and the K + 1 hops, ``[K + 1, N, F]``, for the weights' gradient.
    Raises: ValueError for a negative K, an alpha outside [0, 1], an unknown ``init``, when x, edge_index and
        edge_weight do not fit, or x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        K: int = 10,
        alpha: float = 0.1,
        init: Start = "ppr",
        *,
        add_self_loops: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if K < 0 or not 0 <= alpha <= 1:
            raise ValueError(f"GPRConv: K={K}, alpha={alpha}; pass K of 0 or more and alpha from 0 to 1")
        if init not in _STARTS:
            raise ValueError(f"GPRConv: init={init!r} is unknown; choose one of {', '.join(_STARTS)}")
        self.K = K
        self.alpha = alpha
        self.init = init
        self.add_self_loops = add_self_loops
        self.weight = nn.Parameter(torch.empty(K + 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Give the hops their first weights."""
        with torch.no_grad():
            self.weight.copy_(self._first_weights())

    def _first_weights(self) -> Tensor:
        hop = torch.arange(self.K + 1, device=self.weight.device)
        if self.init == "sgc":
            return (hop == self.K).to(self.weight.dtype)
        if self.init == "random":
            drawn = torch.empty_like(self.weight).uniform_(-1, 1)
            return drawn / drawn.abs().sum()
        if self.init == "nppr":
            powers: Tensor = torch.pow(self.alpha, hop.to(self.weight.dtype))
            return powers / powers.sum()
        weight: Tensor = self.alpha * torch.pow(1 - self.alpha, hop.to(self.weight.dtype))
        weight[-1] = (1 - self.alpha) ** self.K
        return weight

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Propagate x ``[N, F]`` over the graph and weigh its hops -> ``[N, F]``."""
        x = self._one(x)
        adj = self._graph(edge_index, x, x)
        step = gcn_norm(adj, self._edge_weight(adj, edge_weight, x), x, add_self_loops=self.add_self_loops)
        hops = repeat(step, x, self.K, every=True)  # [K + 1, N, F]
        return torch.einsum("k,knf->nf", self.weight.to(hops.dtype), hops)

    def __repr__(self) -> str:
        return f"GPRConv(K={self.K}, alpha={self.alpha}, init={self.init})"
