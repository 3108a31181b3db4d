"""What every pooling promises, checked for each from its one line in pool_cases.py."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

import gnnlib.nn
from gnnlib.nn.pool import Pooling, PoolingOutput, SelectOutput, SoftSelectOutput
from gnnlib.nn.pool.connect import coalesce
from gnnlib.nn.pool.grouped import gram, rows_times
from gnnlib.sparse.sets import as_sets
from tests.nn.pool_cases import CASES, F_IN, Case, graphs
from tests.tolerances import assert_close


def each(cases: list[Case] = CASES) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[c.name for c in cases])


def seeded(case: Case, seed: int = 0) -> Pooling:
    torch.manual_seed(seed)
    return case.build().double().eval()


def dense(edge_index: Tensor, weight: Tensor | None, n: int) -> Tensor:
    """The matrix with row = source; equal edges add up."""
    value = torch.ones(edge_index.shape[1], dtype=torch.float64) if weight is None else weight
    return torch.zeros(n, n, dtype=torch.float64).index_put(tuple(edge_index), value, accumulate=True)


def assignment(out: PoolingOutput) -> Tensor:
    """S as a dense matrix, from the fields of the selection."""
    so = out.select
    s = torch.zeros(so.num_nodes, so.num_clusters, dtype=torch.float64)
    if isinstance(so, SelectOutput):
        weight = s.new_ones(so.node_index.shape[0]) if so.weight is None else so.weight.detach()
        return s.index_put((so.node_index, so.cluster_index), weight, accumulate=True)
    _, _, _, batch = graphs()
    k = so.s.shape[1]
    for i in range(so.num_nodes):
        s[i, batch[i] * k : (batch[i] + 1) * k] = so.s[i].detach()
    return s


def alone(pool: Pooling, b: int) -> PoolingOutput:
    x, edge_index, weight, batch = graphs()
    start = int((batch < b).sum())
    own = batch[edge_index[0]] == b
    return pool.coarsen(x[batch == b], edge_index[:, own] - start, weight[own])


def test_every_pooling_has_one_case() -> None:
    layers = [getattr(gnnlib.nn, n) for n in gnnlib.nn.__all__]
    found = [
        c.__name__ for c in layers if isinstance(c, type) and issubclass(c, Pooling) and c is not Pooling
    ]
    assert [c.name for c in CASES] == sorted(found, key=str.casefold)


@each()
def test_resets_saves_and_loads(case: Case) -> None:
    a, b = seeded(case, 0), seeded(case, 1)
    assert type(a).__name__ == case.name
    assert repr(a).startswith(f"{case.name}(")
    for pool in (a, b):
        torch.manual_seed(5)
        pool.reset_parameters()
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    other = seeded(case, 1)
    buffer = io.BytesIO()
    torch.save(a.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    expected = a.coarsen(*graphs())
    for pool in (other, copy.deepcopy(a)):
        assert torch.equal(pool.coarsen(*graphs()).x, expected.x)


@each()
def test_a_batch_gives_what_its_graphs_give(case: Case) -> None:
    pool = seeded(case)
    out = pool.coarsen(*graphs())
    assert torch.equal(out.batch, out.batch.sort().values)
    whole = dense(out.edge_index, out.edge_weight, out.x.shape[0])
    losses: dict[str, list[Tensor]] = {}
    for b in range(4):
        one, mine = alone(pool, b), out.batch == b
        assert mine.any()  # no graph is left without nodes
        assert_close(out.x[mine], one.x)
        assert_close(whole[mine][:, mine], dense(one.edge_index, one.edge_weight, one.x.shape[0]))
        assert (whole[mine][:, ~mine] == 0).all()
        for name, value in one.loss.items():
            losses.setdefault(name, []).append(value)
    assert_close(out.loss, {name: torch.stack(values).mean() for name, values in losses.items()})


@each()
def test_relabelling_nodes_relabels_clusters(case: Case) -> None:
    pool = seeded(case)
    if case.name == "KMISPooling":  # constant scores are tied everywhere
        pool = gnnlib.nn.KMISPooling(F_IN, score="linear").double()
    x, edge_index, weight, batch = graphs()
    order = torch.randperm(20)

    def seen(out: PoolingOutput) -> list[Any]:
        adj = dense(out.edge_index, out.edge_weight, out.x.shape[0])
        within = [out.x[out.batch == b] for b in range(4)]
        return [out.x.t() @ adj @ out.x, *(v.t() @ v for v in within), *(v.sum(0) for v in within), out.loss]

    moved = pool.coarsen(x[order], order.argsort()[edge_index], weight, batch[order])
    assert_close(seen(moved), seen(pool.coarsen(x, edge_index, weight, batch)))


@each()
def test_reduces_and_connects_as_the_dense_products(case: Case) -> None:
    pool = seeded(case)
    x, edge_index, weight, batch = graphs()
    out = pool.coarsen(x, edge_index, weight, batch)
    s, a = assignment(out), dense(edge_index, weight, 20)
    coarse = dense(out.edge_index, out.edge_weight, out.x.shape[0])
    if case.sums:
        assert_close(out.x, s.t() @ x)
    if case.keeps_all:
        assert_close(s.sum(1), torch.ones(20, dtype=torch.float64))
    if case.name in ("TopKPooling", "SAGPooling"):  # edges are kept, not weighted by scores
        s = (s != 0).double()
        assert_close(coarse, s.t() @ a @ s)
    elif case.name == "NDPPooling":  # Kron reduction, see test_ndp.py
        assert coarse.shape == (s.shape[1], s.shape[1])
    elif case.name == "ASAPooling":
        looped = a + torch.diag((a.diag() == 0).double())
        product = s.t() @ looped @ s
        assert_close(coarse, product - torch.diag(product.diag()))
    elif case.name == "EdgePooling":
        hard = (s != 0).double()
        assert_close(coarse, hard.t() @ a @ hard)
    elif case.name == "DiffPool":
        assert_close(coarse, s.t() @ a @ s)
    else:
        product = s.t() @ a @ s
        product = product - torch.diag(product.diag())
        if not case.hard:
            d = product.sum(1).sqrt()
            product = torch.where(product == 0, 0, product / d[:, None] / d)
        assert_close(coarse, product)


@each()
def test_gradients(case: Case) -> None:
    pool = seeded(case)
    x, edge_index, weight, batch = graphs()
    names = [k for k, _ in pool.named_parameters()]
    kept = case.name in ("SAGPooling", "TopKPooling")

    def run(x: Tensor, weight: Tensor, *values: Tensor) -> list[Tensor]:
        got = torch.func.functional_call(
            pool,
            dict(zip(names, values, strict=True)),
            (x, edge_index),
            {"edge_attr" if kept else "edge_weight": weight, "batch": batch},
        )
        return [got.x, got.edge_weight, *got.loss.values()]

    leaves = [p.detach().clone().requires_grad_() for p in pool.parameters()]
    assert gradcheck(run, (x.requires_grad_(), weight.requires_grad_(), *leaves), fast_mode=True)


@each([c for c in CASES if c.hard])
def test_lift_undoes_the_sum_of_equal_features(case: Case) -> None:
    pool = seeded(case)
    out = pool.coarsen(*graphs())
    value = torch.randn(out.x.shape[0], 3, dtype=torch.float64)
    same = value[out.select.cluster_index]
    assert_close(pool.lift(out.select.reduce(same), out.select), same)
    s = assignment(out)
    assert_close(pool.lift(value, out.select, "transpose"), s @ value)


@each([c for c in CASES if c.name in ("DiffPool", "TopKPooling", "EdgePooling")])
def test_lift_is_the_pseudo_inverse(case: Case) -> None:
    pool = seeded(case)
    out = pool.coarsen(*graphs())
    value = torch.randn(out.select.num_clusters, 3, dtype=torch.float64)
    s = assignment(out)
    assert_close(pool.lift(value, out.select), torch.linalg.pinv(s.t()) @ value)
    assert_close(pool.lift(value, out.select, "transpose"), s @ value)
    if isinstance(out.select, SelectOutput):
        assert_close(out.select.to_dense(), s)


@each()
@pytest.mark.parametrize("n", [0, 1, 3])
def test_graphs_without_edges_or_nodes(case: Case, n: int) -> None:
    pool = seeded(case)
    x = torch.randn(n, F_IN, dtype=torch.float64, requires_grad=True)
    out = pool.coarsen(x, torch.empty(2, 0, dtype=torch.int64), None, torch.full((n,), 1), 3)
    assert out.x.isfinite().all()
    assert (out.x.shape[0] > 0) >= (n > 0)
    assert out.x.shape[0] == out.batch.shape[0]
    assert all(v.isfinite() for v in out.loss.values())
    (out.x.sum() + sum(out.loss.values())).backward()
    assert x.grad is None or x.grad.isfinite().all()
    if isinstance(out.select, SoftSelectOutput):
        assert out.x.shape[0] == 9


@each()
def test_without_weights_or_batch(case: Case) -> None:
    pool = seeded(case)
    x, edge_index, _, batch = graphs()
    whole, one = pool.coarsen(x, edge_index), pool.coarsen(x, edge_index, None, torch.zeros_like(batch))
    assert_close([whole.x, whole.edge_index, whole.batch], [one.x, one.edge_index, one.batch])
    assert (whole.batch == 0).all()


@each()
def test_wrong_inputs_fail_clearly(case: Case) -> None:
    pool = seeded(case)
    x, edge_index, weight, batch = graphs()
    calls: list[tuple[type[Exception], str, tuple[Any, ...]]] = [
        (ValueError, f"{case.name}: x has shape", (x[None], edge_index)),
        (TypeError, f"{case.name}: x is torch.int64", (x.long(), edge_index)),
        (TypeError, f"{case.name}: edge_index is list", (x, [[0], [1]])),
        (ValueError, "as_csr: edge_index names source node 19", (x[:17], edge_index)),
        (ValueError, f"{case.name}: {weight.shape[0] - 1} edge values", (x, edge_index, weight[1:])),
        (TypeError, f"{case.name}: edge_index is a sparse matrix; pass", (x, torch.eye(20).to_sparse_csr())),
        (ValueError, f"{case.name}: batch has shape", (x, edge_index, weight, batch[1:])),
        (
            TypeError,
            f"{case.name}: batch is torch.float64; pass integers",
            (x, edge_index, weight, batch.double()),
        ),
        (ValueError, f"{case.name}: batch has the entry -1; pass", (x, edge_index, weight, batch - 1)),
    ]
    for kind, message, args in calls:
        with pytest.raises(kind, match=message):
            pool.coarsen(*args)


def test_products_of_sets_in_any_order() -> None:
    index = torch.tensor([2, 0, 2, 2, 4, 0, 4, 4, 4, 4])
    a, b = torch.randn(10, 3, dtype=torch.float64), torch.randn(10, 2, dtype=torch.float64)
    m = torch.randn(6, 3, 2, dtype=torch.float64)
    sets = as_sets(a, index, None, 6)
    assert_close(gram(a, b, sets), torch.stack([a[index == g].t() @ b[index == g] for g in range(6)]))
    assert_close(rows_times(a, m, sets), torch.stack([a[i] @ m[index[i]] for i in range(10)]))
    assert gradcheck(
        lambda a, b, m: (gram(a, b, sets), rows_times(a, m, sets)),
        tuple(t.requires_grad_() for t in (a, b, m)),
    )


def test_coalesce_adds_equal_edges() -> None:
    edge_index = torch.randint(0, 6, (2, 60))
    value = torch.randn(60, 2, dtype=torch.float64)
    index, summed = coalesce(edge_index, value, 6)
    assert summed is not None
    assert torch.equal(index, edge_index.unique(dim=1))
    for e, (i, j) in enumerate(index.t().tolist()):
        assert_close(summed[e], value[(edge_index[0] == i) & (edge_index[1] == j)].sum(0))


def test_select_output_refuses_lists_of_unequal_length() -> None:
    with pytest.raises(
        ValueError, match="SelectOutput: node_index, cluster_index and weight have the shapes"
    ):
        SelectOutput(torch.arange(3), 3, torch.arange(2), 2)
    shared = SelectOutput(torch.tensor([0, 0]), 2, torch.tensor([0, 1]), 2)
    with pytest.raises(NotImplementedError, match="clusters that share nodes"):
        shared.lift(torch.ones(2, 1))


def test_asap_counts_a_loop_of_the_graph_once_when_it_is_traced() -> None:
    edge_index = torch.tensor([[0, 1, 2, 3, 1], [1, 2, 3, 0, 1]])
    pool, x = gnnlib.nn.ASAPooling(4, ratio=1.0).eval(), torch.eye(4)
    wanted = pool(x, edge_index)
    found = torch.compile(pool, backend="eager")(x, edge_index)
    assert torch.equal(found.edge_index, wanted.edge_index)
    assert_close(found.edge_attr, wanted.edge_attr)
    assert_close(found.x, wanted.x)
