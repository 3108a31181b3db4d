"""Poincaré embeddings: neighbours near, others far, by Riemannian gradient steps in the ball."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gnnlib.embed.base import NodeEmbedding
from gnnlib.embed.hyperbolic import Floats, poincare_distance
from gnnlib.sparse import CSR

__all__ = ["PoincareEmbedding"]

#: Largest norm of a point, as in the authors' code.
EDGE = 1 - 1e-5
#: Smallest sqrt(z^2 - 1) that a gradient is divided by: points that meet have no direction.
CLOSE = 1e-10


class PoincareEmbedding(NodeEmbedding):
    r"""Poincaré embeddings: each edge against some nodes that are no neighbours, by Riemannian descent.

    .. math:: \min - \sum_{(u, v)} \log \frac{e^{-d(u, v)}}{e^{-d(u, v)} + \sum_{v'} e^{-d(u, v')}}, \qquad
        d(u, v) = \operatorname{arcosh}\Big(1 + 2 \frac{|u - v|^2}{(1 - |u|^2)(1 - |v|^2)}\Big)

    A step is the Euclidean gradient times (1 - |u|^2)^2 / 4, and a point that leaves the ball is brought back
    to norm 1 - 1e-5. Nickel and Kiela, Poincaré Embeddings for Learning Hierarchical Representations, NeurIPS
    2017, Sec. 3. Weights do not count. Negatives are drawn uniformly; a drawn node that is u or a neighbour
    of it is left out. The pairs of a batch see the same points.

    Args:
        dim: columns of the embedding.
        negative: drawn nodes for each edge.
        epochs: passes over the edges, those of ``burn_in`` apart.
        lr: rate of a step, above 0.
        burn_in: first passes, whose rate is a tenth.
        batch: edges whose steps are taken at once.
        seed: of the start, the order and the negatives.

    Shapes: a graph of N nodes -> ``embedding_`` float32 ``[N, dim]`` in the ball, ``distances_`` float64
        ``[N, N]`` and ``scale_``, the mean distance between neighbours.
    Cost: O(E negative dim) a pass, and O(N^2 dim) for the distances when they are asked for.
    Raises: ValueError for a parameter out of range.
    """

    scale_: float

    def __init__(
        self,
        dim: int = 10,
        *,
        negative: int = 10,
        epochs: int = 200,
        lr: float = 0.3,
        burn_in: int = 20,
        batch: int = 32,
        seed: int = 0,
    ) -> None:
        self.dim = dim
        self.negative = negative
        self.epochs = epochs
        self.lr = lr
        self.burn_in = burn_in
        self.batch = batch
        self.seed = seed

    @property
    def distances_(self) -> Floats:
        """Distances between all points, float64 ``[N, N]``."""
        return poincare_distance(self._points)

    def _embed(self, graph: CSR) -> Tensor:
        self._whole(dim=1, negative=1, epochs=1, burn_in=0, batch=1)
        self._above_0("lr")
        draw = torch.Generator().manual_seed(self.seed & (2**63 - 1))
        n = graph.num_rows
        out = graph.transposed
        u, v = out.rows.long(), out.indices.long()
        u, v = u[u != v], v[u != v]
        known = torch.unique(u * n + v)
        x = (2e-3 * torch.rand(n, self.dim, generator=draw, dtype=torch.float64)) - 1e-3
        for epoch in range(self.burn_in + self.epochs if len(u) else 0):
            rate = self.lr / 10 if epoch < self.burn_in else self.lr
            order = torch.randperm(len(u), generator=draw)
            for start in range(0, len(u), self.batch):
                part = order[start : start + self.batch]
                a = u[part]
                b = torch.randint(n, (len(part), self.negative), generator=draw)
                key = a[:, None] * n + b
                there = known[torch.searchsorted(known, key).clamp(max=len(known) - 1)] == key
                others = torch.cat([v[part, None], b], 1)
                left_out = torch.cat([torch.zeros_like(there[:, :1]), there | (b == a[:, None])], 1)
                gradient = loss_gradient(x, a, others, left_out)
                x = project(x - rate * (1 - x.square().sum(1, keepdim=True)) ** 2 / 4 * gradient)
            self._tell("training", epoch + 1, self.burn_in + self.epochs)
        self._points: Floats = x.numpy()
        near = distance(x[u], x[v][:, None])[:, 0] if len(u) else torch.ones(1, dtype=x.dtype)
        self.scale_ = float(np.maximum(float(near.mean()), 1e-300))
        return x


def project(x: Tensor) -> Tensor:
    """Points beyond norm 1 - 1e-5 moved there."""
    length: Tensor = x.norm(dim=1, keepdim=True)
    return x * (EDGE / length.clamp(min=EDGE))


def distance(u: Tensor, v: Tensor) -> Tensor:
    """Distances of points u from some points each.

    Shapes: u ``[B, D]``, v ``[B, K, D]`` -> ``[B, K]``.
    """
    inside = (1 - u.square().sum(1))[:, None] * (1 - v.square().sum(2))
    half = (u[:, None] - v).square().sum(2) / inside
    return 2 * torch.asinh(half.sqrt())


def distance_gradient(u: Tensor, v: Tensor) -> Tensor:
    r"""The Euclidean gradient of the distance by u, in closed form.

    .. math:: \partial_u d = \frac{4}{\beta \sqrt{z^2 - 1}}
        \Big( \frac{|v|^2 - 2 u \cdot v + 1}{\alpha^2} u - \frac{v}{\alpha} \Big), \qquad
        \alpha = 1 - |u|^2, \quad \beta = 1 - |v|^2, \quad z = \cosh d

    Shapes: u ``[B, K, D]``, v ``[B, K, D]`` -> ``[B, K, D]``; 0 where the points meet.
    """
    alpha, beta = 1 - u.square().sum(2, keepdim=True), 1 - v.square().sum(2, keepdim=True)
    over = 2 * (u - v).square().sum(2, keepdim=True) / (alpha * beta)  # z - 1
    root = (over * (over + 2)).sqrt()
    along = (
        v.square().sum(2, keepdim=True) - 2 * (u * v).sum(2, keepdim=True) + 1
    ) / alpha**2 * u - v / alpha
    return torch.where(root > CLOSE, 4 / (beta * root.clamp(min=CLOSE)) * along, 0.0)


def loss_gradient(x: Tensor, u: Tensor, others: Tensor, left_out: Tensor) -> Tensor:
    """The Euclidean gradient of the sum of -log softmax of minus the distances, first of ``others`` wanted.

    Shapes: x ``[N, D]``, u ``[B]``, others ``[B, K + 1]`` and left_out, bool, alike -> ``[N, D]``.
    """
    a, b = x[u], x[others]
    share = torch.softmax((-distance(a, b)).masked_fill(left_out, -torch.inf), dim=1)
    slope = -share
    slope[:, 0] += 1  # of the loss by each distance
    slope = slope[..., None]
    wide = a[:, None].expand_as(b)
    found = torch.zeros_like(x)
    found.index_add_(0, u, (slope * distance_gradient(wide, b)).sum(1))
    return found.index_add_(
        0, others.reshape(-1), (slope * distance_gradient(b, wide)).reshape(-1, x.shape[1])
    )
