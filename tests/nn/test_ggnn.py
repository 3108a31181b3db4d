"""The gated graph network: against loops over edges and types, and its limit cases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck

from gnnlib import models
from gnnlib.nn import GatedGraphConv, GGNNConv
from tests.nn.cases import awkward_graph
from tests.tolerances import assert_close

N, F_IN, OUT, R, T = 20, 4, 6, 3, 3


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    edge_index = awkward_graph()
    return draw(N, F_IN), edge_index, torch.randint(0, R, (edge_index.size(1),))


def test_against_loops() -> None:
    conv: Any = GGNNConv(OUT, T, R).double()
    x, edge_index, kind = inputs()
    h = F.pad(x, (0, OUT - F_IN))
    for _ in range(T):
        m = torch.zeros_like(h)
        for (u, v), r in zip(edge_index.t().tolist(), kind.tolist(), strict=True):
            m[v] = m[v] + h[u] @ conv.relational.weight[r]
        h = conv.rnn(m, h)
    assert_close(conv(x, edge_index, kind), h)
    assert_close(conv(x, edge_index, F.one_hot(kind, R).double()), h)


def test_shares_mix_the_maps() -> None:
    conv: Any = GGNNConv(OUT, 1, R).double()
    x, edge_index, _ = inputs()
    shares = torch.rand(edge_index.size(1), R, dtype=torch.float64)
    h = F.pad(x, (0, OUT - F_IN))
    m = torch.zeros_like(h)
    for e, (u, v) in enumerate(edge_index.t().tolist()):
        m[v] = m[v] + h[u] @ (shares[e][:, None, None] * conv.relational.weight).sum(0)
    assert_close(conv(x, edge_index, shares), conv.rnn(m, h))


def test_one_type_and_one_step_is_pygs_layer() -> None:
    ours: Any = GGNNConv(OUT, 1).double()
    theirs = GatedGraphConv(OUT, 1).double()
    theirs.rnn.load_state_dict(ours.rnn.state_dict())
    with torch.no_grad():
        theirs.weight.copy_(ours.relational.weight)
    x, edge_index, _ = inputs()
    assert_close(ours(x, edge_index), theirs(x, edge_index))
    twice: Any = GGNNConv(OUT, 2).double()
    twice.load_state_dict(ours.state_dict())
    assert_close(twice(x, edge_index), ours(ours(x, edge_index), edge_index))  # the weights are shared
    assert_close(GGNNConv(OUT, 0)(x, edge_index), F.pad(x, (0, OUT - F_IN)))


def test_gradients_with_shares() -> None:
    conv = GGNNConv(OUT, 2, R).double()
    x, edge_index = draw(5, F_IN).requires_grad_(), torch.randint(0, 5, (2, 8))
    shares = torch.rand(8, R, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x, s: conv(x, edge_index, s), (x, shares), fast_mode=True)
    kind = torch.randint(0, R, (8,))
    assert gradcheck(lambda x: conv(x, edge_index, kind), (x,), fast_mode=True)


def test_graph_readout_is_gated() -> None:
    config = models.TypedGGNNConfig(hidden_channels=OUT, num_layers=2)
    model: Any = models.build("ggnn-typed", "graph", F_IN, 2, config, edge_channels=R).double().eval()
    x, edge_index, kind = inputs()
    batch = torch.arange(N) // 7
    same = batch[edge_index[0]] == batch[edge_index[1]]
    edge_index, shares = edge_index[:, same], F.one_hot(kind[same], R).double()
    encoder = model.encoder
    h = torch.cat([encoder.state.conv(x, edge_index, kind[same]), F.pad(x, (0, OUT - F_IN))], dim=1)
    each = torch.sigmoid(encoder.gate(h)) * torch.tanh(encoder.part(h))
    code = torch.stack([each[batch == b].sum(0) for b in range(3)]).tanh()
    assert_close(model.embed(x, edge_index, batch, 3, shares), code)
    with pytest.raises(ValueError, match="built for 3 edge features but edge_attr is missing"):
        model(x, edge_index, batch, 3)


def test_bad_arguments() -> None:
    for options, message in (
        ((0, 1), "out_channels=0"),
        ((3, -1), "num_steps=-1"),
        ((3, 1, 0), "num_relations=0"),
    ):
        with pytest.raises(ValueError, match=message):
            GGNNConv(*options)
    x, edge_index, kind = inputs()
    conv = GGNNConv(OUT, T, R).double()
    with pytest.raises(ValueError, match="no edge_type came but num_relations=3"):
        conv(x, edge_index)
    with pytest.raises(ValueError, match=r"edge_type is .* of shape \[60, 2\]; expected integers \[60\]"):
        conv(x, edge_index, draw(60, 2))
    with pytest.raises(ValueError, match="names relation 3"):
        conv(x, edge_index, kind + 1)
    with pytest.raises(ValueError, match="x has 7 features but out_channels=6"):
        conv(draw(N, 7), edge_index, kind)
