"""Layers whose own maps follow the propagation: weights of another precision, and autocast."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gnnlib.nn import AIRConv, DAGNNConv, GatedGraphConv, MixHopConv
from tests.nn.cases import plain_graph
from tests.tolerances import assert_close

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "air": lambda: AIRConv(4, 2),
    "dagnn": lambda: DAGNNConv(4, 2),
    "gated": lambda: GatedGraphConv(4, 2),
    "mixhop": lambda: MixHopConv(4, 3),
}


@pytest.mark.parametrize("name", sorted(LAYERS))
@pytest.mark.parametrize(("features", "weights"), [("float32", "float64"), ("float64", "float32")])
def test_weights_take_the_precision_of_the_features(name: str, features: str, weights: str) -> None:
    edge_index = plain_graph()
    layer = LAYERS[name]().to(getattr(torch, features))
    x = torch.randn(20, 4, dtype=getattr(torch, features))
    weight = torch.rand(edge_index.size(1), dtype=getattr(torch, weights)).requires_grad_()
    out = layer(x, edge_index, weight)
    assert out.dtype == x.dtype
    assert_close(out, layer(x, edge_index, weight.to(x.dtype)))
    (grad,) = torch.autograd.grad(out.sum(), weight)
    assert grad.dtype == weight.dtype


@pytest.mark.parametrize("name", sorted(LAYERS))
@pytest.mark.parametrize("weighted", [False, True])
def test_autocast(name: str, weighted: bool) -> None:
    layer, x, edge_index = LAYERS[name](), torch.randn(20, 4), plain_graph()
    weight = torch.rand(edge_index.size(1)) if weighted else None
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x, edge_index, weight)
    expected = layer(x, edge_index, weight)
    assert (out.float() - expected).abs().max() < 0.05 * expected.abs().max()
    out.float().sum().backward()
