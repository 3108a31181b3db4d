"""The Hypergraph view: what it keeps and drops, its expansions against dense algebra, other forms."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.data.hypergraph_data import HyperGraphData

from gnnlib.nn import HGNNConv, HypergraphConv, UniSAGEConv
from gnnlib.nn.hyper import (
    attribute_hypergraph,
    clique_expansion,
    hypergraph_from_data,
    hypergraph_from_networkx,
    hypergraph_from_scipy,
    hypergraph_from_sets,
    hypergraph_to_data,
    hypergraph_to_networkx,
    hypergraph_to_scipy,
    hypergraph_to_sets,
    knn_hypergraph,
    line_expansion,
    neighborhood_hypergraph,
    pair_hypergraph,
    star_expansion,
    star_laplacian,
    zhou_laplacian,
)
from gnnlib.sparse import Hypergraph, as_csr, as_hypergraph
from tests.nn.graphs import dense, normalised
from tests.nn.test_hyper_dense import F_IN, M, N, incidences, inv, leaf, matrix, two_uniform
from tests.tolerances import assert_close

SETS: list[set[int]] = [{0, 1, 2}, {2, 3, 4, 5}, {6, 0}, set(), {1, 3, 6, 7}, {4}, {7, 5, 2, 0, 1}]


def view(**values: Any) -> Hypergraph:
    return Hypergraph(incidences(), N, M, **values)


def weights() -> Tensor:
    return leaf(M, seed=3, positive=True).detach()


def test_both_directions_and_counts() -> None:
    h, b = view(), matrix()
    assert_close(h.v2e.to_dense().double(), b.t())
    assert_close(h.e2v.to_dense().double(), b)
    assert (h.num_nodes, h.num_hyperedges, h.num_incidences) == (N, M, 19)
    assert h.node_degree.tolist() == b.sum(1).long().tolist()
    assert h.hyperedge_size.tolist() == [3, 4, 2, 0, 4, 1, 5]
    assert h.e2v is h.e2v
    assert hypergraph_to_sets(h) == SETS
    assert "9 nodes, 7 hyperedges, 19 incidences" in repr(h)
    twice = Hypergraph(incidences(), N, M, multiset=True)
    assert twice.num_incidences == 20
    assert float(twice.v2e.to_dense()[1, 3]) == 2


def test_weighted_degrees() -> None:
    index, w = torch.unique(incidences(), dim=1), weights()
    value = leaf(index.size(1), positive=True).detach()
    b = torch.zeros(N, M, dtype=torch.float64).index_put((index[0], index[1]), value)
    h = Hypergraph(index, N, M, incidence_value=value, hyperedge_weight=w)
    assert_close(h.degrees(torch.float64), b @ w)
    assert_close(h.sizes(torch.float64), b.sum(0))
    assert h.degrees(torch.float64) is h.degrees(torch.float64)
    assert_close(h.with_values().degrees(torch.float64), matrix().sum(1))
    assert_close(h.dual().sizes(torch.float64), b.sum(1))
    w.requires_grad_()
    h = Hypergraph(index, N, M, hyperedge_weight=w)
    assert h.degrees(torch.float64) is not h.degrees(torch.float64)
    assert h.degrees(torch.float64).requires_grad


def test_a_plain_index_is_sorted_once_and_watched() -> None:
    index = incidences()
    assert as_hypergraph(index, N, M) is as_hypergraph(index, N, M)
    assert as_hypergraph(index, N, M).num_hyperedges == M
    before = as_hypergraph(index, N, M)
    index[0, 0] = 8
    assert as_hypergraph(index, N, M) is not before
    assert int(as_hypergraph(index, N, M).node_degree[8]) == 1


def test_every_form_is_the_same_hypergraph() -> None:
    layer, x, index = HGNNConv(F_IN, 4).double(), leaf(N, F_IN), torch.unique(incidences(), dim=1)
    expected = layer(x, index)
    b = matrix()
    data = HyperGraphData(x=x, edge_index=index)
    for form in (index.int(), Hypergraph(index, N, M), as_csr(index, (N, M)), data, b.t().to_sparse_csr()):
        assert_close(layer(x, form), expected)
    real = HypergraphConv(F_IN, 4).double()
    assert_close(real(x, Hypergraph(index, N, M)), real(x, index))


def test_self_loops() -> None:
    """Node 4 has a hyperedge of its own already."""
    looped = view(hyperedge_weight=weights()).add_self_loops()
    wanted = [*SETS, *({v} for v in range(N) if v != 4)]
    assert hypergraph_to_sets(looped) == wanted
    assert looped.hyperedge_weight is not None
    assert (looped.hyperedge_weight[M:] == 1).all()
    assert hypergraph_to_sets(looped.add_self_loops()) == wanted
    h = view()
    assert h.add_self_loops() is h.add_self_loops()


def test_dual_is_an_involution() -> None:
    h = view()
    assert_close(h.dual().v2e.to_dense(), h.e2v.to_dense())
    assert hypergraph_to_sets(h.dual().dual()) == SETS


def test_batches_give_what_their_parts_give() -> None:
    first, second = view(), Hypergraph(torch.tensor([[0, 2, 1], [0, 0, 2]]), 4, 4)
    both = Hypergraph.batch([first, second])
    assert (both.num_nodes, both.num_hyperedges) == (N + 4, M + 4)
    layer, x = UniSAGEConv(F_IN, 3).double(), leaf(N + 4, F_IN)
    assert_close(layer(x, both), torch.cat([layer(x[:N], first), layer(x[N:], second)]))
    w = torch.rand(4).double()
    with pytest.raises(ValueError, match="1 of 2 hypergraphs of the batch have a hyperedge_weight"):
        Hypergraph.batch([first, second.with_values(hyperedge_weight=w)])
    weighted = Hypergraph.batch([view(hyperedge_weight=weights()), second.with_values(hyperedge_weight=w)])
    assert_close(weighted.hyperedge_weight, torch.cat([weights(), w]))
    with pytest.raises(ValueError, match="at least one"):
        Hypergraph.batch([])


def test_copies() -> None:
    h = view(hyperedge_weight=weights())
    h.degrees()
    for other in (copy.deepcopy(h), pickle.loads(pickle.dumps(h)), h.to("cpu")):
        assert hypergraph_to_sets(other) == SETS
        assert_close(other.degrees(), h.degrees())


def test_wrong_hypergraphs_fail_clearly() -> None:
    index, repeated = torch.unique(incidences(), dim=1), incidences()
    for call, kind, message in (
        (lambda: Hypergraph(index.float(), N), TypeError, "hyperedge_index is torch.float32"),
        (lambda: Hypergraph(index.t(), N), ValueError, r"expected \[2, nnz\].*transpose"),
        (lambda: Hypergraph(index, 5), ValueError, "names node 7 but the hypergraph has 5 nodes"),
        (lambda: Hypergraph(index, N, 3), ValueError, "names hyperedge 6 but the hypergraph has 3"),
        (lambda: Hypergraph(index, -1, 0), ValueError, "num_nodes=-1"),
        (lambda: view(hyperedge_weight=torch.ones(3)), ValueError, r"hyperedge_weight has shape \[3\]"),
        (lambda: view(hyperedge_attr=torch.ones(M)), ValueError, r"hyperedge_attr has shape \[7\].*\[M, F\]"),
        (lambda: view(incidence_value=torch.ones(20)), ValueError, "incidences that repeat"),
        (lambda: view(incidence_value=torch.ones(3)), ValueError, "there are 20 incidences"),
        (lambda: as_hypergraph(Hypergraph(index, N, M), N + 1), ValueError, "has 9 nodes and 7"),
        (lambda: as_hypergraph([[0], [0]], N), TypeError, "got list"),
        (
            lambda: HGNNConv(3, 2)(torch.ones(N, 3, dtype=torch.int64), repeated),
            TypeError,
            "x is torch.int64",
        ),
    ):
        with pytest.raises(kind, match=message):
            call()


def test_compiled_layers_take_a_view() -> None:
    torch._dynamo.reset()
    layer, x, h = UniSAGEConv(F_IN, 3), torch.randn(N, F_IN), view()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x, h), layer(x, h))
    with pytest.raises(Exception, match="compiled code cannot drop repeated incidences"):
        torch.compile(layer, fullgraph=True, backend="aot_eager")(x, incidences())


# -- expansions ---------------------------------------------------------------------------------------


def off_diagonal(a: Tensor) -> Tensor:
    return a - torch.diag(a.diag())


def test_clique_expansions() -> None:
    b, w, size = matrix(), weights(), matrix().sum(0)
    assert_close(clique_expansion(view()).to_dense(), off_diagonal(b @ b.t()))
    weighted = clique_expansion(view(hyperedge_weight=w)).to_dense()
    assert_close(weighted, off_diagonal(b @ torch.diag(w) @ b.t()))
    zhou = b @ torch.diag(w * inv((size - 1).clamp(min=0))) @ b.t()
    assert_close(clique_expansion(view(hyperedge_weight=w), "zhou").to_dense(), off_diagonal(zhou))
    simple = (off_diagonal(b @ b.t()) > 0).double()
    assert_close(clique_expansion(view(), "simple").to_dense(), simple)
    small = b * (size <= 3)
    assert_close(clique_expansion(view(), max_size=3).to_dense(), off_diagonal(small @ small.t()))
    with pytest.raises(ValueError, match="weight='sum' is unknown"):
        clique_expansion(view(), "sum")  # type: ignore[arg-type]


def test_a_clique_expansion_is_symmetric() -> None:
    for kind in ("count", "zhou", "simple"):
        a = clique_expansion(view(), kind).to_dense()  # type: ignore[arg-type]
        assert_close(a, a.t())


def test_laplacians() -> None:
    b, w, one = matrix(), weights(), torch.ones(N, 1, dtype=torch.float64)
    star = star_laplacian(view(hyperedge_weight=w)).to_dense()
    walk = b @ torch.diag(inv(b.sum(0))) @ b.t()
    assert_close(star, torch.diag(b.sum(1)) - walk)
    assert_close(star @ one, torch.zeros_like(one))
    zhou = zhou_laplacian(view(hyperedge_weight=w)).to_dense()
    side = torch.diag(inv(b @ w, 0.5))
    assert_close(zhou, torch.eye(N).double() - side @ b @ torch.diag(w * inv(b.sum(0))) @ b.t() @ side)
    values = torch.linalg.eigvalsh(zhou)
    assert float(values.min()) > -1e-12
    assert float(values.max()) < 1 + 1e-12
    assert_close(zhou @ (b @ w).sqrt(), torch.zeros(N).double())


def test_a_graph_has_half_its_laplacian() -> None:
    index, a = two_uniform()
    wanted = (torch.eye(5).double() - normalised(a)) / 2
    assert_close(zhou_laplacian(Hypergraph(index, 5)).to_dense(), wanted)


def test_star_and_line_expansion() -> None:
    h, b = view(), matrix()
    star = star_expansion(h).to_dense().double()
    assert_close(star[:N, N:], b)
    assert_close(star, star.t())
    assert (star[:N, :N] == 0).all()
    node, hyperedge = h.hyperedge_index
    same = (node[:, None] == node) | (hyperedge[:, None] == hyperedge)
    assert_close(line_expansion(h).to_dense().double(), off_diagonal(same.double()))


# -- hypergraphs of other things ----------------------------------------------------------------------


def test_hypergraphs_of_a_graph() -> None:
    edges = torch.tensor([[0, 1, 1, 2, 3, 3], [1, 0, 2, 1, 3, 1]])
    assert hypergraph_to_sets(pair_hypergraph(edges, 5)) == [{0, 1}, {1, 2}, {1, 3}, {3}]
    for wrong in (9, -1):
        with pytest.raises(ValueError, match=f"names node {wrong} but the hypergraph has 4 nodes"):
            pair_hypergraph(torch.tensor([[0], [wrong]]), 4)
    with pytest.raises(TypeError, match=r"edge_index is torch\.float32"):
        pair_hypergraph(edges.float(), 5)
    a = dense(edges, 5) + torch.eye(5).double()
    for hops, reach in ((1, a), (2, a @ a), (3, a @ a @ a)):
        balls = hypergraph_to_sets(neighborhood_hypergraph(edges, 5, hops))
        assert balls == [set(row.nonzero().view(-1).tolist()) for row in reach]
    with pytest.raises(ValueError, match="hops=0"):
        neighborhood_hypergraph(edges, 5, 0)


def test_nearest_neighbours() -> None:
    x = leaf(12, 3).detach()
    distance = torch.cdist(x, x)
    h = knn_hypergraph(x, 4, probabilistic=True, m=0.7, chunk=5)
    assert hypergraph_to_sets(h) == [set(row.argsort()[:4].tolist()) for row in distance]
    node, hyperedge = h.hyperedge_index
    scale = 0.7 * distance.mean(1)[hyperedge]
    assert h.slot_value is not None
    assert_close(h.slot_value, torch.exp(-(distance[hyperedge, node] ** 2) / scale**2), torch.float32)
    twins = knn_hypergraph(torch.zeros(5, 2), 2, probabilistic=True)
    assert twins.slot_value is not None
    assert (twins.slot_value == 1).all()
    with pytest.raises(ValueError, match="m=0"):
        knn_hypergraph(x, 3, m=0)
    assert all(i in members for i, members in enumerate(hypergraph_to_sets(twins)))
    with pytest.raises(ValueError, match="k=13"):
        knn_hypergraph(x, 13)


def test_attributes() -> None:
    groups = torch.tensor([[0, 3], [1, 3], [0, -1], [1, 5]])
    assert hypergraph_to_sets(attribute_hypergraph(groups)) == [{0, 2}, {1, 3}, {0, 1}, {3}]
    assert attribute_hypergraph(groups[:, 0]).num_hyperedges == 2


def test_forms_there_and_back() -> None:
    assert hypergraph_to_sets(hypergraph_from_sets(SETS, N)) == SETS
    assert hypergraph_from_sets(SETS).num_nodes == 8
    assert hypergraph_from_sets([], 3).num_hyperedges == 0
    b = scipy.sparse.csr_matrix(matrix().numpy())
    assert hypergraph_to_sets(hypergraph_from_scipy(b)) == SETS
    assert np.array_equal(hypergraph_to_scipy(view()).toarray(), matrix().numpy())
    real = scipy.sparse.random(6, 4, 0.5, random_state=0, dtype=np.float32)
    assert np.allclose(hypergraph_to_scipy(hypergraph_from_scipy(real)).toarray(), real.toarray())
    data = hypergraph_to_data(view(), x=leaf(N, 2).detach())
    assert isinstance(data, HyperGraphData)
    back = hypergraph_from_data(data)
    assert hypergraph_to_sets(back) == SETS
    assert back.num_nodes == N


def test_batches_of_data_keep_empty_hyperedges_and_isolated_nodes() -> None:
    """The first part ends with an empty hyperedge, the second has as many nodes as hyperedges."""
    index = torch.unique(incidences(), dim=1)
    parts = [
        Hypergraph(index, N, M + 1, incidence_value=torch.rand(19), hyperedge_weight=torch.rand(M + 1)),
        Hypergraph(
            torch.tensor([[0, 2, 1], [0, 0, 2]]),
            4,
            4,
            incidence_value=torch.rand(3),
            hyperedge_weight=torch.rand(4),
        ),
    ]
    expected = Hypergraph.batch(parts)
    made = [hypergraph_to_data(h, x=torch.rand(h.num_nodes, F_IN)) for h in parts]
    batch = Batch.from_data_list(made)
    layer = HGNNConv(F_IN, 4)
    for found in (hypergraph_from_data(batch), as_hypergraph(batch, N + 4)):
        assert hypergraph_to_sets(found) == hypergraph_to_sets(expected)
        assert (found.num_nodes, found.num_hyperedges) == (N + 4, M + 5)
        assert_close(layer(batch.x, found), layer(batch.x, expected))
    assert [d.num_nodes for d in batch.to_data_list()] == [N, 4]
    assert [hypergraph_to_sets(hypergraph_from_data(d)) for d in batch.to_data_list()] == [
        hypergraph_to_sets(h) for h in parts
    ]
    theirs = [HyperGraphData(x=d.x, edge_index=d.edge_index, num_hyperedges=d.num_hyperedges) for d in made]
    assert hypergraph_from_data(Batch.from_data_list(theirs[:1])).num_hyperedges == M + 1
    with pytest.raises(
        ValueError, match=r"\[8, 4\] hyperedges but were joined .* \[0, 7\].*hypergraph_to_data"
    ):
        hypergraph_from_data(Batch.from_data_list(theirs))


def test_data_keep_values_and_weights() -> None:
    index = torch.unique(incidences(), dim=1)
    h = Hypergraph(
        index,
        N,
        M,
        incidence_value=torch.rand(19),
        hyperedge_weight=torch.rand(M),
        hyperedge_attr=torch.rand(M, 2),
    )
    for made in (hypergraph_to_data(h), pickle.loads(pickle.dumps(hypergraph_to_data(h)))):
        back = hypergraph_from_data(made)
        for name in ("slot_value", "hyperedge_weight", "hyperedge_attr"):
            assert_close(getattr(back, name), getattr(h, name))
    with pytest.raises(NotImplementedError, match="weights or incidence values"):
        UniSAGEConv(F_IN, 3)(torch.rand(N, F_IN), hypergraph_to_data(h))


def test_networkx_there_and_back() -> None:
    graph = hypergraph_to_networkx(view())
    assert networkx.is_bipartite(graph)
    h, nodes, hyperedges = hypergraph_from_networkx(graph)
    assert hypergraph_to_sets(h) == SETS
    assert nodes == list(range(N))
    assert hyperedges == list(range(N, N + M))
    graph.add_edge(0, 1)
    with pytest.raises(ValueError, match="joins one side with itself"):
        hypergraph_from_networkx(graph)
    women = networkx.davis_southern_women_graph()
    h, nodes, _ = hypergraph_from_networkx(women, women.graph["top"])
    assert (h.num_nodes, h.num_hyperedges) == (18, 14)
    assert nodes == women.graph["top"]
    index = torch.unique(incidences(), dim=1)
    w = torch.arange(2.0, M + 2)
    valued = Hypergraph(index, N, M, incidence_value=torch.arange(1.0, 20), hyperedge_weight=w)
    again, *_ = hypergraph_from_networkx(hypergraph_to_networkx(valued))
    assert_close(again.hyperedge_weight, w)
    assert_close(again.slot_value, valued.slot_value)


def test_other_forms_say_what_they_cannot_take() -> None:
    assert hypergraph_to_sets(hypergraph_from_sets([torch.tensor([1, 1]), np.array([2, 0])])) == [{1}, {0, 2}]
    for call, kind, message in (
        (lambda: hypergraph_from_sets([[0.5, 1]]), TypeError, "a set holds 0.5; pass node numbers"),  # type: ignore[list-item]
        (lambda: hypergraph_from_sets([["a", "b"]]), TypeError, "a set holds '[ab]'"),  # type: ignore[list-item]
        (lambda: hypergraph_from_sets([[0, 4]], 3), ValueError, "names node 4"),
        (lambda: hypergraph_from_scipy(np.eye(3)), TypeError, "got ndarray; pass a scipy sparse matrix"),
    ):
        with pytest.raises(kind, match=message):
            call()
