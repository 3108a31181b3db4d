"""Neo-GNN against dense algebra."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib import models
from gnnlib.models import NeoGNNConfig
from gnnlib.models.overlap import two_steps
from gnnlib.sparse import as_csr
from gnnlib.train import TrainConfig, run
from tests.nn.cases import plain_graph
from tests.tolerances import assert_close

N, F_IN = 20, 7


def built(**options: Any) -> Any:
    return models.build("neognn", "link", F_IN, 1, NeoGNNConfig(hidden_channels=6, **options)).double()


def dense_graph(edge_index: Tensor) -> Tensor:
    a = torch.zeros(N, N, dtype=torch.float64)
    a[edge_index[1], edge_index[0]] = 1
    return a.fill_diagonal_(0)


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_the_score_is_that_of_dense_algebra(beta: float) -> None:
    model, edge_index = built(beta=beta).eval(), plain_graph()
    with torch.no_grad():
        model.mixture.copy_(torch.tensor([0.3, -0.5]))
    x, pairs = torch.randn(N, F_IN, dtype=torch.float64), torch.randint(N, (2, 30))
    a = dense_graph(edge_index)
    near = a + beta * a @ a
    part = model.structure
    entries = torch.where(near != 0, part.edge(near.reshape(-1, 1)).view(N, N), 0)
    s = part.node(entries.sum(1, keepdim=True))
    weighted = near * s.t()
    overlap = (weighted[pairs[0]] * weighted[pairs[1]]).sum(1, keepdim=True)
    structure = part.overlap(overlap).squeeze(1).sigmoid()
    z = model.encode(x, edge_index)
    features = model.mlp(z[pairs[0]] * z[pairs[1]]).squeeze(1).sigmoid()
    share = torch.tensor([0.3, -0.5], dtype=torch.float64).softmax(0)
    expected = share[0] * structure + share[1] * features
    assert_close(model(x, edge_index, pairs).sigmoid(), expected)
    assert_close(part(as_csr(edge_index, N), pairs).sigmoid(), structure)
    with pytest.raises(ValueError, match="decode needs the graph"):
        model.decode(z, pairs)


def test_gradients_are_those_of_dense_algebra() -> None:
    model, edge_index = built(), plain_graph()
    pairs = torch.randint(N, (2, 30))
    part = model.structure
    part(as_csr(edge_index, N), pairs).square().sum().backward()
    found = {k: p.grad.clone() for k, p in part.named_parameters()}
    part.zero_grad()
    a = dense_graph(edge_index)
    near = a + 0.1 * a @ a
    entries = torch.where(near != 0, part.edge(near.reshape(-1, 1)).view(N, N), 0)
    weighted = near * part.node(entries.sum(1, keepdim=True)).t()
    overlap = (weighted[pairs[0]] * weighted[pairs[1]]).sum(1, keepdim=True)
    part.overlap(overlap).square().sum().backward()
    for key, p in part.named_parameters():
        assert_close(found[key], p.grad)


def test_two_steps_is_the_sum_of_both_powers() -> None:
    edge_index = plain_graph().unique(dim=1)
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    a = dense_graph(edge_index)
    adj = as_csr(edge_index, N)
    assert_close(two_steps(adj, 0.25).to_dense().double(), a + 0.25 * a @ a)
    assert two_steps(adj, 0.25) is two_steps(adj, 0.25)
    assert_close(two_steps(adj, 0.0).to_dense().double(), a)


def test_extreme_logits_stay_finite() -> None:
    model, edge_index = built(), plain_graph()
    with torch.no_grad():
        model.structure.overlap.lins[-1].bias.fill_(-1e4)
        model.mlp.lins[-1].bias.fill_(-1e4)
    out = model(torch.randn(N, F_IN, dtype=torch.float64), edge_index, edge_index[:, :5])
    assert out.isfinite().all()
    out.sum().backward()
    grads = [p.grad for p in model.parameters()]
    assert all(g is not None and g.isfinite().all() for g in grads)


def test_a_run_learns(tmp_path: Any) -> None:
    config = TrainConfig(
        dataset="les-miserables",
        model="neognn",
        epochs=15,
        batch_size=64,
        model_options={"hidden_channels": 32},
        out=str(tmp_path / "run"),
    )
    assert run(config).mean("val") > 0.7
