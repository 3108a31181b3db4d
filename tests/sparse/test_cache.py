"""The structure of a tensor is kept while the tensor lives unchanged, and never longer."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from gnnlib.sparse import as_csr, scatter
from gnnlib.sparse.cache import WeakCache, structures
from tests.sparse.graphs import draw


@pytest.fixture
def edge_index() -> Tensor:
    return draw(30, 30, 100)


@pytest.fixture
def entries() -> Iterator[Callable[[], int]]:
    """How many entries the cache has gained since the test began."""
    gc.collect()
    before = len(structures)
    yield lambda: len(structures) - before
    gc.collect()


def assert_fresh(edge_index: Tensor, size: int = 40) -> None:
    assert torch.equal(as_csr(edge_index, size).edge_index, edge_index)


def test_the_same_tensor_is_sorted_once(edge_index: Tensor) -> None:
    adj = as_csr(edge_index, 30)
    assert as_csr(edge_index, 30) is adj
    assert as_csr(edge_index, (30, 30)) is adj
    assert as_csr(edge_index, num_rows=30, num_cols=30) is adj
    assert as_csr(edge_index, 31) is not adj
    assert as_csr(edge_index, 30) is adj  # several sizes live side by side
    assert as_csr(edge_index.clone(), 30) is not adj


def test_sparse_matrices_share_their_structure() -> None:
    for matrix in (torch.eye(5).to_sparse_csr(), torch.eye(5).to_sparse_csc(), torch.eye(5).to_sparse()):
        a, b = as_csr(matrix), as_csr(matrix)
        assert a.indptr.data_ptr() == b.indptr.data_ptr()
        assert a.transposed.indptr.data_ptr() == b.transposed.indptr.data_ptr()


CHANGES: dict[str, Callable[[Tensor], object]] = {
    "add_": lambda e: e.add_(1),
    "setitem": lambda e: e.__setitem__((0, 0), 39),
    "through a view": lambda e: e[1].zero_(),
    "through a detached tensor": lambda e: e.detach().zero_(),
    "resize_": lambda e: e.resize_(2, 50),
    "set_": lambda e: e.set_(draw(30, 30, 80, seed=1)),
    "set_ to other strides": lambda e: e.set_(e.untyped_storage(), 0, (2, 40), (1, 1)),
    "set_ to its end": lambda e: e.set_(e.untyped_storage(), e.numel() // 2, (2, 20), (20, 1)),
    "data": lambda e: setattr(e, "data", draw(30, 30, 100, seed=1)),
    "data of another size": lambda e: setattr(e, "data", draw(30, 30, 60, seed=1)),
    "out=": lambda e: torch.add(e, 1, out=e),
    "copy_": lambda e: e.copy_(e.flip(0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_tensor_is_never_served_stale(change: str, edge_index: Tensor) -> None:
    for _ in range(2):
        as_csr(edge_index, 40)
        CHANGES[change](edge_index)
        assert_fresh(edge_index, 60)
        assert_fresh(edge_index, 60)


def test_data_at_the_same_address(edge_index: Tensor) -> None:
    """New memory may get the address of the old, with the same version and shape."""
    for seed in range(20):
        as_csr(edge_index, 30)
        edge_index.data = torch.empty(0, dtype=torch.int64)
        edge_index.data = draw(30, 30, 100, seed=seed + 10)
        assert_fresh(edge_index, 30)


@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_csc, torch.sparse_coo], ids=str)
def test_a_changed_matrix_is_never_served_stale(layout: torch.layout) -> None:
    matrix = torch.eye(4).to_sparse(layout=layout)
    parts = {
        torch.sparse_csr: Tensor.col_indices,
        torch.sparse_csc: Tensor.row_indices,
        torch.sparse_coo: lambda m: m._indices()[0],
    }
    index = parts[layout](matrix)
    for k in range(4):
        as_csr(matrix)
        index[k] = (k + 1) % 4
        assert torch.equal(as_csr(matrix).to_dense(), matrix.to_dense())


def test_new_values_of_a_matrix_are_seen() -> None:
    matrix = torch.eye(4).to_sparse_csr()
    as_csr(matrix)
    matrix.values().mul_(3)
    assert torch.equal(as_csr(matrix).to_dense(), 3 * torch.eye(4))


def test_a_changed_index_of_scatter_is_seen() -> None:
    index, src = torch.tensor([0, 1, 1]), torch.tensor([1.0, 2.0, 4.0])
    assert scatter(src, index, 3).tolist() == [1, 6, 0]
    index[1] = 2
    assert scatter(src, index, 3).tolist() == [1, 4, 2]
    index.data = torch.tensor([2, 2, 2])
    assert scatter(src, index, 3).tolist() == [0, 0, 7]


def test_an_entry_dies_with_its_tensor(entries: Callable[[], int]) -> None:
    edge_index = draw(30, 30, 100)
    adj, tensor = weakref.ref(as_csr(edge_index, 30)), weakref.ref(edge_index)
    assert entries() == 1
    assert adj() is not None
    del edge_index
    gc.collect()
    assert tensor() is None
    assert adj() is None
    assert entries() == 0


def test_the_structure_holds_no_view_of_its_tensor(entries: Callable[[], int]) -> None:
    """Not even for edges that come sorted, in int32 or strided: the CSR may outlive the tensor."""
    for build in (
        lambda: draw(9, 9, 20),
        lambda: draw(9, 9, 20).sort(dim=1).values,
        lambda: draw(9, 9, 20).sort(dim=1).values.int(),
        lambda: draw(9, 9, 20).t().contiguous().t(),
        lambda: torch.empty(2, 0, dtype=torch.int64),
    ):
        edge_index = build()
        adj = as_csr(edge_index, 9)
        arrays = [t for t in (adj.indptr, adj.indices, adj.perm, adj.transposed.indptr) if t is not None]
        theirs = edge_index.untyped_storage().data_ptr()
        assert all(t.untyped_storage().data_ptr() != theirs or theirs == 0 for t in arrays)
        dead = weakref.ref(edge_index)
        del edge_index
        gc.collect()
        assert dead() is None
        assert adj.degree.sum() == adj.num_edges
    assert entries() == 0


def test_a_reused_identity_gets_its_own_structure() -> None:
    for seed in range(200):
        assert_fresh(draw(30, 30, 20, seed), 30)


def test_gradients_keep_no_tensor_alive(entries: Callable[[], int]) -> None:
    index, src = torch.randint(5, (40,)), torch.rand(40, requires_grad=True)
    out = scatter(src, index, 5)
    assert entries() == 1
    out.sum().backward()
    del out, index
    gc.collect()
    assert entries() == 0


def test_inference_tensors_are_not_kept(entries: Callable[[], int]) -> None:
    """Torch counts no writes to them."""
    with torch.inference_mode():
        edge_index = draw(30, 30, 100)
        for _ in range(2):
            as_csr(edge_index, 30)
            edge_index.add_(1).remainder_(30)
            assert_fresh(edge_index, 30)
    assert entries() == 0


def test_the_oldest_go_first() -> None:
    cache = WeakCache(size=2)
    tensors = [torch.zeros(1) for _ in range(3)]
    made: list[int] = []

    def get(k: int) -> int:
        return cache.get(tensors[k], (tensors[k],), "key", lambda: made.append(k) or k)

    assert [get(k) for k in (0, 1, 0, 2, 0, 1)] == [0, 1, 0, 2, 0, 1]
    assert made == [0, 1, 2, 1]  # 1 was the oldest when 2 came
    assert len(cache) == 2


def test_a_failure_is_not_kept() -> None:
    cache, tensor = WeakCache(size=2), torch.zeros(1)
    with pytest.raises(ZeroDivisionError):
        cache.get(tensor, (tensor,), "key", lambda: 1 // 0)
    assert cache.get(tensor, (tensor,), "key", lambda: 5) == 5


def test_paused() -> None:
    cache, tensor = WeakCache(size=2), torch.zeros(1)
    cache.get(tensor, (tensor,), "key", lambda: 1)
    with cache.paused():
        assert cache.get(tensor, (tensor,), "key", lambda: 2) == 2
    assert cache.get(tensor, (tensor,), "key", lambda: 3) == 1
