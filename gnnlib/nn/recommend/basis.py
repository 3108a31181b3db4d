"""The low frequencies of the graph of users (or items) that their interactions make."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gnnlib.nn.conv.gcn_norm import inverse_sqrt
from gnnlib.sparse import CSR, as_csr, spmm
from gnnlib.sparse.convert import Adj

_SMALL = 64  # rows up to which all singular vectors are computed at once


def interaction_basis(interactions: Adj, count: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    r"""The smallest eigenvalues of a hypergraph Laplacian, and their eigenvectors.

    .. math:: L = I - D_U^{-1/2} R D_I^{-1} R^T D_U^{-1/2}

    where the rows of R are nodes and its columns the hyperedges: users and items, or, for the transpose,
    items and users. By Lanczos iterations whose product with L is two SpMMs; :math:`R R^T` is never formed.
    For few rows, or nearly all eigenvectors, by the singular values of the scaled R.

    Yu and Qin, Graph Convolutional Network for Recommendation with Low-pass Collaborative Filters, ICML 2020.

    Args:
        interactions: R, in any form that :func:`as_csr` takes; a pair that comes twice counts twice.
        count: how many eigenvectors, from 1 to the number of rows.
        seed: of the first vector of the iterations.

    Shapes: R ``[N, M]`` with E entries -> values ``[count]``, ascending from 0, and vectors ``[N, count]`` in
        float64. A row without entries has the eigenvalue 1. A vector is known up to its sign, those of one
        eigenvalue up to a rotation.
    Cost: O(E) a product, some products for each vector, and O(N count^2) to keep them orthogonal.
    Raises: ValueError for a count out of range; RuntimeError when the iterations do not converge.
    """
    adj = as_csr(interactions)
    rows = adj.num_rows
    if not 1 <= count <= rows:
        raise ValueError(f"interaction_basis: count={count}; pass 1 to {rows}, the number of rows")
    scaled = _Scaled(adj.to("cpu"))
    if rows <= _SMALL or count >= rows - 1:
        left, singular, _ = torch.linalg.svd(scaled.dense(), full_matrices=True)
        values = torch.zeros(rows, dtype=torch.float64)
        values[: singular.numel()] = singular.square()
        vectors = left
    else:
        values, vectors = _lanczos(scaled, rows, count, seed)
    found = (1 - values[:count]).clamp(min=0)
    return found.to(adj.device), vectors[:, :count].contiguous().to(adj.device)


class _Scaled:
    """The matrix D_U^-1/2 R D_I^-1/2 in float64."""

    def __init__(self, adj: CSR) -> None:
        self.adj = adj
        self.row = inverse_sqrt(adj.degree.double())
        self.col = inverse_sqrt(adj.col_degree.double())

    def dense(self) -> Tensor:
        one = torch.ones(self.adj.num_values, dtype=torch.float64)
        return self.row[:, None] * self.adj.to_dense(one) * self.col

    def gram(self, x: Any) -> Any:
        """The product of the matrix and its transpose with numpy vectors ``[N, k]``."""
        h = torch.from_numpy(x.reshape(self.adj.num_rows, -1))
        h = spmm(self.adj.transposed, h, row_scale=self.col, col_scale=self.row)
        return spmm(self.adj, h, row_scale=self.row, col_scale=self.col).numpy().reshape(x.shape)


def _lanczos(scaled: _Scaled, rows: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues of the Gram matrix, descending."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    operator = LinearOperator((rows, rows), matvec=scaled.gram, matmat=scaled.gram, dtype="float64")
    draw = torch.Generator().manual_seed(seed)
    first = torch.randn(rows, generator=draw, dtype=torch.float64).numpy()
    try:
        values, vectors = eigsh(operator, k=count, which="LA", v0=first, tol=1e-10)
    except ArpackNoConvergence as error:
        raise RuntimeError(
            f"interaction_basis: {len(error.eigenvalues)} of {count} eigenvectors converged; ask for fewer"
        ) from error
    order = values.argsort()[::-1].copy()
    return torch.from_numpy(values[order]), torch.from_numpy(vectors[:, order])
