"""Graph patches: overlapping parts of each graph, all of a batch as one block-diagonal structure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gnnlib.sparse import CSR, as_csr, spgemm
from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.graphs import Graphs
from gnnlib.sparse.partition import partition_graphs
from gnnlib.sparse.symmetric import symmetrized


@dataclass(frozen=True, eq=False)
class GraphPatches:
    r"""The patches of G graphs, p slots each; a node has a copy in each patch that it belongs to.

    Patch s of graph g has the number ``g p + s``. Copies are sorted by patch, then by node.

    Args:
        members: the membership M, row = patch, column = node; its slots are the copies.
        edge_index: sources and targets, both copies, of the edges within patches.
        edge: the edge of the graph that each of them is.
        num_patches: number of slots p of a graph.

    Shapes: members ``[G p, N]`` with K slots, edge_index ``[2, E']``, edge ``[E']``.
    """

    members: CSR
    edge_index: Tensor
    edge: Tensor
    num_patches: int

    @property
    def num_graphs(self) -> int:
        """Number of graphs G."""
        return self.members.num_rows // self.num_patches

    @cached_property
    def node(self) -> Tensor:
        """The node of each copy, int64 ``[K]``."""
        return self.members.indices.long()

    @cached_property
    def patch(self) -> Tensor:
        """The patch of each copy, int64 ``[K]``."""
        return self.members.rows

    @cached_property
    def adj(self) -> CSR:
        """The edges within patches, ``[K, K]``, block-diagonal."""
        return as_csr(self.edge_index, self.members.num_edges)

    @cached_property
    def of_node(self) -> CSR:
        """The node of each copy as a matrix ``[K, N]``: times node rows it copies, transposed it gathers."""
        return _one_each(self.members.indices, self.members.num_cols)

    @cached_property
    def filled(self) -> Tensor:
        """The patches that are not empty, int64 ``[S]``."""
        return self.members.degree.nonzero()[:, 0]

    @cached_property
    def of_patch(self) -> CSR:
        """The patch of each copy among those that are not empty, as a matrix ``[K, S]``."""
        number = (self.members.degree > 0).cumsum(0) - 1
        return _one_each(number[self.patch].to(self.members.indices.dtype), self.filled.numel())

    def slotted(self, rows: Tensor) -> Tensor:
        """Rows ``[S, F]`` of the patches that are not empty in their slots, ``[G, p, F]``; 0 elsewhere."""
        out = rows.new_zeros(self.members.num_rows, *rows.shape[1:]).index_copy(0, self.filled, rows)
        return out.view(self.num_graphs, self.num_patches, *rows.shape[1:])

    @property
    def size(self) -> Tensor:
        """Number of nodes in each patch, ``[G, p]``."""
        return self.members.degree.view(self.num_graphs, self.num_patches)

    @property
    def mask(self) -> Tensor:
        """Which slots hold a patch, bool ``[G, p]``."""
        return self.size > 0

    @cached_property
    def adjacency(self) -> Tensor:
        r"""How many nodes patches share, :math:`A^P = M M^\top` of each graph, float32 ``[G, p, p]``."""
        p, shared = self.num_patches, spgemm(self.members, self.members.transposed)
        assert shared.value is not None
        row, col = shared.rows, shared.indices.long()
        out = torch.zeros(self.num_graphs, p, p, device=row.device)
        out[row // p, row % p, col % p] = shared.value.to(out.dtype)
        return out

    def walk(self, steps: int) -> Tensor:
        r"""The random walk among patches, :math:`(D^{-1} A^P)^t`, float32 ``[G, p, p]``; 0 in empty slots."""
        a = self.adjacency
        one = a / a.sum(-1, keepdim=True).clamp(min=1)
        out: Tensor = torch.linalg.matrix_power(one, steps)
        return out

    def returns(self, steps: int) -> Tensor:
        r"""Diagonals of :math:`(D^{-1} A^P)^t` for t = 1 to ``steps``, patches not empty, ``[S, steps]``."""
        one = self.walk(1)
        power, diagonals = one, [one.diagonal(dim1=1, dim2=2)]
        for _ in range(steps - 1):
            power = power @ one
            diagonals.append(power.diagonal(dim1=1, dim2=2))
        return torch.stack(diagonals, dim=-1).flatten(0, 1)[self.filled]

    def to(self, device: torch.device | str) -> GraphPatches:
        """These patches on ``device``."""
        return GraphPatches(
            self.members.to(device), self.edge_index.to(device), self.edge.to(device), self.num_patches
        )


def graph_patches(
    graphs: Graphs,
    num_patches: int,
    slots: Tensor,
    *,
    num_hops: int = 1,
) -> GraphPatches:
    r"""Widen the parts of graphs by the neighbours of their nodes, and take the edges within each.

    .. math:: M = \big[\, S^\top (A + A^\top + I)^h > 0 \,\big]

    He et al., A Generalization of ViT/MLP-Mixer to Graphs, ICML 2023. With one hop or more every edge lies
    within a patch, and so does every node with any number.

    Args:
        graphs: G graphs side by side, all edges of which count here.
        num_patches: number of slots p.
        slots: the part of each node, see :func:`gnnlib.sparse.partition.partition_graphs`.
        num_hops: number of hops h, 0 or more.

    Shapes: slots ``[N]``, nodes as in ``graphs`` -> patches of the caller's nodes and edges.
    Cost: O(K d) for K copies of nodes with d edges each; no matrix of nodes x nodes.
    Raises: ValueError for a negative number of hops or slots out of range.
    """
    n, p = graphs.num_nodes, num_patches
    if num_hops < 0:
        raise ValueError(f"graph_patches: num_hops={num_hops} is negative; pass 0 or more")
    if slots.shape != (n,) or (n and not 0 <= int(slots.min()) <= int(slots.max()) < p):
        raise ValueError(
            f"graph_patches: slots of shape {list(slots.shape)} for {n} nodes and {p} patches; pass a number "
            f"from 0 to {p - 1} for each node"
        )
    adj = as_csr(graphs.edge_index, n)
    members = as_csr(torch.stack([torch.arange(n), graphs.batch * p + slots]), (n, graphs.num_graphs * p))
    near = symmetrized(adj.add_self_loops()).adj
    for _ in range(num_hops):
        members = spgemm(members, near)
    edge_index, edge = _edges_within(members, adj)
    return _callers(graphs, members, edge_index, edge, p)


def make_patches(
    graphs: Graphs, num_patches: int, seeds: Tensor, *, num_hops: int = 1, drop: float = 0.0
) -> GraphPatches:
    """Partition graphs by METIS and widen the parts, see ``partition_graphs`` and :func:`graph_patches`.

    Args:
        graphs: G graphs side by side.
        num_patches: number of slots p.
        seeds: a seed for each graph.
        num_hops: hops by which parts are widened.
        drop: probability with which an edge is not shown to METIS; patches have all edges.

    Shapes: seeds int64 ``[G]`` -> patches of the caller's nodes and edges.
    Cost: one call of METIS for each graph of at least p nodes.
    Raises: ImportError without pymetis; ValueError as the two functions.
    """
    slots = partition_graphs(graphs, num_patches, seeds, drop=drop)
    return graph_patches(graphs, num_patches, slots, num_hops=num_hops)


def _edges_within(members: CSR, adj: CSR) -> tuple[Tensor, Tensor]:
    """Sources and targets (copies) of the edges with both ends in a patch, and the edge of each."""
    node, patch, n = members.indices.long(), members.rows, members.num_cols
    count = adj.degree[node]
    offset = torch.cat([count.new_zeros(1), count.cumsum(0)])
    target = row_of_slot(offset, int(offset[-1]))  # a copy, once for each edge into its node
    slot = torch.arange(target.numel()) - offset[target] + adj.indptr[node[target]]
    key = patch * n + node  # sorted, since columns are in each row
    wanted = patch[target] * n + adj.indices.long()[slot]
    source = torch.searchsorted(key, wanted).clamp(max=max(key.numel() - 1, 0))
    found = key[source] == wanted
    slot = slot[found]
    edge = slot if adj.perm is None else adj.perm[slot]
    return torch.stack([source[found], target[found]]), edge


def _callers(graphs: Graphs, members: CSR, edge_index: Tensor, edge: Tensor, p: int) -> GraphPatches:
    """Nodes and edges as the caller counts them; copies stay where they are."""
    node = graphs.node[members.indices.long()].to(members.indices.dtype)
    plain = CSR.trusted(members.indptr, node, members.num_cols)
    return GraphPatches(plain, edge_index, graphs.edge[edge], p)


def _one_each(column: Tensor, num_cols: int) -> CSR:
    """The matrix whose row i has one entry, in ``column[i]``."""
    return CSR.trusted(torch.arange(column.shape[0] + 1, device=column.device), column, num_cols)
