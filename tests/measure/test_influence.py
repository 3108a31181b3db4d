"""Influence by hop against whole Jacobians, closed forms, and PyG where PyG is right."""

from __future__ import annotations

from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.utils import total_influence

import gnnlib.nn as gnn
from gnnlib.measure import influence
from gnnlib.sparse import as_csr
from gnnlib.sparse.hops import balls
from tests.tolerances import assert_close

N, F, C = 30, 3, 2


class Stack(nn.Module):
    """Layers with a rectifier between them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, edge_index: Any) -> Tensor:
        for k, layer in enumerate(self.layers):
            x = layer(x, edge_index) if not isinstance(layer, nn.Linear | nn.Dropout) else layer(x)
            x = x.relu() if k + 1 < len(self.layers) else x
        return x


def grid(rows: int = 6, columns: int = 5) -> Data:
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(rows, columns)).to_directed()
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(rows * columns, F, generator=draw, dtype=torch.float64)
    return Data(x=x, edge_index=torch.tensor(list(graph.edges)).t())


def sparse_directed() -> Data:
    graph = nx.gnp_random_graph(N, 0.06, seed=1, directed=True)
    return Data(x=torch.randn(N, F, dtype=torch.float64), edge_index=torch.tensor(list(graph.edges)).t())


def expected(model: nn.Module, data: Data, last: int) -> Tensor:
    """T_h(v) from the whole Jacobian."""
    model.eval()
    jac = torch.autograd.functional.jacobian(lambda x: model(x, data.edge_index), data.x)  # [N, C, N, F]
    size = jac.abs().sum(dim=(1, 3))
    n = data.x.size(0)
    found = balls(as_csr(data.edge_index, (n, n)), torch.arange(n), last)
    table = torch.zeros(n, last + 1, dtype=size.dtype)
    owner = torch.repeat_interleave(torch.arange(n), found.ptr.diff())
    return table.index_put((owner, found.hop), size[owner, found.node], accumulate=True)


def models() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "gcn": Stack(gnn.GCNConv(F, 8), gnn.GCNConv(8, 8), gnn.GCNConv(8, C)),
        "gat": Stack(gnn.GATConv(F, 4, 2), nn.Dropout(0.5), gnn.GATConv(8, C)),
        "sage-max": Stack(gnn.SAGEConv(F, 8, "max"), gnn.SAGEConv(8, C)),
        "mlp": Stack(nn.Linear(F, 8), nn.Linear(8, C)),
    }


@pytest.mark.parametrize("method", ["balls", "colored", "single"])
@pytest.mark.parametrize("name", sorted(models()))
@pytest.mark.parametrize("make", [grid, sparse_directed])
def test_it_is_the_whole_jacobian(name: str, method: Any, make: Any) -> None:
    model, data = models()[name].double(), make()
    found = influence(model, data, 5, method=method)
    assert found.method == method
    assert_close(found.by_hop, expected(model, data, 5))
    assert found.R_error == 0
    assert found.reach == {"gcn": 3, "gat": 2, "sage-max": 2, "mlp": 0}[name]
    assert not found.by_hop[:, found.reach + 1 :].any()  # L layers look no farther than L hops
    if name == "mlp":
        assert found.R == 0


def test_linear_propagation_has_a_closed_form() -> None:
    data = grid()
    conv = gnn.SGConv(F, C, K=3).double()
    found = influence(conv, data)
    adj = as_csr(data.edge_index, (N, N)).to_dense(torch.ones(data.edge_index.size(1), dtype=torch.float64))
    loops = adj + torch.eye(N, dtype=torch.float64)
    scale = loops.sum(1).rsqrt()
    power = torch.linalg.matrix_power(scale[:, None] * loops * scale, 3)
    table = torch.zeros(N, 4, dtype=torch.float64)
    near = balls(as_csr(data.edge_index, (N, N)), torch.arange(N), 3)
    owner = torch.repeat_interleave(torch.arange(N), near.ptr.diff())
    table.index_put_((owner, near.hop), power[owner, near.node], accumulate=True)
    assert_close(found.by_hop, table * conv.lin.weight.abs().sum())
    hops = torch.arange(4, dtype=torch.float64)
    assert pytest.approx(float((table @ hops / table.sum(1)).mean())) == found.R


def test_pyg_agrees_where_its_ball_is_wide_enough() -> None:
    data, model = grid(), models()["gcn"].eval()
    data.x = data.x.float()
    wide, R = total_influence(model, data, max_hops=4)  # all rows of a Jacobian at once, through our layers
    ours = influence(model, data, 4)
    assert_close(ours.curve, wide)
    assert pytest.approx(R, rel=1e-4) == ours.R
    narrow, _ = total_influence(model, data, max_hops=3, vectorize=False)
    assert (narrow[3] - influence(model, data, 3).curve[3]).abs() > 0.01 * narrow[3]  # the biased rim


def test_scale_changes_neither_curve_nor_range() -> None:
    data, model = grid(), models()["gcn"].double()
    before = influence(model, data)
    with torch.no_grad():
        last = model.layers[2]
        last.lin.weight *= 7
        last.bias *= 7
    after = influence(model, data)
    assert_close(after.curve, before.curve)
    assert pytest.approx(before.R) == after.R
    assert_close(influence(model, data, normalize=False).curve, 7 * influence(model, data).by_hop.mean(0) / 7)


def test_a_sample_estimates_with_an_interval_that_covers() -> None:
    data, model = grid(20, 15), models()["gcn"].double()
    whole = influence(model, data)
    hit = 0
    for seed in range(20):
        part = influence(model, data, num_samples=60, seed=seed)
        assert_close(part.by_hop, whole.by_hop[part.nodes])
        low, high = part.interval(0.95)
        hit += low <= whole.R <= high
        assert part.curve_error.shape == part.curve.shape
    assert hit >= 16
    T, R = influence(model, data, num_samples=5)
    assert T.shape == (4,)
    assert isinstance(R, float)


def test_nodes_without_influence_count_as_range_zero() -> None:
    class Dead(nn.Module):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            keep = torch.arange(x.size(0)) % 2 == 0
            return x * keep[:, None].to(x)

    found = influence(Dead(), grid(), method="colored")
    assert (found.without, found.R, found.reach) == (N // 2, 0.0, 0)
    assert not found.ranges.isnan().any()


def test_the_model_is_left_as_it_was() -> None:
    model = models()["gat"].double()
    model.layers[0].bias.requires_grad_(False)
    wanted = [p.requires_grad for p in model.parameters()]
    influence(model, grid(), num_samples=2)
    assert model.training
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert all(p.grad is None for p in model.parameters())


class TwiceNormalised(nn.Module):
    """Knows of a neighbour what lies two hops behind it."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        adj = as_csr(edge_index, (x.size(0), x.size(0)))
        degree = adj.degree.to(x)
        behind = gnn.GraphConv(1, 1, bias=False).to(x)
        with torch.no_grad():
            for p in behind.parameters():
                p.fill_(1)
        return x * behind(behind(degree[:, None], adj), adj)


def test_a_ball_that_is_too_small_is_noticed() -> None:
    data = grid()
    model = TwiceNormalised()
    assert influence(model, data).method == "colored"
    with pytest.raises(ValueError, match="reach=0 do not give the outputs of the whole graph"):
        influence(model, data, method="balls")


def test_errors() -> None:
    data, model = grid(), models()["gcn"].double()
    for method in ("auto", "colored"):
        with pytest.raises(ValueError, match="outputs depend on nodes beyond reach=2 hops"):
            influence(model, data, reach=2, method=method)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="balls of reach=2 do not give the outputs"):
        influence(model, data, reach=2, method="balls")
    with pytest.raises(TypeError, match=r"data\.x holds no floats"):
        influence(model, Data(x=torch.ones(3, 1, dtype=torch.int64), edge_index=data.edge_index))
    with pytest.raises(ValueError, match="method='fast'; choose one of auto, linear"):
        influence(model, data, method="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_samples=0; pass 1 or more"):
        influence(model, data, num_samples=0)
    with pytest.raises(ValueError, match="level=95"):
        influence(model, data, num_samples=3).interval(95)
