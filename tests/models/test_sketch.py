"""ELPH and BUDDY: codes and sketches go into one score, and a pair's own edge does not show."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gnnlib import models
from gnnlib.models import BUDDYConfig, ELPHConfig
from gnnlib.nn.link import ball_sketches, unlinked_features
from gnnlib.sparse import as_csr
from gnnlib.train import TrainConfig, run
from tests.nn.cases import plain_graph
from tests.tolerances import assert_close

N, F_IN = 20, 7


def built(name: str, **options: Any) -> Any:
    config = models.config_class(name)(hidden_channels=6, **options)
    return models.build(name, "link", F_IN, 1, config).double()


def both_ways() -> Tensor:
    edge_index = plain_graph()
    return torch.cat([edge_index, edge_index.flip(0)], dim=1).unique(dim=1)


@pytest.mark.parametrize("name", ["elph", "buddy"])
def test_the_score_is_that_of_the_paper(name: str) -> None:
    model, edge_index = built(name).eval(), both_ways()
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    x, pairs = torch.randn(N, F_IN, dtype=torch.float64), torch.randint(N, (2, 30))
    z = model.encode(x, edge_index)
    counts = unlinked_features(ball_sketches(as_csr(edge_index, N), 2), pairs).double()

    def block(mlp: Any, h: Tensor) -> Tensor:
        (lin,), (norm,) = mlp.lins, mlp.norms
        norm = getattr(norm, "module", norm)
        return F.relu(norm(lin(h)))

    h = torch.cat([block(model.structure, counts), block(model.product, z[pairs[0]] * z[pairs[1]])], dim=1)
    expected = (h @ model.last.weight.t() + model.last.bias).squeeze(1)
    assert (model.structure.channel_list, model.product.channel_list) == ([8, 8], [6, 6])
    assert_close(model(x, edge_index, pairs), expected)
    assert_close(model.decode(z, pairs, as_csr(edge_index, N)), expected)
    with pytest.raises(ValueError, match="decode needs the graph"):
        model.decode(z, pairs)


def test_features_are_spread_once() -> None:
    model, edge_index = built("buddy", K=2), both_ways()
    x = torch.randn(N, F_IN, dtype=torch.float64)
    a = torch.eye(N, dtype=torch.float64)
    a[edge_index[1], edge_index[0]] = 1
    s = a.sum(1).rsqrt()[:, None] * a * a.sum(1).rsqrt()
    hops = torch.cat([x, s @ x, s @ s @ x], dim=1)
    assert_close(model.encoder.hidden(x, edge_index), hops)
    assert_close(model.encode(x, edge_index), hops @ model.encoder.lin.weight.t() + model.encoder.lin.bias)
    assert model.encoder.hidden(x, edge_index) is model.encoder.hidden(x, edge_index)
    x.add_(1)
    assert not torch.equal(model.encoder.hidden(x, edge_index), hops)
    wanted = x.clone().requires_grad_()
    model.encode(wanted, edge_index).sum().backward()
    assert wanted.grad is not None
    assert bool((wanted.grad != 0).any(1).all())  # the kept hops would have passed nothing back


def test_the_structure_of_a_pair_is_the_same_with_and_without_its_edge() -> None:
    model, edge_index = built("elph", zero_one=True), both_ways()
    pair = edge_index[:, :1]
    own = ((edge_index == pair) | (edge_index == pair.flip(0))).all(0)
    assert int(own.sum()) == 2
    assert torch.equal(
        model._counts(edge_index, N, pair), model._counts(edge_index[:, ~own].clone(), N, pair)
    )


def test_options_are_checked() -> None:
    for options, message in (
        ({"hops": 3}, "hops=3; pass 1 or 2"),
        ({"decoder": "dot"}, "decoder=dot; pass mlp"),
        ({"label_dropout": 1.0}, "label_dropout=1.0"),
        ({"precision": 3}, "precision=3"),
    ):
        with pytest.raises(ValueError, match=message):
            ELPHConfig(**options)
    with pytest.raises(ValueError, match="num_layers=2; pass 1"):
        BUDDYConfig(num_layers=2)


@pytest.mark.parametrize("name", ["elph", "buddy"])
def test_a_run_learns(name: str, tmp_path: Any) -> None:
    config = TrainConfig(
        dataset="les-miserables",
        model=name,
        epochs=15,
        batch_size=64,
        remove_targets=name == "elph",
        model_options={"hidden_channels": 32},
        out=str(tmp_path / "run"),
    )
    assert run(config).mean("val") > 0.7
