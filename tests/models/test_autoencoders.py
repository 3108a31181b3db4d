"""Auto-encoders with a Gaussian on their codes, against the formulas and dense algebra."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from gnnlib import models
from gnnlib.models import ARGAConfig, VGAEConfig
from gnnlib.models.autoencoders import Discriminator, gaussian_kl
from gnnlib.train import TrainConfig, run
from tests.nn.cases import plain_graph
from tests.tolerances import assert_close

N, F_IN = 20, 7


def built(name: str, **options: Any) -> Any:
    return models.build(name, "link", F_IN, 1, models.config_class(name)(**options)).double()


def dense_operator(edge_index: Tensor) -> Tensor:
    """``D^-1/2 (A + I) D^-1/2``."""
    a = torch.eye(N, dtype=torch.float64)
    a.index_put_((edge_index[1], edge_index[0]), a.new_ones(edge_index.size(1)), accumulate=True)
    scale = a.sum(1).rsqrt()
    return scale[:, None] * a * scale


def test_the_moments_are_two_gcns_that_share_a_layer() -> None:
    model, edge_index = built("vgae"), plain_graph()
    x = torch.randn(N, F_IN, dtype=torch.float64)
    s, w = dense_operator(edge_index), model.state_dict()
    h = F.relu(s @ x @ w["encoder.convs.0.lin.weight"].t() + w["encoder.convs.0.bias"])
    mean = s @ h @ w["encoder.convs.1.lin.weight"].t() + w["encoder.convs.1.bias"]
    logstd = s @ h @ w["encoder.logstd.lin.weight"].t() + w["encoder.logstd.bias"]
    found = model.encoder.moments(x, edge_index)
    assert (found[0].shape, model.encoder.convs[0].out_channels) == ((N, 16), 32)
    assert_close(found[0], mean)
    assert_close(found[1], logstd)
    assert_close(model.eval().encode(x, edge_index), mean)


def test_a_training_code_is_a_sample_of_that_gaussian() -> None:
    model, edge_index = built("vgae", out_channels=3), plain_graph()
    x = torch.randn(N, F_IN, dtype=torch.float64)
    with torch.no_grad():
        mean, logstd = model.encoder.moments(x, edge_index)
        drawn = torch.stack([model.encode(x, edge_index) for _ in range(2000)])
    z = (drawn - mean) / logstd.exp()  # 2,000 standard normal numbers of each of 60
    assert z.mean(0).abs().max() < 5 / 2000**0.5
    assert (z.std(0) - 1).abs().max() < 5 / 4000**0.5


def test_the_divergence_is_that_of_torch() -> None:
    mean = torch.randn(N, 4, dtype=torch.float64, requires_grad=True)
    logstd = torch.randn(N, 4, dtype=torch.float64, requires_grad=True)
    one = Normal(torch.zeros((), dtype=torch.float64), 1.0)
    expected = kl_divergence(Normal(mean, logstd.exp()), one).sum() / N
    assert_close(gaussian_kl(mean, logstd), expected)
    assert torch.autograd.gradcheck(gaussian_kl, (mean, logstd))
    assert gaussian_kl(torch.zeros(3, 2), torch.zeros(3, 2)) == 0


def test_the_model_adds_the_divergence_over_n() -> None:
    model, edge_index = built("vgae").eval(), plain_graph()
    x = torch.randn(N, F_IN, dtype=torch.float64)
    z, added = model.encode_with_loss(x, edge_index)
    mean, logstd = model.encoder.moments(x, edge_index)
    assert_close(z, mean)
    assert_close(added, gaussian_kl(mean, logstd) / N)


def test_a_large_deviation_is_held() -> None:
    model, edge_index = built("vgae"), plain_graph()
    with torch.no_grad():
        model.encoder.logstd.bias.fill_(1e3)
    assert model.encode_with_loss(torch.randn(N, F_IN, dtype=torch.float64), edge_index)[1].isfinite()


@pytest.mark.parametrize("name", ["arga", "arvga"])
def test_each_player_gets_the_gradient_of_its_own_loss(name: str) -> None:
    model, edge_index = built(name), plain_graph()
    d = model.discriminator
    assert d.channel_list == [16, 64, 64, 1]
    x = torch.randn(N, F_IN, dtype=torch.float64)
    torch.manual_seed(1)
    z, added = model.encode_with_loss(x, edge_index)
    added.backward()
    found = {k: p.grad.clone() for k, p in model.named_parameters()}

    model.zero_grad()
    torch.manual_seed(1)
    if name == "arvga":
        mean, logstd = model.encoder.moments(x, edge_index)
        z = model.encoder.draw(mean, logstd)
        rest = gaussian_kl(mean, logstd) / N
    else:
        z, rest = model.encode(x, edge_index), 0.0
    prior, ones, zeros = torch.randn_like(z), z.new_ones(N, 1), z.new_zeros(N, 1)
    bce = F.binary_cross_entropy_with_logits
    own = bce(d(prior), ones) + bce(d(z), zeros)
    deceived = bce(d(z), ones)
    assert_close(added, own + deceived + rest)
    players = {"discriminator": own, "encoder": deceived + rest}
    for player, loss in players.items():
        named = {f"{player}.{k}": p for k, p in getattr(model, player).named_parameters()}
        grads = torch.autograd.grad(loss, list(named.values()), retain_graph=True)
        for key, grad in zip(named, grads, strict=True):
            assert_close(found[key], grad)


def test_the_codes_come_to_look_like_the_prior() -> None:
    """From codes far off, the two players alone bring mean and spread near those of the prior."""
    torch.manual_seed(0)
    z = torch.nn.Parameter(3 + 0.1 * torch.randn(256, 1))
    d = Discriminator(1, 32)
    optimizer = torch.optim.Adam([z, *d.parameters()], lr=0.02)
    for _ in range(600):
        optimizer.zero_grad()
        sum(d.losses(z)).backward()  # type: ignore[union-attr]
        optimizer.step()
    assert z.detach().mean().abs() < 1.0
    assert 0.3 < z.detach().std() < 2.0


@pytest.mark.parametrize(("name", "negatives"), [("vgae", "all"), ("arga", "all"), ("arvga", "uniform")])
def test_a_run_learns(name: str, negatives: str, tmp_path: Any) -> None:
    config = TrainConfig(
        dataset="les-miserables", model=name, epochs=30, negatives=negatives, out=str(tmp_path / "run")
    )
    assert run(config).mean("val") > 0.6


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="discriminator_channels=0; pass 1 or more"):
        ARGAConfig(discriminator_channels=0)
    with pytest.raises(ValueError, match="out_channels=0"):
        VGAEConfig(out_channels=0)
