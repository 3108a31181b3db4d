"""First and second derivatives against finite differences, on each backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from tests.sparse.cases import BY_NAME, CASES, Case, leaves
from tests.sparse.graphs import TINY, Graph
from tests.tolerances import assert_close

EMPTY = Graph("empty", torch.empty(2, 0, dtype=torch.int64), 3, 2)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_first_derivative(case: Case, backend: str) -> None:
    inputs = leaves(case.inputs(TINY, torch.float64, 2))
    assert gradcheck(lambda *t: case.run(TINY, TINY.adj, *t), inputs)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_second_derivative(case: Case, backend: str) -> None:
    inputs = leaves(case.inputs(TINY, torch.float64, 2))
    assert gradgradcheck(lambda *t: case.run(TINY, TINY.adj, *t), inputs, fast_mode=True)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_second_derivative_of_a_graph_without_edges(case: Case, backend: str) -> None:
    def second(run: Callable[..., Tensor]) -> list[Tensor]:
        inputs = leaves(case.inputs(EMPTY, torch.float64, 2))
        out = run(*inputs)
        if not out.requires_grad:  # of an empty tensor the definition may know no gradient
            return [torch.zeros_like(t) for t in inputs]
        grads = torch.autograd.grad(out.square().sum(), inputs, create_graph=True, allow_unused=True)
        total = sum(g.square().sum() for g in grads if g is not None)
        if isinstance(total, Tensor) and total.requires_grad:
            total.backward()
        return [torch.zeros_like(t) if t.grad is None else t.grad for t in inputs]

    assert_close(second(lambda *t: case.run(EMPTY, EMPTY.adj, *t)), second(lambda *t: case.expect(EMPTY, *t)))


@pytest.mark.parametrize(
    "name", ["spmm-sum-edge", "spmm-max-edge", "sddmm-dot-F", "scatter-max-E", "segment_softmax-E"]
)
def test_functional_gradient(name: str) -> None:
    """``torch.func`` takes the ops too."""
    case = BY_NAME[name]
    inputs = case.inputs(TINY, torch.float64, 2)

    def loss(*t: Tensor) -> Tensor:
        return case.run(TINY, TINY.adj, *t).square().sum()

    found = torch.func.grad(loss, argnums=tuple(range(len(inputs))))(*inputs)
    held = leaves(inputs)
    assert_close(list(found), list(torch.autograd.grad(loss(*held), held)))


def test_gradient_does_not_follow_a_frozen_input() -> None:
    case = BY_NAME["spmm-sum-edge"]
    x, w = case.inputs(TINY, torch.float64)
    assert not case.run(TINY, TINY.adj, x, w).requires_grad
    with torch.no_grad():
        assert not case.run(TINY, TINY.adj, x.requires_grad_(), w).requires_grad


class _Nothing(torch.autograd.Function):
    """A function that sends no gradient back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        return None


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_no_gradient_came(case: Case) -> None:
    held = leaves(case.inputs(TINY, torch.float32))
    found = case.run(TINY, TINY.adj, *held)
    outputs = [t for t in (found if isinstance(found, tuple) else (found,)) if t.requires_grad]
    for out in outputs:
        _Nothing.apply(out).sum().backward(retain_graph=True)  # type: ignore[no-untyped-call]
    assert all(t.grad is None or not t.grad.any() for t in held)


@pytest.mark.parametrize("name", ["spmm-max-plain", "edge_attention-additive"])
def test_backward_fills_no_zeros_for_outputs_without_a_gradient(name: str) -> None:
    case = BY_NAME[name]
    held = leaves(case.inputs(TINY, torch.float32))
    out = case.run(TINY, TINY.adj, *held)
    upstream = torch.ones_like(out)
    with torch.profiler.profile() as seen:
        torch.autograd.grad(out, held, upstream)
    assert "aten::zeros" not in {event.name for event in seen.events() or ()}


def test_inference_mode() -> None:
    for case in CASES:
        inputs = case.inputs(TINY, torch.float32)
        wanted = case.run(TINY, TINY.adj, *inputs)
        with torch.inference_mode():
            assert torch.equal(case.run(TINY, TINY.adj, *inputs), wanted)
