"""Whole PyG models: ready-made, heterogeneous, of one's own; compiled, in other precisions, in training."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch_geometric.data import HeteroData

import gnnlib
from gnnlib.accel import layers
from tests.nn.cases import plain_graph
from tests.tolerances import TOLERANCES, assert_close

N, WIDTH = 20, 6
DEGREES = torch.tensor([1, 4, 6, 5, 3, 1])
PNA = {"aggregators": ["mean", "max", "min", "std"], "scalers": ["identity", "amplification"], "deg": DEGREES}
BASIC: dict[str, Any] = {
    "GCN": lambda: pyg.GCN(WIDTH, 8, 2, 4, norm="batch_norm"),
    "GraphSAGE": lambda: pyg.GraphSAGE(WIDTH, 8, 2, 4, jk="cat"),
    "GIN": lambda: pyg.GIN(WIDTH, 8, 2, 4),
    "GAT": lambda: pyg.GAT(WIDTH, 8, 2, 4, heads=2, jk="max"),
    "GATv2": lambda: pyg.GAT(WIDTH, 8, 2, 4, heads=2, v2=True),
    "PNA": lambda: pyg.PNA(WIDTH, 4, 2, 4, **PNA),
    "EdgeCNN": lambda: pyg.EdgeCNN(WIDTH, 8, 2, 4),
}


def both(make: Any, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, nn.Module]:
    stock = make().to(dtype)
    return stock, gnnlib.accelerate(copy.deepcopy(stock))


def grads(model: nn.Module, *inputs: Any) -> list[Tensor]:
    out = model(*inputs)
    loss = out.square().sum()
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return [
        out,
        *(torch.zeros_like(p) if g is None else g for p, g in zip(model.parameters(), found, strict=True)),
    ]


@pytest.mark.parametrize("name", BASIC)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_basic_models(name: str, training: bool) -> None:
    stock, fast = both(BASIC[name])
    x, edge_index = torch.randn(N, WIDTH, dtype=torch.float64), plain_graph()
    for model in (stock, fast):
        model.train(training)
    assert_close(grads(fast, x, edge_index), grads(stock, x, edge_index))
    assert {layer.path for layer in layers(fast)} == {"core"}


@pytest.mark.parametrize("name", ["GCN", "GAT", "PNA"])
def test_compiled_without_a_break(name: str) -> None:
    torch._dynamo.reset()
    _, fast = both(BASIC[name], torch.float32)
    fast.eval()
    x, edge_index = torch.randn(N, WIDTH), plain_graph()
    compiled = torch.compile(fast, fullgraph=True, dynamic=True, backend="aot_eager")
    assert_close(compiled(x, edge_index), fast(x, edge_index))


E = plain_graph().size(1)
LAYERS: dict[str, tuple[Any, tuple[Tensor, ...]]] = {
    "GATv2Conv": (lambda: pyg.GATv2Conv(WIDTH, 4, heads=2, edge_dim=3), (torch.randn(E, 3),)),
    "TransformerConv": (lambda: pyg.TransformerConv(WIDTH, 4, edge_dim=3), (torch.randn(E, 3),)),
    "GENConv": (lambda: pyg.GENConv(WIDTH, 4), ()),
    "RGCNConv": (lambda: pyg.RGCNConv(WIDTH, 4, 3), (torch.arange(E) % 3,)),
    "SAGEConv": (lambda: pyg.SAGEConv(WIDTH, 4, aggr=["std", "softmax"]), ()),
    "ChebConv": (lambda: pyg.ChebConv(WIDTH, 4, 3), (torch.rand(E),)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compile_without_a_break(name: str) -> None:
    torch._dynamo.reset()
    make, extra = LAYERS[name]
    _, fast = both(make, torch.float32)
    fast.eval()
    x, edge_index = torch.randn(N, WIDTH), plain_graph()
    compiled = torch.compile(fast, fullgraph=True, dynamic=True, backend="eager")
    assert_close(compiled(x, edge_index, *extra), fast(x, edge_index, *extra))
    assert next(layers(fast)).path == "core"


def hetero() -> HeteroData:
    data = HeteroData()
    data["paper"].x = torch.randn(N, WIDTH)
    data["author"].x = torch.randn(9, WIDTH)
    data["paper", "cites", "paper"].edge_index = plain_graph()
    data["author", "writes", "paper"].edge_index = torch.stack([plain_graph()[0] % 9, plain_graph()[1]])
    data["paper", "written_by", "author"].edge_index = torch.stack([plain_graph()[0], plain_graph()[1] % 9])
    return data


class Mixed(nn.Module):
    """Layers that bipartite graphs know, with a lazy width."""

    def __init__(self) -> None:
        super().__init__()
        self.first = pyg.SAGEConv((-1, -1), 8)
        self.second = pyg.GATConv((-1, -1), 4, add_self_loops=False)
        self.third = pyg.GraphConv((-1, -1), 3)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.first(x, edge_index).relu()
        x = self.second(x, edge_index).relu()
        out: Tensor = self.third(x, edge_index)
        return out


@pytest.mark.parametrize("before", [True, False], ids=["accelerated before", "after"])
def test_to_hetero(before: bool) -> None:
    data = hetero()
    model = Mixed()
    if before:
        gnnlib.accelerate(model)
    model = pyg.to_hetero(model, data.metadata())
    if not before:
        gnnlib.accelerate(model)
    model(data.x_dict, data.edge_index_dict)  # takes the widths
    found = model(data.x_dict, data.edge_index_dict)
    assert {layer.path for layer in layers(model)} == {"core"}
    assert sum(layer.kind == "SAGEConv" for layer in layers(model)) == 3
    assert_close(found, gnnlib.decelerate(model)(data.x_dict, data.edge_index_dict))


def test_hetero_conv() -> None:
    data = hetero()
    model = pyg.HeteroConv(
        {
            ("paper", "cites", "paper"): pyg.GCNConv(WIDTH, 4),
            ("author", "writes", "paper"): pyg.SAGEConv((WIDTH, WIDTH), 4),
            ("paper", "written_by", "author"): pyg.GATConv((WIDTH, WIDTH), 4, add_self_loops=False),
        }
    )
    expected = model(data.x_dict, data.edge_index_dict)
    found = gnnlib.accelerate(model)(data.x_dict, data.edge_index_dict)
    assert_close(found, expected)
    assert [layer.path for layer in layers(model)] == ["core"] * 3


class Graphs(nn.Module):
    """A model of one's own for graphs, with PyG's Sequential and a readout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = pyg.Sequential(
            "x, edge_index",
            [
                (pyg.GINConv(pyg.MLP([WIDTH, 8, 8])), "x, edge_index -> x"),
                nn.ReLU(inplace=True),
                (pyg.GCNConv(8, 8), "x, edge_index -> x"),
                nn.ReLU(inplace=True),
            ],
        )
        self.pool = pyg.aggr.MultiAggregation(["mean", "max", "std", "softmax"])
        self.head = nn.Linear(32, 2)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        out: Tensor = self.head(self.pool(self.body(x, edge_index), batch, dim_size=3))
        return out


def test_a_model_of_ones_own_trains_alike() -> None:
    torch.manual_seed(0)
    stock, fast = both(Graphs)
    x, edge_index = torch.randn(N, WIDTH, dtype=torch.float64), plain_graph()
    batch = torch.arange(N) // 8
    losses = []
    for model in (stock, fast):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x, edge_index, batch), torch.tensor([0, 1, 0]))
            loss.backward()
            optimizer.step()
        losses.append(loss.detach())
    assert_close(losses[1], losses[0])
    assert {layer.path for layer in layers(fast) if "fused_aggr" not in layer.name} == {"core"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["GCN", "GraphSAGE", "GIN", "GAT"])
def test_precisions(name: str, dtype: torch.dtype) -> None:
    stock, fast = both(BASIC[name], dtype)
    x, edge_index = torch.randn(N, WIDTH, dtype=dtype), plain_graph()
    expected, found = stock(x, edge_index), fast(x, edge_index)
    assert found.dtype == expected.dtype
    if dtype == torch.float32:
        assert_close(found, expected)
    else:  # the core sums in float32 where PyG rounds each sum: compare both with float64
        exact = stock.double()(x.double(), edge_index)
        bound = TOLERANCES[dtype].atol * exact.abs().max() * 2
        assert (found - exact).abs().max() < max(bound, 2 * (expected - exact).abs().max())


@pytest.mark.parametrize("name", ["GCN", "GraphSAGE", "GIN", "GAT"])
def test_autocast_gives_pygs_precision(name: str) -> None:
    stock, fast = both(BASIC[name], torch.float32)
    x, edge_index = torch.randn(N, WIDTH), plain_graph()
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = stock(x, edge_index), fast(x, edge_index)
    assert found.dtype == expected.dtype
    assert_close(found, expected, torch.bfloat16)


@pytest.mark.parametrize("name", LAYERS)
def test_autocast_gives_the_precision_of_pygs_layers(name: str) -> None:
    make, extra = LAYERS[name]
    stock, fast = both(make, torch.float32)
    x, edge_index = torch.randn(N, WIDTH), plain_graph()
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = stock.eval()(x, edge_index, *extra), fast.eval()(x, edge_index, *extra)
    assert found.dtype == expected.dtype
    assert_close(found, expected, torch.bfloat16)


@pytest.mark.parametrize("weighted", [False, True])
def test_autocast_with_edge_weights(weighted: bool) -> None:
    stock, fast = both(lambda: pyg.GraphConv(WIDTH, 4), torch.float32)
    x, edge_index = torch.randn(N, WIDTH), plain_graph()
    weight = torch.rand(edge_index.size(1)) if weighted else None
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = stock(x, edge_index, weight), fast(x, edge_index, weight)
    assert found.dtype == expected.dtype
    assert_close(found, expected, torch.bfloat16)
    assert next(layer.path for layer in layers(fast)) == ("PyG" if weighted else "core")
