"""Hypergraphs from and to the forms of other libraries."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterable
from typing import Any

import torch

from gnnlib.sparse import Hypergraph
from gnnlib.sparse.hypergraph import as_hypergraph

__all__ = [
    "hypergraph_from_data",
    "hypergraph_from_networkx",
    "hypergraph_from_scipy",
    "hypergraph_from_sets",
    "hypergraph_to_data",
    "hypergraph_to_networkx",
    "hypergraph_to_scipy",
    "hypergraph_to_sets",
]


def hypergraph_from_sets(sets: Iterable[Iterable[int]], num_nodes: int | None = None) -> Hypergraph:
    """The hypergraph with a hyperedge for each set of node numbers, empty ones too.

    Args:
        sets: the members of each hyperedge.
        num_nodes: N; the largest number plus one when omitted, which leaves out isolated nodes at the end.

    Shapes: M sets -> N nodes and M hyperedges.
    Raises: TypeError for a member that is no integer; ValueError for one outside 0 to N - 1.
    """
    members = [sorted({_number(v) for v in s}) for s in sets]
    node = torch.tensor([v for s in members for v in s], dtype=torch.int64)
    sizes = torch.tensor([len(s) for s in members], dtype=torch.int64)
    hyperedge = torch.arange(len(members)).repeat_interleave(sizes)
    if num_nodes is None:
        num_nodes = int(node.max()) + 1 if node.numel() else 0
    return Hypergraph(torch.stack([node, hyperedge]), num_nodes, len(members))


def _number(member: Any) -> int:
    try:
        return operator.index(member)
    except TypeError:
        raise TypeError(
            f"hypergraph_from_sets: a set holds {member!r}; pass node numbers, integers from 0"
        ) from None


def hypergraph_to_sets(h: Hypergraph) -> list[set[int]]:
    """The members of each hyperedge; values, weights and features do not go over.

    Shapes: M hyperedges -> M sets.
    """
    return [set(part.tolist()) for part in torch.split(h.v2e.indices.cpu(), h.hyperedge_size.tolist())]


def hypergraph_from_scipy(incidence: Any) -> Hypergraph:
    """The hypergraph of a scipy incidence matrix; values other than 1 become incidence values.

    Shapes: a sparse matrix ``[N, M]`` -> N nodes and M hyperedges.
    Raises: TypeError for what is no scipy matrix.
    """
    if not hasattr(incidence, "tocoo"):
        raise TypeError(
            f"hypergraph_from_scipy: got {type(incidence).__name__}; pass a scipy sparse matrix [N, M], for "
            "example scipy.sparse.coo_matrix(incidence)"
        )
    matrix = incidence.tocoo(copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    index = torch.stack([torch.from_numpy(part.astype("int64")) for part in (matrix.row, matrix.col)])
    value = torch.from_numpy(matrix.data.astype("float64")).to(torch.get_default_dtype())
    plain = bool((value == 1).all())
    return Hypergraph(index, *matrix.shape, incidence_value=None if plain else value)


def hypergraph_to_scipy(h: Hypergraph) -> Any:
    """The incidence matrix as a scipy CSR matrix; weights and features of the hyperedges have no place in it.

    Shapes: N nodes, M hyperedges -> ``[N, M]``.
    """
    from scipy.sparse import coo_matrix

    node, hyperedge = h.hyperedge_index.cpu().numpy()
    value = torch.ones(h.num_incidences) if h.slot_value is None else h.slot_value.detach().cpu()
    return coo_matrix((value.numpy(), (node, hyperedge)), shape=(h.num_nodes, h.num_hyperedges)).tocsr()


def hypergraph_from_networkx(
    graph: Any, nodes: Iterable[Hashable] | None = None
) -> tuple[Hypergraph, list[Hashable], list[Hashable]]:
    """The hypergraph of a bipartite networkx graph, and the names of its nodes and hyperedges.

    Args:
        graph: nodes on one side, hyperedges on the other; the edge attribute ``weight``, where every edge has
            one, becomes the incidence value, and that of the hyperedges their weight.
        nodes: those on the side of the nodes, in the order of their numbers; None: those whose attribute
            ``bipartite`` is 0.

    Shapes: -> N nodes and M hyperedges, N names, M names.
    Raises: ValueError when an edge does not join the two sides.
    """
    if nodes is None:
        nodes = [v for v, side in graph.nodes(data="bipartite") if side == 0]
    names = list(nodes)
    place = {name: i for i, name in enumerate(names)}
    others = [v for v in graph if v not in place]
    number = {name: i for i, name in enumerate(others)}
    pairs, values = [], []
    for a, b, weight in graph.edges(data="weight"):
        a, b = (a, b) if a in place else (b, a)
        if a not in place or b not in number:
            raise ValueError(
                f"hypergraph_from_networkx: the edge between {a!r} and {b!r} joins one side with itself; "
                "name the nodes with nodes=, or set the attribute bipartite: 0 for nodes, 1 for hyperedges"
            )
        pairs.append((place[a], number[b]))
        values.append(weight)
    index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t()
    given = {"incidence_value": values, "hyperedge_weight": [graph.nodes[v].get("weight") for v in others]}
    found: dict[str, Any] = {k: torch.tensor([float(w) for w in v]) for k, v in given.items() if _full(v)}
    return Hypergraph(index, len(names), len(others), **found), names, others


def _full(values: list[Any]) -> bool:
    return bool(values) and None not in values


def hypergraph_to_networkx(h: Hypergraph) -> Any:
    """The bipartite networkx graph of nodes ``0 .. N - 1`` and hyperedges ``N .. N + M - 1``.

    The attribute ``bipartite`` is 0 for nodes and 1 for hyperedges; incidence values become the ``weight`` of
    edges, hyperedge weights that of hyperedges. Features of the hyperedges do not go over.

    Shapes: N nodes, M hyperedges, nnz incidences -> a graph of N + M nodes and nnz edges.
    """
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(h.num_nodes), bipartite=0)
    graph.add_nodes_from(range(h.num_nodes, h.num_nodes + h.num_hyperedges), bipartite=1)
    pairs = (h.hyperedge_index + torch.tensor([[0], [h.num_nodes]], device=h.device)).t().tolist()
    if h.hyperedge_weight is not None:
        weights = dict(enumerate(h.hyperedge_weight.tolist(), h.num_nodes))
        networkx.set_node_attributes(graph, weights, "weight")
    value = h.slot_value
    if value is None:
        graph.add_edges_from(pairs)
    else:
        graph.add_weighted_edges_from((a, b, w) for (a, b), w in zip(pairs, value.tolist(), strict=True))
    return graph


def hypergraph_from_data(data: Any) -> Hypergraph:
    """The view of PyG's ``HyperGraphData``, or of a ``Batch`` of what :func:`hypergraph_to_data` made.

    Args:
        data: the incidences as ``edge_index`` and the hyperedge features as ``edge_attr``; where it has
            them, also ``num_hyperedges``, ``incidence_value`` and ``hyperedge_weight``.

    Shapes: edge_index ``[2, nnz]``, edge_attr ``[M, F]``, incidence_value ``[nnz]``, hyperedge_weight ``[M]``
        -> N nodes and M hyperedges.
    Raises: ValueError for a batch whose parts PyG joined without their empty hyperedges, or sizes that do not
        fit.
    """
    told = data.get("num_nodes")  # the property guesses where there are as many nodes as hyperedges
    found = as_hypergraph(data, int(data.num_nodes if told is None else told))
    return found.with_values(found.incidence_value, found.hyperedge_weight, data.edge_attr)


def hypergraph_to_data(h: Hypergraph, **attributes: Any) -> Any:
    """PyG's ``HyperGraphData`` with the incidences and what they carry, and what else is given (x, y).

    Args:
        h: the hypergraph; its features become ``edge_attr``, its values ``incidence_value`` and its weights
            ``hyperedge_weight``.
        **attributes: further attributes.

    Shapes: N nodes, M hyperedges -> edge_index ``[2, nnz]`` sorted by hyperedge, edge_attr ``[M, F]``. It
        keeps both numbers in a ``Batch`` too.
    """
    from gnnlib.nn.hyper.data import SizedHyperGraphData

    given = {"incidence_value": h.slot_value, "hyperedge_weight": h.hyperedge_weight}
    attributes = {**{name: v for name, v in given.items() if v is not None}, **attributes}
    data = SizedHyperGraphData(edge_index=h.hyperedge_index, edge_attr=h.hyperedge_attr, **attributes)
    data.num_nodes, data.num_hyperedges = h.num_nodes, h.num_hyperedges
    return data
