"""Hops weighed by how smooth they have become, without parameters."""

from __future__ import annotations

from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnlib.nn.conv.base import Adj, ConvOptions
from gnnlib.nn.conv.gcn_norm import Propagation, gcn_norm
from gnnlib.nn.conv.sums import SumConv
from gnnlib.sparse import CSR, scatter
from gnnlib.sparse.components import components
from gnnlib.sparse.relations import derive_by_type


class SmoothedHops(SumConv):
    r"""The propagation of DGMLP: all hops of a node, weighed by its smoothing level at each of them.

    .. math:: \bar x_v = \sum_{l=0}^{K} w_v^{(l)} x_v^{(l)}, \quad
        w_v = \operatorname{softmax}_l\Big(\frac{1}{T} \cos(x_v^{(l)}, x_v^{(0)})
        \big(1 - \cos(x_v^{(l)}, x_v^{(\infty)})\big)\Big), \quad X^{(l)} = S^l X

    Zhang et al., Evaluating Deep Graph Neural Networks, arXiv 2108.00955, 2021, Sect. 5. The stationary state
    is taken in each component c, from two factors of rank 1: :math:`x^{(\infty)}_v = \sqrt{\tilde d_v}
    \sum_{u \in c} \sqrt{\tilde d_u}\, x_u / \sum_{u \in c} \tilde d_u`.
    It is the limit of :math:`S^l X` on an undirected graph; on a directed one the same closed form, with
    in-degrees and weak components, is what hops are compared with. The cosine with a row of zeros is 0.

    Args:
        K: number of steps, at least 0.
        temperature: T > 0; a large one gives the mean of the hops, a small one the hop of the highest level.
        cached: keep the result for as long as the tensors of the features and of the graph live unchanged;
            features or edge weights that ask for a gradient are never kept.
        add_self_loops: give each node that has none a loop.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, F]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, F]``. The values of a sparse matrix are its edge weights.
    Cost: K SpMMs; a running softmax, so four arrays of x's size whatever K is.
    Raises: ValueError for a negative K, a temperature that is not positive, when x, edge_index and
        edge_weight do not fit, or x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        K: int,
        temperature: float = 1.0,
        *,
        cached: bool = False,
        add_self_loops: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if K < 0 or not temperature > 0:
            raise ValueError(
                f"SmoothedHops: K={K}, temperature={temperature}; pass K from 0 and a temperature above 0"
            )
        self.K = K
        self.temperature = temperature
        self.cached = cached
        self.add_self_loops = add_self_loops

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Weigh the hops of x ``[N, F]`` -> ``[N, F]``."""
        x = self._one(x)
        adj = self._graph(edge_index, x, x)
        weight = self._edge_weight(adj, edge_weight, x)
        if self.K == 0:
            return x
        if self.cached and weight is None and not (x.requires_grad and torch.is_grad_enabled()):
            key = ("smoothed hops", self.K, self.temperature, self.add_self_loops)
            kept: Tensor = derive_by_type(adj, x, key, lambda a, b: self._weighed(a, b, None).detach())
            return kept
        return self._weighed(adj, x, weight)

    def _weighed(self, adj: CSR, x: Tensor, weight: Tensor | None) -> Tensor:
        step = gcn_norm(adj, weight, x, add_self_loops=self.add_self_loops)
        start, end = unit_rows(x), unit_rows(stationary(step, x))
        hop = x
        top = self._level(x, start, end)
        total, share = x, torch.ones_like(top)
        for _ in range(self.K):
            hop = step(hop)
            level = self._level(hop, start, end)
            higher = torch.maximum(top, level)
            old, new = (top - higher).exp(), (level - higher).exp()
            total = old[:, None] * total + new[:, None] * hop
            share = old * share + new
            top = higher
        return total / share[:, None]

    def _level(self, hop: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """Smoothing level of each node over the temperature, ``[N]``."""
        now = unit_rows(hop)
        return (now * start).sum(1) * (1 - (now * end).sum(1)) / self.temperature

    def __repr__(self) -> str:
        return f"SmoothedHops(K={self.K}, temperature={self.temperature})"


def unit_rows(x: Tensor) -> Tensor:
    """Rows divided by their length; a row of zeros stays, with no NaN in its gradient."""
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    unit: Tensor = x / length.masked_fill(length == 0, 1)
    return unit


def stationary(step: Propagation, x: Tensor) -> Tensor:
    """The limit of the normalised adjacency's powers on x, ``[N, F]``, in each component by itself.

    Shapes: x ``[N, F]`` -> ``[N, F]``.
    """
    assert step.scale is not None
    scale = step.scale.to(x.dtype)
    root = torch.where(scale == 0, 0, 1 / scale.masked_fill(scale == 0, 1))  # sqrt of the degree
    part = components(step.adj)
    total = scatter(root[:, None] * x, part, x.size(0))
    volume = scatter(root.square(), part, x.size(0))
    mean = total / volume.masked_fill(volume == 0, 1)[:, None]
    return root[:, None] * mean.index_select(0, part)


def smoothing_weights(hops: Tensor, limit: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Weights of all hops from their smoothing levels, the definition that :class:`SmoothedHops` streams.

    Shapes: hops ``[K + 1, N, F]``, limit ``[N, F]`` -> ``[K + 1, N]``, columns summing to 1.
    """
    near = F.cosine_similarity(hops, hops[:1], dim=-1)
    far = 1 - F.cosine_similarity(hops, limit[None], dim=-1)
    return torch.softmax(near * far / temperature, dim=0)
