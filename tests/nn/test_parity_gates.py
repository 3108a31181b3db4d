"""Gated, relational, edge-conditioned, signed and hypergraph layers against PyG's with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn
from torch import Tensor, nn
from torch_geometric import EdgeIndex

import gnnlib.nn
from tests.nn.cases import awkward_graph, plain_graph, weighted_graph
from tests.nn.test_parity import (
    F_DST,
    F_IN,
    GRAPHS,
    N_DST,
    Build,
    N,
    bipartite_graph,
    build,
    compare,
    each,
    leaf,
    pair,
)
from tests.tolerances import assert_close

RELATIONS, EDGE_DIM = 5, 3

# -- ResGatedGraphConv --------------------------------------------------------------------------------

RES = [
    build("ResGatedGraphConv", 4),
    build("ResGatedGraphConv", 9, bias=False, root_weight=False),
    build("ResGatedGraphConv", 4, act=torch.tanh),
    build("ResGatedGraphConv", 4, act=torch.sigmoid, aggr="mean"),
    build("ResGatedGraphConv", 4, aggr="max"),
]
RES_EDGES = [
    build("ResGatedGraphConv", 4, edge_dim=EDGE_DIM),
    build("ResGatedGraphConv", 9, edge_dim=EDGE_DIM, aggr="mean", bias=False),
    build("ResGatedGraphConv", 4, edge_dim=EDGE_DIM, act=nn.Tanh()),
]


@each(RES)
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_res_gated(make: Build, graph: str) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), GRAPHS[graph]()
    compare(theirs, ours, [x], lambda layer: layer(x, edge_index))


@each(RES_EDGES)
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_res_gated_edges(make: Build, graph: str) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), GRAPHS[graph]()
    edge_attr = leaf(edge_index.size(1), EDGE_DIM)
    compare(theirs, ours, [x, edge_attr], lambda layer: layer(x, edge_index, edge_attr))


@each([RES[0], RES[2]])
def test_res_gated_bipartite(make: Build) -> None:
    theirs, ours = pair(make, (F_IN, F_DST))
    x_src, x_dst, edge_index = leaf(N, F_IN), leaf(N_DST, F_DST), bipartite_graph()
    compare(theirs, ours, [x_src, x_dst], lambda layer: layer((x_src, x_dst), edge_index))
    theirs, ours = pair(build("ResGatedGraphConv", 4, edge_dim=EDGE_DIM), (F_IN, F_DST))
    edge_attr = leaf(edge_index.size(1), EDGE_DIM)
    compare(
        theirs, ours, [x_src, x_dst, edge_attr], lambda layer: layer((x_src, x_dst), edge_index, edge_attr)
    )


# -- GatedGraphConv -----------------------------------------------------------------------------------


def gated_graph(width: int, steps: int, **options: Any) -> Build:
    def make(library: Any, channels: Any) -> nn.Module:
        layer: nn.Module = library.GatedGraphConv(width, steps, **options)
        return layer

    make.__name__ = f"GatedGraphConv({width}, {steps}, {options})"
    return make


GATED = [
    gated_graph(F_IN, 1),
    gated_graph(9, 3),
    gated_graph(9, 2, aggr="mean", bias=False),
    gated_graph(9, 2, aggr="max"),
    gated_graph(9, 2, flow="target_to_source"),
]


@each(GATED)
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_gated_graph(make: Build, graph: str) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), GRAPHS[graph]()
    weight = leaf(edge_index.size(1))
    compare(theirs, ours, [x], lambda layer: layer(x, edge_index))
    compare(theirs, ours, [x, weight], lambda layer: layer(x, edge_index, weight))


@each(GATED[:2])
def test_gated_graph_formats(make: Build) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), plain_graph()
    weight = torch.rand(edge_index.size(1), dtype=torch.float64) + 0.2
    adj_t = torch.sparse_coo_tensor(edge_index.flip(0), weight, (N, N)).coalesce().to_sparse_csr()
    compare(theirs, ours, [x], lambda layer: layer(x, adj_t))
    ordered = EdgeIndex(edge_index, sparse_size=(N, N)).sort_by("col")[0]
    compare(theirs, ours, [x], lambda layer: layer(x, ordered))


# -- FAConv -------------------------------------------------------------------------------------------


def fa(**options: Any) -> Build:
    def make(library: Any, channels: Any) -> nn.Module:
        layer: nn.Module = library.FAConv(channels, **options)
        return layer

    make.__name__ = f"FAConv({options})"
    return make


FA = [
    fa(),
    fa(eps=0.0),
    fa(eps=0.4, cached=True),
    fa(add_self_loops=False),
    fa(flow="target_to_source"),
    fa(aggr="mean"),
]


@each(FA)
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_fa(make: Build, graph: str) -> None:
    theirs, ours = pair(make)
    x, x_0, edge_index = leaf(N, F_IN), leaf(N, F_IN), GRAPHS[graph]()
    compare(theirs, ours, [x, x_0], lambda layer: layer(x, x_0, edge_index))


@each([fa(normalize=False, add_self_loops=False), fa(normalize=False)])
def test_fa_weights(make: Build) -> None:
    theirs, ours = pair(make)
    x, x_0, edge_index = leaf(N, F_IN), leaf(N, F_IN), awkward_graph()
    weight = leaf(edge_index.size(1))
    compare(theirs, ours, [x, x_0, weight], lambda layer: layer(x, x_0, edge_index, weight))


@each([FA[0], FA[3], FA[4], fa(normalize=False)])
def test_fa_attention(make: Build) -> None:
    theirs, ours = pair(make)
    x, x_0, edge_index = leaf(N, F_IN), leaf(N, F_IN), weighted_graph()
    weight = None if ours.normalize else torch.rand(edge_index.size(1), dtype=torch.float64)
    for flag in (True, False):
        expected = theirs(x, x_0, edge_index, weight, return_attention_weights=flag)
        out, (edges, alpha) = ours(x, x_0, edge_index, weight, return_attention_weights=flag)
        assert_close(out, expected[0])
        assert torch.equal(edges, expected[1][0])
        assert_close(alpha, expected[1][1])


@each(FA[:2])
def test_fa_torch_csr(make: Build) -> None:
    theirs, ours = pair(make)
    x, x_0, edge_index = leaf(N, F_IN), leaf(N, F_IN), plain_graph()
    weight = torch.rand(edge_index.size(1), dtype=torch.float64) + 0.2
    adj_t = torch.sparse_coo_tensor(edge_index.flip(0), weight, (N, N)).coalesce().to_sparse_csr()
    compare(theirs, ours, [x, x_0], lambda layer: layer(x, x_0, adj_t))


# -- NNConv -------------------------------------------------------------------------------------------


def nnconv(out: int, kind: str = "two", name: str = "NNConv", **options: Any) -> Build:
    def make(library: Any, channels: Any) -> nn.Module:
        src = channels if isinstance(channels, int) else channels[0]
        network: nn.Module = {
            "one": lambda: nn.Linear(EDGE_DIM, src * out),
            "two": lambda: nn.Sequential(nn.Linear(EDGE_DIM, 4), nn.Tanh(), nn.Linear(4, src * out)),
            "unbiased": lambda: nn.Sequential(
                nn.Linear(EDGE_DIM, 4, bias=False), nn.Linear(4, src * out, False)
            ),
            "nested": lambda: nn.Sequential(nn.Tanh(), nn.Sequential(nn.Linear(EDGE_DIM, src * out))),
            "library": lambda: nn.Sequential(library.Linear(EDGE_DIM, 4), library.Linear(4, src * out)),
            "activated": lambda: nn.Sequential(nn.Linear(EDGE_DIM, src * out), nn.Tanh()),
        }[kind]()
        ours = library is gnnlib.nn  # PyG has the second name in torch_geometric.nn.conv only
        layer: nn.Module = getattr(library, name if ours else "NNConv")(channels, out, network, **options)
        return layer

    make.__name__ = f"{name}({out}, {kind}, {options})"
    return make


NN = [
    nnconv(4),
    nnconv(9, "one"),
    nnconv(4, "unbiased", aggr="mean"),
    nnconv(9, "nested", bias=False),
    nnconv(4, "library", root_weight=False),
    nnconv(4, "activated"),
    nnconv(4, aggr="max"),
    nnconv(4, name="ECConv", aggr="mean"),
]


@each(NN)
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_nnconv(make: Build, graph: str) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), GRAPHS[graph]()
    edge_attr = leaf(edge_index.size(1), EDGE_DIM)
    compare(theirs, ours, [x, edge_attr], lambda layer: layer(x, edge_index, edge_attr))


@each(NN)
def test_nnconv_bipartite(make: Build) -> None:
    theirs, ours = pair(make, (F_IN, F_DST))
    x_src, x_dst, edge_index = leaf(N, F_IN), leaf(N_DST, F_DST), bipartite_graph()
    edge_attr = leaf(edge_index.size(1), EDGE_DIM)
    leaves = [x_src, x_dst, edge_attr]
    compare(theirs, ours, leaves, lambda layer: layer((x_src, x_dst), edge_index, edge_attr))
    compare(
        theirs,
        ours,
        [x_src, edge_attr],
        lambda layer: layer((x_src, None), edge_index, edge_attr, size=(N, N_DST)),
    )


# -- RGCNConv -----------------------------------------------------------------------------------------

FORMS: list[dict[str, Any]] = [{}, {"num_bases": 2}, {"num_blocks": 2}]
RGCN = [
    *(
        build(name, out, RELATIONS, **form)
        for name in ("RGCNConv", "FastRGCNConv")
        for out in (4, 8)
        for form in FORMS
    ),
    *(build("RGCNConv", 4, RELATIONS, aggr=a, **form) for a in ("add", "max", "min") for form in FORMS),
    build("FastRGCNConv", 4, RELATIONS, aggr="add", num_bases=7),
    build("RGCNConv", 4, RELATIONS, root_weight=False, bias=False, is_sorted=True),
]


def types_of(edge_index: Tensor, seed: int = 5) -> Tensor:
    """Relations of which the last but one has no edge."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, RELATIONS - 1, (edge_index.size(1),), generator=generator)
    return kind + (kind == RELATIONS - 2)


@each(RGCN)
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_rgcn(make: Build, graph: str) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), GRAPHS[graph]()
    kind = types_of(edge_index)
    compare(theirs, ours, [x], lambda layer: layer(x, edge_index, kind))


@each(RGCN)
def test_rgcn_bipartite(make: Build) -> None:
    theirs, ours = pair(make, (F_IN, F_DST))
    x_src, x_dst, edge_index = leaf(N, F_IN), leaf(N_DST, F_DST), bipartite_graph()
    kind = types_of(edge_index)
    compare(theirs, ours, [x_src, x_dst], lambda layer: layer((x_src, x_dst), edge_index, kind))


@each([m for m in RGCN if "num_blocks" not in m.__name__])
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_rgcn_learns_features(make: Build, graph: str) -> None:
    theirs, ours = pair(make, N)
    edge_index = GRAPHS[graph]()
    kind = types_of(edge_index)
    compare(theirs, ours, [], lambda layer: layer(None, edge_index, kind))
    if "Fast" in make.__name__:
        return  # PyG's reads the row of the place in x, not of the number there
    nodes = torch.randperm(N)[: N - 2]
    edge_index = edge_index % (N - 2)
    compare(theirs, ours, [], lambda layer: layer(nodes, edge_index, kind))


@each([RGCN[0], RGCN[1], build("RGCNConv", 4, RELATIONS, aggr="max")])
def test_rgcn_learns_features_of_a_pair(make: Build) -> None:
    theirs, ours = pair(make, (N, N_DST))
    edge_index = bipartite_graph()
    kind, targets = types_of(edge_index), torch.arange(N_DST)
    compare(theirs, ours, [], lambda layer: layer((None, targets), edge_index, kind))


def test_rgcn_flow() -> None:
    theirs, ours = pair(build("RGCNConv", 4, RELATIONS, num_bases=2, flow="target_to_source"))
    x, edge_index = leaf(N, F_IN), awkward_graph()
    kind = types_of(edge_index)
    compare(theirs, ours, [x], lambda layer: layer(x, edge_index, kind))


# -- HypergraphConv -----------------------------------------------------------------------------------

M = 9


def hyper(**options: Any) -> Build:
    def make(library: Any, channels: Any) -> nn.Module:
        compat = {"pyg_compat": True} if library is gnnlib.nn else {}
        layer: nn.Module = library.HypergraphConv(channels, 4, **options, **compat)
        return layer

    make.__name__ = f"HypergraphConv({options})"
    return make


HYPER = [
    hyper(),
    hyper(bias=False),
    hyper(use_attention=True),
    hyper(use_attention=True, heads=3),
    hyper(use_attention=True, heads=3, concat=False, attention_mode="edge", negative_slope=0.4),
]


def incidences() -> Tensor:
    """Members of hyperedges, with an empty hyperedge before the last and nodes in none."""
    generator = torch.Generator().manual_seed(8)
    index = torch.randint(0, N - 3, (2, 60), generator=generator)
    index[1] %= M
    index[1] += index[1] == M - 2
    index = index.unique(dim=1)
    return index[:, torch.randperm(index.size(1), generator=generator)]


@each(HYPER)
@pytest.mark.parametrize("weighted", [False, True])
def test_hypergraph(make: Build, weighted: bool) -> None:
    theirs, ours = pair(make)
    x, attr, index = leaf(N, F_IN), leaf(M, F_IN), incidences()
    weight = leaf(M, positive=True) if weighted else None
    leaves = [x, *([attr] if ours.use_attention else []), *([weight] if weight is not None else [])]
    attr = attr if ours.use_attention else None
    compare(theirs, ours, leaves, lambda layer: layer(x, index, weight, attr))
    repeated = torch.cat([index, index[:, :5]], 1)
    compare(theirs, ours, leaves, lambda layer: layer(x, repeated, weight, attr, num_edges=M))


# -- SuperGATConv -------------------------------------------------------------------------------------

SUPER = [
    build("SuperGATConv", 4, attention_type=kind, **options)
    for kind in ("MX", "SD")
    for options in (
        {},
        {"heads": 3, "negative_slope": 0.4},
        {"heads": 3, "concat": False, "bias": False},
        {"heads": 2, "add_self_loops": False},
        {"aggr": "max", "flow": "target_to_source"},
    )
]


@each(SUPER)
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_supergat(make: Build, graph: str) -> None:
    theirs, ours = (layer.eval() for layer in pair(make))
    x, edge_index = leaf(N, F_IN), GRAPHS[graph]()
    compare(theirs, ours, [x], lambda layer: layer(x, edge_index))


@each(SUPER[:-1])
def test_supergat_loss(make: Build) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), awkward_graph()
    negative = torch.randint(0, N, (2, 17))

    def loss(layer: Any) -> Tensor:
        out: Tensor = layer(x, edge_index, negative)
        return out.square().sum() + layer.get_attention_loss()

    compare(theirs, ours, [x], loss)
    for layer in (theirs, ours):
        assert layer.eval().get_attention_loss().tolist() == [0]


# -- all ----------------------------------------------------------------------------------------------

Call = Callable[[Any, Tensor, Tensor], Tensor]


def everything() -> list[tuple[Build, Call]]:
    """A layer of each kind, and how it is called."""
    attr = torch.randn(60, EDGE_DIM, dtype=torch.float64)
    return [
        (RES[0], lambda layer, x, e: layer(x, e)),
        (RES_EDGES[0], lambda layer, x, e: layer(x, e, attr.to(x.dtype))),
        (GATED[0], lambda layer, x, e: layer(x, e)),
        (FA[0], lambda layer, x, e: layer(x, 0.5 * x, e)),
        (NN[0], lambda layer, x, e: layer(x, e, attr.to(x.dtype))),
        *((m, lambda layer, x, e: layer(x, e, types_of(e).to(e.device))) for m in RGCN[:6]),
        (HYPER[0], lambda layer, x, e: layer(x, e)),
        (HYPER[3], lambda layer, x, e: layer(x, e, None, x[:17])),
        (SUPER[1], lambda layer, x, e: layer.eval()(x, e)),
        (SUPER[6], lambda layer, x, e: layer.eval()(x, e)),
    ]


@pytest.mark.parametrize(("make", "call"), everything(), ids=lambda v: getattr(v, "__name__", ""))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_lower_precision(make: Build, call: Call, dtype: torch.dtype) -> None:
    theirs, ours = pair(make, dtype=dtype)
    x, edge_index = leaf(N, F_IN, dtype=dtype), plain_graph()
    exact = call(theirs.double(), x.detach().double(), edge_index)
    out = call(ours, x, edge_index)
    assert out.dtype == dtype
    scale = exact.abs().max()
    assert_close(out.double() / scale, exact / scale, dtype)
    grad, *_ = torch.autograd.grad(out.sum(), x)
    assert grad.dtype == dtype
    assert grad.isfinite().all()


@pytest.mark.parametrize(("make", "call"), everything(), ids=lambda v: getattr(v, "__name__", ""))
def test_autocast_and_int32(make: Build, call: Call) -> None:
    _, ours = pair(make, dtype=torch.float32)
    x, edge_index = leaf(N, F_IN, dtype=torch.float32), plain_graph()
    exact = call(ours, x, edge_index)
    assert_close(call(ours, x, edge_index.int()), exact)
    with torch.autocast("cpu", torch.bfloat16):
        out = call(ours, x, edge_index)
    scale = exact.detach().abs().max()
    assert_close(out.float() / scale, exact / scale, torch.bfloat16)
    torch.autograd.grad(out.float().sum(), [x, *ours.parameters()], allow_unused=True)


@pytest.mark.parametrize(
    "make", [m for m, _ in everything()] + [RES[1], GATED[2], NN[1], FA[1]], ids=lambda m: m.__name__
)
def test_the_same_seed_gives_the_same_initial_weights(make: Build) -> None:
    torch.manual_seed(3)
    theirs = make(torch_geometric.nn, F_IN).state_dict()
    torch.manual_seed(3)
    ours = make(gnnlib.nn, F_IN).state_dict()
    assert list(ours) == list(theirs)
    assert_close(dict(ours), dict(theirs))
