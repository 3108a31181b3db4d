"""Residual stacks: the order of their parts, and edge features on their way to the layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from gnnlib import models
from gnnlib.models import GGNNConfig, ResidualConfig, ResidualGATConfig
from tests.nn.cases import plain_graph
from tests.tolerances import assert_close

N = 20


def test_norm_last_is_the_network_of_tree_neighbors_match() -> None:
    config = ResidualConfig(
        hidden_channels=8, num_layers=2, norm="layer", order="norm_last", out_bias=False, input_dropout=0.0
    )
    model: Any = models.build("residual-gcn", "node", 2, 5, config, encoder="atom", feature_sizes=[4, 4])
    x = torch.randint(0, 4, (N, 2))
    h = model.categories(x)
    for conv, norm in zip(model.encoder.convs, model.encoder.norms, strict=True):
        assert isinstance(norm, torch.nn.LayerNorm)
        h = norm(h + F.relu(conv(h, plain_graph())))
    assert model.encoder.last.bias is None
    assert_close(model(x, plain_graph()), model.encoder.last(h))


def test_norm_first_is_that_of_the_long_range_benchmark() -> None:
    model: Any = models.build(
        "gatedgcn", "graph", 3, 5, ResidualConfig(hidden_channels=8, num_layers=2)
    ).eval()
    x = torch.randn(N, 3)
    h = model.encoder.first(x)
    for conv, norm in zip(model.encoder.convs, model.encoder.norms, strict=True):
        h = h + F.relu(norm(conv(h, plain_graph())))
    assert_close(model(x, plain_graph()), model.lin(h.mean(0, keepdim=True)))


@pytest.mark.parametrize("name", ["gatedgcn", "gine"])
@pytest.mark.parametrize("task", ["node", "graph"])
def test_edge_features_arrive(name: str, task: str) -> None:
    assert models.takes_edges(name)
    edge_index = plain_graph()
    build = models.build
    model: Any = build(
        name, task, 3, 2, ResidualConfig(hidden_channels=8, norm="none"), edge_channels=4
    ).eval()
    x, edge_attr = torch.randn(N, 3), torch.randn(edge_index.size(1), 4)
    where = (None,) if task == "node" else (None, 1)
    out = model(x, edge_index, *where, edge_attr)
    assert (out - model(x, edge_index, *where, edge_attr.flip(0))).abs().max() > 1e-4
    order = torch.randperm(edge_index.size(1))
    assert_close(model(x, edge_index[:, order], *where, edge_attr[order]), out)
    with pytest.raises(ValueError, match="built for 4 edge features but edge_attr is missing"):
        model(x, edge_index)
    categories: Any = build(
        name, task, 3, 2, ResidualConfig(hidden_channels=8), edge_channels=2, edge_feature_sizes=[3, 5]
    ).eval()
    integers = torch.stack(
        [torch.randint(0, 3, (edge_attr.size(0),)), torch.randint(0, 5, (edge_attr.size(0),))], 1
    )
    assert categories(x, edge_index, *where, integers).isfinite().all()


def test_ggnn_shares_its_weights_across_steps() -> None:
    shared: Any = models.build("ggnn", "node", 3, 2, GGNNConfig(num_layers=5, norm="none"))
    each: Any = models.build("ggnn", "node", 3, 2, GGNNConfig(num_layers=5, norm="none", shared=False))
    assert (len(shared.encoder.convs), len(each.encoder.convs)) == (1, 5)


def test_a_deeper_head() -> None:
    model: Any = models.build("gine", "graph", 3, 2, ResidualConfig(hidden_channels=8, head_layers=3))
    assert model.lin.channel_list == [8, 8, 8, 2]


def test_errors() -> None:
    with pytest.raises(ValueError, match="hidden_channels=6; pass a multiple of heads"):
        ResidualGATConfig(hidden_channels=6)
    with pytest.raises(ValueError, match="head_layers=0; pass 1 or more"):
        ResidualConfig(head_layers=0)
    with pytest.raises(ValueError, match="model 'gcn' takes no edge features"):
        models.build("gcn", "graph", 3, 2, edge_channels=4)
