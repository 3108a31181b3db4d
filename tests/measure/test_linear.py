"""Influence of models that are linearised once, against whole Jacobians, and what is left to others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch_geometric.data import Data

import gnnlib.nn as gnn
from gnnlib.measure import influence
from gnnlib.measure.linear import Linear, linear
from gnnlib.measure.rows import frozen
from gnnlib.models import registry
from gnnlib.sparse import as_csr
from tests.measure.test_influence import C, F, N, Stack, expected, grid, sparse_directed
from tests.tolerances import assert_close


def multigraph() -> Data:
    """Edges twice, loops, and nodes without edges."""
    draw = torch.Generator().manual_seed(2)
    edge_index = torch.randint(N - 5, (2, 50), generator=draw)
    edge_index = torch.cat([edge_index, edge_index[:, :9], torch.arange(4).repeat(2, 1)], dim=1)
    return Data(x=torch.randn(N, F, generator=draw, dtype=torch.float64), edge_index=edge_index)


class Residual(nn.Module):
    """Sums of layers with several users, columns taken apart and joined, and constants of each node."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(F, 6)
        self.convs = nn.ModuleList(gnn.SAGEConv(6, 6) for _ in range(2))
        self.last = nn.Linear(12, C)

    def forward(self, x: Tensor, edge_index: Any) -> Tensor:
        degree = torch.bincount(edge_index[1], minlength=x.size(0)).to(x)[:, None]
        start = self.first(x)
        a, b = start.split([2, 4], dim=1)
        state = torch.cat([b.sigmoid(), a * (degree + 1).log()], dim=1)
        state = state + self.convs[0](state, edge_index).tanh() - 0.5 * start
        return self.last(torch.cat([state[:, 1:4], self.convs[1](state, edge_index), state[:, 3:]], dim=-1))


def built(name: str, **options: Any) -> nn.Module:
    config = registry.config_class(name)(hidden_channels=8, dropout=0.0, **options)
    return registry.build(name, "node", F, C, config)


def mlp(*width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(*width), nn.BatchNorm1d(width[-1]), nn.ELU())


MODELS: dict[str, Callable[[], nn.Module]] = {
    "gcn": lambda: Stack(gnn.GCNConv(F, 8), gnn.GCNConv(8, 8), gnn.GCNConv(8, C)),
    "gcn-wide": lambda: Stack(gnn.GCNConv(F, 11), gnn.GCNConv(11, 40), gnn.GCNConv(40, C)),
    "sage": lambda: built("sage", num_layers=3, jk="cat"),
    "gin": lambda: built("gin", num_layers=2),
    "gcnii": lambda: built("gcnii", num_layers=3),
    "residual": Residual,
    "mlp": lambda: Stack(nn.Linear(F, 8), nn.Linear(8, C)),
    "pyg-gcn": lambda: Stack(pyg.GCNConv(F, 8), pyg.GCNConv(8, C)),
    "pyg-gin": lambda: Stack(pyg.GINConv(mlp(F, 8)), pyg.GraphConv(8, C)),
    "pyg-sage": lambda: Stack(pyg.SAGEConv(F, 8), pyg.SAGEConv(8, C)),
    "pyg-cheb": lambda: Stack(pyg.ChebConv(F, 8, 3), pyg.APPNP(2, 0.1), nn.Linear(8, C)),
}


def settled(model: nn.Module) -> nn.Module:
    """Norms with running statistics that are not those of a new module."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_()  # type: ignore[operator, union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[operator, union-attr]
    return model.double().eval()


@pytest.mark.parametrize("make", [grid, sparse_directed, multigraph])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_it_is_the_whole_jacobian(name: str, make: Callable[[], Data]) -> None:
    torch.manual_seed(0)
    model, data = settled(MODELS[name]()), make()
    found = influence(model, data, 5, method="linear", hops="directed")
    assert found.method == "linear"
    assert_close(found.by_hop, expected(model, data, 5))
    assert influence(model, data, 5, normalize=False).method == "linear"


@pytest.mark.parametrize("seeds", [1, 7])
def test_unions_and_channels_may_be_cut_anywhere(seeds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = settled(MODELS["gcn"]()), grid()
    monkeypatch.setattr("gnnlib.measure.linear._SEEDS", seeds)
    monkeypatch.setattr("gnnlib.measure.linear._ROWS", 40)
    monkeypatch.setattr("gnnlib.measure.linear._NUMBERS", 1)  # one channel after another
    assert_close(influence(model, data, method="linear").by_hop, expected(model, data, 3))


def test_weights_of_edges_are_constants() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = gnn.GCNConv(F, 8), gnn.GCNConv(8, C)

        def forward(self, x: Tensor, edge_index: Any, edge_weight: Tensor) -> Tensor:
            return self.last(self.first(x, edge_index, edge_weight).relu(), edge_index, edge_weight)

    model, data = Weighted().double(), grid()
    data.edge_weight = torch.rand(data.edge_index.size(1), dtype=torch.float64)
    args = {"edge_args": ["edge_weight"], "reach": 2}
    found = influence(model, data, method="linear", **args)  # type: ignore[arg-type]
    assert_close(found.by_hop, influence(model, data, method="single", **args).by_hop)  # type: ignore[arg-type]
    plain = influence(model, Data(x=data.x, edge_index=data.edge_index, edge_weight=torch.ones_like(
        data.edge_weight)), method="linear", **args)  # type: ignore[arg-type]  # fmt: skip
    assert (plain.by_hop - found.by_hop).abs().max() > 1e-3


def test_against_the_edges_hops_count_either_way() -> None:
    class Back(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = gnn.GraphConv(F, 8), gnn.GraphConv(8, C)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.last(self.first(x, edge_index.flip(0)).relu(), edge_index)

    model, data = Back().double(), sparse_directed()
    found = influence(model, data)
    assert (found.method, found.hops) == ("linear", "undirected")
    both = Data(x=data.x, edge_index=torch.cat([data.edge_index, data.edge_index.flip(0)], dim=1))
    table = expected(Lifted(model, data.edge_index), both, found.by_hop.size(1) - 1)
    assert_close(found.by_hop, table)
    with pytest.raises(ValueError, match="has other steps"):
        influence(model, data, method="linear", hops="directed")


class Lifted(nn.Module):
    """A model on edges of its own, whichever come."""

    def __init__(self, model: nn.Module, edge_index: Tensor) -> None:
        super().__init__()
        self.model, self.own = model, edge_index

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        out: Tensor = self.model(x, self.own)
        return out


def test_edges_of_the_model_s_own_are_left_to_others() -> None:
    data = grid()
    own = torch.stack([torch.arange(N), torch.arange(N).roll(11)])
    model = Lifted(MODELS["gcn"]().double(), own)
    found = influence(model, data, normalize=False)
    assert found.method == "colored"
    assert_close(found.by_hop, expected(model, data, found.reach))


def test_a_reach_that_is_too_short() -> None:
    model, data = MODELS["gcn"]().double(), grid()
    with pytest.raises(ValueError, match="beyond reach=2 hops"):
        influence(model, data, reach=2, method="linear")
    assert influence(model, data, 1, reach=4).by_hop.shape == (N, 2)


def recorded(model: Callable[[Tensor], Tensor]) -> Linear | None:
    x = torch.randn(N, F, requires_grad=True)
    return linear(model(x), x)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: x * x.mean(0),  # rows that meet
        lambda x: x @ (x.t() @ x),
        lambda x: x * x.sum(1, keepdim=True),
        lambda x: x.softmax(1),
        lambda x: nn.functional.layer_norm(x, (F,)),
        lambda x: x.cumsum(0),
        lambda x: x.flip(0),
        lambda x: x[torch.arange(N).roll(1)],
        lambda x: torch.cat([x[5:], x[:5]]),
        lambda x: nn.functional.batch_norm(x, None, None, training=True),
        lambda x: torch.ones_like(x),
    ],
)
def test_other_steps_are_refused(model: Callable[[Tensor], Tensor]) -> None:
    assert recorded(model) is None


@pytest.mark.parametrize(
    "model",
    [
        lambda x: (x.relu() + 2 * x[:, :3].unsqueeze(1).squeeze(1)) @ torch.ones(F, 4) / 3,
        lambda x: x.clone(),
        lambda x: x + x,
        lambda x: torch.cat([x[:, 1:], 2 * x, x.exp()], dim=1),
        lambda x: torch.addmm(x, x.sigmoid(), torch.arange(9.0).view(F, F), beta=0.5, alpha=2),
        lambda x: x.split([1, 2], dim=1)[1] * torch.linspace(0, 1, N)[:, None],
        lambda x: x.tanh() * x,
    ],
)
def test_known_steps_have_the_gradient_of_autograd(model: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(N, F, generator=torch.Generator().manual_seed(3), requires_grad=True)
    out = model(x)
    steps, nodes, weight = linear(out, x), torch.tensor([2, 11, 29]), torch.randn(out.size(1))
    assert steps is not None
    (wanted,) = torch.autograd.grad((out[nodes] @ weight).sum(), x)
    near = as_csr(torch.empty(2, 0, dtype=torch.int64), (N, N))
    assert_close(steps.gradient(near, nodes, weight), wanted)


def test_attention_is_refused_by_name() -> None:
    model = Stack(gnn.GATConv(F, 4), gnn.GATConv(4, C)).double()
    with pytest.raises(ValueError, match="method='linear' is for models made of linear maps"):
        influence(model, grid(), method="linear")
    assert influence(model, grid()).method == "balls"


def test_a_parameter_that_wants_a_gradient_is_no_constant() -> None:
    conv, data = gnn.GCNConv(F, C), grid()
    x = data.x.float().requires_grad_()
    assert linear(conv(x, data.edge_index), x) is None
    with frozen(conv):
        held = linear(conv(x, data.edge_index), x)
    assert getattr(held, "depth", None) == 1
