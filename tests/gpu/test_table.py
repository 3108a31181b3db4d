"""Every case of the core's table on the gpu backend: values and gradients against the float64 oracle."""

from __future__ import annotations

import pytest
import torch

from tests.gpu.table import on_device
from tests.sparse.cases import CASES, SOME, Case, expected
from tests.sparse.graphs import MIXED, ZOO, Graph
from tests.tolerances import assert_close

STAR = next(g for g in ZOO if g.name == "star")
AWKWARD = [g for g in ZOO if g.name in ("no-nodes", "no-edges", "no-targets", "no-sources", "isolated")]


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_values_and_gradients(case: Case, device: torch.device) -> None:
    inputs = case.inputs(MIXED, torch.float32, 5)
    assert_close(on_device(case, MIXED, inputs, device), expected(case, MIXED, inputs))


@pytest.mark.usefixtures("short_pieces")
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_hubs_are_merged(case: Case, device: torch.device) -> None:
    inputs = case.inputs(MIXED, torch.float64)
    assert_close(on_device(case, MIXED, inputs, device), expected(case, MIXED, inputs))


@pytest.mark.parametrize("case", SOME, ids=repr)
@pytest.mark.parametrize("graph", AWKWARD, ids=repr)
def test_awkward_graphs(graph: Graph, case: Case, device: torch.device) -> None:
    inputs = case.inputs(graph, torch.float32)
    assert_close(on_device(case, graph, inputs, device), expected(case, graph, inputs))


@pytest.mark.usefixtures("short_pieces")
@pytest.mark.parametrize("case", SOME, ids=repr)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_short_types(dtype: torch.dtype, case: Case, device: torch.device) -> None:
    inputs = case.inputs(STAR, dtype)
    assert_close(on_device(case, STAR, inputs, device), expected(case, STAR, inputs), dtype)
