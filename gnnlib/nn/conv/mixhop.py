"""Higher-order graph convolution of MixHop."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.conv.gcn_norm import gcn_norm
from gnnlib.nn.conv.hops import repeat
from gnnlib.nn.init import reset, zeros
from gnnlib.nn.linear import Linear


class MixHopConv(Conv):
    r"""Powers of the GCN operator side by side, each through its own map.

    .. math:: X' = \Big\Vert_{p \in P} \big(\tilde D^{-1/2} \tilde A \tilde D^{-1/2}\big)^p X W_p + b

    Abu-El-Haija et al., MixHop, ICML 2019, Eq. 2.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output of each power.
        powers: P, the powers to use, each at least 0; 0, 1 and 2 when omitted.
        add_self_loops: give each node that has none a loop.
        bias: learn b.
        **kwargs: ``aggr`` (``"sum"``) and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, len(P) * out]``, all of x's dtype, which weights take. The values of a sparse matrix are its
        edge weights.
    Cost: as many SpMMs of x as the highest power, in one call; all hops, max(P) N in numbers.
    Raises: ValueError for no powers or a negative one, when x, edge_index and edge_weight do not fit, or when
        x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        powers: list[int] | None = None,
        add_self_loops: bool = True,
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        powers = [0, 1, 2] if powers is None else powers
        if not powers or min(powers) < 0:
            raise ValueError(f"MixHopConv: powers={powers}; pass at least one power, none of them negative")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.powers = powers
        self.add_self_loops = add_self_loops
        self.lins = nn.ModuleList(
            Linear(in_channels, out_channels, bias=False) if p in powers else nn.Identity()
            for p in range(max(powers) + 1)
        )
        self.bias = nn.Parameter(torch.empty(len(powers) * out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for lin in self.lins:
            reset(lin)
        zeros(self.bias)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Map the hops of x ``[N, in]`` -> ``[N, len(P) * out]``."""
        x = self._one(x)
        adj = self._graph(edge_index, x, x)
        weight = self._weight_like(x, adj, edge_weight)
        step = gcn_norm(adj, weight, x, add_self_loops=self.add_self_loops)
        hops = repeat(step, x, max(self.powers), self.aggr, every=True)
        out = torch.cat([self.lins[p](hops[p]) for p in self.powers], dim=-1)
        return out if self.bias is None else out + self.bias

    def __repr__(self) -> str:
        return f"MixHopConv({self.in_channels}, {self.out_channels}, powers={self.powers})"
