"""LightGCN against PyG's and dense algebra, LCFN against its equation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib import models
from gnnlib.models import LCFN, LCFNConfig, LightGCN, LightGCNConfig
from gnnlib.nn import interaction_basis
from gnnlib.sparse import as_csr
from gnnlib.sparse.csr import CSR
from tests.nn.test_recommend import interactions
from tests.tolerances import assert_close

USERS, ITEMS, D = 14, 11, 4
each = pytest.mark.parametrize("name", models.names("recommendation"))


def build(name: str, **options: Any) -> Any:
    if (
        name == "lcfn"
    ):  # within an eigenspace, such as that of users without items, filters would be arbitrary
        options = {"user_frequencies": 5, "item_frequencies": 4, **options}
    config = models.config_class(name)(hidden_channels=D, **options)
    return models.build(name, "recommendation", 0, 0, config, sizes=(USERS, ITEMS))


def triples() -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return tuple(torch.randint(0, n, (9,), generator=draw) for n in (USERS, ITEMS, ITEMS))  # type: ignore[return-value]


@each
def test_gradients_saved_weights_and_the_same_seeded_state(name: str) -> None:
    model, adj = build(name), interactions(USERS, ITEMS)
    wanted, other, penalty = model(adj, *triples())
    (wanted - other).sum().add(penalty).backward()
    assert not [k for k, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    same = build(name)
    same.load_state_dict(copy.deepcopy(model.state_dict()))
    assert_close(same.codes(adj), model.codes(adj))
    users, items = model.codes(adj)
    u, i, j = triples()
    assert_close(wanted, (users[u] * items[i]).sum(1))
    assert_close(other, (users[u] * items[j]).sum(1))
    states = []
    for m in (model, same):
        torch.manual_seed(5)
        m.reset_parameters()
        states.append(m.state_dict())
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


@each
def test_relabelling_users_and_items(name: str) -> None:
    model, adj = build(name).double(), interactions(USERS, ITEMS, share=0.5)  # in one piece
    users, items = model.codes(adj)
    p, q = torch.randperm(USERS), torch.randperm(ITEMS)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.users.copy_(model.users[p])
        other.items.copy_(model.items[q])
    pairs = torch.stack([q.argsort()[adj.indices.long()], p.argsort()[adj.rows]])
    found = other.codes(as_csr(pairs, (ITEMS, USERS)))
    assert_close(found[0] @ found[1].t(), (users @ items.t())[p][:, q])


@pytest.mark.parametrize("layers", [1, 3])
def test_lightgcn_is_pygs(layers: int) -> None:
    from torch_geometric.nn import LightGCN as Stock

    adj = simple(interactions(USERS, ITEMS))
    model = LightGCN(LightGCNConfig(hidden_channels=D, num_layers=layers), USERS, ITEMS)
    stock = Stock(USERS + ITEMS, D, layers)
    with torch.no_grad():
        stock.embedding.weight.copy_(torch.cat([model.users, model.items]))
    ends = torch.stack([adj.rows, adj.indices.long() + USERS])
    expected = stock.get_embedding(torch.cat([ends, ends.flip(0)], dim=1))
    assert_close(torch.cat(model.codes(adj)), expected)
    u, i, j = triples()
    wanted, other, penalty = model(adj, u, i, j)
    ranked = stock.recommendation_loss(
        wanted, other, torch.cat([u, i + USERS, j + USERS]), lambda_reg=model.config.penalty / 2
    )
    ours = torch.nn.functional.softplus(other - wanted).mean() + penalty
    assert_close(ours, ranked)


def simple(adj: CSR) -> CSR:
    pairs = torch.unique(torch.stack([adj.indices.long(), adj.rows]), dim=1)
    return as_csr(pairs, (adj.num_cols, adj.num_rows))


def test_lcfn_is_its_equation() -> None:
    adj = interactions(USERS, ITEMS)
    config = LCFNConfig(hidden_channels=D, num_layers=2, user_frequencies=5, item_frequencies=40, penalty=0.3)
    model = LCFN(config, USERS, ITEMS).double()
    assert model.frequencies == (5, ITEMS)  # no more than there are
    p, q = interaction_basis(adj, 5)[1], interaction_basis(adj.transposed, ITEMS)[1]
    users, items = [model.users], [model.items]
    for conv in model.convs:
        users.append((p * conv.user_filter @ p.t() @ users[-1] @ conv.weight).sigmoid())
        items.append((q * conv.item_filter @ q.t() @ items[-1] @ conv.weight).sigmoid())
    assert_close(model.codes(adj), (torch.cat(users, 1), torch.cat(items, 1)))
    u, i, j = triples()
    squares = sum(t.square().sum() for t in (model.users[u], model.items[i], model.items[j]))
    squares = squares + sum(t.square().sum() for t in model.convs.parameters())
    assert_close(model(adj, u, i, j)[2], 0.3 / 9 * squares / 2)
    assert abs(float(model.users.detach().mean()) - 0.01) < 0.01


def test_eigenvectors_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import gnnlib.models.recommend as module

    calls, real = [], module.interaction_basis
    monkeypatch.setattr(module, "interaction_basis", lambda a, k: calls.append(k) or real(a, k))
    model, adj = build("lcfn", user_frequencies=4, item_frequencies=3), interactions(USERS, ITEMS)
    for _ in range(3):
        model.codes(adj)
    assert calls == [4, 3]


@each
def test_refusals(name: str) -> None:
    with pytest.raises(ValueError, match=r"interactions are 11 x 14 but there are 14 users and 11 items"):
        build(name).codes(interactions(USERS, ITEMS).transposed)
    with pytest.raises(ValueError, match="pass the numbers of users and items"):
        models.build(name, "recommendation", 0, 0)
    with pytest.raises(ValueError, match="penalty=-1"):
        models.config_class(name)(penalty=-1)
