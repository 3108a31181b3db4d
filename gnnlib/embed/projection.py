"""FastRP and RandNE: random projections, propagated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gnnlib.embed.base import NodeEmbedding
from gnnlib.embed.graph import out_degree, out_weight
from gnnlib.embed.svd import wide
from gnnlib.sparse import CSR, random, spmm
from gnnlib.sparse.ops.sparse_projection import sparse_projection

__all__ = ["FastRP", "RandNE"]


class FastRP(NodeEmbedding):
    r"""FastRP: powers of the transition matrix, seen through a very sparse random projection.

    .. math:: N_1 = S L R, \quad N_k = S N_{k-1}, \quad Z = \sum_k \alpha_k \operatorname{norm}(N_k), \qquad
        S = D^{-1} A, \quad L = \operatorname{diag}\big((d_j / 2m)^\beta\big)

    Chen, Sultan, Tian, Chen and Skiena, FastRP, CIKM 2019, Alg. 1. An entry of R depends on seed, node and
    column alone. As in the authors' code rows of each term are scaled to length 1 and columns of the result
    standardised; both can be turned off.

    Args:
        dim: columns of the embedding.
        weights: alpha_1, alpha_2, ...: one for each power.
        beta: exponent of the degrees, usually in [-1, 0].
        sparsity: s, at least 1: one entry in s of R is not 0.
        normalize: scale the rows of each term to length 1.
        standardize: give each column mean 0 and variance 1.
        self_weight: weight of L R itself, a term that the paper does not have.
        device: where to compute.
        seed: of R.

    Shapes: a graph of N nodes -> ``embedding_`` float32 ``[N, dim]``.
    Cost: a product of the adjacency with ``[N, dim]`` for each weight. Nodes without outgoing edges get
        rows of 0 before standardising.
    Raises: ValueError for no weights or a sparsity below 1.
    """

    def __init__(
        self,
        dim: int = 128,
        weights: Sequence[float] = (0.0, 0.0, 1.0, 6.67),
        *,
        beta: float = -0.64,
        sparsity: float = 3.0,
        normalize: bool = True,
        standardize: bool = True,
        self_weight: float = 0.0,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        self.dim = dim
        self.weights = weights
        self.beta = beta
        self.sparsity = sparsity
        self.normalize = normalize
        self.standardize = standardize
        self.self_weight = self_weight
        self.device = device
        self.seed = seed

    def _embed(self, graph: CSR) -> Tensor:
        self._whole(dim=1)
        self._finite("beta", "sparsity", "self_weight")
        if self.sparsity < 1:
            raise ValueError(f"FastRP: sparsity={self.sparsity}; expected 1 or more")
        if len(self.weights) == 0:
            raise ValueError(
                "FastRP: weights is empty; give one weight for each power, as in (0, 0, 1, 6.67)"
            )
        out, _ = out_weight(graph)
        degree = out_degree(graph)
        positive = degree > 0
        scale = torch.where(positive, (degree / degree.sum().clamp(min=1e-300)) ** self.beta, 0.0)
        inverse = torch.where(positive, 1 / degree, 0.0).float()
        weight = None if graph.value is None else graph.value.float()
        term = sparse_projection(scale, self.dim, self.sparsity, self.seed)
        result = torch.zeros_like(term)
        self._add(result, term, self.self_weight)
        for k, alpha in enumerate(self.weights):
            term = spmm(out, term, weight, row_scale=inverse)
            self._add(result, term, alpha)
            self._tell("propagating", k + 1, len(self.weights))
        if self.standardize:
            _standardize(result)
        return result

    def _add(self, result: Tensor, term: Tensor, alpha: float) -> None:
        """Add alpha times a term, its rows scaled to length 1 where that is asked for."""
        if alpha and self.normalize:
            length = torch.linalg.vector_norm(term, dim=1, keepdim=True)
            result.addcmul_(term, alpha / length.clamp(min=1e-12))
        elif alpha:
            result.add_(term, alpha=alpha)


def _standardize(x: Tensor) -> None:
    """Give each column mean 0 and variance 1, in place; one that is constant but for rounding keeps its own.

    Two sums by blocks of rows: torch's variance of columns runs through them one by one.
    """
    mean = _column_sums(x, 1) / max(x.shape[0], 1)
    x.sub_(mean)
    variance = _column_sums(x, 2) / max(x.shape[0], 1)
    x.mul_(torch.where(variance > (1e-5 * mean).square(), variance.rsqrt(), 1.0))


def _column_sums(x: Tensor, power: int) -> Tensor:
    """Sums of the powers of each column, in float64 across blocks, ``[F]`` in x's dtype."""
    sums = [(rows if power == 1 else rows.square()).sum(0) for rows in torch.split(x, 4096)]
    return torch.stack(sums).sum(0, dtype=torch.float64).to(x.dtype) if sums else x.new_zeros(x.shape[1])


class RandNE(NodeEmbedding):
    r"""RandNE: powers of the adjacency, seen through an orthogonal Gaussian projection.

    .. math:: U_0 = Q, \quad U_k = A U_{k-1}, \quad Z = \sum_{k \ge 0} \alpha_k U_k

    Zhang, Cui, Li, Wang and Zhu, Billion-Scale Network Embedding with Iterative Random Projection, ICDM
    2018, Alg. 1.

    Args:
        dim: columns of the embedding.
        weights: alpha_0, alpha_1, ...
        device: where to compute.
        seed: of the projection; on a CPU the same bits for a given number of threads, as its QR is LAPACK's.

    Shapes: a graph of N nodes -> ``embedding_`` float32 ``[N, dim]``; columns beyond N are 0, since no more
        are orthogonal.
    Cost: a product of the adjacency with ``[N, dim]`` for each weight past the first, and O(N dim^2).
    Raises: ValueError for no weights.
    """

    def __init__(
        self,
        dim: int = 128,
        weights: Sequence[float] = (1.0, 100.0, 10_000.0, 100_000.0),
        *,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        self.dim = dim
        self.weights = weights
        self.device = device
        self.seed = seed

    def _embed(self, graph: CSR) -> Tensor:
        self._whole(dim=1)
        if len(self.weights) == 0:
            raise ValueError("RandNE: weights is empty; give one weight for each power from 0 on")
        draw = torch.Generator().manual_seed(random.as_seed(self.seed))
        gauss = torch.randn(graph.num_rows, min(self.dim, graph.num_rows), generator=draw)
        term = wide(torch.linalg.qr(gauss)[0], self.dim).to(graph.device)
        out, _ = out_weight(graph)
        weight = None if graph.value is None else graph.value.float()
        result: Tensor = self.weights[0] * term
        for k, alpha in enumerate(self.weights[1:], 1):
            term = spmm(out, term, weight)
            result.add_(term, alpha=alpha)
            self._tell("propagating", k, len(self.weights) - 1)
        return result
