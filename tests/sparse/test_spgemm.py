"""The sparse product against dense and scipy products, on each backend."""

from __future__ import annotations

import itertools

import pytest
import scipy.sparse
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from gnnlib.sparse import CSR, as_csr, spgemm
from gnnlib.sparse.native import launch
from tests.sparse.graphs import HUBS, LARGE, MIXED, TINY, ZOO, Graph, draw, turned
from tests.tolerances import assert_close


def check(a: CSR, b: CSR) -> None:
    c = spgemm(a, b)
    assert c.shape == (a.num_rows, b.num_cols)
    assert c.perm is None
    assert c.value is not None
    assert c.value.shape == (c.num_edges,)
    for i in range(c.num_rows):
        columns = c.indices[c.indptr[i] : c.indptr[i + 1]]
        assert bool((columns.diff() > 0).all())  # sorted and unique
    place = a.to_dense(torch.ones(a.num_values)) @ b.to_dense(torch.ones(b.num_values))
    assert torch.equal(c.to_dense(torch.ones(c.num_edges)) > 0, place > 0)
    assert_close(c.to_dense().double(), a.to_dense().double() @ b.to_dense().double())


def values(adj: CSR, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(adj.num_values, dtype=dtype)


@pytest.mark.parametrize("graph", ZOO, ids=repr)
def test_awkward_graphs(graph: Graph, backend: str) -> None:
    """With the transpose on either side, in each choice of who has values."""
    a, b = graph.adj, turned(graph).adj
    for left, right in ((a, b), (b, a)):
        check(left, right)
        check(left.with_value(values(left)), right)
        check(left, right.with_value(values(right)))
        check(left.with_value(values(left)), right.with_value(values(right)))


@pytest.mark.parametrize("graph", [HUBS, turned(HUBS), LARGE, MIXED], ids=repr)
def test_hubs(graph: Graph) -> None:
    """On the fastest backend; the definition holds each of some ten million products."""
    a, b = graph.adj, turned(graph).adj
    check(a.with_value(values(a)), b.with_value(values(b)))


def test_few_columns_among_many(backend: str) -> None:
    """Rows with few of many words of columns are sorted, rows with most of them walked through."""
    left = as_csr(torch.tensor([[0, 1, 2, 3, 3], [0, 0, 1, 2, 2]]), (4, 4))
    far = torch.tensor([[9000, 3, 9000, 64, 63, 5000], [0, 0, 1, 1, 2, 2]])
    many = torch.stack([torch.randperm(10_000)[:4000], torch.full((4000,), 3)])
    check(left, as_csr(torch.cat([far, many], dim=1), (10_000, 4)))


def test_a_product_that_cancels_keeps_its_place(backend: str) -> None:
    a = as_csr(torch.tensor([[0, 1], [0, 0]]), (2, 1)).with_value(torch.tensor([1.0, -1.0]))
    b = as_csr(torch.tensor([[0, 0], [0, 1]]), (1, 2))
    c = spgemm(a, b)
    assert c.indices.tolist() == [0]
    assert c.value is not None
    assert c.value.tolist() == [0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_dtypes(dtype: torch.dtype, backend: str) -> None:
    a = MIXED.adj
    u, v = values(a).to(dtype), values(a).to(dtype)
    c = spgemm(a.with_value(u), a.with_value(v))
    assert c.value is not None
    assert c.value.dtype == dtype
    assert_close(c.to_dense(), a.to_dense(u.double()) @ a.to_dense(v.double()), dtype)
    mixed = spgemm(a.with_value(u), a.with_value(v.double())).value
    assert mixed is not None
    assert mixed.dtype == torch.float64


def test_against_scipy(backend: str) -> None:
    a = scipy.sparse.random(60, 40, 0.1, random_state=0)
    b = scipy.sparse.random(40, 50, 0.1, random_state=1)
    wanted = (a @ b).tocsr()
    wanted.sort_indices()
    c = spgemm(a, b)
    assert c.value is not None
    assert c.indptr.tolist() == wanted.indptr.tolist()
    assert c.indices.tolist() == wanted.indices.tolist()
    assert_close(c.value, torch.from_numpy(wanted.data))


def pair() -> tuple[CSR, CSR]:
    """Factors with duplicates, empty rows and edges out of order."""
    return TINY.adj, as_csr(draw(6, 5, 9), (6, 5))


def test_derivatives(backend: str) -> None:
    a, b = pair()

    def product(u: Tensor, v: Tensor) -> Tensor:
        value = spgemm(a.with_value(u), b.with_value(v)).value
        assert value is not None
        return value

    leaves = (values(a).requires_grad_(), values(b).requires_grad_())
    assert gradcheck(product, leaves)
    assert gradgradcheck(product, leaves)


def test_gradients_of_a_larger_product(backend: str) -> None:
    a, b = MIXED.adj, turned(MIXED).adj
    found, wanted = [], []
    for sink, dense in ((found, False), (wanted, True)):
        torch.manual_seed(0)
        u, v = values(a).requires_grad_(), values(b).requires_grad_()
        x, y = a.with_value(u), b.with_value(v)
        c = x.to_dense() @ y.to_dense() if dense else spgemm(x, y).to_dense()
        sink += [c, *torch.autograd.grad(c.square().sum(), (u, v))]
    assert_close(found, wanted)


def test_gradient_of_one_factor(backend: str) -> None:
    a, b = pair()
    u = values(a).requires_grad_()
    value = spgemm(a.with_value(u), b).value
    assert value is not None
    (grad,) = torch.autograd.grad(value.sum(), u)
    assert_close(grad, b.degree.double()[a.edge_index[0]])


def test_nan_stays_in_its_row(backend: str) -> None:
    a = MIXED.adj
    u = values(a)
    u[7] = torch.nan
    c = spgemm(a.with_value(u), a)
    row = int(MIXED.edge_index[1, 7])
    assert c.value is not None
    assert set(c.rows[c.value.isnan()].tolist()) == {row}


def test_one_thread_and_two(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = LARGE.adj, turned(LARGE).adj

    def run() -> list[Tensor]:
        torch.manual_seed(0)
        u, v = values(a).requires_grad_(), values(b).requires_grad_()
        c = spgemm(a.with_value(u), b.with_value(v))
        assert c.value is not None
        return [c.indptr, c.indices, c.value, *torch.autograd.grad(c.value.square().sum(), (u, v))]

    torch.set_num_threads(1)
    one = run()
    torch.set_num_threads(2)
    monkeypatch.setattr(launch, "SMALL", 0)
    assert all(torch.equal(s, t) for s, t in itertools.zip_longest(one, run()))


def test_compiled() -> None:
    torch._dynamo.reset()
    a, b = pair()

    def f(u: Tensor, v: Tensor) -> Tensor:
        value = spgemm(a.with_value(u), b.with_value(v)).value
        assert value is not None
        return value.square().sum()

    u, v = values(a).requires_grad_(), values(b).requires_grad_()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        out = torch.compile(f, fullgraph=True, backend="aot_eager")(u, v)
        found = torch.autograd.grad(out, (u, v))
    assert_close([out, *found], [f(u, v), *torch.autograd.grad(f(u, v), (u, v))])


def test_wrong_inputs_fail_clearly() -> None:
    with pytest.raises(ValueError, match=r"spgemm: a has 5 columns but b has 4 rows"):
        spgemm(TINY.adj, TINY.adj)
