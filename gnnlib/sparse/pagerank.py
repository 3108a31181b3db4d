"""Simple graphs, and personalised PageRank on them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.common_neighbors import sorted_rows
from gnnlib.sparse.ops.spmm import spmm


def simple(adj: CSR) -> CSR:
    """The structure without self-loops and duplicates, columns sorted, kept with the graph."""
    return adj.derive("simple", _simple)


def pagerank(csr: CSR, start: Tensor, alpha: float, tol: float) -> Tensor:
    """Stationary probabilities of walks that restart, by power iteration; one distribution a column.

    A walk steps along a uniform edge, restarts with probability alpha, and restarts at a node without edges.

    Args:
        csr: the graph ``[N, N]``, row = target.
        start: where the walks of each column begin, ``[N, K]``, columns that sum to 1.
        alpha: probability of a restart, in (0, 1).
        tol: bound on the error of each column in the 1-norm, in (0, 1).
    """
    steps = math.ceil(math.log(tol / 2) / math.log1p(-alpha))
    degree = csr.col_degree.to(start.dtype)
    scale, stuck = 1 / degree.clamp(min=1), (degree == 0).to(start.dtype)
    found = start
    for _ in range(steps):
        back = alpha + (1 - alpha) * (stuck @ found)
        found = (1 - alpha) * spmm(csr, found, col_scale=scale) + back * start
    return found


def _simple(adj: CSR) -> CSR:
    found = sorted_rows(adj)
    indptr, indices = found.arrays
    kept = found.rows != indices
    before = torch.cat([indptr.new_zeros(1), kept.cumsum(0).to(indptr.dtype)])
    return CSR.trusted(before[indptr.long()], indices[kept], adj.num_cols)
