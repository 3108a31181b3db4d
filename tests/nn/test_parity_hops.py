"""Layers of several hops and spectral layers against PyG's with the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch_geometric.nn
from torch import Tensor, nn
from torch_geometric import EdgeIndex

import gnnlib.nn
from tests.nn.cases import awkward_graph, plain_graph, weighted_graph
from tests.nn.test_parity import F_IN, GRAPHS, Build, N, build, compare, each, leaf, pair
from tests.tolerances import assert_close


def lg(**options: Any) -> Build:
    def make(library: Any, channels: Any) -> nn.Module:
        layer: nn.Module = library.LGConv(**options)
        return layer

    make.__name__ = f"LGConv({options})"
    return make


WEIGHTED = [  # layers that take edge weights; wider and narrower than their input
    lg(),
    lg(normalize=False),
    lg(aggr="mean"),
    build("SSGConv", 4, 0.1),
    build("SSGConv", 9, 0.1, K=3),
    build("SSGConv", 4, 0.3, K=3, add_self_loops=False, bias=False),
    build("SSGConv", 9, 0.3, K=2, cached=True),
    build("SSGConv", 9, 0.3, K=2, aggr="max"),
    build("TAGConv", 4),
    build("TAGConv", 9, K=2),
    build("TAGConv", 4, K=2, normalize=False, bias=False),
    build("TAGConv", 9, K=0),
    build("TAGConv", 4, K=2, aggr="mean"),
    build("TAGConv", 9, K=2, aggr="max"),
    build("MixHopConv", 4),
    build("MixHopConv", 9, [0, 3, 1]),
    build("MixHopConv", 4, [2], add_self_loops=False, bias=False),
    build("ARMAConv", 4),
    build("ARMAConv", 9, num_stacks=3, num_layers=3),
    build("ARMAConv", 4, num_stacks=2, num_layers=4, shared_weights=True),
    build("ARMAConv", 4, num_layers=2, act=None, bias=False),
]
CHEB = [
    build("ChebConv", 4, 1),
    build("ChebConv", 4, 2),
    build("ChebConv", 9, 2),
    build("ChebConv", 4, 5, bias=False),
    build("ChebConv", 9, 4),
    build("ChebConv", 4, 3, normalization="rw"),
    build("ChebConv", 9, 3, normalization="rw"),
    build("ChebConv", 4, 4, normalization=None),
    build("ChebConv", 9, 3, normalization=None),
    build("ChebConv", 9, 3, aggr="mean"),
]
CLUSTER = [
    build("ClusterGCNConv", 4),
    build("ClusterGCNConv", 9, diag_lambda=0.4),
    build("ClusterGCNConv", 4, diag_lambda=0.4, bias=False),
    build("ClusterGCNConv", 4, diag_lambda=0.4, aggr="max"),
]


def gcn2(**options: Any) -> Build:
    def make(library: Any, channels: Any) -> nn.Module:
        layer: nn.Module = library.GCN2Conv(channels, 0.2, **options)
        return layer

    make.__name__ = f"GCN2Conv({options})"
    return make


GCN2 = [
    gcn2(),
    gcn2(theta=0.5, layer=3),
    gcn2(theta=0.5, layer=2, shared_weights=False),
    gcn2(cached=True, add_self_loops=False),
    gcn2(theta=1.0, layer=1, normalize=False),
    gcn2(theta=1.0, layer=1, aggr="mean"),
]


def pair_of(make: Build) -> tuple[nn.Module, nn.Module, torch.dtype]:
    """Both layers in the precision that PyG's has: ClusterGCNConv mixes float32 into everything."""
    dtype = torch.float32 if "Cluster" in make.__name__ else torch.float64
    return *pair(make, dtype=dtype), dtype


@each(WEIGHTED + CHEB + CLUSTER)
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_edge_index(make: Build, graph: str) -> None:
    if "normalization=None" in make.__name__ and graph == "empty":
        pytest.skip("the largest eigenvalue is 0, by which PyG divides")
    theirs, ours, dtype = pair_of(make)
    x, edge_index = leaf(N, F_IN, dtype=dtype), GRAPHS[graph]()
    compare(theirs, ours, [x], lambda layer: layer(x, edge_index))


@each(WEIGHTED + CHEB)
@pytest.mark.parametrize("graph", ["awkward", "plain"])
def test_edge_weight(make: Build, graph: str) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), GRAPHS[graph]()
    weight = leaf(edge_index.size(1), positive=True)
    compare(theirs, ours, [x, weight], lambda layer: layer(x, edge_index, weight))


NOT_ARMA = [m for m in WEIGHTED if "ARMA" not in m.__name__]  # PyG's stacks take neither format


@each(NOT_ARMA)
def test_torch_csr(make: Build) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), plain_graph()
    weight = torch.rand(edge_index.size(1), dtype=torch.float64) + 0.2
    adj_t = torch.sparse_coo_tensor(edge_index.flip(0), weight, (N, N)).coalesce().to_sparse_csr()
    compare(theirs, ours, [x], lambda layer: layer(x, adj_t))


@each(NOT_ARMA + CHEB + CLUSTER)
def test_edge_index_class(make: Build) -> None:
    theirs, ours, dtype = pair_of(make)
    x = leaf(N, F_IN, dtype=dtype)
    edge_index = EdgeIndex(plain_graph(), sparse_size=(N, N)).sort_by("col")[0]
    compare(theirs, ours, [x], lambda layer: layer(x, edge_index))


@each(CHEB)
@pytest.mark.parametrize("top", [1.7, torch.tensor(3.0, dtype=torch.float64)], ids=str)
def test_lambda_max(make: Build, top: Any) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), awkward_graph()
    compare(theirs, ours, [x], lambda layer: layer(x, edge_index, None, None, top))


@each(CHEB)
@pytest.mark.parametrize("weighted", [False, True])
def test_lambda_max_of_each_graph(make: Build, weighted: bool) -> None:
    theirs, ours = pair(make)
    edge_index = torch.cat([weighted_graph(), plain_graph() + N], dim=1)
    x, batch = leaf(2 * N, F_IN), torch.arange(2 * N) // N
    weight = leaf(edge_index.size(1), positive=True) if weighted else None
    top = torch.tensor([1.5, 2.5], dtype=torch.float64)
    leaves = [x] if weight is None else [x, weight]
    compare(theirs, ours, leaves, lambda layer: layer(x, edge_index, weight, batch, top))


@each(GCN2)
@pytest.mark.parametrize("graph", list(GRAPHS))
@pytest.mark.parametrize("weighted", [False, True])
def test_gcn2(make: Build, graph: str, weighted: bool) -> None:
    theirs, ours = pair(make)
    x, x_0, edge_index = leaf(N, F_IN), leaf(N + 3, F_IN), GRAPHS[graph]()
    weight = leaf(edge_index.size(1), positive=True) if weighted else None
    leaves = [x, x_0] if weight is None else [x, x_0, weight]
    # PyG writes into what it propagated, which must not be a leaf: without edges it may be x itself.
    compare(theirs, ours, leaves, lambda layer: layer(x * 1, x_0, edge_index, weight))


def test_cluster_gcn_without_added_loops() -> None:
    """Loops that are there are the diagonal; PyG adds a number for each node, so each needs a loop."""
    theirs, ours, dtype = pair_of(build("ClusterGCNConv", 4, diag_lambda=0.4, add_self_loops=False))
    loops = torch.arange(N).repeat(2, 1)
    edge_index = torch.cat([plain_graph(), loops], dim=1)
    x = leaf(N, F_IN, dtype=dtype)
    compare(theirs, ours, [x], lambda layer: layer(x, edge_index))


@pytest.mark.parametrize(
    "make", [WEIGHTED[3], WEIGHTED[8], WEIGHTED[15], WEIGHTED[18], CHEB[1], CLUSTER[0], GCN2[2]]
)
def test_the_same_seed_gives_the_same_initial_weights(make: Build) -> None:
    torch.manual_seed(3)
    theirs = make(torch_geometric.nn, F_IN).state_dict()
    torch.manual_seed(3)
    ours = make(gnnlib.nn, F_IN).state_dict()
    assert list(ours) == list(theirs)
    assert_close(dict(ours), dict(theirs))


@each([*WEIGHTED, *CHEB, *CLUSTER, *GCN2])
def test_repr(make: Build) -> None:
    assert repr(make(gnnlib.nn, F_IN)) == repr(make(torch_geometric.nn, F_IN))


@each([WEIGHTED[0], WEIGHTED[4], WEIGHTED[8], WEIGHTED[14], WEIGHTED[18], CHEB[1], CHEB[4], CLUSTER[1]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_lower_precision(make: Build, dtype: torch.dtype) -> None:
    theirs, ours = pair(make, dtype=dtype)
    x, edge_index = leaf(N, F_IN, dtype=dtype), plain_graph()
    if dtype == torch.float32:
        compare(theirs, ours, [x], lambda layer: layer(x, edge_index))
        return
    exact = theirs.double()(x.detach().double(), edge_index)
    scale = exact.abs().max()
    assert_close(ours(x, edge_index).double() / scale, exact / scale, dtype)


def test_arma_dropout_touches_the_skip_alone() -> None:
    theirs, ours = pair(build("ARMAConv", 4, dropout=0.5))
    x, edge_index = leaf(N, F_IN), plain_graph()
    outs = []
    for layer in (theirs.train(), ours.train()):
        torch.manual_seed(2)
        outs.append(layer(x, edge_index))
    assert_close(outs[1], outs[0])


def test_lazy_weights_move_both_ways() -> None:
    for make in (
        build("TAGConv", 4),
        build("ChebConv", 4, 3),
        build("MixHopConv", 4),
        build("ClusterGCNConv", 4),
    ):
        for source, target in ((torch_geometric.nn, gnnlib.nn), (gnnlib.nn, torch_geometric.nn)):
            ready, lazy = make(source, F_IN), make(target, -1)
            lazy.load_state_dict(ready.state_dict())
            x: Tensor = torch.randn(N, F_IN)
            assert_close(lazy(x, awkward_graph()), ready(x, awkward_graph()))
