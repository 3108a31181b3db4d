"""torch's dropout on the core: on request alone, and back."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn

import gnnlib
from gnnlib.accel import layers
from gnnlib.accel.swap import Accelerated
from tests.nn.cases import plain_graph

X = torch.ones(60, 100)


def network() -> pyg.GCN:
    return pyg.GCN(6, 200, num_layers=2, out_channels=3, dropout=0.5)


def fast(model: nn.Module) -> bool:
    return any(isinstance(m, Accelerated) and isinstance(m, nn.Dropout) for m in model.modules())


def test_only_on_request() -> None:
    model = network()
    assert not fast(gnnlib.accelerate(model))
    before = repr(model)
    assert fast(gnnlib.accelerate(model, dropout=True))
    assert repr(model) == before
    assert model.dropout.__class__ is nn.Dropout
    assert [layer.kind for layer in layers(model)].count("Dropout") == 1
    gnnlib.decelerate(model)
    assert type(model.dropout) is nn.Dropout


def test_drops_as_often_and_in_its_own_way() -> None:
    ours, theirs = gnnlib.accelerate(nn.Dropout(0.3), dropout=True), nn.Dropout(0.3)
    torch.manual_seed(2)
    out = ours(X)
    torch.manual_seed(2)
    assert not torch.equal(theirs(X), out)
    assert float((out == 0).double().mean()) == pytest.approx(0.3, abs=0.03)
    torch.testing.assert_close(out[out != 0], (X / 0.7)[out != 0])
    assert ours.eval()(X) is X


def test_follows_its_options() -> None:
    layer = gnnlib.accelerate(nn.Dropout(0.3), dropout=True)
    layer.p = 0.9
    assert float((layer(X) == 0).double().mean()) == pytest.approx(0.9, abs=0.03)
    layer.inplace = True
    own = X.clone()
    assert layer(own) is own
    assert "inplace=True" in next(iter(layers(layer))).why


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_fast_too(again: object) -> None:
    assert callable(again)
    assert fast(again(gnnlib.accelerate(network(), dropout=True)))


def test_a_subclass_with_its_own_forward_is_left_alone() -> None:
    class Own(nn.Dropout):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return input

    assert type(gnnlib.accelerate(Own(), dropout=True)) is Own


def test_the_model_is_stocks_in_evaluation_and_trains() -> None:
    x, edge_index = torch.randn(20, 6), plain_graph()
    model = network()
    stock = copy.deepcopy(model)
    gnnlib.accelerate(model, dropout=True)
    torch.testing.assert_close(model.eval()(x, edge_index), stock.eval()(x, edge_index))
    compiled = torch.compile(model.train(), fullgraph=True, backend="aot_eager")
    for run in (model, compiled):
        run(x, edge_index).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
