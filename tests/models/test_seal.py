"""SEAL: DGCNN on enclosing subgraphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gnnlib import data, models
from gnnlib.models import SEALConfig
from gnnlib.models.seal import PAIRS
from gnnlib.sparse import as_csr
from gnnlib.sparse.enclosing import enclosing_subgraphs, label_nodes
from gnnlib.train import TrainConfig
from gnnlib.train.tasks import make_task
from tests.nn.cases import plain_graph
from tests.tolerances import assert_close

N, F_IN = 20, 7


def built(**options: Any) -> Any:
    return models.build("seal", "link", F_IN, 1, SEALConfig(hidden_channels=6, **options)).double()


def both_ways() -> Tensor:
    edge_index = plain_graph()
    return torch.cat([edge_index, edge_index.flip(0)], dim=1).unique(dim=1)


def dense_dgcnn(network: Any, x: Tensor, edges: Tensor, k: int) -> Tensor:
    """One graph: dense convolutions, sorted rows, windows of the two convolutions written out."""
    n = x.size(0)
    a = torch.eye(n, dtype=x.dtype)
    a[edges[1], edges[0]] = 1
    s = a.sum(1).rsqrt()[:, None] * a * a.sum(1).rsqrt()
    layers, h = [], x
    for conv in network.convs:
        h = torch.tanh(s @ h @ conv.lin.weight.t() + conv.bias)
        layers.append(h)
    h = torch.cat(layers, dim=1)
    h = h[h[:, -1].argsort(descending=True, stable=True)][:k]
    h = torch.cat([h, h.new_zeros(k - h.size(0), h.size(1))])
    h = F.relu(h @ network.first.weight.squeeze(1).t() + network.first.bias)  # [k, 16]
    h = h[: k // 2 * 2].view(k // 2, 2, -1).amax(1)  # [k / 2, 16]
    windows = h.unfold(0, 5, 1)  # [k / 2 - 4, 16, 5]
    h = F.relu(torch.einsum("tcw,ocw->ot", windows, network.second.weight) + network.second.bias[:, None])
    return network.mlp(h.reshape(1, -1)).squeeze()


@pytest.mark.parametrize("label", ["drnl", "distance"])
@pytest.mark.parametrize("k", [10, 13])
def test_scores_are_those_of_each_subgraph_alone(label: str, k: int) -> None:
    model, edge_index = built(label=label, sort_k=k, hops=2).eval(), both_ways()
    x, pairs = torch.randn(N, F_IN, dtype=torch.float64), torch.randint(N, (2, 9))
    scores = model(x, edge_index, pairs)
    for p in range(9):
        found = enclosing_subgraphs(as_csr(edge_index, N), pairs[:, p : p + 1], 2, apart=label == "drnl")
        z = model.embedding(label_nodes(found, label)).sum(1)  # type: ignore[arg-type]
        h = torch.cat([z, x[found.node]], dim=1)
        assert_close(scores[p], dense_dgcnn(model.network, h, found.edge_index, k))


def test_a_score_does_not_depend_on_the_pairs_own_edge() -> None:
    model, edge_index = built().eval(), both_ways()
    x, pair = torch.randn(N, F_IN, dtype=torch.float64), edge_index[:, :1]
    own = ((edge_index == pair) | (edge_index == pair.flip(0))).all(0)
    assert int(own.sum()) == 2
    assert torch.equal(model(x, edge_index, pair), model(x, edge_index[:, ~own].clone(), pair))


def test_chunks_of_an_evaluation_do_not_matter() -> None:
    model, edge_index = built().eval(), both_ways()
    x, pairs = torch.randn(N, F_IN, dtype=torch.float64), torch.randint(N, (2, PAIRS + 7))
    some = model(x, edge_index, pairs[:, -9:])
    assert_close(model(x, edge_index, pairs)[-9:], some)
    assert model(x, edge_index, pairs[:, :0]).shape == (0,)
    with pytest.raises(ValueError, match="decode needs the graph"):
        model.decode(x, pairs)


def test_drawn_subgraphs_change_in_training_alone() -> None:
    model, edge_index = built(most=1, dropout=0.0), both_ways()
    x, pairs = torch.randn(N, F_IN, dtype=torch.float64), torch.randint(N, (2, 9))
    assert not torch.equal(model(x, edge_index, pairs), model(x, edge_index, pairs))
    model.eval()
    assert torch.equal(model(x, edge_index, pairs), model(x, edge_index, pairs))
    with pytest.raises(ValueError, match="most=0; pass 1 or more, or None"):
        SEALConfig(most=0)


def test_large_labels_count_as_the_largest() -> None:
    model, edge_index = built(labels=2).eval(), both_ways()
    out = model(torch.randn(N, F_IN, dtype=torch.float64), edge_index, edge_index[:, :5])
    assert out.isfinite().all()


def test_training_on_cora_lowers_the_loss(data_root: Path) -> None:
    config = TrainConfig(
        dataset="cora-links",
        model="seal",
        batch_size=64,
        remove_targets=False,
        model_options={"dropout": 0.0},
        root=str(data_root),
    )
    task = make_task(data.load("cora-links", data_root), config, torch.device("cpu"))
    torch.manual_seed(0)
    model = task.build()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _, batch in zip(range(30), task.batches(torch.Generator().manual_seed(0)), strict=False):
        optimizer.zero_grad()
        loss = task.loss(model, batch)[0]
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) / 5 < 0.85 * sum(losses[:5]) / 5


def test_options_are_checked() -> None:
    for options, message in (
        ({"sort_k": 9}, "sort_k=9; pass 10 or more"),
        ({"decoder": "dot"}, "decoder=dot; pass mlp"),
        ({"hops": 0}, "hops=0; pass 1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            SEALConfig(**options)  # type: ignore[arg-type]
