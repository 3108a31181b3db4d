"""Embeddings by matrix factorisation: NetMF, ProNE, HOPE, GraRep."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.embed.base import NodeEmbedding
from gnnlib.embed.graph import out_degree, out_weight
from gnnlib.embed.svd import truncated_svd, wide
from gnnlib.sparse import CSR, spmm

__all__ = ["GraRep", "HOPE", "NetMF", "ProNE", "spectral_propagate"]

#: Nodes up to which a method with a dense N x N matrix runs: 3.6 GB in float32.
DENSEST = 30_000


def _inverse(x: Tensor) -> Tensor:
    return torch.where(x > 0, 1 / x, 0.0)


def _refuse_large(name: str, num_nodes: int) -> None:
    if num_nodes > DENSEST:
        raise ValueError(
            f"{name}: the graph has {num_nodes} nodes and the method needs a dense matrix of as many rows "
            f"and columns; "
            f"it stops at {DENSEST}: choose ProNE, FastRP or Node2Vec"
        )


def _transition(graph: CSR) -> Tensor:
    """The dense transition matrix P = D^-1 A, float32 ``[N, N]``."""
    out, weight = out_weight(graph)
    dense = out.to_dense(weight)
    return dense * _inverse(out_degree(graph)).float()[:, None]


def _factor(matrix: Tensor, dim: int, seed: int) -> Tensor:
    """U sqrt(S) of a dense matrix."""
    u, s, _ = truncated_svd(
        lambda x: matrix @ x, lambda x: matrix.t() @ x, matrix.shape[1], dim, seed=seed, device=matrix.device
    )
    return u * s.sqrt()


class NetMF(NodeEmbedding):
    r"""NetMF: the matrix that DeepWalk factorises implicitly, factorised explicitly.

    .. math:: Z = U_d \sqrt{\Sigma_d}, \qquad \log \max\Big(1,
        \frac{\operatorname{vol}}{b T} \sum_{t=1}^{T} P^t D^{-1}\Big) \approx U_d \Sigma_d V_d^\top

    Qiu et al., Network Embedding as Matrix Factorization, WSDM 2018, Alg. 3 (small windows). The result is
    that of DeepWalk's objective without sampling.

    Args:
        dim: columns of the embedding.
        window: T.
        negative: b, above 0.
        device: where to compute.
        seed: of the sketch for the decomposition; on a CPU the same bits for a given number
            of threads, as QR and SVD are LAPACK's.

    Shapes: a graph of N nodes -> ``embedding_`` float32 ``[N, dim]``; rows of 0 for nodes without edges, and
        columns of 0 beyond the N that the matrix has.
    Cost: T products of the adjacency with a dense ``[N, N]``, and its decomposition; at most 30,000 nodes.
    Raises: ValueError for a larger graph, or a parameter out of range.
    """

    def __init__(
        self, dim: int = 128, *, window: int = 10, negative: float = 1.0, device: str = "cpu", seed: int = 0
    ) -> None:
        self.dim = dim
        self.window = window
        self.negative = negative
        self.device = device
        self.seed = seed

    def _embed(self, graph: CSR) -> Tensor:
        self._whole(dim=1, window=1)
        self._above_0("negative")
        return _factor(self.matrix(graph), self.dim, self.seed)

    def matrix(self, graph: CSR) -> Tensor:
        """The truncated logarithm that is factorised, ``[N, N]``."""
        _refuse_large("NetMF", graph.num_rows)
        out, weight = out_weight(graph)
        degree = out_degree(graph)
        inverse = _inverse(degree).float()
        power = torch.diag(inverse)
        total = torch.zeros_like(power)
        for step in range(self.window):
            power = spmm(out, power, weight, row_scale=inverse)
            total += power
            self._tell("powers", step + 1, self.window)
        total *= float(degree.sum()) / (self.negative * self.window)
        return total.clamp_(min=1).log_()


class GraRep(NodeEmbedding):
    r"""GraRep: one factorised matrix for each number of steps, side by side.

    .. math:: Y_k = \max\Big(\log \frac{(P^k)_{ij}}{\sum_i (P^k)_{ij}} - \log \frac{1}{N}, 0\Big), \qquad
        Z = [\, U_1 \sqrt{\Sigma_1} \mid \dots \mid U_K \sqrt{\Sigma_K} \,]

    Cao, Lu and Xu, GraRep, CIKM 2015, Alg. 1.

    Args:
        dim: columns of the embedding, a multiple of ``steps``.
        steps: K.
        device: where to compute.
        seed: of the sketches for the decompositions; on a CPU the same bits for a given number
            of threads, as QR and SVD are LAPACK's.

    Shapes: a graph of N nodes -> ``embedding_`` float32 ``[N, dim]``, dim / K columns a step; those of a step
        beyond N are 0.
    Cost: K products with a dense ``[N, N]`` and K decompositions; at most 30,000 nodes.
    Raises: ValueError for a larger graph, or a dim that is no multiple of steps.
    """

    def __init__(self, dim: int = 128, *, steps: int = 4, device: str = "cpu", seed: int = 0) -> None:
        self.dim = dim
        self.steps = steps
        self.device = device
        self.seed = seed

    def _embed(self, graph: CSR) -> Tensor:
        self._whole(dim=1, steps=1)
        _refuse_large("GraRep", graph.num_rows)
        if self.dim % self.steps:
            raise ValueError(
                f"GraRep: dim={self.dim} is not divisible by steps={self.steps}; each gets as many"
            )
        out, weight = out_weight(graph)
        inverse = _inverse(out_degree(graph)).float()
        power, found = _transition(graph), []
        for step in range(self.steps):
            if step:
                power = spmm(out, power, weight, row_scale=inverse)
            share = power * (_inverse(power.sum(0)) * graph.num_rows)
            matrix = share.clamp_(min=1).log_()
            found.append(_factor(matrix, self.dim // self.steps, self.seed + step))
            self._tell("steps", step + 1, self.steps)
        return torch.cat(found, dim=1)


class HOPE(NodeEmbedding):
    r"""HOPE: source and target vectors whose products are the Katz proximities.

    .. math:: S = (I - \beta A)^{-1} \beta A \approx U \Sigma V^\top, \qquad
        Z = [\, U \sqrt{\Sigma} \mid V \sqrt{\Sigma} \,]

    Ou, Cui, Pei, Zhang and Zhu, Asymmetric Transitivity Preserving Graph Embedding, KDD 2016, Alg. 1. S is
    never formed: it is multiplied with by its series.

    Args:
        dim: columns of the embedding, half for each side: even.
        beta: decay, above 0 and below 1 over the spectral radius of A; half of that bound when None.
        tolerance: the series stops when a term has fallen to this share of the sum.
        device: where to compute.
        seed: of the sketch for the decomposition; on a CPU the same bits for a given number
            of threads, as QR and SVD are LAPACK's.

    Shapes: a graph of N nodes -> ``embedding_`` float32 ``[N, dim]``, source vectors first; columns of each
        half beyond N are 0.
    Cost: about a hundred products of the adjacency with ``[N, dim / 2]``.
    Raises: ValueError for an odd dim, or a beta for which the series does not converge.
    """

    def __init__(
        self,
        dim: int = 128,
        *,
        beta: float | None = None,
        tolerance: float = 1e-7,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        self.dim = dim
        self.beta = beta
        self.tolerance = tolerance
        self.device = device
        self.seed = seed

    def _embed(self, graph: CSR) -> Tensor:
        self._whole(dim=2)
        self._above_0("tolerance", *(() if self.beta is None else ("beta",)))
        if self.dim % 2:
            raise ValueError(
                f"HOPE: dim={self.dim} is odd; half of the columns are for sources, half for targets"
            )
        out, weight = out_weight(graph)
        back = graph
        radius = self._radius(out, weight)
        beta = (0.5 / radius if radius else 0.0) if self.beta is None else self.beta
        if beta * radius >= 1:
            raise ValueError(
                f"HOPE: beta={beta:g} but the series needs less than {1 / radius:g}; choose a smaller one"
            )

        def katz(adj: CSR, x: Tensor) -> Tensor:
            term = beta * spmm(adj, x.float(), weight)
            total = term.clone()
            while float(term.norm()) > self.tolerance * max(float(total.norm()), 1e-30):
                term = beta * spmm(adj, term, weight)
                total += term
            return total

        u, s, v = truncated_svd(
            lambda x: katz(out, x), lambda x: katz(back, x), graph.num_rows, self.dim // 2, seed=self.seed,
            device=graph.device,
        )  # fmt: skip
        return torch.cat([u * s.sqrt(), v * s.sqrt()], dim=1)

    def _radius(self, out: CSR, weight: Tensor) -> float:
        """The spectral radius of A by power iteration; A has no negative entry."""
        x = torch.ones(out.num_rows, 1, device=out.device)
        radius = 0.0
        for _ in range(200):
            y = spmm(out, x, weight) + x  # the shift by I makes bipartite graphs converge too
            norm = float(y.norm())
            new = norm / max(float(x.norm()), 1e-30) - 1
            x = y / norm if norm else y
            if abs(new - radius) <= 1e-6 * max(new, 1e-30):
                return new
            radius = new
        return radius


class ProNE(NodeEmbedding):
    r"""ProNE: a sparse factorisation, then a band-pass filter on the graph's spectrum.

    .. math:: F_{ij} = \ln P_{ij} - \ln \nu_j \text{ on edges}, \quad
        \nu_j \propto \Big(\sum_i P_{ij}\Big)^{0.75},
        \qquad R = U \sqrt{\Sigma}, \qquad Z = \operatorname{filter}(R)

    Zhang, Dong, Wang, Tang and Ding, ProNE, IJCAI 2019, Sec. 3. Entries of F that are not positive are 0.

    Args:
        dim: columns of the embedding.
        order: terms of the Chebyshev expansion.
        mu: centre of the filter.
        theta: its sharpness.
        device: where to compute.
        seed: of the sketches for the decompositions; on a CPU the same bits for a given number
            of threads, as QR and SVD are LAPACK's.

    Shapes: a graph of N nodes -> ``embedding_`` float32 ``[N, dim]``; columns beyond N are 0.
    Cost: about 12 + 2 order products of the adjacency with ``[N, dim]``.
    """

    def __init__(
        self,
        dim: int = 128,
        *,
        order: int = 10,
        mu: float = 0.1,
        theta: float = 0.5,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        self.dim = dim
        self.order = order
        self.mu = mu
        self.theta = theta
        self.device = device
        self.seed = seed

    def _embed(self, graph: CSR) -> Tensor:
        self._whole(dim=1, order=1)
        self._finite("mu", "theta")
        out, weight = out_weight(graph)
        p = (out.to_slots(weight) * _inverse(out_degree(graph)).float()[out.rows]).double()
        arrived = torch.zeros(graph.num_rows, dtype=torch.float64, device=graph.device)
        arrived.index_add_(0, out.indices.long(), p)
        noise = arrived**0.75 / (arrived**0.75).sum().clamp(min=1e-300)
        ratio = p / noise[out.indices.long()].clamp(min=1e-300)
        value = ratio.clamp(min=1).log().float()
        factor = CSR.trusted(out.indptr, out.indices, out.num_cols)
        flipped = factor.transposed
        u, s, _ = truncated_svd(
            lambda x: spmm(factor, x, value), lambda x: spmm(flipped, x, value), graph.num_rows, self.dim,
            seed=self.seed, device=graph.device,
        )  # fmt: skip
        rows = torch.nn.functional.normalize(u * s.sqrt(), dim=1)
        return spectral_propagate(rows, graph, order=self.order, mu=self.mu, theta=self.theta)


def spectral_propagate(
    embedding: Tensor, graph: CSR, *, order: int = 10, mu: float = 0.1, theta: float = 0.5
) -> Tensor:
    r"""ProNE's filter, for any embedding: a Chebyshev expansion of a Gaussian band-pass on the Laplacian.

    .. math:: Z = (A + I)\Big(R - \big[I_0(\theta) T_0 - 2 I_1(\theta) T_1
        + 2 \sum_{i \ge 2} (-1)^i I_i(\theta) T_i\big]\Big)

    with T the Chebyshev recurrence of M = L - mu I, L = I - D^{-1}(A + I), in the form of the authors' code.
    The result is rotated to its principal axes, scaled by the root of their singular values, and its rows
    have length 1. Columns beyond the number of rows are 0.

    Args:
        embedding: R.
        graph: the graph of its rows.
        order: terms.
        mu: centre of the filter.
        theta: its sharpness.

    Shapes: ``[N, D]`` -> float32 ``[N, D]``.
    """
    from scipy.special import iv

    out, weight = out_weight(graph)
    start = embedding.float()
    row = 1 / (out_degree(graph).float() + 1)

    def shifted(x: Tensor) -> Tensor:
        """(L - mu I) x."""
        return (1 - mu) * x - row[:, None] * (spmm(out, x, weight) + x)

    old, new = start, 0.5 * shifted(shifted(start)) - start
    total = float(iv(0, theta)) * old - 2 * float(iv(1, theta)) * new
    for i in range(2, order):
        old, new = new, shifted(shifted(new)) - 2 * new - old
        total += (-1) ** i * 2 * float(iv(i, theta)) * new
    rest = start - total
    filtered = spmm(out, rest, weight) + rest
    u, s, _ = torch.linalg.svd(filtered, full_matrices=False)
    return wide(torch.nn.functional.normalize(u * s.sqrt(), dim=1), start.shape[1])
