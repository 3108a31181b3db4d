"""The one door through which graphs come to the embedding methods."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse import CSR, as_csr
from gnnlib.sparse.hypergraph import refuse_hypergraph

__all__: list[str] = []


def as_graph(graph: Any, num_nodes: int | None = None) -> CSR:
    """The graph as a square CSR, with the edge weights that it brings.

    Takes what :func:`gnnlib.as_csr` takes, a PyG ``Data`` (``edge_index``, ``num_nodes``, ``edge_weight``)
    and a networkx graph, whose nodes are numbered in its own order and whose ``weight`` attributes are the
    weights. An undirected graph holds both directions of each edge; networkx's are given both. More nodes
    than a ``Data`` or a networkx graph has itself follow its own, without edges.

    Raises: ValueError for a graph that is not square, fewer nodes than it has, or weights that are not all
        finite and 0 or more, one an edge; TypeError for a hypergraph.
    """
    refuse_hypergraph("embed", graph)
    networkx = sys.modules.get("networkx")
    if networkx is not None and isinstance(graph, networkx.Graph):
        csr = _from_networkx(graph, num_nodes)
    elif not isinstance(graph, CSR) and isinstance(getattr(graph, "edge_index", None), Tensor):
        csr = as_csr(graph.edge_index, _count(num_nodes, int(graph.num_nodes)))
        weight = getattr(graph, "edge_weight", None)
        csr = csr if weight is None else csr.with_value(_one_an_edge(weight, csr))
    else:
        csr = as_csr(graph, num_nodes)
    if csr.num_rows != csr.num_cols:
        raise ValueError(
            f"embed: the graph has {csr.num_rows} targets and {csr.num_cols} sources; pass a square one, for "
            "example with num_nodes"
        )
    if csr.value is not None and not bool(((csr.value >= 0) & (csr.value < torch.inf)).all()):
        raise ValueError(
            "embed: an edge weight is negative, infinite or no number; pass finite weights of 0 or more"
        )
    return _without_ones(csr)


def _count(wanted: int | None, own: int) -> int:
    if wanted is not None and wanted < own:
        raise ValueError(f"embed: num_nodes={wanted} but the graph has {own} nodes; leave num_nodes out")
    return own if wanted is None else wanted


def _one_an_edge(weight: Tensor, csr: CSR) -> Tensor:
    if weight.numel() != csr.num_values:
        raise ValueError(
            f"embed: edge_weight has shape {list(weight.shape)} but there are {csr.num_values} edges; pass "
            "one number an edge"
        )
    return weight.view(-1)


def _without_ones(csr: CSR) -> CSR:
    """A graph whose weights are all 1 is one without weights, in whichever form it came."""
    if csr.value is None or not bool((csr.value == 1).all()):
        return csr
    return CSR.trusted(csr.indptr, csr.indices, csr.num_cols, csr.perm, None, csr.num_values)


def _from_networkx(graph: Any, num_nodes: int | None) -> CSR:
    number = {node: i for i, node in enumerate(graph.nodes)}
    edges = [(number[a], number[b], float(w)) for a, b, w in graph.edges(data="weight", default=1.0)]
    ends = torch.tensor([(a, b) for a, b, _ in edges], dtype=torch.int64).view(-1, 2).t()
    weight = torch.tensor([w for _, _, w in edges])
    if not graph.is_directed():
        loop = ends[0] == ends[1]
        ends, weight = torch.cat([ends, ends.flip(0)[:, ~loop]], 1), torch.cat([weight, weight[~loop]])
    return as_csr(ends, _count(num_nodes, len(number))).with_value(weight)


def out_weight(csr: CSR) -> tuple[CSR, Tensor]:
    """Rows of outgoing edges, and their weights in float32 in the caller's order."""
    out = csr.transposed
    if csr.value is not None:
        return out, csr.value.detach().float()
    return out, torch.ones(csr.num_values, device=csr.device)


def out_degree(csr: CSR) -> Tensor:
    """Sum of the weights of each node's outgoing edges, float64 ``[N]``."""
    if csr.value is None:
        return csr.transposed.indptr.diff().double()
    out, weight = out_weight(csr)
    total = torch.zeros(csr.num_rows, dtype=torch.float64, device=csr.device)
    return total.index_add_(0, out.rows, out.to_slots(weight).double())


def has_reverses(csr: CSR) -> bool:
    """Whether every edge has its reverse, whatever the weights and however often."""
    n = csr.num_rows
    here, there = csr.rows, csr.indices.long()
    return torch.equal(torch.unique(here * n + there), torch.unique(there * n + here))


def is_symmetric(csr: CSR) -> bool:
    """Whether every edge has its reverse with the same weight."""
    out, weight = out_weight(csr)
    into, back = csr, csr.to_slots(weight)
    n = csr.num_rows
    there, here = out.rows * n + out.indices.long(), into.rows * n + into.indices.long()
    a, b = there.sort(stable=True), here.sort(stable=True)
    if not torch.equal(a.values, b.values):
        return False
    # parallel edges: their sums are compared
    group = torch.unique_consecutive(a.values, return_inverse=True)[1]
    size = int(group[-1]) + 1 if group.numel() else 0
    sums = [
        torch.zeros(size, dtype=torch.float64, device=n_w.device).index_add_(0, group, n_w.double()[order])
        for n_w, order in ((out.to_slots(weight), a.indices), (back, b.indices))
    ]
    return bool(torch.allclose(sums[0], sums[1]))
