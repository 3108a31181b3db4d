"""Common neighbours against python sets and scipy, on each backend."""

from __future__ import annotations

import pytest
import scipy.sparse
import torch
from torch import Tensor

from gnnlib.sparse import CSR, as_csr, common_neighbors, spmm
from gnnlib.sparse.native import launch
from gnnlib.sparse.ops.common_neighbors import cpu, rows_without, sorted_rows
from tests.sparse.graphs import HUBS, LARGE, MIXED, ZOO, Graph, draw, turned
from tests.tolerances import assert_close


def some_pairs(num_nodes: int, count: int = 60) -> Tensor:
    """Random pairs, some of a node with itself, both orders of one, and one twice."""
    if num_nodes == 0:
        return torch.empty(2, 0, dtype=torch.int64)
    pairs = torch.randint(num_nodes, (2, count))
    pairs[1, ::7] = pairs[0, ::7]
    pairs[:, 1] = pairs[:, 0].flip(0)
    pairs[:, 2] = pairs[:, 0]
    return pairs


def check(graph: Graph, pairs: Tensor) -> None:
    out = common_neighbors(graph.adj, pairs)
    neighbours: list[set[int]] = [set() for _ in range(graph.num_rows)]
    for source, target in graph.edge_index.t().tolist():
        neighbours[target].add(source)
    assert out.shape == (pairs.shape[1], graph.num_cols)
    assert out.value is None
    for p, (u, v) in enumerate(pairs.t().tolist()):
        found = out.indices[out.indptr[p] : out.indptr[p + 1]].tolist()
        assert found == sorted(neighbours[u] & neighbours[v])


@pytest.mark.parametrize("graph", [*ZOO, MIXED, HUBS, turned(HUBS), LARGE], ids=repr)
def test_awkward_graphs(graph: Graph, backend: str) -> None:
    check(graph, some_pairs(graph.num_rows))
    check(graph, torch.empty(2, 0, dtype=torch.int64))


def test_a_long_row_is_searched(backend: str) -> None:
    """A hub beside short rows: matches at its start, at its end, none, and entries past it."""
    hub = torch.arange(100, 3100, 3)
    short = [[100], [3097], [101], [5, 100, 102, 103, 3097, 3098, 4000], [4000], [0], []]
    source = torch.cat([hub, *(torch.tensor(s, dtype=torch.int64) for s in short)])
    target = torch.repeat_interleave(torch.tensor([hub.numel(), *(len(s) for s in short)]))
    graph = Graph("long", torch.stack([source, target]), 4001, 8)
    assert hub.numel() > cpu.LONGER * max(len(s) for s in short)
    every = torch.cartesian_prod(torch.arange(8), torch.arange(8)).t()
    check(graph, every)


def test_pairs_in_several_calls(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "PLACES", 7)
    check(MIXED, some_pairs(MIXED.num_rows))
    check(HUBS, some_pairs(HUBS.num_rows))


@pytest.mark.parametrize("index_type", [torch.int32, torch.int16, torch.uint8], ids=str)
def test_integer_types(index_type: torch.dtype, backend: str) -> None:
    pairs = some_pairs(MIXED.num_rows).to(index_type)
    check(MIXED, pairs)
    by_edges = common_neighbors(MIXED.edge_index.to(index_type), pairs.clamp(max=34))
    assert torch.equal(by_edges.indices, common_neighbors(MIXED.adj, pairs.clamp(max=34)).indices)


def test_against_a_sparse_product(backend: str) -> None:
    """The number of common neighbours is an entry of the squared adjacency."""
    edge_index = torch.unique(draw(50, 50, 400), dim=1)
    matrix = scipy.sparse.csr_matrix((torch.ones(edge_index.shape[1]), edge_index.flip(0).numpy()), (50, 50))
    square = torch.from_numpy((matrix @ matrix.T).toarray()).long()
    pairs = some_pairs(50)
    out = common_neighbors(matrix, pairs)
    assert torch.equal(out.degree, square[pairs[0], pairs[1]])
    x = torch.randn(50, 3)
    wanted = torch.from_numpy(matrix[pairs[0].numpy()].multiply(matrix[pairs[1].numpy()]).toarray())
    assert_close(spmm(out, x), wanted.to(x.dtype) @ x)


def test_one_thread_and_two(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = some_pairs(LARGE.num_rows, 500)
    one = common_neighbors(LARGE.adj, pairs)
    torch.set_num_threads(2)
    monkeypatch.setattr(launch, "SMALL", 0)
    two = common_neighbors(LARGE.adj, pairs)
    assert torch.equal(one.indptr, two.indptr)
    assert torch.equal(one.indices, two.indices)


def test_rows_are_sorted_once() -> None:
    adj = MIXED.adj
    common_neighbors(adj, some_pairs(37))
    rows = adj.derive("sorted_rows", lambda a: pytest.fail("not kept"))
    common_neighbors(adj, some_pairs(37))
    assert adj.derive("sorted_rows", lambda a: pytest.fail("not kept")) is rows


def test_rows_that_are_sorted_stay_as_they_are() -> None:
    rows = sorted_rows(MIXED.adj)
    again = CSR.trusted(*rows.arrays, rows.num_cols)
    assert sorted_rows(again).indices.data_ptr() == rows.indices.data_ptr()
    for entries in ([0, 2, 1], [0, 1, 1]):  # one row, not ascending
        adj = CSR(torch.tensor([0, 0, 3, 3]), torch.tensor(entries), 3)
        assert sorted_rows(adj).indices.tolist() == sorted(set(entries))
    empty = CSR(torch.tensor([0, 0]), torch.tensor([], dtype=torch.int64), 3)
    assert sorted_rows(empty).num_edges == 0


def test_rows_without_some_entries(backend: str) -> None:
    pairs = some_pairs(HUBS.num_rows)
    rows = sorted_rows(HUBS.adj)
    taken = common_neighbors(rows, pairs)
    found = rows_without(rows, pairs[0], taken)
    sources = [set(row.tolist()) for row in rows.indices.tensor_split(rows.indptr[1:-1])]
    wanted = [sorted(sources[u] - sources[v]) for u, v in pairs.t().tolist()]
    assert [row.tolist() for row in found.indices.tensor_split(found.indptr[1:-1])] == wanted
    assert found.indices.dtype == rows.indices.dtype
    none = rows_without(rows, pairs[0, :0], common_neighbors(rows, pairs[:, :0]))
    assert (none.num_rows, none.num_edges) == (0, 0)


def test_compiled() -> None:
    torch._dynamo.reset()

    def f(edge_index: Tensor, pairs: Tensor, x: Tensor) -> Tensor:
        return spmm(common_neighbors(as_csr(edge_index, 37), pairs), x)

    args = MIXED.edge_index, some_pairs(37), torch.randn(37, 3)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        assert_close(torch.compile(f, fullgraph=True, backend="aot_eager")(*args), f(*args))


def test_wrong_inputs_fail_clearly() -> None:
    adj: CSR = MIXED.adj
    pairs = some_pairs(37)
    with pytest.raises(TypeError, match=r"common_neighbors: pairs is torch\.float32"):
        common_neighbors(adj, pairs.float())
    with pytest.raises(ValueError, match=r"pairs has shape \[60, 2\]; expected \[2, P\].*transpose"):
        common_neighbors(adj, pairs.t())
    for bad in (pairs - 40, pairs + 40):
        with pytest.raises(ValueError, match=r"names node -?\d+ but the graph has 37 nodes, 0 to 36"):
            common_neighbors(adj, bad)
