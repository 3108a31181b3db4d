"""The neighbours of node pairs, as rows of CSRs: common ones, those of one end only, and samples of them."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse import as_csr, common_neighbors
from gnnlib.sparse.convert import Adj
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.common_neighbors import rows_without, sorted_rows


def neighbor_sets(adj: Adj, pairs: Tensor) -> tuple[CSR, CSR, CSR]:
    r"""List the neighbours that two nodes share, those of the first alone and those of the second alone.

    .. math:: N(u) \cap N(v), \quad N(u) \setminus N(v), \quad N(v) \setminus N(u)

    The neighbours of a node are its sources, the entries of its row; one that is there twice counts once.

    Args:
        adj: the graph, in any form that :func:`~gnnlib.sparse.as_csr` takes.
        pairs: u in the first row and v in the second.

    Shapes: adj ``[N, N]``, pairs ``[2, P]`` -> three CSRs ``[P, N]`` without values, columns sorted.
    Cost: that of :func:`~gnnlib.sparse.common_neighbors`, then O(T) for the T neighbours of all ends.
    Raises: what ``common_neighbors`` raises.
    """
    rows = sorted_rows(as_csr(adj))
    common = common_neighbors(rows, pairs)
    return common, rows_without(rows, pairs[0], common), rows_without(rows, pairs[1], common)


def sampled_rows(adj: CSR, most: int) -> tuple[CSR, Tensor]:
    """At most so many entries of each row, drawn with replacement, and their weights.

    A row of d entries, more than ``most``, gives ``most`` draws of weight d / most each, so that a weighted
    sum over them has the sum over the row as its mean; a shorter row stays, with weights 1. Draws come from
    torch's global generator, as those of dropout do.

    Shapes: adj ``[R, C]`` -> CSR ``[R, C]`` with S slots, weight ``[S]``.
    """
    degree = adj.degree
    count = degree.clamp(max=most)
    indptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    row = torch.arange(adj.num_rows, device=adj.device).repeat_interleave(count)
    place = torch.arange(row.numel(), device=adj.device) - indptr[row]
    drawn = (torch.rand(row.numel(), dtype=torch.float64, device=adj.device) * degree[row]).long()
    long = degree[row] > most
    slots = adj.indptr[row] + torch.where(long, drawn, place)
    weight = torch.where(long, degree[row] / most, 1.0)
    return CSR.trusted(indptr, adj.indices[slots], adj.num_cols), weight


def dropped_entries(adj: CSR, p: float) -> CSR:
    """The graph without some entries, each left out with probability p, drawn by torch's global generator."""
    kept = torch.rand(adj.num_edges, device=adj.device) >= p
    before = torch.cat([adj.indptr.new_zeros(1), kept.cumsum(0)])
    return CSR.trusted(before[adj.indptr], adj.indices[kept], adj.num_cols)
