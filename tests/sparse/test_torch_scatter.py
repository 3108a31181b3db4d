"""The torch-scatter backend, where that package is installed."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gnnlib.sparse import registry, scatter, segment_reduce, segment_softmax, use_backend
from tests.sparse.cases import CASES, Case, actual, expected, leaves, upstream
from tests.sparse.graphs import HUBS, LARGE, MIXED, TINY, ZOO, Graph
from tests.tolerances import assert_close

OPS = ("segment_reduce", "segment_softmax", "scatter")
OURS = [c for c in CASES if c.op in OPS]
each_case = pytest.mark.parametrize("case", OURS, ids=repr)

installed = pytest.mark.skipif(
    ("torch_scatter", "the package 'torch_scatter' is not installed") in registry.unavailable("scatter"),
    reason="torch-scatter is not installed; 'pip install --no-build-isolation torch-scatter' builds it",
)


def check(case: Case, graph: Graph, dtype: torch.dtype, width: int = 3) -> None:
    assert graph.adj.transposed is not None  # built before the backend, which knows segments only, is forced
    inputs = case.inputs(graph, dtype, width)
    with use_backend("torch_scatter"):
        found = actual(case, graph, inputs)
    assert [t.dtype for t in found] == [dtype] * len(found)
    assert_close(found, expected(case, graph, inputs, upstream(found[0])), dtype)


@installed
@each_case
def test_awkward_graphs(case: Case) -> None:
    for graph in (*ZOO, MIXED, HUBS, LARGE):
        check(case, graph, torch.float64)


@installed
@each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_dtypes(case: Case, dtype: torch.dtype) -> None:
    check(case, MIXED, dtype, 17)


@installed
@each_case
def test_derivatives(case: Case) -> None:
    adj = TINY.adj
    inputs = leaves(case.inputs(TINY, torch.float64, 2))
    with use_backend("torch_scatter"):
        assert gradcheck(lambda *t: case.run(TINY, adj, *t), inputs)
        assert gradgradcheck(lambda *t: case.run(TINY, adj, *t), inputs, fast_mode=True)


@installed
@pytest.mark.parametrize("case", [c for c in OURS if c.ties], ids=repr)
def test_a_tie_sends_its_whole_gradient_to_the_first_edge(case: Case) -> None:
    for graph in (*ZOO, HUBS):
        adj = graph.adj
        inputs = [t.sign() for t in case.inputs(graph, torch.float32)]
        ones = torch.ones_like(case.run(graph, adj, *inputs))
        with use_backend("torch_scatter"):
            found = actual(case, graph, inputs, ones)
        assert_close(found, expected(case, graph, inputs, ones))


@installed
def test_infinite_scores() -> None:
    """A segment of -inf alone gives 0, a NaN fills its own segment."""
    score = torch.tensor([-torch.inf, -torch.inf, 1.0, -torch.inf, torch.nan, 0.0, 2.0])
    indptr = torch.tensor([0, 2, 2, 4, 6, 7])
    with use_backend("torch_scatter"):
        out = segment_softmax(score, indptr)
    assert_close(out, torch.tensor([0.0, 0.0, 1.0, 0.0, torch.nan, torch.nan, 1.0]))


@installed
def test_what_it_gets_wrong_is_refused() -> None:
    """Its max passes over NaN and turns -inf into the smallest number: the next backend takes these."""
    indptr, index = torch.tensor([0, 2, 3]), torch.tensor([0, 0, 1])
    for value in (torch.nan, torch.inf, -torch.inf):
        src = torch.tensor([value, 1.0, value])
        for reduce in ("max", "min"):
            with use_backend("torch_scatter"):
                with pytest.raises(
                    NotImplementedError, match=rf"torch_scatter: its {reduce} passes over NaN"
                ):
                    segment_reduce(src, indptr, reduce)
                with pytest.raises(
                    NotImplementedError, match=rf"torch_scatter: its {reduce} passes over NaN"
                ):
                    scatter(src, index, 2, reduce)
        with use_backend("torch_scatter"):
            assert_close(segment_reduce(src, indptr, "sum"), torch.tensor([value + 1, value]))


def test_its_place_among_the_backends() -> None:
    """It comes after our own kernels; a missing package is the reason that ``gnnlib doctor`` prints."""
    for op in OPS:
        found = [k.backend for k in registry.load(op)]
        reasons = dict(registry.unavailable(op))
        assert ("torch_scatter" in found) != ("torch_scatter" in reasons)
        assert reasons.get("torch_scatter", "the package 'torch_scatter' is not installed") == (
            "the package 'torch_scatter' is not installed"
        )
        assert found == [b for b in ("gpu", "cpu", "torch_scatter", "reference") if b in found]
