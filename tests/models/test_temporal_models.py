"""Forecasting models: shapes, relabelling, what they may see, and scheduled sampling."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib import models
from gnnlib.models import DCRNN, STGCN, DCRNNConfig, GraphWaveNet, GraphWaveNetConfig, STGCNConfig
from tests.nn.cases import plain_graph, weighted_graph
from tests.tolerances import assert_close

N, B, T, F_IN, AHEAD = 20, 3, 12, 2, 5
SMALL: dict[str, dict[str, Any]] = {
    "dcrnn": {"hidden_channels": 4},
    "graph-wavenet": {
        "hidden_channels": 4,
        "num_layers": 2,
        "skip_channels": 6,
        "end_channels": 5,
        "rank": 3,
    },
    "stgcn": {"hidden_channels": 12, "spatial_channels": 3},
}
each = pytest.mark.parametrize("name", models.names("forecast"))


def build(name: str, **options: Any) -> Any:
    config = models.config_class(name)(**{**SMALL[name], **options})
    return models.build(name, "forecast", F_IN, AHEAD, config, sizes=(N,))


def series(seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(B, T, N, F_IN, generator=draw, dtype=torch.float64)


def test_every_forecasting_model_is_tested() -> None:
    assert set(SMALL) == set(models.names("forecast"))


@each
def test_shapes_gradients_and_the_same_seeded_state(name: str) -> None:
    model = build(name)
    x, edge_index = series().float(), weighted_graph(N)
    weight = torch.rand(edge_index.size(1))
    out = model(x, edge_index, weight)
    assert out.shape == (B, AHEAD, N)
    out.square().sum().backward()
    assert not [k for k, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert build(name).eval()(x[0], edge_index, weight).shape == (AHEAD, N)
    states = []
    for m in (model, build(name)):
        torch.manual_seed(5)
        m.reset_parameters()
        states.append(m.state_dict())
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


@each
def test_a_batch_gives_what_its_series_give_and_nodes_may_be_relabelled(name: str) -> None:
    model = build(name).double().eval()
    x, edge_index = series(), weighted_graph(N)
    weight = torch.rand(edge_index.size(1), dtype=torch.float64)
    out = model(x, edge_index, weight)
    assert_close(out[1], model(x[1], edge_index, weight))
    order = torch.randperm(N)
    other = copy.deepcopy(model)
    if name == "graph-wavenet":  # the embeddings belong to the nodes
        with torch.no_grad():
            other.source.copy_(model.source[order])
            other.target.copy_(model.target[order])
    assert_close(other(x[:, :, order], order.argsort()[edge_index], weight), out[..., order])


@each
def test_the_last_step_and_the_graph_count(name: str) -> None:
    model = build(name, **({"adaptive": False} if name == "graph-wavenet" else {})).double().eval()
    x, edge_index = series(), plain_graph(N)
    out = model(x, edge_index)
    other = x.clone()
    other[:, -1] += 1
    moved = (model(other, edge_index) - out).abs() > 1e-8
    assert moved.double().mean() > 0.7  # a rectifier may hide the step from a node
    lonely = x.clone()
    lonely[:, :, edge_index[0, 0]] += 1  # one node: its neighbours notice, the isolated last ones do not
    differs = (model(lonely, edge_index) - out).abs().amax(dim=(0, 1)) > 1e-12
    assert differs[edge_index[:, 0]].all()
    assert not differs[-3:].any()


def test_wavenet_pads_and_looks_as_far_as_its_field() -> None:
    config = GraphWaveNetConfig(**SMALL["graph-wavenet"], dilations=(1, 2), adaptive=False)
    model = GraphWaveNet(config, F_IN, AHEAD, N).double().eval()
    assert model.field == 7
    edge_index, x = plain_graph(N), series()
    early = x.clone()
    early[:, : T - 7] += 1
    assert_close(model(early, edge_index), model(x, edge_index))
    early[:, T - 7] += 1
    assert (model(early, edge_index) - model(x, edge_index)).abs().max() > 1e-8
    led = torch.cat([torch.zeros(B, 3, N, F_IN, dtype=torch.float64), x[:, -4:]], dim=1)
    assert_close(model(x[:, -4:], edge_index), model(led, edge_index))


def test_scheduled_sampling_shows_the_truth_and_then_stops() -> None:
    model = DCRNN(DCRNNConfig(hidden_channels=4, sampling_decay=10.0), F_IN, AHEAD).double()
    x, edge_index = series(), plain_graph(N)
    target = torch.randn(B, AHEAD, N, dtype=torch.float64)
    free = model(x, edge_index)
    assert int(model.seen) == 0  # a call without a target is no training step
    assert model.truth == pytest.approx(10 / 11)
    model.seen.fill_(30)
    assert model.truth == pytest.approx(10 / (10 + math.exp(3)))
    model.seen.fill_(10**6)
    assert_close(model(x, edge_index, None, target), free)  # the truth is shown no more
    assert int(model.seen) == 10**6 + 1
    model.config = DCRNNConfig(hidden_channels=4, sampling_decay=1e9)
    shown = model(x, edge_index, None, target)
    assert_close(shown[:, 0], free[:, 0])
    assert ((shown[:, 1:] - free[:, 1:]).abs() > 1e-8).any(dim=0).all()
    changed = target.clone()
    changed[:, 2] += 1  # step 2 is read when step 3 is made
    differs = (model(x, edge_index, None, changed) - shown).abs().amax(dim=(0, 2)) > 1e-12
    assert differs.tolist() == [False, False, False, True, True]
    assert_close(model.eval()(x, edge_index, None, target), free)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DCRNNConfig(K=0), "K=0; pass 1 or more"),
        (lambda: DCRNNConfig(sampling_decay=-1), "sampling_decay=-1"),
        (lambda: STGCNConfig(history=8), "history=8; pass 9 or more"),
        (lambda: GraphWaveNetConfig(dilations=()), "dilations"),
        (lambda: models.build("graph-wavenet", "forecast", 2, 3), "pass the number of nodes"),
        (lambda: models.build("gcn", "forecast", 2, 3), "serves graph, link, node, not forecast"),
        (lambda: STGCN(STGCNConfig(), F_IN, 3)(torch.randn(11, N, F_IN), plain_graph(N)), "12, N, F"),
        (lambda: build("graph-wavenet")(torch.randn(N, F_IN), plain_graph(N)), r"T, N, F\]"),
        (lambda: build("dcrnn")(torch.randn(N, F_IN), plain_graph(N)), r"T, N, F\]"),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
