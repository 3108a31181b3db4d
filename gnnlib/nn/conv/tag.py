"""Topology adaptive graph convolution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.conv.gcn_norm import Propagation, gcn_norm
from gnnlib.nn.conv.hops import narrower, repeat
from gnnlib.nn.init import zeros
from gnnlib.nn.linear import Linear


class TAGConv(Conv):
    r"""Topology adaptive graph convolution: a polynomial of the adjacency with a matrix for each power.

    .. math:: X' = \sum_{k=0}^{K} \big(D^{-1/2} A D^{-1/2}\big)^k X W_k + b

    Du et al., Topology Adaptive Graph Convolutional Networks, 2017.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        K: highest power, at least 0.
        bias: learn b.
        normalize: apply the normalisation, without loops; otherwise the edges count as they are.
        **kwargs: ``aggr`` (``"sum"``) and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, out]``. The values of a sparse matrix are its edge weights.
    Cost: K SpMMs on the narrower side of the maps: on x all hops in one call, K N in numbers; on the output
        by Horner's rule.
    Raises: ValueError when x, edge_index and edge_weight do not fit, or x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int = 3,
        bias: bool = True,
        normalize: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.K = K
        self.normalize = normalize
        self.lins = nn.ModuleList(Linear(in_channels, out_channels, bias=False) for _ in range(K + 1))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for lin in self._maps():
            lin.reset_parameters()
        zeros(self.bias)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Filter x ``[N, in]`` over the graph -> ``[N, out]``."""
        x = self._one(x)
        lins = list(self._maps())
        horner = narrower(lins, x, self.aggr)
        adj = self._graph(edge_index, x, x)
        weight = self._edge_weight(adj, edge_weight, x)
        step = gcn_norm(adj, weight, x, add_self_loops=False) if self.normalize else Propagation(adj, weight)
        if horner:
            out: Tensor = lins[-1](x)
            for lin in lins[-2::-1]:
                out = step(out, self.aggr) + lin(x)
        else:
            hops = repeat(step, x, self.K, self.aggr, every=True)
            out = lins[0](x)
            for k in range(1, self.K + 1):
                out = out + lins[k](hops[k])
        return out if self.bias is None else out + self.bias

    def _maps(self) -> Iterator[Linear]:
        for lin in self.lins:
            assert isinstance(lin, Linear)
            yield lin

    def __repr__(self) -> str:
        return f"TAGConv({self.in_channels}, {self.out_channels}, K={self.K})"
