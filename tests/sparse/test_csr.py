"""The structure itself: what it derives, moves, copies and refuses."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.utils import add_remaining_self_loops, add_self_loops, remove_self_loops

from gnnlib.sparse import CSR, as_csr, spmm
from tests.sparse.graphs import MIXED, ZOO, Graph, draw
from tests.tolerances import assert_close

each_graph = pytest.mark.parametrize("graph", ZOO, ids=repr)


def dense(graph: Graph, value: Tensor) -> Tensor:
    out = value.new_zeros(graph.num_rows, graph.num_cols, *value.shape[1:])
    for e, (source, target) in enumerate(graph.edge_index.t().tolist()):
        out[target, source] += value[e]
    return out


# -- what is derived ----------------------------------------------------------------------------------


@each_graph
def test_degrees(graph: Graph, backend: str) -> None:
    adj = graph.adj
    source, target = graph.edge_index.tolist()
    assert adj.degree.tolist() == [target.count(i) for i in range(graph.num_rows)]
    assert adj.col_degree.tolist() == [source.count(j) for j in range(graph.num_cols)]
    assert adj.degree.dtype == adj.col_degree.dtype == torch.int64
    assert adj.rows.tolist() == sorted(target)


@each_graph
def test_transposed(graph: Graph, backend: str) -> None:
    adj = as_csr(graph.edge_index.clone(), (graph.num_cols, graph.num_rows))
    turned = adj.transposed
    assert turned.shape == (graph.num_cols, graph.num_rows)
    assert torch.equal(turned.edge_index, graph.edge_index.flip(0))  # edge values keep their order
    value = torch.randn(graph.num_edges, 2)
    assert_close(turned.to_dense(value), adj.to_dense(value).transpose(0, 1))
    assert torch.equal(turned.transposed.edge_index, graph.edge_index)
    assert torch.equal(adj.indices[adj.transpose_perm].long(), turned.rows)


@each_graph
def test_edge_values_move_both_ways(graph: Graph) -> None:
    adj = graph.adj
    assert torch.equal(adj.edge_index, graph.edge_index)
    value = torch.randn(graph.num_edges, 2, dtype=torch.float64, requires_grad=True)
    slots = adj.to_slots(value)
    assert torch.equal(adj.from_slots(slots), value)
    assert_close(adj.slot_order.to_dense(slots), dense(graph, value))
    assert_close(adj.to_dense(value), dense(graph, value))
    assert torch.equal(adj.to_slots(graph.edge_index[1]), adj.rows)  # integers too
    grad = torch.randn_like(value)
    (found,) = torch.autograd.grad(adj.from_slots(slots * 2), value, grad)
    assert torch.equal(found, 2 * grad)


def test_dense_of_plain_edges_counts_them() -> None:
    assert_close(MIXED.adj.to_dense(), dense(MIXED, torch.ones(MIXED.num_edges)))


def test_wrong_number_of_edge_values() -> None:
    for move in (MIXED.adj.to_slots, MIXED.adj.to_dense):
        with pytest.raises(
            ValueError, match="CSR: 7 edge values came but the graph has 211 edges; pass one value"
        ):
            move(torch.rand(7))


def test_slot_order() -> None:
    adj = as_csr(MIXED.edge_index.clone(), 37)
    slots = adj.slot_order
    assert slots.perm is None
    assert slots.indptr is adj.indptr
    assert slots.indices is adj.indices
    assert slots.transpose_perm is adj.transpose_perm  # sorted once for both
    assert slots.slot_order is slots
    x, w = torch.randn(37, 3), torch.randn(211)
    assert_close(spmm(slots, x, adj.to_slots(w)), spmm(adj, x, w))


def test_derived_things_are_made_once() -> None:
    adj = as_csr(MIXED.edge_index.clone(), 37)
    calls: list[CSR] = []

    def make(a: CSR) -> Tensor:
        calls.append(a)
        return a.degree * 2

    first = adj.derive("double", make)
    assert adj.derive("double", make) is first
    assert adj.derive(("double", 2), make) is not first
    assert calls == [adj, adj]
    assert adj.degree is adj.degree
    assert adj.transposed is adj.transposed
    assert adj.add_self_loops() is adj.add_self_loops()
    assert adj.add_self_loops(False) is not adj.add_self_loops(True)


def test_a_derived_none_is_kept() -> None:
    adj, calls = as_csr(MIXED.edge_index.clone(), 37), []
    for _ in range(2):
        assert adj.derive("nothing", lambda a: calls.append(1)) is None
    assert calls == [1]


# -- copies -------------------------------------------------------------------------------------------


def _pickled(adj: CSR) -> Any:
    return pickle.loads(pickle.dumps(adj))


@pytest.mark.parametrize("duplicate", [_pickled, copy.deepcopy, copy.copy])
def test_copies(duplicate: Any) -> None:
    matrix = torch.sparse_coo_tensor(draw(5, 4, 9).flip(0), torch.rand(9), (4, 5)).coalesce().to_sparse_csc()
    for adj in (as_csr(matrix), MIXED.adj, MIXED.adj.add_self_loops(), ZOO[0].adj):
        adj.derive("function", lambda a: lambda: a)  # cannot be pickled, and need not be
        assert adj.transposed.num_edges == adj.num_edges
        other = duplicate(adj)
        assert other.shape == adj.shape
        assert other.num_values == adj.num_values
        assert torch.equal(other.edge_index, adj.edge_index)
        assert (other.value is None) == (adj.value is None)
        if adj.value is not None:
            assert torch.equal(other.value, adj.value)
        assert torch.equal(other.transposed.edge_index, adj.transposed.edge_index)
        assert other.derive("function", lambda a: 5) == 5


def test_to_device() -> None:
    adj = MIXED.adj
    assert adj.to("cpu") is adj.to(torch.device("cpu")) is adj
    away = adj.add_self_loops().to("meta")
    assert away.device.type == away.indices.device.type == away.perm.device.type == "meta"
    assert away.num_values == adj.num_values + 37


def test_repr() -> None:
    assert repr(as_csr(torch.tensor([[0, 1], [1, 0]]), (3, 2))) == "CSR(2 x 3, 2 edges, reordered, cpu)"
    assert repr(as_csr(torch.tensor([[0, 1], [0, 1]]), 2)) == "CSR(2 x 2, 2 edges, cpu)"


# -- construction -------------------------------------------------------------------------------------


def test_built_from_arrays() -> None:
    indptr, indices = (
        torch.tensor([0, 2, 2, 3], dtype=torch.int32),
        torch.tensor([1, 3, 0], dtype=torch.int16),
    )
    adj = CSR(indptr, indices, 4)
    assert (adj.indptr.dtype, adj.indices.dtype) == (torch.int64, torch.int32)
    assert adj.edge_index.tolist() == [[1, 3, 0], [0, 0, 2]]
    assert CSR(torch.tensor([0, 1]), torch.tensor([0])).shape == (1, 1)
    permuted = CSR(indptr, indices, 4, perm=torch.tensor([2, 0, 1]))
    assert permuted.edge_index.tolist() == [[3, 0, 1], [0, 2, 0]]
    strided = CSR(torch.tensor([0, 9, 2, 9, 3])[::2], torch.tensor([1, 9, 3, 9, 0])[::2], 4)
    assert strided.indptr.is_contiguous()
    assert strided.indices.is_contiguous()
    assert strided.edge_index.tolist() == [[1, 3, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (([0.0, 1.0], [0]), TypeError, r"CSR: indptr is torch\.float32; pass an integer tensor"),
        (([0, 1], [0.0]), TypeError, r"CSR: indices is torch\.float32; pass an integer tensor"),
        (([0, 1], [True]), TypeError, r"CSR: indices is torch\.bool"),
        (([[0, 1]], [0]), ValueError, r"CSR: indptr has shape \[1, 2\]; expected one dimension"),
        (([0, 1], [[0]]), ValueError, r"CSR: indices has shape \[1, 1\]"),
        (([1, 2], [0, 0]), ValueError, "CSR: indptr runs from 1 to 2 over 2 indices; it must start at 0"),
        (([0, 3], [0]), ValueError, "CSR: indptr runs from 0 to 3 over 1 indices"),
        (([0, 1], [0, 0]), ValueError, "CSR: indptr runs from 0 to 1 over 2 indices"),
        (([0, 2, 1, 2], [0, 0]), ValueError, "never decrease"),
        (([0, 1], [1]), ValueError, "CSR: indices run from 1 to 1 but there are 1 columns"),
        (([0, 1], [-1]), ValueError, "CSR: indices run from -1 to -1 but there are 1 columns"),
        (([0, 0], [], -2), ValueError, "CSR: num_cols=-2 is negative"),
    ],
    ids=str,
)
def test_bad_arrays(arguments: tuple[Any, ...], kind: type[Exception], message: str) -> None:
    indptr, indices = (torch.tensor(a) if a else torch.empty(0, dtype=torch.int64) for a in arguments[:2])
    with pytest.raises(kind, match=message):
        CSR(indptr, indices, *arguments[2:])


def test_bad_companions() -> None:
    indptr, indices = torch.tensor([0, 2]), torch.tensor([0, 0])
    with pytest.raises(ValueError, match=r"CSR: perm has shape \[3\], indices \[2\]"):
        CSR(indptr, indices, perm=torch.arange(3))
    for perm in ([0, 7], [0, -9], [0, 0]):
        with pytest.raises(ValueError, match=f"CSR: perm runs from {min(perm)} to {max(perm)} over 2 edges"):
            CSR(indptr, indices, perm=torch.tensor(perm))
    with pytest.raises(ValueError, match=r"CSR: value has shape \[5\] but there are 2 edges"):
        CSR(indptr, indices, value=torch.rand(5))
    with pytest.raises(ValueError, match="CSR: indptr is empty"):
        CSR(torch.empty(0, dtype=torch.int64), indices)
    with pytest.raises(TypeError, match="CSR: indptr is list"):
        CSR([0, 2], indices)
    with pytest.raises(ValueError, match="CSR: indptr is on meta, indices on cpu; move one of them"):
        CSR(indptr.to("meta"), indices)


# -- self-loops ---------------------------------------------------------------------------------------

SQUARE = [g for g in ZOO if g.num_rows == g.num_cols]


def pyg_self_loops(graph: Graph, weight: Tensor, fill: float, remaining: bool) -> tuple[Tensor, Tensor]:
    if remaining:
        return add_remaining_self_loops(graph.edge_index, weight, fill, graph.num_rows)
    return add_self_loops(*remove_self_loops(graph.edge_index, weight), fill, graph.num_rows)


@pytest.mark.parametrize("remaining", [True, False])
@pytest.mark.parametrize("graph", SQUARE, ids=repr)
def test_self_loops_are_those_of_pyg(graph: Graph, remaining: bool, backend: str) -> None:
    adj = as_csr(graph.edge_index.clone(), graph.num_rows).add_self_loops(remaining)
    weight = torch.randn(graph.num_edges)
    theirs, values = pyg_self_loops(graph, weight, 2.0, remaining)
    ours = torch.cat([weight, torch.full((graph.num_rows,), 2.0)])
    assert adj.num_values == graph.num_edges + graph.num_rows
    assert adj.num_edges == theirs.shape[1]
    assert_close(adj.to_dense(ours), dense(Graph("", theirs, *adj.shape), values))
    wanted = sorted(zip(*theirs.tolist(), values.tolist(), strict=True))
    found = zip(adj.indices.tolist(), adj.rows.tolist(), adj.to_slots(ours).tolist(), strict=True)
    assert sorted(found) == wanted
    assert adj.transposed.to_dense(ours).equal(adj.to_dense(ours).t())


def test_self_loops_twice() -> None:
    """The second call replaces the loops of the first; its values follow theirs."""
    once = as_csr(MIXED.edge_index.clone(), 37).add_self_loops()
    for remaining in (True, False):
        twice = once.add_self_loops(remaining)
        value = torch.arange(twice.num_values, dtype=torch.float32)
        assert twice.num_edges == once.num_edges
        kept = twice.to_dense(value).diagonal()
        assert kept.equal(once.to_dense(value[:-37]).diagonal() if remaining else value[-37:])


@pytest.mark.parametrize("remaining", [True, False])
def test_gradient_of_a_loop_that_was_replaced(remaining: bool) -> None:
    graph = next(g for g in ZOO if g.name == "self-loops")  # 0->0, 1->1, 0->1, 1->1, 2->2, 1->0
    weight = torch.ones(6, requires_grad=True)
    fill = torch.ones(3, requires_grad=True)
    adj = graph.adj.add_self_loops(remaining)
    spmm(adj, torch.ones(3, 1), torch.cat([weight, fill])).sum().backward()
    assert weight.grad.tolist() == ([1, 0, 1, 1, 1, 1] if remaining else [0, 0, 1, 0, 0, 1])
    assert fill.grad.tolist() == ([0, 0, 0] if remaining else [1, 1, 1])


def test_from_slots_with_values_that_have_no_slot() -> None:
    graph = next(g for g in ZOO if g.name == "self-loops")
    adj = graph.adj.add_self_loops(remaining=False)
    assert adj.from_slots(torch.ones(adj.num_edges)).tolist() == [0, 0, 1, 0, 0, 1, 1, 1, 1]


def test_self_loops_of_a_bipartite_graph() -> None:
    """Loops belong to the nodes that are both a source and a target."""
    adj = as_csr(torch.tensor([[0, 4, 1], [2, 1, 1]]), (5, 3)).add_self_loops()
    assert adj.shape == (3, 5)
    assert adj.num_values == 6
    assert adj.to_dense(torch.tensor([1.0, 2, 3, 7, 7, 7])).tolist() == [
        [7, 0, 0, 0, 0],
        [0, 3, 0, 0, 2],
        [1, 0, 7, 0, 0],
    ]


def test_self_loops_of_a_matrix_with_values() -> None:
    adj = as_csr(torch.eye(3).to_sparse_csr())
    looped = adj.add_self_loops()
    assert looped.value is None  # its values are the caller's to extend
    assert torch.equal(looped.to_dense(torch.cat([adj.value, torch.zeros(3)])), torch.eye(3))
