"""The edges of a coarse graph: kept, contracted, or multiplied out."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.nn.pool.outputs import SelectOutput
from gnnlib.sparse import as_csr, segment_reduce, spgemm
from gnnlib.sparse.ops.build import coo_to_csr

Edges = tuple[Tensor, Tensor | None]


def filter_edges(so: SelectOutput, edge_index: Tensor, edge_attr: Tensor | None = None) -> Edges:
    """Edges between chosen nodes, renumbered, in their order: A[i, i]. Each cluster is one node. O(N + E)."""
    new = so.node_index.new_full((so.num_nodes,), -1)
    new[so.node_index] = so.cluster_index
    ends = new[edge_index]
    kept = (ends >= 0).all(dim=0)
    return ends[:, kept], None if edge_attr is None else edge_attr[kept]


def contract_edges(
    so: SelectOutput, edge_index: Tensor, edge_attr: Tensor | None = None, *, keep_loops: bool = False
) -> Edges:
    """Edges between the clusters of their ends, equal ones added up. Each node has one cluster. O(N + E)."""
    cluster = so.node_index.new_zeros(so.num_nodes).index_copy(0, so.node_index, so.cluster_index)
    ends = cluster[edge_index]
    if not keep_loops:
        kept = ends[0] != ends[1]
        ends = ends[:, kept]
        edge_attr = None if edge_attr is None else edge_attr[kept]
    return coalesce(ends, edge_attr, so.num_clusters)


def coalesce(edge_index: Tensor, edge_attr: Tensor | None, num_nodes: int) -> Edges:
    """Each edge once, sorted by source and then by target, the values of equal ones added up. O(N + E)."""
    source, target = edge_index
    if source.numel() == 0:
        return edge_index, edge_attr
    _, _, by_target = coo_to_csr(target.contiguous(), source.contiguous(), num_nodes, num_nodes)
    _, _, by_source = coo_to_csr(source[by_target], target[by_target], num_nodes, num_nodes)
    order = by_target[by_source]  # both sorts are stable
    source, target = source[order], target[order]
    first = torch.ones_like(source, dtype=torch.bool)
    first[1:] = (source[1:] != source[:-1]) | (target[1:] != target[:-1])
    kept = torch.stack([source[first], target[first]])
    if edge_attr is None:
        return kept, None
    start = first.nonzero()[:, 0]
    indptr = torch.cat([start, start.new_tensor([source.shape[0]])])
    return kept, segment_reduce(edge_attr[order], indptr)


def triple_product(
    so: SelectOutput, edge_index: Tensor, edge_weight: Tensor | None, *, keep_loops: bool = False
) -> tuple[Tensor, Tensor]:
    """The coarse graph ``S.T A S`` of any sparse S, as two sparse products; every edge has a weight.

    Gradients reach the weights of S and of the graph at the places that these have.
    """
    adj = as_csr(edge_index, so.num_nodes)
    weight = edge_weight
    s = so.matrix
    assert s.value is not None
    if weight is None:
        weight = torch.ones(adj.num_edges, dtype=s.value.dtype, device=s.device)
    coarse = spgemm(s.transposed, spgemm(adj.with_value(weight), s))
    assert coarse.value is not None
    index = coarse.edge_index
    if keep_loops:
        return index, coarse.value
    kept = index[0] != index[1]
    return index[:, kept], coarse.value[kept]
