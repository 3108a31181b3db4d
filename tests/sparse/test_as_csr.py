"""Every form in which a graph may come, its sizes, and what is said about a bad one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor
from torch_geometric import EdgeIndex

from gnnlib.sparse import CSR, as_csr, propagate, spmm
from tests.sparse.graphs import ZOO, Graph, draw
from tests.tolerances import assert_close

INTEGERS = (
    torch.int8,
    torch.uint8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint16,
    torch.uint32,
    torch.uint64,
)
EDGES = draw(6, 4, 15)  # 6 sources, 4 targets, duplicates
VALUES = torch.linspace(0.5, 2.0, 15)
GRAPH = Graph("bipartite", EDGES, 6, 4)


def dense(edge_index: Tensor, value: Tensor | None, rows: int, cols: int) -> Tensor:
    """The adjacency matrix, row = target, written without the package."""
    out = torch.zeros(rows, cols, dtype=None if value is None else value.dtype)
    for e, (source, target) in enumerate(edge_index.t().tolist()):
        out[target, source] += 1 if value is None else value[e]
    return out


def assert_is(adj: CSR, edge_index: Tensor, rows: int, cols: int) -> None:
    """The CSR holds exactly these edges, each row's in the caller's order."""
    assert adj.shape == (rows, cols)
    assert adj.num_edges == adj.num_values == edge_index.shape[1]
    assert (adj.indptr.dtype, adj.indices.dtype) == (torch.int64, torch.int32)
    assert torch.equal(adj.edge_index, edge_index.long())
    order = sorted(range(adj.num_edges), key=lambda e: int(edge_index[1, e]))
    assert (list(range(adj.num_edges)) if adj.perm is None else adj.perm.tolist()) == order
    assert adj.indptr.tolist() == [int((edge_index[1].long() < i).sum()) for i in range(rows + 1)]
    assert adj.indices.tolist() == edge_index[0, order].tolist()


# -- edge lists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", ZOO, ids=repr)
def test_edge_index(graph: Graph, backend: str) -> None:
    assert_is(
        as_csr(graph.edge_index.clone(), (graph.num_cols, graph.num_rows)), graph.edge_index, *graph.adj.shape
    )


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_types(dtype: torch.dtype, backend: str) -> None:
    edge_index = EDGES.to(dtype)
    assert_is(as_csr(edge_index, (6, 4)), EDGES, 4, 6)
    assert_is(as_csr(edge_index), EDGES, 6, 6)


def test_the_largest_number_of_each_type() -> None:
    """One more than the largest number of a type does not fit in it."""
    for dtype, most in ((torch.int8, 127), (torch.uint8, 255), (torch.int16, 32767)):
        assert_is(
            as_csr(torch.tensor([[0, most], [most, 0]], dtype=dtype)),
            torch.tensor([[0, most], [most, 0]]),
            most + 1,
            most + 1,
        )


def test_sorted_edges_need_no_permutation() -> None:
    order = EDGES[1].argsort(stable=True)
    assert as_csr(EDGES[:, order], (6, 4)).perm is None
    assert as_csr(EDGES, (6, 4)).perm is not None


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({}, (6, 6)),
        ({"size": 9}, (9, 9)),
        ({"size": (7, 5)}, (5, 7)),
        ({"size": [7, 5]}, (5, 7)),
        ({"size": (7, None)}, (4, 7)),
        ({"size": (None, 8)}, (8, 6)),
        ({"size": (None, None)}, (6, 6)),
        ({"num_rows": 5}, (5, 6)),
        ({"num_cols": 7}, (4, 7)),
        ({"num_rows": 5, "num_cols": 7}, (5, 7)),
        ({"size": (7, 5), "num_rows": 9}, (9, 7)),
        ({"size": 7, "num_cols": 8}, (7, 8)),
    ],
    ids=str,
)
def test_sizes(arguments: dict[str, Any], shape: tuple[int, int]) -> None:
    assert as_csr(EDGES, **arguments).shape == shape


def test_sizes_of_a_graph_without_edges() -> None:
    none = torch.empty(2, 0, dtype=torch.int64)
    assert as_csr(none).shape == (0, 0)
    assert as_csr(none, (None, 3)).shape == (3, 0)
    assert as_csr(none, 3).shape == (3, 3)


# -- matrices -----------------------------------------------------------------------------------------


class SparseTensor:
    """Stands in for torch_sparse.SparseTensor: compressed rows, row = target in PyG's adj_t."""

    def __init__(self, matrix: Any, value: Tensor | None) -> None:
        self.matrix, self.value = matrix, value

    def csr(self) -> tuple[Tensor, Tensor, Tensor | None]:
        return (
            torch.from_numpy(self.matrix.indptr).long(),
            torch.from_numpy(self.matrix.indices).long(),
            self.value,
        )

    def sparse_sizes(self) -> tuple[int, int]:
        return self.matrix.shape


def _scipy(kind: str) -> Any:
    matrix = scipy.sparse.coo_array((VALUES.numpy(), (EDGES[1].numpy(), EDGES[0].numpy())), shape=(4, 6))
    return matrix.asformat(kind)


def _coo() -> Tensor:
    return torch.sparse_coo_tensor(EDGES.flip(0), VALUES, (4, 6))


MATRICES = {
    "torch-csr": lambda: _coo().coalesce().to_sparse_csr(),
    "torch-csr-int32": lambda: torch.sparse_csr_tensor(
        (m := _coo().coalesce().to_sparse_csr()).crow_indices().int(),
        m.col_indices().int(),
        m.values(),
        (4, 6),
    ),
    "torch-csc": lambda: _coo().coalesce().to_sparse_csc(),
    "torch-coo": _coo,
    "torch-coo-coalesced": lambda: _coo().coalesce(),
    "scipy-csr": lambda: _scipy("csr"),
    "scipy-csc": lambda: _scipy("csc"),
    "scipy-coo": lambda: _scipy("coo"),
    "scipy-lil": lambda: _scipy("lil"),
    "scipy-csr-matrix": lambda: scipy.sparse.csr_matrix(_scipy("csr")),
    "sparse-tensor": lambda: SparseTensor(m := _scipy("csr"), torch.from_numpy(m.data)),
}


@pytest.mark.parametrize("form", MATRICES)
def test_matrix(form: str) -> None:
    wanted = dense(EDGES, VALUES, 4, 6)
    x = torch.randn(6, 3)
    adj = as_csr(MATRICES[form]())
    assert adj.shape == (4, 6)
    assert adj.value is not None
    assert adj.value.shape == (adj.num_values,)
    assert_close(adj.to_dense(), wanted)
    assert_close(adj.transposed.to_dense(), wanted.t())
    assert_close(spmm(adj, x, adj.value), wanted @ x)
    assert_close(spmm(MATRICES[form](), x), wanted @ x)  # a matrix brings its values, a CSR only its edges
    assert_close(spmm(adj, x), spmm(adj, x, torch.ones(adj.num_values)))
    assert spmm(MATRICES[form](), x.half()).dtype == torch.float16
    assert_close(adj.to_dense(2 * adj.value), 2 * wanted)
    pairs = torch.zeros(4, 6).index_put(tuple(adj.edge_index.flip(0)), adj.value, accumulate=True)
    assert_close(pairs, wanted)  # edge_index and value are in one order
    with pytest.raises(ValueError, match=r"4 rows \(targets\) and 6 columns .* 5 targets and None sources"):
        as_csr(MATRICES[form](), num_rows=5)
    with pytest.raises(ValueError, match="4 targets and 7 sources were expected"):
        as_csr(MATRICES[form](), (7, 4))


def test_coo_keeps_duplicates() -> None:
    assert as_csr(_coo()).num_edges == 15
    assert torch.equal(as_csr(_coo()).edge_index, EDGES)
    assert torch.equal(as_csr(_coo()).value, VALUES)


def test_sparse_tensor_without_values() -> None:
    adj = as_csr(SparseTensor(_scipy("csr"), None))
    assert adj.value is None
    assert_close(adj.to_dense(), (dense(EDGES, None, 4, 6) > 0).float())


def test_scipy_integer_values_become_floating() -> None:
    adj = as_csr(scipy.sparse.csr_array(np.array([[0, 2], [3, 0]])))
    assert adj.value.dtype == torch.get_default_dtype()
    assert adj.value.tolist() == [2, 3]


@pytest.mark.parametrize("form", ["torch-csr", "torch-csc", "torch-coo-coalesced", "sparse-tensor"])
def test_values_are_differentiable(form: str) -> None:
    """A gradient reaches the tensor from which the matrix was made."""
    m = _coo().coalesce().to_sparse_csr()
    x = torch.randn(6, 3, dtype=torch.float64)
    leaf = m.values().double().requires_grad_()
    build = {
        "torch-csr": lambda v: torch.sparse_csr_tensor(m.crow_indices(), m.col_indices(), v, (4, 6)),
        "torch-csc": lambda v: torch.sparse_csc_tensor(m.crow_indices(), m.col_indices(), v, (6, 4)),
        "torch-coo-coalesced": lambda v: torch.sparse_coo_tensor(
            _coo().coalesce().indices(), v, (4, 6), is_coalesced=True
        ),
        "sparse-tensor": lambda v: SparseTensor(_scipy("csr"), v),
    }
    adj = as_csr(build[form](leaf))
    spmm(adj, x[: adj.num_cols], adj.value).square().sum().backward()
    wanted = m.values().double().requires_grad_()
    matrix = torch.zeros(4, 6, dtype=torch.float64).index_put(tuple(_coo().coalesce().indices()), wanted)
    ((matrix.t() @ x[:4] if form == "torch-csc" else matrix @ x).square().sum()).backward()
    assert_close(leaf.grad, wanted.grad)


def test_uncoalesced_coo_with_a_gradient_is_refused() -> None:
    with pytest.raises(ValueError, match=r"COO matrix needs a gradient .* call \.coalesce\(\) first"):
        as_csr(_coo().requires_grad_())


@pytest.mark.parametrize("order", [None, "row", "col"])
def test_pyg_edge_index(order: str | None) -> None:
    edge_index = EDGES
    if order is not None:
        edge_index = EDGES[:, EDGES[0 if order == "row" else 1].argsort(stable=True)]
    carried = EdgeIndex(edge_index, sparse_size=(6, 4), sort_order=order)
    assert_is(as_csr(carried), edge_index, 4, 6)
    assert as_csr(carried) is as_csr(carried)
    assert_is(as_csr(EdgeIndex(edge_index), (6, 4)), edge_index, 4, 6)
    assert_is(as_csr(EdgeIndex(edge_index)), edge_index, 6, 6)
    if order == "col":
        assert as_csr(carried).perm is None


def test_a_csr_passes_through() -> None:
    adj = as_csr(EDGES, (6, 4))
    assert as_csr(adj) is adj
    assert as_csr(adj, (6, 4)) is as_csr(adj, num_rows=4) is as_csr(adj, (None, 4)) is adj
    with pytest.raises(
        ValueError, match="5 targets and 6 sources were expected; pass the features of the graph's own"
    ):
        as_csr(adj, (6, 5))


@pytest.mark.parametrize("form", ["edge_index", *MATRICES])
def test_changing_the_source_afterwards_leaves_the_csr_alone(form: str) -> None:
    """The structure is a copy: what its owner writes later does not reach it."""
    source = EDGES.clone() if form == "edge_index" else MATRICES[form]()
    adj = as_csr(source, (6, 4)) if form == "edge_index" else as_csr(source)
    before = adj.edge_index
    if isinstance(source, SparseTensor):
        source = source.matrix
    if isinstance(source, Tensor) and source.layout is torch.strided:
        source.zero_()
    elif isinstance(source, Tensor):
        parts = {
            torch.sparse_coo: ("_indices",),
            torch.sparse_csr: ("crow_indices", "col_indices"),
            torch.sparse_csc: ("ccol_indices", "row_indices"),
        }
        for part in parts[source.layout]:
            getattr(source, part)().zero_()
    elif hasattr(source, "indices"):
        source.indices[:] = 0
        source.indptr[:] = 0
    assert torch.equal(adj.edge_index, before)


def test_a_sorted_edge_index_is_copied_too() -> None:
    source = EDGES[:, EDGES[1].argsort(stable=True)].int().contiguous()
    adj = as_csr(source, (6, 4))
    before = adj.indices.clone()
    source.zero_()
    assert torch.equal(adj.indices, before)


# -- bad input ----------------------------------------------------------------------------------------


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "float": (
        lambda: EDGES.float(),
        TypeError,
        r"edge_index is torch\.float32; pass node numbers as integers",
    ),
    "bool": (lambda: EDGES.bool(), TypeError, r"edge_index is torch\.bool"),
    "complex": (lambda: EDGES.to(torch.complex64), TypeError, r"edge_index is torch\.complex64"),
    "[E, 2]": (lambda: EDGES.t(), ValueError, r"shape \[15, 2\]; expected \[2, E\] .*; transpose it"),
    "[E]": (lambda: EDGES[0], ValueError, r"shape \[15\]; expected \[2, E\]"),
    "[1, 2, E]": (lambda: EDGES[None], ValueError, r"shape \[1, 2, 15\]; expected \[2, E\]"),
    "[3, 4]": (lambda: torch.zeros(3, 4).long(), ValueError, r"shape \[3, 4\]; expected \[2, E\]"),
    "list": (lambda: EDGES.tolist(), TypeError, "got list; pass an edge_index"),
    "array": (lambda: EDGES.numpy(), TypeError, "got ndarray; pass an edge_index"),
    "None": (lambda: None, TypeError, "got NoneType; pass an edge_index"),
    "blocks": (
        lambda: torch.eye(4).to_sparse_bsr((2, 2)),
        TypeError,
        r"layout torch\.sparse_bsr is not taken",
    ),
    "batch": (
        lambda: torch.eye(4)[None].to_sparse(),
        ValueError,
        "sparse matrix has 3 dimensions; expected 2",
    ),
    "hybrid": (
        lambda: torch.eye(4).to_sparse(1),
        ValueError,
        "1 sparse and 1 dense dimensions; expected 2 and 0",
    ),
}


@pytest.mark.parametrize(("build", "kind", "message"), BAD.values(), ids=BAD)
def test_bad_graph(build: Callable[[], Any], kind: type[Exception], message: str) -> None:
    adj = build()
    with pytest.raises(kind, match=f"as_csr: .*{message}"):
        as_csr(adj, 6)


def test_more_columns_than_int32_counts() -> None:
    adj = as_csr(torch.tensor([[2**31 + 1, 0], [1, 0]]), (2**31 + 5, 3))
    assert adj.indices.dtype == torch.int64
    assert adj.indices.tolist() == [0, 2**31 + 1]
    assert CSR(torch.tensor([0, 1]), torch.tensor([2**31]), 2**31 + 1).indices.dtype == torch.int64


@pytest.mark.parametrize(
    ("edges", "size", "message"),
    [
        ([[0, 6], [1, 1]], 6, "names source node 6 but the graph has 6 source nodes, 0 to 5"),
        ([[0, 1], [1, 9]], 6, "names target node 9 but the graph has 6 target nodes, 0 to 5"),
        ([[0, 3], [1, 1]], (3, 9), "names source node 3 but the graph has 3 source nodes"),
        ([[0, 3], [1, 5]], (9, 5), "names target node 5 but the graph has 5 target nodes"),
        ([[0, -1], [1, 1]], 6, "names source node -1"),
        ([[0, 1], [1, -4]], None, "names target node -4"),
        ([[0], [0]], 0, "names source node 0 but the graph has 0 source nodes"),
        ([[], []], -1, r"size is \(-1, -1\)"),
        ([[0], [0]], (1, 2, 3), r"size has 3 entries; pass \(sources, targets\)"),
    ],
    ids=str,
)
def test_bad_numbers(edges: list[list[int]], size: Any, message: str, backend: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_csr(torch.tensor(edges, dtype=torch.int64), size)


def test_a_bad_graph_is_not_remembered_as_good() -> None:
    edge_index = torch.tensor([[0, 9], [1, 1]])
    for _ in range(2):
        with pytest.raises(ValueError, match="source node 9"):
            as_csr(edge_index, 6)
    assert as_csr(edge_index, 10).num_edges == 2


def test_steps_of_a_matrix_take_its_values() -> None:
    matrix = scipy.sparse.random_array((5, 5), density=0.6, rng=np.random.default_rng(0), dtype=np.float32)
    dense, x = torch.from_numpy(matrix.toarray()), torch.randn(5, 2)
    assert_close(propagate(matrix, x, 3), dense @ (dense @ (dense @ x)))
