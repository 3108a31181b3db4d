"""PathNN as a ready model: its head, and paths that are found once for a dataset and cut out for a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnlib import models
from gnnlib.models import PathNNConfig
from gnnlib.nn import global_add_pool
from gnnlib.sparse import CSR, PathQuery, as_csr, enumerate_paths
from gnnlib.sparse.ops import enumerate_paths as search
from gnnlib.train.tasks.packing import PackedGraphs
from tests.nn.cases import plain_graph
from tests.tolerances import assert_close

F_IN, OUT = 4, 3
VARIANTS: list[dict[str, Any]] = [
    {"variant": "sp"},
    {"variant": "sp+"},
    {"variant": "ap"},
    {"variant": "sp+", "distance": True},
    {"variant": "ap", "distance": True, "share": False, "normalize": True},
    {"variant": "ap", "cell": "sum", "norm": "layer"},
]


def graphs(dtype: torch.dtype = torch.float64) -> list[Data]:
    """Nine graphs of one to nine nodes, some without an edge, with both directions of each edge."""
    made = []
    for n in range(1, 10):
        pairs = torch.combinations(torch.arange(n))
        pairs = pairs[torch.rand(pairs.shape[0]) < 0.4].t() if n > 1 else torch.empty(2, 0, dtype=torch.int64)
        edge_index = torch.cat([pairs, pairs.flip(0)], 1)
        x = torch.randn(n, F_IN, dtype=dtype)
        edge_attr = torch.randn(edge_index.shape[1], 2)
        made.append(Data(x=x, edge_index=edge_index, edge_attr=edge_attr, y=torch.tensor([n % OUT])))
    return made


def packed(data: list[Data], query: PathQuery) -> PackedGraphs:
    return PackedGraphs(data, torch.device("cpu"), "drawn", query=query)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("edges", [0, 2])
def test_a_batch_gives_what_its_graphs_give(options: dict[str, Any], edges: int) -> None:
    config = PathNNConfig(hidden_channels=5, **options)
    model: Any = models.build("pathnn", "graph", F_IN, OUT, config, edge_channels=edges)
    data = graphs(torch.float32 if edges else torch.float64)  # a model takes edge features as float32
    model = model if edges else model.double()
    whole = packed(data, config.path_query)
    index = torch.tensor([8, 0, 3, 7, 7, 1])
    batch = whole.batch(index)

    def out(x: Tensor, edge_index: Any, owner: Tensor, size: int, edge_attr: Tensor | None) -> Tensor:
        scores: Tensor = model(x, edge_index, owner, size, *([edge_attr] if edges else []))
        return scores

    model.train()
    out(batch.x, batch.edge_index, batch.batch, batch.size, batch.edge_attr)  # statistics of the norms
    model.eval()
    found = out(batch.x, batch.edge_index, batch.batch, batch.size, batch.edge_attr)
    for row, number in enumerate(index.tolist()):
        g = data[number]
        one = torch.zeros(g.num_nodes, dtype=torch.int64)
        assert_close(found[row : row + 1], out(g.x, g.edge_index, one, 1, g.edge_attr))
    assert (found - found[:1]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["shortest", "all_shortest", "simple"])
def test_the_paths_of_a_batch_are_those_of_its_graph(kind: Any) -> None:
    query = PathQuery(4, kind, distance=True)
    batch = packed(graphs(), query).batch(torch.tensor([6, 2, 8, 8]))
    edge_index = batch.edge_index
    assert not isinstance(edge_index, Tensor)
    kept = query.of(edge_index)
    again = CSR(edge_index.indptr, edge_index.indices)  # keeps nothing yet
    fresh = enumerate_paths(again, 4, kind, distance=True)
    assert kept.num_paths > 50
    for k in range(4):
        assert torch.equal(kept.nodes[k], fresh.nodes[k])
        assert torch.equal(kept.indptr[k], fresh.indptr[k])
        assert kept.distance is not None
        assert fresh.distance is not None
        assert torch.equal(kept.distance[k], fresh.distance[k])


def test_paths_are_searched_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(args)
        return enumerate_paths(*args, **options)

    monkeypatch.setattr(search, "enumerate_paths", counted)
    config = PathNNConfig(hidden_channels=5, variant="ap", distance=True)
    model: Any = models.build("pathnn", "graph", F_IN, OUT, config).double()
    whole = packed(graphs(), config.path_query)
    for seed in range(3):
        batch = whole.batch(torch.randperm(9, generator=torch.Generator().manual_seed(seed))[:5])
        model(batch.x, batch.edge_index, batch.batch, batch.size)
    assert len(calls) == 1


def test_a_graph_model_has_a_hidden_layer_after_the_readout() -> None:
    config = PathNNConfig(hidden_channels=5, dropout=0.5)
    model: Any = models.build("pathnn", "graph", F_IN, OUT, config).eval()
    x, edge_index = torch.randn(20, F_IN), plain_graph()
    code = global_add_pool(model.encoder.net(x, edge_index), None, 1)
    assert_close(model(x, edge_index), model.lin(model.encoder.lin(code).relu()))
    names = {name.split(".")[0] for name, _ in model.encoder.net.convs[0].norm.named_parameters()}
    assert names == {"module"}  # batch normalisation, as published on small graphs
    bare: Any = models.build("pathnn", "node", F_IN, OUT, PathNNConfig(norm="none"))
    assert not list(bare.encoder.net.convs[0].norm.parameters())


def test_random_paths_are_as_many_as_asked_for_and_always_the_same() -> None:
    config = PathNNConfig(variant="p", max_per_node=2, hidden_channels=5)
    model: Any = models.build("pathnn", "node", F_IN, OUT, config).eval()
    x, edge_index = torch.randn(20, F_IN), plain_graph()
    paths = config.path_query.of(as_csr(edge_index, 20))
    assert [int(offset.diff().max()) for offset in paths.indptr] == [2, 2, 2]
    every = enumerate_paths(as_csr(edge_index, 20), 3, "simple")
    assert paths.num_paths < every.num_paths
    assert torch.equal(model(x, edge_index), model(x, edge_index.clone()))


@pytest.mark.parametrize("options", [{"variant": "sp+"}, {"variant": "ap", "distance": True}], ids=str)
def test_relabelling(options: dict[str, Any]) -> None:
    config = PathNNConfig(hidden_channels=5, num_layers=4, **options)
    model: Any = models.build("pathnn", "node", F_IN, OUT, config).double().eval()
    x, edge_index, order = torch.randn(20, F_IN, dtype=torch.float64), plain_graph(), torch.randperm(20)
    assert_close(model(x[order], order.argsort()[edge_index]), model(x, edge_index)[order])


def test_errors() -> None:
    with pytest.raises(ValueError, match="max_per_node=None; pass how many paths variant='p' draws"):
        PathNNConfig(variant="p")
    with pytest.raises(ValueError, match="max_per_node=0; pass 1 or more"):
        PathNNConfig(max_per_node=0)
    with pytest.raises(ValueError, match=r"layer_dropout=1.0; pass a number from 0 to below 1"):
        PathNNConfig(layer_dropout=1.0)
