"""Graph convolution of Kipf and Welling."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.conv.gcn_norm import Propagation, gcn_norm
from gnnlib.nn.init import zeros
from gnnlib.nn.linear import Linear
from gnnlib.sparse import sddmm


class GCNConv(Conv):
    r"""Graph convolution with symmetric normalisation.

    .. math:: X' = \tilde D^{-1/2} \tilde A \tilde D^{-1/2} X W + b, \qquad \tilde A = A + I

    Kipf and Welling, Semi-Supervised Classification with Graph Convolutional Networks, ICLR 2017, Eq. 2.
    On a directed graph both sides are normalised by the in-degree, as in PyG.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        improved: loops that are added weigh 2 instead of 1. As in PyG this needs edge weights: on edges
            without weights the loops have none either.
        cached: keep the normalised graph of the first call for all later ones, whatever graph comes. The
            structure of an unchanged ``edge_index`` is kept without this.
        add_self_loops: give each node that has none a loop; the default follows ``normalize``.
        normalize: apply the normalisation; otherwise the edges count as they are.
        bias: learn b.
        **kwargs: ``aggr`` (``"sum"``, or any aggregation that keeps the width of its elements, see
            :class:`Conv`), ``aggr_kwargs`` and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, out]``. The values of a sparse matrix are its edge weights.
    Cost: one SpMM on the narrower side of W, no array over edges unless there are weights. An
        aggregation that is not plain sees a weighted message on each edge, E x out.
    Raises: ValueError when x, edge_index and edge_weight do not fit, or x is a pair.
    """

    takes_edge_weight = True
    takes_modules = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        improved: bool = False,
        cached: bool = False,
        add_self_loops: bool | None = None,
        normalize: bool = True,
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        add_self_loops = normalize if add_self_loops is None else add_self_loops
        if add_self_loops and not normalize:
            raise ValueError(
                "GCNConv: add_self_loops=True came with normalize=False; loops belong to the normalisation, "
                "so pass add_self_loops=False or add the loops to edge_index"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.improved = improved
        self.cached = cached
        self.add_self_loops = add_self_loops
        self.normalize = normalize
        self._cached: Propagation | None = None
        self.lin = Linear(in_channels, out_channels, bias=False, weight_initializer="glorot")
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters and forget the cached graph."""
        super().reset_parameters()
        self.lin.reset_parameters()
        zeros(self.bias)
        self._cached = None

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Convolve x ``[N, in]`` over the graph -> ``[N, out]``."""
        x = self._one(x)
        self.lin.expect(x.size(1))
        step = self._cached or self._propagation(x, edge_index, edge_weight)
        if not self.reduces:
            out = self._aggregate(step.adj, self.lin(x), _edge_factor(step))
        elif self.aggr in ("max", "min") or self.out_channels < x.size(1):
            out = step(self.lin(x), self.aggr)
        else:
            out = self.lin(step(x, self.aggr))
        return out if self.bias is None else out + self.bias

    def _propagation(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None) -> Propagation:
        adj = self._graph(edge_index, x, x)
        weight = self._edge_weight(adj, edge_weight, x)
        if not self.normalize:
            return Propagation(adj, weight)
        step = gcn_norm(
            adj,
            weight,
            x,
            loop_weight=2.0 if self.improved else 1.0,
            add_self_loops=self.add_self_loops,
        )
        if self.cached:
            self._cached = step
        return step


def _edge_factor(step: Propagation) -> Tensor | None:
    """What multiplies the message of each edge, for an aggregation that sees messages, ``[E]``."""
    if step.scale is None:
        return step.weight
    factor = sddmm(step.adj, step.scale[:, None], step.scale[:, None])
    return factor if step.weight is None else factor * step.weight
