"""Cellular sheaves on graphs: a space at each node and edge, maps between them, and their Laplacian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnlib.nn.conv.gcn_norm import inverse_sqrt
from gnnlib.nn.topo.inverse_root import inverse_root
from gnnlib.sparse import CSR, as_csr, segment_reduce, spmm
from gnnlib.sparse.convert import Adj
from gnnlib.sparse.symmetric import from_keys, keys, symmetrized


@dataclass(frozen=True)
class SheafLaplacian:
    r"""The Laplacian of a cellular sheaf, as blocks on the nodes and on the directed edges.

    .. math:: (L x)_v = L_{vv} x_v + \sum_{u \sim v} L_{vu} x_u, \qquad
        L_{vv} = \sum_{e \ni v} F_{v \trianglelefteq e}^\top F_{v \trianglelefteq e}, \quad
        L_{vu} = -F_{v \trianglelefteq e}^\top F_{u \trianglelefteq e}

    Hansen and Gebhart, Sheaf Neural Networks, arXiv 2012.06333, 2020. It is
    :math:`\delta^\top \delta` for :math:`(\delta x)_e = F_{v \trianglelefteq e} x_v - F_{u \trianglelefteq e}
    x_u`: symmetric, positive, and zero on the global sections alone. Blocks that are diagonal are kept as
    their diagonals.

    Args:
        adj: the undirected graph, each edge once in each direction, values in slot order.
        diagonal: the blocks of the nodes.
        off: the blocks of the edges.

    Shapes: adj ``[N, N]`` with E slots; diagonal ``[N, d, d]`` or ``[N, d]``; off ``[E, d, d]`` or
        ``[E, d]``. x ``[N, d, f]`` -> ``[N, d, f]``.
    """

    adj: CSR
    diagonal: Tensor
    off: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to x ``[N, d, f]``, without a value of each edge and channel."""
        x = x.contiguous()
        if self.off.dim() == 2:
            around = spmm(self.adj, x, self.off)
        else:  # row a of every block: its d numbers weigh the d coordinates of the neighbour
            rows = [spmm(self.adj, x, self.off[:, a]).sum(1) for a in range(x.size(1))]
            around = torch.stack(rows, dim=1)
        here = self.diagonal[..., None] * x if self.diagonal.dim() == 2 else self.diagonal @ x
        return here + around

    def energy(self, x: Tensor) -> Tensor:
        r"""Dirichlet energy :math:`\langle x, L x \rangle`, of x ``[N, d, f]``: 0 on global sections."""
        return (x * self(x)).sum()

    def to_dense(self) -> Tensor:
        """The matrix ``[N d, N d]``, node by node; for small graphs."""
        n, d = self.diagonal.shape[:2]
        eye = torch.eye(n * d, dtype=self.diagonal.dtype, device=self.diagonal.device)
        return self(eye.view(n, d, n * d)).reshape(n * d, n * d)


def sheaf_laplacian(
    edge_index: Adj, maps: Tensor, num_nodes: int | None = None, *, normalised: bool = False
) -> SheafLaplacian:
    r"""The Laplacian of a sheaf with the given restriction maps.

    Args:
        edge_index: the graph, with both directions of each edge, once each.
        maps: for each entry (u, v) of edge_index the map :math:`F_{v \trianglelefteq e}` of its **target** v.
        num_nodes: number of nodes; the largest plus one when omitted.
        normalised: give :math:`(D + I)^{-1/2} L (D + I)^{-1/2}` with D the blocks of the nodes.

    Shapes: edge_index ``[2, E]``, maps ``[E, d, d]``, or ``[E, d]`` for their diagonals.
    Cost: O(E d^3).
    Raises: ValueError when maps do not fit the graph, or the graph has loops, parallel edges or an edge
        without its reverse.
    """
    adj = as_csr(edge_index, num_rows=num_nodes, num_cols=num_nodes)
    if maps.dim() not in (2, 3) or maps.size(0) != adj.num_values or maps.size(-1) != maps.size(1):
        raise ValueError(
            f"sheaf_laplacian: maps has shape {list(maps.shape)} but the graph has {adj.num_values} edges; "
            f"pass [{adj.num_values}, d, d], or [{adj.num_values}, d] for diagonal maps"
        )
    slots, order = _sorted_slots(adj)
    return laplacian(slots, adj.to_slots(maps).index_select(0, order), normalised=normalised)


def _sorted_slots(adj: CSR) -> tuple[CSR, Tensor]:
    """The graph with columns sorted in each row, and the slot each of its slots comes from."""
    key = keys(adj)
    known, order = key.sort()
    graph = undirected(adj)
    if not torch.equal(known, keys(graph)):
        raise ValueError(
            "sheaf_laplacian: the graph has loops, parallel edges or edges without their reverse; a map "
            "belongs to each end of each edge, so pass both directions once, as to_undirected gives"
        )
    return graph, order


def undirected(adj: CSR) -> CSR:
    """The graph of a sheaf: each pair of neighbours in both directions, once; kept on ``adj``."""
    return adj.derive("sheaf graph", _undirected)


def _undirected(adj: CSR) -> CSR:
    both = symmetrized(adj).adj
    apart = both.rows != both.indices
    return from_keys(keys(both)[apart], adj.num_rows, both.indices.dtype)


def laplacian(
    graph: CSR, maps: Tensor, *, normalised: bool, orthogonal: bool = False, weight: Tensor | None = None
) -> SheafLaplacian:
    """The Laplacian of maps in slot order, which belong to the rows.

    Args:
        graph: from :func:`undirected`.
        maps: diagonal or full.
        normalised: scale by the inverse root of the augmented diagonal.
        orthogonal: the maps are, so that the diagonal is a number.
        weight: w of each slot, the same in both directions, scaling the maps of the edge.

    Shapes: maps ``[E, d]`` or ``[E, d, d]``, weight ``[E]``.
    """
    d = maps.size(1)
    if orthogonal:
        return _of_orthogonal(graph, maps, normalised, weight)
    assert weight is None, "weights are defined for orthogonal maps"
    back = graph.transpose_perm
    if maps.dim() == 2:
        diagonal = segment_reduce(maps.square(), graph.indptr)
        if normalised:
            scale = (diagonal + 1).rsqrt()
            maps = maps * scale.index_select(0, graph.rows)
            diagonal = diagonal * scale.square()
        return SheafLaplacian(graph, diagonal, -maps * maps.index_select(0, back))
    diagonal = segment_reduce((maps.transpose(1, 2) @ maps).flatten(1), graph.indptr).view(-1, d, d)
    if normalised:
        root = inverse_root(diagonal + torch.eye(d, dtype=maps.dtype, device=maps.device))
        maps = maps @ root.index_select(0, graph.rows)
        diagonal = root @ diagonal @ root
    return SheafLaplacian(graph, diagonal, -maps.transpose(1, 2) @ maps.index_select(0, back))


def _of_orthogonal(graph: CSR, maps: Tensor, normalised: bool, weight: Tensor | None) -> SheafLaplacian:
    square = maps.new_ones(graph.num_edges) if weight is None else weight.square()
    degree = segment_reduce(square, graph.indptr)
    if normalised:
        scale = inverse_sqrt(degree + 1)
        square = square * scale.index_select(0, graph.rows) * scale.index_select(0, graph.indices)
        degree = degree * scale.square()
    off = -square[:, None, None] * (maps.transpose(1, 2) @ maps.index_select(0, graph.transpose_perm))
    return SheafLaplacian(graph, degree[:, None].expand(-1, maps.size(1)), off)
