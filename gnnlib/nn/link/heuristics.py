"""Scores of node pairs without parameters.

Self-loops are left out, and an edge that occurs twice counts once. The neighbours of a node are its sources,
the entries of its row; on an undirected graph every score is symmetric in the two ends.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gnnlib.sparse import as_csr, common_neighbors, spmm
from gnnlib.sparse.convert import Adj
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.pagerank import pagerank, simple

BLOCK = 64  # start nodes at once; a block holds two arrays [N, BLOCK]


def common_neighbor_count(adj: Adj, pairs: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Count the common neighbours of each pair.

    .. math:: s_{uv} = |\Gamma_u \cap \Gamma_v|

    Liben-Nowell and Kleinberg, The link-prediction problem for social networks, 2007.

    Shapes: adj ``[N, N]``, pairs ``[2, P]`` -> ``[P]``.
    Cost: that of :func:`~gnnlib.sparse.common_neighbors`.
    Raises: ValueError for pairs of a wrong shape or outside the graph.
    """
    csr = pair_graph("common_neighbor_count", adj, pairs)
    return common_neighbors(csr, pairs).degree.to(dtype)


def jaccard(adj: Adj, pairs: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Share of the neighbours of either end that both have; 0 where neither has one.

    .. math:: s_{uv} = |\Gamma_u \cap \Gamma_v| \,/\, |\Gamma_u \cup \Gamma_v|

    Liben-Nowell and Kleinberg, The link-prediction problem for social networks, 2007.

    Shapes: adj ``[N, N]``, pairs ``[2, P]`` -> ``[P]``.
    Cost: that of :func:`~gnnlib.sparse.common_neighbors`.
    Raises: ValueError for pairs of a wrong shape or outside the graph.
    """
    csr = pair_graph("jaccard", adj, pairs)
    both = common_neighbors(csr, pairs).degree.to(dtype)
    either = csr.degree[pairs].sum(0).to(dtype) - both
    return both / either.clamp(min=1)


def adamic_adar(adj: Adj, pairs: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Sum the common neighbours, each by the inverse logarithm of its degree.

    .. math:: s_{uv} = \sum_{z \in \Gamma_u \cap \Gamma_v} 1 / \ln d_z

    Adamic and Adar, Friends and neighbors on the Web, 2003. d is the number of nodes that z points at; a node
    with d = 1, which only u = v can meet, adds 0.

    Shapes: adj ``[N, N]``, pairs ``[2, P]`` -> ``[P]``.
    Cost: that of :func:`~gnnlib.sparse.common_neighbors`.
    Raises: ValueError for pairs of a wrong shape or outside the graph.
    """
    csr = pair_graph("adamic_adar", adj, pairs)
    degree = csr.col_degree.to(dtype)
    return _weighted(csr, pairs, torch.where(degree > 1, 1 / degree.clamp(min=2).log(), 0))


def resource_allocation(adj: Adj, pairs: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Sum the common neighbours, each by the inverse of its degree.

    .. math:: s_{uv} = \sum_{z \in \Gamma_u \cap \Gamma_v} 1 / d_z

    Zhou, Lü and Zhang, Predicting missing links via local information, 2009. d is the number of nodes that z
    points at.

    Shapes: adj ``[N, N]``, pairs ``[2, P]`` -> ``[P]``.
    Cost: that of :func:`~gnnlib.sparse.common_neighbors`.
    Raises: ValueError for pairs of a wrong shape or outside the graph.
    """
    csr = pair_graph("resource_allocation", adj, pairs)
    return _weighted(csr, pairs, 1 / csr.col_degree.to(dtype).clamp(min=1))


def preferential_attachment(adj: Adj, pairs: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Multiply the degrees of the two ends.

    .. math:: s_{uv} = d_u d_v

    Liben-Nowell and Kleinberg, The link-prediction problem for social networks, 2007.

    Shapes: adj ``[N, N]``, pairs ``[2, P]`` -> ``[P]``.
    Cost: O(P).
    Raises: ValueError for pairs of a wrong shape or outside the graph.
    """
    degree = pair_graph("preferential_attachment", adj, pairs).degree.to(dtype)
    return degree[pairs[0]] * degree[pairs[1]]


def katz(
    adj: Adj, pairs: Tensor, beta: float = 0.05, length: int = 3, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    r"""Count the walks between the two ends up to a length, shorter ones weighing more.

    .. math:: s_{uv} = \sum_{l=1}^{L} \beta^l (A^l)_{uv}

    Katz, A new status index derived from sociometric analysis, 1953, truncated at L: exact in the limit of L
    when beta is below the inverse of the largest eigenvalue of A.

    Args:
        adj: the graph; ``A_uv = 1`` for an edge from v to u.
        pairs: u in the first row and v in the second.
        beta: weight of a step, above 0.
        length: L, at least 1.
        dtype: of the sums.

    Shapes: adj ``[N, N]``, pairs ``[2, P]`` -> ``[P]``.
    Cost: O(V L E) time for V distinct nodes v; memory of two arrays ``[N, 64]``.
    Raises: ValueError for pairs of a wrong shape or outside the graph, beta <= 0 or length < 1.
    """
    if beta <= 0 or length < 1:
        raise ValueError(f"katz: beta is {beta} and length {length}; expected beta > 0 and length >= 1")
    csr = pair_graph("katz", adj, pairs)

    def walks(start: Tensor) -> Tensor:
        total = torch.zeros_like(start)
        for _ in range(length):
            start = beta * spmm(csr, start)
            total += start
        return total

    return _from_starts(walks, csr, pairs, dtype)


def personalized_pagerank(
    adj: Adj, pairs: Tensor, alpha: float = 0.15, tol: float = 1e-6, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    r"""How often walks that restart at one end are at the other, added over both directions.

    .. math:: s_{uv} = \pi_u(v) + \pi_v(u), \quad \pi_u = \alpha (I - (1 - \alpha) P^T)^{-1} e_u

    Liben-Nowell and Kleinberg, The link-prediction problem for social networks, 2007 (rooted
    PageRank). P steps along a uniform edge; a walk at a node without one restarts.

    Args:
        adj: the graph.
        pairs: the two ends.
        alpha: probability of a restart, in (0, 1).
        tol: bound on the error of each pi in the 1-norm, in (0, 1); it fixes the number of power iterations.
        dtype: of the sums.

    Shapes: adj ``[N, N]``, pairs ``[2, P]`` -> ``[P]``.
    Cost: O(V E ln(2 / tol) / alpha) time for V distinct nodes; memory of a few arrays ``[N, 64]``.
    Raises: ValueError for pairs of a wrong shape or outside the graph, alpha or tol outside (0, 1).
    """
    if not (0 < alpha < 1 and 0 < tol < 1):
        raise ValueError(f"personalized_pagerank: alpha is {alpha} and tol {tol}; expected both in (0, 1)")
    csr = pair_graph("personalized_pagerank", adj, pairs)

    def visits(start: Tensor) -> Tensor:
        return pagerank(csr, start, alpha, tol)

    return _from_starts(visits, csr, torch.cat([pairs, pairs.flip(0)], dim=1), dtype).view(2, -1).sum(0)


def pair_graph(who: str, adj: Adj, pairs: Tensor) -> CSR:
    """The graph without self-loops and duplicates, kept with it; errors name ``who`` asks for the pairs."""
    csr = as_csr(adj)
    if csr.num_rows != csr.num_cols:
        raise ValueError(f"{who}: the graph is {csr.num_rows} x {csr.num_cols}; expected a square one")
    if pairs.dim() != 2 or pairs.shape[0] != 2:
        raise ValueError(f"{who}: pairs has shape {list(pairs.shape)}; expected [2, P], one pair a column")
    if pairs.numel() and (int(pairs.min()) < 0 or int(pairs.max()) >= csr.num_rows):
        raise ValueError(
            f"{who}: pairs names nodes {int(pairs.min())} to {int(pairs.max())} but the graph has "
            f"{csr.num_rows} nodes; give it all its nodes, for example with as_csr(edge_index, num_nodes)"
        )
    return simple(csr)


def _weighted(csr: CSR, pairs: Tensor, weight: Tensor) -> Tensor:
    return spmm(common_neighbors(csr, pairs), weight.unsqueeze(1)).squeeze(1)


def _from_starts(spread: Callable[[Tensor], Tensor], csr: CSR, pairs: Tensor, dtype: torch.dtype) -> Tensor:
    """Entries (u, v) of a matrix whose columns v ``spread`` makes from unit vectors, in blocks of columns."""
    starts, place = torch.unique(pairs[1], return_inverse=True)
    order = place.argsort()
    out = torch.empty(pairs.shape[1], dtype=dtype, device=pairs.device)
    sizes = torch.bincount(place // BLOCK).tolist()
    for block, of_block in zip(starts.split(BLOCK), order.split(sizes), strict=True):
        unit = torch.zeros(csr.num_rows, block.numel(), dtype=dtype, device=pairs.device)
        unit[block, torch.arange(block.numel(), device=pairs.device)] = 1
        out[of_block] = spread(unit)[pairs[0, of_block], place[of_block] % BLOCK]
    return out
