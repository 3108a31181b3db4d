"""Graphs and matrices of a hypergraph, and hypergraphs of a graph, all sparse."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gnnlib.nn.hyper.base import inverse, inverse_root
from gnnlib.nn.hyper.pairs import ordered_pairs
from gnnlib.sparse import CSR, Hypergraph, as_csr, scatter, spgemm
from gnnlib.sparse.convert import Adj
from gnnlib.sparse.hypergraph import check_parts

__all__ = [
    "attribute_hypergraph",
    "clique_expansion",
    "knn_hypergraph",
    "line_expansion",
    "neighborhood_hypergraph",
    "pair_hypergraph",
    "star_expansion",
    "star_laplacian",
    "zhou_laplacian",
]

CliqueWeight = Literal["count", "zhou", "simple"]
_FLOAT = torch.float64


def clique_expansion(h: Hypergraph, weight: CliqueWeight = "count", *, max_size: int | None = None) -> CSR:
    r"""The graph in which the members of each hyperedge are joined pair by pair, in both directions.

    Args:
        h: the hypergraph.
        weight: ``"count"``: :math:`(H H^\top)_{ij}`, the number of hyperedges that two nodes share, or with
            hyperedge weights and incidence values :math:`H W H^\top`; ``"zhou"``:
            :math:`\sum_e w_e / (\delta_e - 1)` over them; ``"simple"``: 1.
        max_size: leave out hyperedges of more members, whose pairs are many.

    Shapes: -> CSR ``[N, N]``, symmetric, without loops, with float64 values.
    Cost: :math:`O(\sum_e |e|^2)` time and memory.
    Raises: ValueError for an unknown weight.
    """
    _check_view(h, "clique_expansion")
    if weight not in ("count", "zhou", "simple"):
        raise ValueError(
            f"clique_expansion: weight={weight!r} is unknown; choose 'count', 'zhou' or 'simple'"
        )
    size = h.hyperedge_size
    w = torch.ones(h.num_hyperedges, dtype=_FLOAT, device=h.device)
    if h.hyperedge_weight is not None and weight != "simple":
        w = h.hyperedge_weight.detach().to(_FLOAT)
    if weight == "zhou":
        w = w * inverse((size - 1).clamp(min=0).to(_FLOAT))
    valued = h if weight == "count" else h.with_values()
    if max_size is not None:
        valued = _only(valued, size <= max_size)
        w = w[size <= max_size]
    product = _gram(valued, None, w, None)
    value = torch.ones_like(_value(product)) if weight == "simple" else _value(product)
    return _without_loops(product.with_value(value))


def star_expansion(h: Hypergraph) -> CSR:
    """The bipartite graph of nodes, numbered first, and hyperedges ``N + e``, in both directions.

    Shapes: -> CSR ``[N + M, N + M]``; with incidence values its values are these.
    """
    _check_view(h, "star_expansion")
    node, hyperedge = h.hyperedge_index
    far = hyperedge + h.num_nodes
    index = torch.stack([torch.cat([node, far]), torch.cat([far, node])])
    adj = as_csr(index, h.num_nodes + h.num_hyperedges)
    value = h.slot_value
    return adj if value is None else adj.with_value(torch.cat([value, value]))


def star_laplacian(h: Hypergraph) -> CSR:
    r"""The Laplacian of the star expansion over nodes, :math:`L_S = D_v - H D_e^{-1} H^\top`.

    With the degrees :math:`d_v = \sum_e H_{ve}` that are its row sums, so :math:`L_S 1 = 0`.

    Shapes: -> CSR ``[N, N]`` with float64 values.
    Cost: :math:`O(\sum_e |e|^2)` time and memory; :class:`PhenomNN` multiplies by it without forming it.
    """
    _check_view(h, "star_laplacian")
    plain = h.with_values(h.incidence_value)
    walk = _gram(plain, None, inverse(plain.sizes(_FLOAT)), None)
    return _diagonal_minus(plain.degrees(_FLOAT), walk)


def zhou_laplacian(h: Hypergraph) -> CSR:
    r"""The normalised Laplacian :math:`\Delta = I - D_v^{-1/2} H W D_e^{-1} H^\top D_v^{-1/2}`.

    Zhou, Huang and Schoelkopf, Learning with Hypergraphs, NeurIPS 2006. Its eigenvalues lie in [0, 1], and
    :math:`\Delta D_v^{1/2} 1 = 0` on nodes of some hyperedge; a node of none has the row of I.

    Shapes: -> CSR ``[N, N]`` with float64 values.
    Cost: :math:`O(\sum_e |e|^2)` time and memory; :class:`HGNNConv` multiplies by it without forming it.
    """
    _check_view(h, "zhou_laplacian")
    side, inner = inverse_root(h.degrees(_FLOAT)), inverse(h.sizes(_FLOAT))
    w = inner if h.hyperedge_weight is None else inner * h.hyperedge_weight.detach().to(_FLOAT)
    return _diagonal_minus(torch.ones_like(side), _gram(h, side, w, side))


def line_expansion(h: Hypergraph) -> CSR:
    r"""The graph of incidences, adjacent where they share a node or a hyperedge.

    They are numbered as in ``h.hyperedge_index``. Yang et al., Semi-supervised Hypergraph Node
    Classification on Hypergraph Line Expansion, CIKM 2022. An edge has the value 1, and there are no loops.

    Shapes: -> CSR ``[nnz, nnz]``, symmetric.
    Cost: :math:`O(\sum_v d_v^2 + \sum_e |e|^2)` time and memory.
    """
    _check_view(h, "line_expansion")
    nnz = h.num_incidences
    a, b = ordered_pairs(h.v2e.indptr, nnz)
    slot = h.v2e.transpose_perm
    c, d = ordered_pairs(h.e2v.indptr, nnz)
    src, dst = torch.cat([a, slot[c]]), torch.cat([b, slot[d]])
    different = src != dst
    # Two incidences share a node and a hyperedge only if they are one, so no pair comes twice.
    return as_csr(torch.stack([src[different], dst[different]]), nnz)


def pair_hypergraph(edge_index: Tensor, num_nodes: int) -> Hypergraph:
    """The hypergraph whose hyperedges are the edges of an undirected graph, each once; a loop has one member.

    Shapes: edge_index ``[2, E]``, one or both directions of an edge -> N nodes, a hyperedge for each edge.
    Raises: ValueError for a node outside the graph or another shape; TypeError for numbers that are no
        integers.
    """
    check_parts("edge_index", edge_index, num_nodes, "node")  # before two numbers become one
    as_csr(edge_index, num_nodes)
    low, high = edge_index.long().sort(dim=0).values
    key = torch.unique(low * num_nodes + high)
    ends = torch.stack([key // max(num_nodes, 1), key % max(num_nodes, 1)])  # [2, M]
    hyperedge = torch.arange(key.numel(), device=key.device).expand(2, -1)
    return Hypergraph(torch.stack([ends.flatten(), hyperedge.flatten()]), num_nodes, key.numel())


def neighborhood_hypergraph(edge_index: Adj, num_nodes: int, hops: int = 1) -> Hypergraph:
    """The hypergraph in which node i gives hyperedge i: itself and all that reach it within so many hops.

    One hop is HGNN's setting for citation graphs.

    Shapes: edge_index ``[2, E]`` or any form that :func:`as_csr` takes -> N nodes and N hyperedges.
    Cost: one sparse product a hop after the first.
    Raises: ValueError for hops below 1.
    """
    if hops < 1:
        raise ValueError(f"neighborhood_hypergraph: hops={hops}; pass 1 or more")
    adj = as_csr(edge_index, num_nodes)
    loops = torch.arange(num_nodes, device=adj.device).expand(2, -1)
    ball = one = as_csr(torch.cat([adj.edge_index, loops], dim=1), num_nodes)
    for _ in range(hops - 1):
        ball = spgemm(one, ball)
    return Hypergraph(ball.edge_index, num_nodes, num_nodes)


def knn_hypergraph(
    x: Tensor, k: int, *, probabilistic: bool = False, m: float = 1.0, chunk: int = 1024
) -> Hypergraph:
    r"""The hypergraph in which object i and its nearest others in Euclidean distance are hyperedge i.

    Feng et al., Hypergraph Neural Networks, AAAI 2019. With ``probabilistic`` an incidence has the
    value :math:`\exp(-\mathrm{dist}(v, i)^2 / (m\, \overline{\mathrm{dist}}_i)^2)`, with the mean distance
    over all N objects, i itself included, as in the authors' code; it is 1 where all objects coincide.

    Args:
        x: features of the objects.
        k: members of a hyperedge, the object itself among them.
        probabilistic: with incidence values.
        m: their scale, > 0.
        chunk: objects compared with all others at once.

    Shapes: x ``[N, F]`` -> N nodes and N hyperedges of k members.
    Cost: O(N^2 F) time, O(chunk N) memory.
    Raises: ValueError for k below 1 or above N, or m not above 0.
    """
    n = x.size(0)
    if not 1 <= k <= n:
        raise ValueError(f"knn_hypergraph: k={k} but there are {n} objects; pass 1 to {n}")
    if not m > 0:
        raise ValueError(f"knn_hypergraph: m={m}; pass a scale above 0")
    members, values = [], []
    for start in range(0, n, chunk):
        rows = torch.arange(start, min(start + chunk, n), device=x.device)
        distance = torch.cdist(x[rows], x)
        mean = distance.mean(dim=1, keepdim=True)
        distance[torch.arange(rows.numel()), rows] = -1  # the object itself comes first, whatever is as near
        near = distance.topk(k, largest=False)
        members.append(near.indices)
        scale = torch.where(mean > 0, m * mean, 1)  # no distance is above 0 where the mean is not
        values.append((-(near.values.clamp(min=0) / scale).square()).exp())
    node = torch.cat(members).flatten()
    hyperedge = torch.arange(n, device=x.device).repeat_interleave(k)
    value = torch.cat(values).flatten() if probabilistic else None
    return Hypergraph(torch.stack([node, hyperedge]), n, n, incidence_value=value)


def attribute_hypergraph(groups: Tensor) -> Hypergraph:
    """The hypergraph whose hyperedges are the nodes with the same value of a column, for each column.

    Negative values, which say that a node has none, join no hyperedge.

    Shapes: groups integers ``[N]`` or ``[N, K]`` -> N nodes; hyperedges by column, then value.
    Raises: TypeError for groups that are no integers; ValueError for another shape.
    """
    if groups.is_floating_point() or groups.is_complex():
        raise TypeError(f"attribute_hypergraph: groups is {groups.dtype}; pass integers (torch.int64)")
    if groups.dim() not in (1, 2):
        raise ValueError(
            f"attribute_hypergraph: groups has shape {list(groups.shape)}; expected [N] or [N, K]"
        )
    columns = groups[:, None] if groups.dim() == 1 else groups
    index, count = [torch.empty(2, 0, dtype=torch.int64, device=groups.device)], 0
    for column in columns.t():
        node = (column >= 0).nonzero().view(-1)
        named, hyperedge = torch.unique(column[node], return_inverse=True)
        index.append(torch.stack([node, hyperedge + count]))
        count += named.numel()
    return Hypergraph(torch.cat(index, dim=1), groups.shape[0], count)


# -- helpers ------------------------------------------------------------------------------------------


def _check_view(h: Hypergraph, who: str) -> None:
    if not isinstance(h, Hypergraph):
        raise TypeError(f"{who}: got {type(h).__name__}; pass Hypergraph(hyperedge_index, num_nodes)")


def _value(adj: CSR) -> Tensor:
    assert adj.value is not None
    return adj.to_slots(adj.value)


def _gram(h: Hypergraph, left: Tensor | None, inner: Tensor, right: Tensor | None) -> CSR:
    """``diag(l) H diag(inner) H^T diag(r)`` with float64 values."""
    e2v, v2e = h.e2v.slot_order, h.v2e.slot_order
    b = torch.ones(h.num_incidences, dtype=_FLOAT, device=h.device)
    if h.slot_value is not None:
        b = h.slot_value.detach().to(_FLOAT)
    a = b[h.v2e.transpose_perm] * inner[e2v.indices.long()]
    a = a if left is None else a * left[e2v.rows]
    b = b if right is None else b * right[v2e.indices.long()]
    return spgemm(e2v.with_value(a), v2e.with_value(b))


def _only(h: Hypergraph, keep: Tensor) -> Hypergraph:
    """The hyperedges that are kept, renumbered, with their incidence values."""
    node, hyperedge = h.hyperedge_index
    chosen = keep[hyperedge]
    number = torch.cumsum(keep, 0) - 1
    value = h.slot_value
    return Hypergraph(
        torch.stack([node[chosen], number[hyperedge[chosen]]]),
        h.num_nodes,
        int(keep.sum()),
        incidence_value=None if value is None else value[chosen],
        multiset=True,
    )


def _without_loops(adj: CSR) -> CSR:
    rows, columns = adj.rows, adj.indices.long()
    keep = rows != columns
    index = torch.stack([columns[keep], rows[keep]])
    return as_csr(index, adj.num_rows).with_value(_value(adj)[keep])


def _diagonal_minus(diagonal: Tensor, adj: CSR) -> CSR:
    """``diag(d) - A`` with a place for each diagonal entry and each entry of A."""
    node = torch.arange(adj.num_rows, device=adj.device)
    off = _without_loops(adj)
    rows, columns = adj.rows, adj.indices.long()
    loop = rows == columns
    own = diagonal - scatter(_value(adj)[loop], rows[loop], adj.num_rows)
    index = torch.cat([off.edge_index, node.expand(2, -1)], dim=1)
    value = torch.cat([-_value(off), own])
    order = (index[1] * adj.num_rows + index[0]).argsort()
    return as_csr(index[:, order], adj.num_rows).with_value(value[order])
