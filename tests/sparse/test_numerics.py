"""The rules of precision: NaN and infinity, ties, empty segments, and sums in short types."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from gnnlib.sparse import as_csr, scatter, sddmm, segment_reduce, segment_softmax, spmm
from tests.sparse.cases import BY_NAME, CASES, Case, actual, expected, upstream
from tests.sparse.graphs import HUBS, MIXED, ZOO, Graph, draw
from tests.tolerances import assert_close

SHORT = (torch.bfloat16, torch.float16)
TIES = [c for c in CASES if c.ties and "scale" not in c.name]


def poisoned(tensor: Tensor, value: float) -> Tensor:
    """The tensor with ``value`` in a few places."""
    flat = tensor.clone().flatten()
    flat[3::17] = value
    return flat.view_as(tensor)


def assert_contained(found: list[Tensor], wanted: list[Tensor], dtype: torch.dtype | None = None) -> None:
    """Outputs agree, NaN for NaN; gradients agree wherever the definition's is finite.

    The definition multiplies each message by its weight, so it sends NaN to edges that lost to a NaN too.
    """
    assert_close(found[0], wanted[0], dtype)
    for a, b in zip(found[1:], wanted[1:], strict=True):
        finite = b.isfinite()
        assert_close(a[finite], b[finite], dtype)


#: Each source has an edge, two targets have none.
REACHED = Graph(
    "reached",
    torch.cat([draw(13, 13, 30), torch.stack([torch.arange(13), torch.arange(13).flip(0)])], 1),
    13,
    15,
)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_special_values_stay_in_their_own_rows(case: Case, backend: str) -> None:
    """In each input by itself: what the definition does to them, and nothing anywhere else."""
    clean = case.inputs(REACHED, torch.float64)
    for k, value in itertools.product(range(len(clean)), (torch.nan, torch.inf, -torch.inf)):
        inputs = [poisoned(t, value) if i == k else t for i, t in enumerate(clean)]
        assert_contained(actual(case, REACHED, inputs), expected(case, REACHED, inputs))


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_nan_gradient_stays_in_its_own_rows(case: Case, backend: str) -> None:
    """Also that of an empty row, which has no edge to send it to."""
    for graph in (MIXED, next(g for g in ZOO if g.name == "leading-and-trailing-empty-rows")):
        inputs = case.inputs(graph, torch.float64)
        grad = upstream(case.run(graph, graph.adj, *inputs))
        grad.select(case.shapes[0].index("E") if case.op == "scatter" else 0, -1)[...] = torch.nan
        assert_close(actual(case, graph, inputs, grad), expected(case, graph, inputs, grad))


@pytest.mark.parametrize("name", ["spmm-max-plain", "spmm-min-edge", "scatter-max-E", "segment_reduce-min-E"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_nan_wins_max_and_min_in_a_hub(name: str, dtype: torch.dtype, backend: str) -> None:
    """The first NaN of the row wins, whichever piece of the row it is in."""
    case = BY_NAME[name]
    inputs = case.inputs(HUBS, dtype, 9)
    inputs[-1][5:-1:911] = torch.nan
    assert_contained(actual(case, HUBS, inputs), expected(case, HUBS, inputs), dtype)


@pytest.mark.parametrize("case", TIES, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *SHORT], ids=str)
def test_a_tie_sends_its_whole_gradient_to_the_first_edge(
    dtype: torch.dtype, case: Case, backend: str
) -> None:
    for graph in ZOO:
        inputs = [(2 * t).round().clamp(-1, 1) for t in case.inputs(graph, dtype)]  # -1, 0 and 1, many equal
        found = actual(case, graph, inputs, torch.ones_like(case.run(graph, graph.adj, *inputs)))
        wanted = expected(case, graph, inputs, torch.ones_like(found[0]))
        assert_close(found, wanted, dtype)


@pytest.mark.parametrize(
    "name", ["spmm-max-plain", "spmm-min-edge-heads", "segment_reduce-max-E", "scatter-min-E"]
)
def test_a_tie_in_a_hub(name: str, backend: str) -> None:
    """The first edge may be in another piece of the row than its equals."""
    case = BY_NAME[name]
    inputs = [t.sign() for t in case.inputs(HUBS, torch.float32, 17)]
    assert_close(actual(case, HUBS, inputs), expected(case, HUBS, inputs))


@pytest.mark.parametrize("dtype", SHORT, ids=str)
def test_products_in_short_types_tie_only_when_equal(dtype: torch.dtype, backend: str) -> None:
    """The winner is found before the product is rounded, on each backend."""
    x, weight = torch.randn(64, 16).to(dtype), (1 + torch.rand(64 * 16)).to(dtype)
    graph = Graph("dense", torch.stack([torch.arange(1024) % 64, torch.arange(1024) // 64]), 64, 16)
    case = BY_NAME["spmm-max-edge"]
    assert_close(actual(case, graph, [x, weight]), expected(case, graph, [x, weight]), dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *SHORT], ids=str)
def test_empty_segments_are_zero(dtype: torch.dtype, backend: str) -> None:
    for case in CASES:
        if case.op not in ("spmm", "segment_reduce", "scatter"):
            continue  # others make a finite number, or none, of -inf
        for graph in ZOO:
            inputs = [torch.full_like(t, -torch.inf) for t in case.inputs(graph, dtype)]
            inputs[1:] = [torch.ones_like(t) for t in inputs[1:]]
            out = case.run(graph, graph.adj, *inputs)
            out = out.movedim(1, 0) if case.name.endswith("HEF") else out
            empty = graph.adj.degree == 0
            assert not out[empty].any()
            assert (out[~empty] == -torch.inf).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *SHORT], ids=str)
def test_softmax_of_minus_infinity(dtype: torch.dtype, backend: str) -> None:
    """A segment of nothing but -inf gives 0 and takes no gradient; in others such a score gives 0."""
    indptr = torch.tensor([0, 3, 3, 5, 8])
    score = torch.tensor([-torch.inf] * 3 + [1.0, -torch.inf] + [0.0, 0.0, -torch.inf], dtype=dtype)
    score.requires_grad_()
    out = segment_softmax(score, indptr)
    assert out.tolist() == [0, 0, 0, 1, 0, 0.5, 0.5, 0]
    (out * torch.arange(8)).sum().backward()
    assert score.grad.isfinite().all()
    assert not score.grad[[0, 1, 2, 4, 7]].any()


def test_softmax_of_large_scores(backend: str) -> None:
    out = segment_softmax(torch.tensor([1e30, 1e30, -1e30, 700.0, 710.0]), torch.tensor([0, 3, 5]))
    assert_close(out, torch.tensor([0.5, 0.5, 0.0, *torch.tensor([700.0, 710.0]).softmax(0).tolist()]))


# A short type stops counting ones at 256 (bfloat16) or 2048 (float16): the next one is rounded away.
MANY = 2500


@pytest.fixture
def fan() -> Tensor:
    """Edges from MANY sources to node 0."""
    return torch.stack([torch.arange(MANY), torch.zeros(MANY, dtype=torch.int64)])


@pytest.mark.parametrize("dtype", SHORT, ids=str)
def test_short_types_sum_in_float32(dtype: torch.dtype, fan: Tensor, backend: str) -> None:
    wanted = torch.tensor(float(MANY)).to(dtype)
    one = torch.ones(MANY, 3, dtype=dtype)
    into = as_csr(fan, (MANY, 1))
    assert (spmm(into, one) == wanted).all()
    assert (spmm(into, one, one[:, 0]) == wanted).all()
    assert (spmm(into, one, reduce="mean") == 1).all()
    assert (spmm(into, one, row_scale=torch.full((1,), 1 / MANY)) == 1).all()
    assert (segment_reduce(one, into.indptr) == wanted).all()
    assert (segment_reduce(one, into.indptr, "mean") == 1).all()
    assert (scatter(one, fan[1], 1) == wanted).all()
    assert (scatter(one, fan[1], 1, "mean") == 1).all()
    row = torch.ones(1, MANY, dtype=dtype)
    assert (sddmm(torch.zeros(2, 1, dtype=torch.int64), row, row) == wanted).all()


@pytest.mark.parametrize("dtype", SHORT, ids=str)
def test_short_gradients_sum_in_float32(dtype: torch.dtype, fan: Tensor, backend: str) -> None:
    """Node 0 is the source of all edges, so its gradient is a sum over them."""
    wanted = torch.tensor(float(MANY)).to(dtype)
    away = as_csr(fan.flip(0), (1, MANY))
    one = torch.ones(MANY, dtype=dtype)
    for run in (
        lambda x: spmm(away, x),
        lambda x: spmm(away, x, one),
        lambda x: spmm(away, x, reduce="mean"),
        lambda x: spmm(away, x, reduce="max"),
        lambda x: spmm(away, x, one, "min"),
        lambda x: sddmm(away, torch.ones(MANY, 3, dtype=dtype), x),
        lambda x: sddmm(away, torch.ones(MANY, 3, dtype=dtype), x, "add"),
    ):
        x = torch.ones(1, 3, dtype=dtype, requires_grad=True)
        run(x).sum().backward()
        assert (x.grad == wanted).all()


@pytest.mark.parametrize("dtype", SHORT, ids=str)
def test_short_softmax_adds_up_to_one(dtype: torch.dtype, backend: str) -> None:
    out = segment_softmax(torch.zeros(MANY, dtype=dtype), torch.tensor([0, MANY]))
    assert (out == torch.tensor(1 / MANY).to(dtype)).all()


def test_float64_sums_in_float64(backend: str) -> None:
    """A float32 anywhere on the way would lose the small terms."""
    x = torch.full((100, 2), 1e-12, dtype=torch.float64)
    x[0] = 1
    edge_index = torch.stack([torch.arange(100), torch.zeros(100, dtype=torch.int64)])
    small = 99e-12
    for out in (
        spmm(edge_index, x)[0],
        spmm(edge_index, x, torch.ones(100))[0],
        100 * spmm(edge_index, x, reduce="mean")[0],
        scatter(x, edge_index[1], 1)[0],
        segment_reduce(x, torch.tensor([0, 100]))[0],
    ):
        assert out.dtype == torch.float64
        assert_close(out - 1, torch.full_like(out, small) + 0, torch.float64)
        assert ((out - 1) / small - 1).abs().max() < 1e-3


def test_mixed_dtypes_take_the_wider_one(backend: str) -> None:
    x, w = torch.randn(37, 3, dtype=torch.bfloat16), torch.randn(MIXED.num_edges)
    assert spmm(MIXED.edge_index, x, w).dtype == torch.float32
    assert spmm(MIXED.edge_index, x, w.double()).dtype == torch.float64
    assert sddmm(MIXED.edge_index, x, x.float()).dtype == torch.float32
    scaled = spmm(MIXED.edge_index, x, row_scale=torch.ones(37), col_scale=torch.ones(37))
    assert scaled.dtype == torch.bfloat16
