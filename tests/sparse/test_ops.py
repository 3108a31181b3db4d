"""Every op on every awkward graph against the naive definition, gradients included, on each backend."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from gnnlib.sparse import use_backend
from tests.sparse.cases import BY_NAME, CASES, SOME, Case, actual, expected, upstream
from tests.sparse.graphs import HUBS, HUGE_HUB, MIXED, ZOO, Graph, turned
from tests.tolerances import assert_close

WIDTHS = (0, 1, 3, 7, 8, 15, 16, 17, 33, 64, 100, 129)
WIDE_CASES = (
    "spmm-sum-plain-row-col",
    "spmm-sum-edge",
    "spmm-sum-edge-heads",
    "spmm-mean-heads",
    "spmm-max-plain",
    "spmm-min-edge-heads",
    "sddmm-dot-F",
    "sddmm-dot-HF",
    "sddmm-sub-F",
    "segment_reduce-max-EHF",
    "scatter-sum-HEF",
)


def check(case: Case, graph: Graph, inputs: list[Tensor]) -> None:
    found = actual(case, graph, inputs)
    wanted = expected(case, graph, inputs, upstream(found[0]))
    assert [t.dtype for t in found] == [inputs[0].dtype] * len(found)
    assert_close(found, wanted, inputs[0].dtype)


@contextmanager
def trying(what: object) -> Iterator[None]:
    """Name what was tried in the report of a failure."""
    try:
        yield
    except Exception as error:
        error.add_note(f"with {what}")
        raise


each_case = pytest.mark.parametrize("case", CASES, ids=repr)


@each_case
def test_awkward_graphs(case: Case, backend: str) -> None:
    for graph in ZOO:
        with trying(graph):
            check(case, graph, case.inputs(graph, torch.float64))


@each_case
def test_dtypes(case: Case, backend: str) -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        with trying(dtype):
            check(case, MIXED, case.inputs(MIXED, dtype))


@pytest.mark.parametrize("name", WIDE_CASES)
def test_widths(name: str, backend: str) -> None:
    """Widths around the vectors and tiles of the kernels."""
    case = BY_NAME[name]
    dtypes = (torch.float32, torch.float64) if backend == "cpu" else (torch.float64,)
    for width, dtype in itertools.product(WIDTHS, dtypes):
        with trying((width, dtype)):
            check(case, MIXED, case.inputs(MIXED, dtype, width))


@pytest.mark.parametrize("case", SOME, ids=repr)
@pytest.mark.parametrize("graph", [HUBS, turned(HUBS), HUGE_HUB, turned(HUGE_HUB)], ids=repr)
def test_hubs(graph: Graph, case: Case) -> None:
    """In float64 by one thread; test_bits.py finds the bits of two equal, in float32."""
    inputs = case.inputs(graph, torch.float64, 9)
    wanted = expected(case, graph, inputs)
    for backend in ("cpu", "reference"):
        with trying(backend), use_backend(backend):
            assert_close(actual(case, graph, inputs), wanted)


def _every_second(t: Tensor) -> Tensor:
    return torch.stack([t, torch.full_like(t, torch.nan)], dim=-1).flatten(-2)[..., ::2]


def _dims_reversed(t: Tensor) -> Tensor:
    order = list(reversed(range(t.dim())))
    return t.permute(order).contiguous().permute(order)


def _inside_a_larger(t: Tensor) -> Tensor:
    return torch.nn.functional.pad(t, [1, 2] * t.dim(), value=torch.nan)[
        tuple(slice(1, 1 + n) for n in t.shape)
    ]


LAYOUTS = (_every_second, _dims_reversed, _inside_a_larger)


@each_case
def test_strided_inputs(case: Case, backend: str) -> None:
    """Inputs and upstream gradients that do not lie densely in memory."""
    for layout in LAYOUTS:
        with trying(layout.__name__):
            dense = case.inputs(MIXED, torch.float64)
            held = [layout(t).requires_grad_() for t in dense]
            out = case.run(MIXED, MIXED.adj, *held)
            grad = upstream(out)
            found = torch.autograd.grad(out, held, layout(grad))
            assert_close([out.detach(), *found], expected(case, MIXED, dense, grad))


@each_case
def test_expanded_gradient(case: Case) -> None:
    """``out.sum().backward()`` sends back a tensor without memory of its own."""
    dense = case.inputs(MIXED, torch.float64)
    held = [t.requires_grad_() for t in dense]
    out = case.run(MIXED, MIXED.adj, *held)
    out.sum().backward()
    wanted = expected(case, MIXED, [t.detach() for t in dense], torch.ones_like(out))
    assert_close([t.grad for t in held], wanted[1:])


@pytest.mark.parametrize("case", [c for c in CASES if len(c.shapes) > 1], ids=repr)
def test_one_input_at_a_time(case: Case) -> None:
    """The gradient to one input does not need that the others want theirs."""
    inputs = case.inputs(MIXED, torch.float64)
    together = actual(case, MIXED, inputs)
    for k in range(len(inputs)):
        held = [t.clone().requires_grad_(i == k) for i, t in enumerate(inputs)]
        out = case.run(MIXED, MIXED.adj, *held)
        out.backward(upstream(out))
        assert_close(held[k].grad, together[1 + k])
        assert all(t.grad is None for i, t in enumerate(held) if i != k)


@each_case
def test_relabelling_nodes_relabels_the_output(case: Case, backend: str) -> None:
    """Nodes under other numbers, edges in the same order: the same values, moved with their nodes."""
    generator = torch.Generator().manual_seed(3)
    row, col = (torch.randperm(37, generator=generator) for _ in range(2))
    if any("N" in shape for shape in case.shapes):
        col = row  # one set of nodes
    inverse = {"R": row.argsort(), "C": col.argsort(), "N": row.argsort()}
    edge_index = torch.stack([col[MIXED.edge_index[0]], row[MIXED.edge_index[1]]])
    other = Graph("relabelled", edge_index, 37, 37)
    inputs = case.inputs(MIXED, torch.float64)
    moved = [
        t.index_select(0, inverse[shape[0]]) if shape[0] in inverse else t
        for t, shape in zip(inputs, case.shapes, strict=True)
    ]
    before = case.run(MIXED, MIXED.adj, *inputs)
    after = case.run(other, other.adj, *moved)
    if case.op in ("sddmm", "segment_softmax", "lstm_step"):
        assert_close(after, before)
    else:
        dim = before.shape.index(37)
        assert_close(after.index_select(dim, row), before)
