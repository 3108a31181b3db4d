"""Every layer under autocast, where linear maps shorten what other ops do not."""

from __future__ import annotations

import pytest
import torch

from gnnlib.nn import EDHNNConv
from tests.nn.cases import CASES, F_IN, Case, plain_graph
from tests.tolerances import assert_close


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_autocast_changes_rounding_alone(case: Case) -> None:
    torch.manual_seed(0)
    layer, index = case.build().eval(), plain_graph()
    x = torch.randn(20, F_IN, requires_grad=True)
    expected = case.run(layer, x, index)
    with torch.autocast("cpu", torch.bfloat16):
        found = case.run(layer, x, index)
    assert_close(found, expected, torch.bfloat16)
    found.float().square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_ed_hnn_of_few_maps(layers: int) -> None:
    """With one map a message is as short as the map leaves it, and x_0 is not."""
    torch.manual_seed(0)
    layer, index, x = EDHNNConv(F_IN, mlp2_layers=layers).eval(), plain_graph(), torch.randn(20, F_IN)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x, x.sin(), index)
    assert_close(found, layer(x, x.sin(), index), torch.bfloat16)
