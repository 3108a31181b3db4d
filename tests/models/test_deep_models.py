"""Deep, directed and sheaf networks: the structures that the papers name, and state across steps."""

from __future__ import annotations

import copy
import io
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnlib import models
from gnnlib.models import DAGNNConfig, DGMLPConfig, GCNIIConfig, LazyGNNConfig, MagNetConfig, NSDConfig
from gnnlib.nn.conv.complex import modulus_relu
from tests.nn.cases import plain_graph
from tests.tolerances import assert_close

N, F_IN, OUT = 20, 7, 3


def draw() -> Tensor:
    return torch.randn(N, F_IN)


def test_dagnn_spreads_the_scores_of_an_mlp() -> None:
    model: Any = models.build("dagnn", "node", F_IN, OUT, DAGNNConfig()).eval()
    prop, mlp = model.encoder.prop, model.encoder.mlp
    assert (prop.K, mlp.channel_list, model.config.dropout) == (10, [F_IN, 64, OUT], 0.8)
    x, (first, second) = draw(), mlp.lins
    assert_close(model(x, plain_graph()), prop(second(F.relu(first(x))), plain_graph()))


def test_dgmlp_has_residuals_and_without_steps_is_an_mlp() -> None:
    config = DGMLPConfig(hidden_channels=6, num_layers=4, K=0)
    model: Any = models.build("dgmlp", "node", F_IN, OUT, config).eval()
    x = draw()
    first, second, third = model.encoder.lins
    h = F.relu(first(x))
    h = F.relu(second(h)) + h
    h = F.relu(third(h)) + h
    assert_close(model(x, plain_graph()), model.encoder.last(h))


def test_gcnii_is_the_published_one() -> None:
    model: Any = models.build("gcnii", "node", F_IN, OUT, GCNIIConfig(num_layers=5)).eval()
    x, encoder = draw(), model.encoder
    h = start = F.relu(encoder.first(x))
    for layer, conv in enumerate(encoder.convs, 1):
        assert conv.beta == torch.tensor(0.5 / layer + 1, dtype=torch.float64).log().item()
        h = F.relu(conv(h, start, plain_graph()))
    assert_close(model(x, plain_graph()), encoder.last(h))


def test_magnet_ends_in_a_map_of_both_parts() -> None:
    model: Any = models.build("magnet", "node", F_IN, OUT, MagNetConfig()).eval()
    x, (first, second) = draw(), model.encoder.convs
    h = modulus_relu(second(modulus_relu(first(x, plain_graph())), plain_graph()))
    assert_close(model(x, plain_graph()), model.encoder.lin(h))


def test_sheaf_diffusion_keeps_one_sheaf_where_it_is_asked_to() -> None:
    config = NSDConfig(hidden_channels=4, num_layers=3, fixed_sheaf=True, kind="general")
    model: Any = models.build("nsd", "node", F_IN, OUT, config).eval()
    x, encoder = draw(), model.encoder
    h = F.elu(encoder.first(x))
    sheaf = encoder.convs[0].sheaf(h, plain_graph())
    for conv in encoder.convs:
        h = conv(h, plain_graph(), sheaf)
    assert_close(model(x, plain_graph()), encoder.last(h))
    assert [name for name, _ in encoder.convs[1].named_parameters()] == ["left", "right", "epsilon"]


def train(model: Any, optimizer: torch.optim.Optimizer, x: Tensor, steps: int) -> None:
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x, plain_graph()), torch.arange(N) % OUT).backward()
        optimizer.step()


def test_lazygnn_goes_on_from_a_checkpoint_as_if_nothing_had_happened() -> None:
    config, x = LazyGNNConfig(hidden_channels=6, dropout=0.0), draw()
    model: Any = models.build("lazygnn", "node", F_IN, OUT, config)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    train(model, optimizer, x, 3)
    saved = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict()], saved)
    saved.seek(0)
    train(model, optimizer, x, 3)

    weights, moments = torch.load(saved, weights_only=True)
    other: Any = models.build("lazygnn", "node", F_IN, OUT, config)
    other.load_state_dict(weights)
    resumed = torch.optim.Adam(other.parameters(), 0.01)
    resumed.load_state_dict(moments)
    forgetful = copy.deepcopy(other)
    train(other, resumed, x, 3)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in model.state_dict().items())

    forgetful.encoder.prop.reset_memory()
    fresh = torch.optim.Adam(forgetful.parameters(), 0.01)
    fresh.load_state_dict(copy.deepcopy(moments))
    train(forgetful, fresh, x, 3)
    first = forgetful.encoder.mlp.lins[0].weight
    assert not torch.equal(first, model.encoder.mlp.lins[0].weight)  # the memory matters
