"""The float64 results that a ratio depends on, against a plain loop; and what they notice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnlib.bench import reference
from gnnlib.bench.graphs import Graph


@pytest.fixture
def graph() -> Graph:
    edge_index = torch.tensor([[0, 1, 1, 3, 2, 2, 0], [1, 1, 1, 1, 0, 0, 3]])  # node 2 receives nothing
    return Graph("small", edge_index, 4)


def _loop_max(graph: Graph, x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    out, dx = torch.zeros_like(x), torch.zeros_like(x)
    for i in range(graph.num_nodes):
        sources = [int(s) for s, t in graph.edge_index.T if int(t) == i]
        for f in range(x.size(1) if sources else 0):
            best = max(sources, key=lambda s: float(x[s, f]))  # the first of equals
            out[i, f] = x[best, f]
            dx[best, f] += grad[i, f]
    return out, dx


def test_maximum_and_its_gradient(graph: Graph) -> None:
    x = torch.randint(-2, 3, (4, 19)).double()  # small integers: ties abound
    grad = torch.randn(4, 19, dtype=torch.float64)
    out, dx = _loop_max(graph, x, grad)
    expected_out, expected_dx = reference.neighbor_max(graph, x, grad)
    assert torch.equal(expected_out.value, out)
    assert torch.allclose(expected_dx.value, dx)


def test_sum(graph: Graph) -> None:
    x = torch.randn(4, 19)
    dense = torch.zeros(4, 4, dtype=torch.float64)
    for s, t in graph.edge_index.T:
        dense[t, s] += 1
    assert torch.allclose(reference.neighbor_sum(graph, x).value, dense @ x.double())


def test_float32_rounding_passes_and_a_wrong_entry_does_not(graph: Graph) -> None:
    x = torch.randn(4, 8)
    expected = reference.neighbor_sum(graph, x)
    assert expected.disagreement(expected.value.float()) is None
    for wrong in (1e-4, float("nan"), float("inf")):
        off = expected.value.float()
        off[1, 3] += wrong
        said = expected.disagreement(off)
        assert said is not None
        assert said.startswith("out: 1 of 32 entries are off")


def test_a_wrong_shape_is_noticed(graph: Graph) -> None:
    expected = reference.neighbor_sum(graph, torch.randn(4, 8))
    assert expected.disagreement(torch.zeros(4, 7)) == "out has shape [4, 7], expected [4, 8]"


def test_a_gradient_that_is_zero_is_held_to_the_size_of_the_others() -> None:
    expected = reference.gradients({"weight": torch.ones(2), "bias": torch.zeros(2)})
    assert expected["bias"].disagreement(torch.full((2,), 5e-7)) is None
    assert expected["bias"].disagreement(torch.full((2,), 1e-5)) is not None
    assert expected["weight"].disagreement(torch.full((2,), 1.001)) is not None
