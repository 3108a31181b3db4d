"""Light graph convolution of LightGCN."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.conv.gcn_norm import Propagation, gcn_norm


class LGConv(Conv):
    r"""Light graph convolution: a normalised sum of neighbours, without loops, maps or parameters.

    .. math:: X' = D^{-1/2} A D^{-1/2} X

    He et al., LightGCN, SIGIR 2020, Eq. 3.

    Args:
        normalize: apply the normalisation; otherwise the edges count as they are.
        **kwargs: ``aggr`` (``"sum"``) and ``flow`` of PyG's base class.

    Shapes: x ``[N, F]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, F]``. The values of a sparse matrix are its edge weights.
    Cost: one SpMM, no array over edges unless there are weights.
    Raises: ValueError when x, edge_index and edge_weight do not fit, or x is a pair.
    """

    takes_edge_weight = True

    def __init__(self, normalize: bool = True, **kwargs: Unpack[ConvOptions]) -> None:
        super().__init__(**kwargs)
        self.normalize = normalize

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Sum the neighbours of x ``[N, F]`` -> ``[N, F]``."""
        x = self._one(x)
        adj = self._graph(edge_index, x, x)
        weight = self._edge_weight(adj, edge_weight, x)
        step = gcn_norm(adj, weight, x, add_self_loops=False) if self.normalize else Propagation(adj, weight)
        return step(x, self.aggr)
