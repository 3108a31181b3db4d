"""Influence of models that look against the edges of a directed graph, against whole Jacobians."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

import gnnlib.nn as gnn
from gnnlib.measure import influence
from tests.measure.test_influence import C, F, Stack, grid, models, sparse_directed
from tests.tolerances import assert_close

N = 18


class Real(nn.Module):
    """The real part of a layer whose output is complex."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, edge_index: Any) -> Tensor:
        out = self.layer(x, edge_index)
        return out.real + out.imag if out.is_complex() else out


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "dir-gcn": lambda: gnn.DirGCNConv(F, C),
    "dir-gcn, two": lambda: Stack(gnn.DirGCNConv(F, 4), gnn.DirGCNConv(4, C)),
    "dir-sage": lambda: gnn.DirGNNConv(gnn.SAGEConv(F, C)),
    "faber": lambda: gnn.FaberConv(F, C, K=2),
    "magnet": lambda: Real(gnn.MagNetConv(F, C, K=2)),
    "digcn": lambda: gnn.DiGCNConv(F, C),
    "dgcn": lambda: gnn.DGCNConv(F, C),
    "resolvent": lambda: gnn.DirResolvConv(F, C),
    "sheaf": lambda: gnn.SheafConv(F, F, 1),
    "gcn": lambda: Stack(gnn.GCNConv(F, 4), gnn.GCNConv(4, C)),
}


def ring() -> Data:
    node = torch.arange(N)
    return Data(
        x=torch.randn(N, F, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
        edge_index=torch.stack([node, (node + 1) % N]),
    )


def tree() -> Data:
    graph = nx.balanced_tree(2, 3, create_using=nx.DiGraph)
    x = torch.randn(len(graph), F, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Data(x=x, edge_index=torch.tensor(list(graph.edges)).t().flip(0))


def by_hand(model: nn.Module, data: Data, last: int, directed: bool) -> tuple[Tensor, Tensor]:
    """T_h(v) up to ``last`` hops, and the share of what no path joins, from the whole Jacobian."""
    model.eval()
    jac = torch.autograd.functional.jacobian(lambda x: model(x, data.edge_index), data.x)
    size = jac.abs().sum(dim=(1, 3))
    graph = nx.DiGraph(data.edge_index.flip(0).t().tolist())
    graph.add_nodes_from(range(size.size(0)))
    table, apart = torch.zeros(size.size(0), last + 1, dtype=size.dtype), size.clone()
    for v in graph:
        far = nx.single_source_shortest_path_length(graph if directed else graph.to_undirected(), v)
        for u, hop in far.items():
            table[v, hop] += size[v, u]
            apart[v, u] = 0
    return table, apart.sum(1) / size.sum(1).clamp(min=1e-300)


@pytest.mark.filterwarnings("ignore:influence. no output depends on the node itself")
@pytest.mark.parametrize("make", [ring, tree, sparse_directed])
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_hops_are_counted_the_way_the_model_looks(name: str, make: Callable[[], Data]) -> None:
    torch.manual_seed(0)
    model, data = LAYERS[name]().double(), make()
    found = influence(model, data, N)
    assert found.hops == ("directed" if name == "gcn" else "undirected")
    table, apart = by_hand(model, data, 40, directed=name == "gcn")
    assert not table[:, N + 1 :].any()
    assert not apart.any()
    assert found.apart_share == 0
    assert_close(found.by_hop, table[:, : N + 1])
    far = {"dir-gcn": 1, "dir-gcn, two": 2, "dir-sage": 1, "faber": 2, "magnet": 2, "gcn": 2, "sheaf": 1}
    assert found.reach == far.get(name, found.reach)
    for method in ("colored", "single"):
        assert_close(influence(model, data, N, method=method).by_hop, found.by_hop)


@pytest.mark.filterwarnings("ignore:influence. no output depends on the node itself")
@pytest.mark.parametrize("method", ["auto", "colored", "single"])
@pytest.mark.parametrize("make", [ring, tree])
def test_what_no_path_joins_is_told(method: Any, make: Callable[[], Data]) -> None:
    model, data = LAYERS["dir-gcn, two"]().double(), make()
    found = influence(model, data, hops="directed", method=method)
    table, apart = by_hand(model, data, N, directed=True)
    assert_close(found.by_hop, table[:, : found.reach + 1])
    assert_close(found.apart, apart)
    assert (found.hops, found.apart_share > 0.2) == ("directed", make is tree)
    if make is tree:
        with pytest.raises(ValueError, match="balls of reach=2 do not give the outputs"):
            influence(model, data, hops="directed", method="balls")


def test_a_model_without_a_place_for_distance() -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return x + x.mean(0)

    one, two = grid(2, 2), grid(3, 2)
    data = Data(
        x=torch.cat([one.x, two.x]), edge_index=torch.cat([one.edge_index, two.edge_index + 4], dim=1)
    )
    for method in ("auto", "colored", "single"):
        found = influence(Mean(), data, method=method)
        table, apart = by_hand(Mean(), data, found.reach, directed=True)
        assert (found.method, found.reach) == ("single", 3)
        assert_close(found.by_hop, table)
        assert_close(found.apart, apart)


def test_the_reach_of_a_model_that_looks_back_is_checked() -> None:
    model = LAYERS["dir-gcn, two"]().double()
    for method in ("auto", "colored", "single"):
        with pytest.raises(ValueError, match="beyond reach=1 hops of undirected edges"):
            influence(model, tree(), reach=1, method=method)  # type: ignore[arg-type]


@pytest.mark.parametrize("option", [{"max_hops": -1}, {"reach": -1}, {"hops": "both"}])
def test_options_out_of_range(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"influence: {next(iter(option))}="):
        influence(models()["gcn"].double(), grid(), **option)


def test_a_curve_without_a_first_hop() -> None:
    model, data = LAYERS["dir-gcn"]().double(), tree()
    with pytest.warns(UserWarning, match="no output depends on the node itself, so the curve is relative to"):
        found = influence(model, data, num_samples=9)
    assert (found.base, found.curve.tolist()) == (1, [0, 1])
    assert found.curve_error.isfinite().all()

    class Nothing(nn.Module):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return x.detach() * 2

    assert influence(Nothing(), data).curve.tolist() == [0]


def test_one_node_has_no_interval(recwarn: pytest.WarningsRecorder) -> None:
    found = influence(models()["gcn"].double(), grid(), num_samples=1)
    assert found.R_error != found.R_error
    assert found.curve_error.isnan().all()
    with pytest.raises(ValueError, match="1 of 30 nodes was measured, which says nothing of the spread"):
        found.interval()
    assert not recwarn
