"""Models on shrinking rows: which layers are found, that gradients stay, and what is left alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch_geometric.data import Data

import gnnlib.nn as gnn
from gnnlib.measure import influence
from gnnlib.measure.influence import _Work
from gnnlib.measure.trim import layers_of
from gnnlib.models import registry
from tests.measure.test_influence import C, F, Stack, expected, grid
from tests.tolerances import assert_close


class Residual(nn.Module):
    """Layers whose outputs are added to their inputs and to the first of them, and all of them joined."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(F, 6)
        self.convs = nn.ModuleList(gnn.GATConv(6, 6) for _ in range(3))
        self.last = nn.Linear(24, C)

    def forward(self, x: Tensor, edge_index: Any) -> Tensor:
        states = [self.first(x)]
        for conv in self.convs:
            states.append(states[0] + conv(states[-1], edge_index).tanh() + states[-1])
        return self.last(torch.cat(states, dim=-1))


class Twice(nn.Module):
    """Two layers side by side: as many calls as hops, but not one hop after another."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = gnn.GCNConv(F, C), gnn.SGConv(F, C, K=2)

    def forward(self, x: Tensor, edge_index: Any) -> Tensor:
        return self.near(x, edge_index) + self.far(x, edge_index)


def built(name: str, **options: Any) -> nn.Module:
    config = registry.config_class(name)(hidden_channels=8, dropout=0.0, **options)
    return registry.build(name, "node", F, C, config)


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    return {
        "residual": Residual,
        "twice": Twice,
        "gcn": lambda: built("gcn", num_layers=4, norm="layer"),
        "gcnii": lambda: built("gcnii", num_layers=3),
        "jk": lambda: built("sage", num_layers=3, jk="cat"),
        "pyg": lambda: Stack(pyg.GCNConv(F, 8), pyg.GATConv(8, 8), pyg.SAGEConv(8, C)),
    }[name]()


@pytest.mark.parametrize("name", ["residual", "twice", "gcn", "gcnii", "jk", "pyg"])
def test_gradients_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    ask = _Work._layers

    def seen(self: Any, union: Any, reach: int) -> Any:
        found.append(ask(self, union, reach))
        return found[-1]

    monkeypatch.setattr(_Work, "_layers", seen)
    model, data = make(name).double(), grid(8, 7)
    got = influence(model, data, method="balls")
    assert_close(got.by_hop, expected(model, data, got.reach))
    trimmed = found[-1]
    if name == "twice":
        assert trimmed is None  # its second layer would be given too few rows
    else:
        assert len(trimmed.calls) == got.reach
        assert trimmed.mixed == (name in ("residual", "jk"))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_rows_shrink() -> None:
    rows: list[int] = []

    class Seen(gnn.GCNConv):
        def forward(self, x: Tensor, edge_index: Any, *rest: Any) -> Tensor:
            rows.append(x.size(0))
            return super().forward(x, edge_index, *rest)

    model, data = Stack(*(Seen(F, F) for _ in range(4))).double(), grid(9, 9)
    influence(model, data, num_samples=1, seed=3, method="balls")
    last = rows[-4:]
    assert last == sorted(last, reverse=True)
    assert last[-1] <= 13 < last[0]  # the last layer is given a ball of two hops


def test_the_innermost_takers_of_the_edges_are_the_layers() -> None:
    model = built("gcn", num_layers=3)
    data = Data(x=torch.randn(4, F), edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]))
    found = layers_of(model, lambda: model(data.x, data.edge_index), data.edge_index)
    assert [type(layer) for layer in found] == [gnn.GCNConv] * 3
    mlp = nn.Linear(F, C)
    assert layers_of(mlp, lambda: mlp(data.x), data.edge_index) == []
