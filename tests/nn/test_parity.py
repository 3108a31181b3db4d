"""Our layers against PyG's with the same weights: outputs and every gradient, over options and inputs."""

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
from tests.tolerances import assert_close

N, N_DST, F_IN, F_DST, EDGE_DIM = 20, 12, 6, 4, 3
Build = Callable[[Any, Any], nn.Module]  # from a module that has the layers, and the input widths


def build(name: str, *arguments: Any, **options: Any) -> Build:
    def make(library: Any, channels: Any) -> nn.Module:
        layer: nn.Module = getattr(library, name)(channels, *arguments, **options)
        return layer

    shown = [*map(named, arguments), *(f"{k}={named(v)}" for k, v in options.items())]
    make.__name__ = f"{name}({', '.join(shown)})"
    return make


def named(value: Any) -> str:
    """The value for the name of a test, without the address of a function: every process names it alike."""
    if isinstance(value, dict):
        return str({k: named(v) for k, v in value.items()})
    return str(getattr(value, "__name__", value))


def gin(**options: Any) -> Build:
    def make(library: Any, channels: Any) -> nn.Module:
        h = nn.Sequential(nn.Linear(F_IN, 5), nn.Tanh(), nn.Linear(5, 3))
        layer: nn.Module = library.GINConv(h, **options)
        return layer

    make.__name__ = f"GINConv({options})"
    return make


def appnp(**options: Any) -> Build:
    def make(library: Any, channels: Any) -> nn.Module:
        layer: nn.Module = library.APPNP(3, 0.2, **options)
        return layer

    make.__name__ = f"APPNP({options})"
    return make


ONE_SET = [  # layers of one set of nodes that take edge weights; wider and narrower than their input
    build("GCNConv", 4),
    build("GCNConv", 9),
    build("GCNConv", 4, improved=True),
    build("GCNConv", 9, add_self_loops=False),
    build("GCNConv", 4, normalize=False),
    build("GCNConv", 4, bias=False, cached=True),
    build("GCNConv", 4, aggr="max"),
    build("GCNConv", 9, aggr="mean", flow="target_to_source"),
    build("SGConv", 4, K=2),
    build("SGConv", 9, K=3, add_self_loops=False),
    build("SGConv", 4, K=0, bias=False),
    build("SGConv", 4, K=2, cached=True),
    appnp(),
    appnp(add_self_loops=False),
    appnp(normalize=False),
    appnp(cached=True),
]
WEIGHTED_PAIRS = [
    build("GraphConv", 4),
    build("GraphConv", 9, bias=False),
    build("GraphConv", 4, aggr="mean"),
    build("GraphConv", 4, aggr="max"),
]
PAIRS = [  # layers for bipartite graphs
    build("SAGEConv", 4),
    build("SAGEConv", 9),
    build("SAGEConv", 4, aggr="sum"),
    build("SAGEConv", 4, aggr="max", normalize=True),
    build("SAGEConv", 4, aggr="min", root_weight=False),
    build("SAGEConv", 4, aggr=["mean", "max", "add"], bias=False),
    build("SAGEConv", 4, project=True),
    gin(),
    gin(eps=0.4, train_eps=True),
    gin(aggr="mean"),
]
GAT = [
    build("GATConv", 4),
    build("GATConv", 4, heads=3),
    build("GATConv", 4, heads=3, concat=False, bias=False),
    build("GATConv", 4, heads=2, add_self_loops=False, negative_slope=0.3),
    build("GATConv", 4, heads=2, residual=True),
    build("GATConv", 4, heads=2, concat=False, residual=True, aggr="mean"),
]
ATTENTION = [  # as in PyG, their forward takes no size
    build("GATv2Conv", 4),
    build("GATv2Conv", 5, heads=3, concat=False, bias=False, negative_slope=0.3),
    build("GATv2Conv", 4, heads=2, add_self_loops=False, residual=True),
    build("TransformerConv", 4),
    build("TransformerConv", 5, heads=3, concat=False, bias=False),
    build("TransformerConv", 4, heads=2, beta=True),
    build("TransformerConv", 4, heads=2, root_weight=False),
]
GAT_EDGES = [
    build("GATConv", 4, heads=2, edge_dim=EDGE_DIM),
    build("GATConv", 4, heads=2, edge_dim=EDGE_DIM, add_self_loops=False),
    build("GATv2Conv", 4, heads=2, edge_dim=EDGE_DIM),
    build("TransformerConv", 4, heads=2, edge_dim=EDGE_DIM),
    build("GATv2Conv", 9, heads=2, edge_dim=EDGE_DIM, add_self_loops=False, share_weights=True),
    build("TransformerConv", 9, heads=2, concat=False, edge_dim=EDGE_DIM, beta=True),
    *(
        build("GATConv", 4, heads=2, edge_dim=EDGE_DIM, fill_value=v)
        for v in ("add", "max", "min", 0.7, torch.tensor([0.1, -2.0, 3.0]))
    ),
]


def each(layers: list[Build]) -> Any:
    return pytest.mark.parametrize("make", layers, ids=[m.__name__ for m in layers])


def pair(
    make: Build, channels: Any = F_IN, dtype: torch.dtype = torch.float64
) -> tuple[nn.Module, nn.Module]:
    """PyG's layer and ours with its weights; then PyG's again with ours, to show that they move both ways."""
    theirs, ours = make(torch_geometric.nn, channels).to(dtype), make(gnnlib.nn, channels).to(dtype)
    for source, target in ((theirs, ours), (ours, theirs)):
        with torch.no_grad():
            for p in source.parameters():
                p.normal_()
        target.load_state_dict(source.state_dict())
    assert list(theirs.state_dict()) == list(ours.state_dict())
    return theirs, ours


def leaf(*shape: int, dtype: torch.dtype = torch.float64, positive: bool = False) -> Tensor:
    value = torch.rand(*shape, dtype=dtype) + 0.2 if positive else torch.randn(*shape, dtype=dtype)
    return value.requires_grad_()


def compare(theirs: nn.Module, ours: nn.Module, leaves: list[Tensor], call: Callable[[Any], Any]) -> None:
    """Equal outputs, and equal gradients of a random projection of them, at each of two calls."""
    for _ in range(2):  # the second call meets what the first has cached
        results = []
        for layer in (theirs, ours):
            out = call(layer)
            torch.manual_seed(7)
            loss = (out * torch.randn_like(out)).sum()
            wanted = [*leaves, *layer.parameters()]
            grads = torch.autograd.grad(loss, wanted, allow_unused=True)
            # PyG leaves a gradient out (None) where ours may be an explicit zero, and the reverse.
            grads = [torch.zeros_like(p) if g is None else g for p, g in zip(wanted, grads, strict=True)]
            results.append([out, *grads])
        assert_close(results[1], results[0])
        if getattr(theirs, "cached", False):
            break  # what both keep has lost its graph


GRAPHS = {
    "awkward": weighted_graph,
    "plain": plain_graph,
    "empty": lambda: torch.empty(2, 0, dtype=torch.int64),
}


@each(ONE_SET + WEIGHTED_PAIRS + PAIRS + GAT + ATTENTION)
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_edge_index(make: Build, graph: str) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), GRAPHS[graph]()
    compare(theirs, ours, [x], lambda layer: layer(x, edge_index))


@each(ONE_SET + WEIGHTED_PAIRS)
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_edge_weight(make: Build, graph: str) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), GRAPHS[graph]()
    weight = leaf(edge_index.size(1), positive=True)
    compare(theirs, ours, [x, weight], lambda layer: layer(x, edge_index, weight))


@each(ONE_SET[:2])
def test_of_duplicate_loops_the_last_one_counts(make: Build) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), torch.tensor([[0, 1, 1, 2, 1], [1, 1, 0, 2, 1]])
    weight = leaf(5, positive=True)
    assert_close(ours(x, edge_index, weight), theirs(x, edge_index, weight))
    (grad,) = torch.autograd.grad(ours(x, edge_index, weight).square().sum(), weight)
    assert grad[1] == 0  # PyG's autograd gives the overwritten loop the gradient of the last one
    assert grad[4] != 0


@each([m for m in ONE_SET + WEIGHTED_PAIRS + PAIRS + GAT + ATTENTION if "target_to_source" not in m.__name__])
def test_torch_csr(make: Build) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), plain_graph()
    weight = torch.rand(edge_index.size(1), dtype=torch.float64) + 0.2
    adj_t = torch.sparse_coo_tensor(edge_index.flip(0), weight, (N, N)).coalesce().to_sparse_csr()
    compare(theirs, ours, [x], lambda layer: layer(x, adj_t))


@each(ONE_SET + WEIGHTED_PAIRS + PAIRS + GAT + ATTENTION)
def test_edge_index_class(make: Build) -> None:
    dtype = torch.float32 if "GraphConv" in make.__name__ else torch.float64  # PyG's path mixes in float32
    theirs, ours = pair(make, dtype=dtype)
    x = leaf(N, F_IN, dtype=dtype)
    edge_index = EdgeIndex(plain_graph(), sparse_size=(N, N)).sort_by("col")[0]
    compare(theirs, ours, [x], lambda layer: layer(x, edge_index))


def bipartite_graph() -> Tensor:
    edge_index = awkward_graph()
    edge_index[1] %= N_DST - 2  # the last two targets are isolated
    return edge_index


@each(WEIGHTED_PAIRS + PAIRS + GAT)
@pytest.mark.parametrize("size", [None, (N, N_DST)], ids=["", "size"])
@pytest.mark.parametrize("empty", [False, True], ids=["", "empty"])
def test_bipartite(make: Build, size: tuple[int, int] | None, empty: bool) -> None:
    equal = make.__name__.startswith("GINConv")  # adds sources and targets
    theirs, ours = pair(make, (F_IN, F_IN if equal else F_DST))
    x_src, x_dst = leaf(N, F_IN), leaf(N_DST, F_IN if equal else F_DST)
    edge_index = bipartite_graph()[:, : 0 if empty else None]
    compare(theirs, ours, [x_src, x_dst], lambda layer: layer((x_src, x_dst), edge_index, size=size))


@each(ATTENTION)
def test_bipartite_attention(make: Build) -> None:
    theirs, ours = pair(make, (F_IN, F_DST))
    x_src, x_dst, edge_index = leaf(N, F_IN), leaf(N_DST, F_DST), bipartite_graph()
    compare(theirs, ours, [x_src, x_dst], lambda layer: layer((x_src, x_dst), edge_index))


@each(WEIGHTED_PAIRS + PAIRS + GAT)
@pytest.mark.parametrize("size", [None, (N, N_DST)], ids=["", "size"])
def test_sources_alone(make: Build, size: tuple[int, int] | None) -> None:
    theirs, ours = pair(make, (F_IN, F_DST))
    x_src, edge_index = leaf(N, F_IN), bipartite_graph()
    compare(theirs, ours, [x_src], lambda layer: layer((x_src, None), edge_index, size=size))


@each(WEIGHTED_PAIRS + PAIRS)
def test_bipartite_torch_csr(make: Build) -> None:
    theirs, ours = pair(make, (F_IN, F_IN))
    x_src, x_dst, edge_index = leaf(N, F_IN), leaf(N_DST, F_IN), bipartite_graph().unique(dim=1)
    weight = torch.rand(edge_index.size(1), dtype=torch.float64) + 0.2
    adj_t = torch.sparse_coo_tensor(edge_index.flip(0), weight, (N_DST, N)).coalesce().to_sparse_csr()
    compare(theirs, ours, [x_src, x_dst], lambda layer: layer((x_src, x_dst), adj_t))
    compare(theirs, ours, [x_src], lambda layer: layer((x_src, None), adj_t))


@each(WEIGHTED_PAIRS)
def test_bipartite_edge_weight(make: Build) -> None:
    theirs, ours = pair(make, (F_IN, F_DST))
    x_src, x_dst, edge_index = leaf(N, F_IN), leaf(N_DST, F_DST), bipartite_graph()
    weight = leaf(edge_index.size(1))
    compare(
        theirs,
        ours,
        [x_src, x_dst, weight],
        lambda layer: layer((x_src, x_dst), edge_index, edge_weight=weight),
    )


@each(GAT_EDGES)
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_edge_attr(make: Build, graph: str) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), GRAPHS[graph]()
    edge_attr = leaf(edge_index.size(1), EDGE_DIM)
    compare(theirs, ours, [x, edge_attr], lambda layer: layer(x, edge_index, edge_attr))
    if "Transformer" in make.__name__:
        with pytest.raises(ValueError, match="edge_dim=3 but edge_attr is missing"):
            ours(x, edge_index)
        return
    compare(theirs, ours, [x], lambda layer: layer(x, edge_index))


def test_edge_attr_of_one_number() -> None:
    theirs, ours = pair(build("GATConv", 4, heads=2, edge_dim=1))
    x, edge_index = leaf(N, F_IN), awkward_graph()
    edge_attr = leaf(edge_index.size(1))
    compare(theirs, ours, [x, edge_attr], lambda layer: layer(x, edge_index, edge_attr))


@each([*GAT, *ATTENTION, *GAT_EDGES[:3]])
@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
def test_attention_weights(make: Build, flow: str) -> None:
    theirs, ours = pair(lambda library, channels: _set(make(library, channels), "flow", flow))
    x, edge_index = leaf(N, F_IN), awkward_graph()
    expected = theirs(x, edge_index, return_attention_weights=True)
    out, (edges, alpha) = ours(x, edge_index, return_attention_weights=True)
    assert_close(out, expected[0])
    assert torch.equal(edges, expected[1][0])
    assert_close(alpha, expected[1][1])


def _set(layer: nn.Module, name: str, value: Any) -> nn.Module:
    setattr(layer, name, value)
    return layer


@each([*ONE_SET[:2], WEIGHTED_PAIRS[0], PAIRS[0], PAIRS[3], PAIRS[-2], GAT[1], ATTENTION[0], ATTENTION[3]])
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


@pytest.mark.parametrize(
    "make",
    [
        build("GCNConv", 4),
        build("SAGEConv", 4, project=True),
        build("GraphConv", 4),
        build("GATConv", 4, heads=2, edge_dim=3, residual=True),
        build("SGConv", 4),
        gin(),
        lambda library, channels: library.MLP([channels, 5, 3]),
        lambda library, channels: library.JumpingKnowledge("lstm", channels, 3),
        lambda library, channels: library.Linear(channels, 4, weight_initializer="glorot"),
    ],
)
def test_the_same_seed_gives_the_same_initial_weights(make: Build) -> None:
    torch.manual_seed(3)
    theirs = make(torch_geometric.nn, F_IN).state_dict()
    torch.manual_seed(3)
    ours = make(gnnlib.nn, F_IN).state_dict()
    assert list(ours) == list(theirs)
    assert_close(dict(ours), dict(theirs))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"act": "elu", "act_first": True, "plain_last": False},
        {"norm": None, "bias": [True, False, True]},
        {"norm": "layer_norm", "act": "leaky_relu", "act_kwargs": {"negative_slope": 0.3}},
        {"norm": "graph_norm"},
        {"act": None, "norm_kwargs": {"eps": 0.1}},
        {"act": torch.tanh},
    ],
    ids=named,
)
def test_mlp(options: dict[str, Any]) -> None:
    theirs, ours = pair(lambda library, channels: library.MLP([channels, 8, 5, 3], **options))
    x, batch = leaf(N, F_IN), torch.arange(N) // 7
    compare(theirs, ours, [x], lambda layer: layer(x))
    compare(theirs, ours, [x], lambda layer: layer(x, batch, 3))
    assert_close(ours(x, return_emb=True), theirs(x, return_emb=True))
    assert repr(ours) == repr(theirs)
    sizes = {"in_channels": 6, "hidden_channels": 8, "out_channels": 3, "num_layers": 3}
    assert list(gnnlib.nn.MLP(**sizes).state_dict()) == list(torch_geometric.nn.MLP(**sizes).state_dict())


@pytest.mark.parametrize("mode", ["cat", "max", "lstm"])
def test_jumping_knowledge(mode: str) -> None:
    theirs, ours = pair(lambda library, channels: library.JumpingKnowledge(mode, channels, 3))
    xs = [leaf(N, F_IN) for _ in range(3)]
    compare(theirs, ours, xs, lambda layer: layer(xs))
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("name", ["global_add_pool", "global_mean_pool", "global_max_pool"])
@pytest.mark.parametrize("shape", [(N, F_IN), (N,), (2, N, 3)], ids=str)
@pytest.mark.parametrize("size", [None, 9])
def test_readouts(name: str, shape: tuple[int, ...], size: int | None) -> None:
    theirs, ours = getattr(torch_geometric.nn, name), getattr(gnnlib.nn, name)
    x, batch = leaf(*shape), torch.randint(0, 6, (N,))
    for b in (batch, batch.sort().values, None):
        outs = [pool(x, b, size) for pool in (theirs, ours)]
        assert_close(outs[1], outs[0])
        torch.manual_seed(0)
        projection = torch.randn_like(outs[0])
        grads = [torch.autograd.grad((out * projection).sum(), x)[0] for out in outs]
        assert_close(grads[1], grads[0])


def test_lazy_weights_move_both_ways() -> None:
    for make in (build("GCNConv", 4), build("SAGEConv", 4), build("GATConv", 4, heads=2)):
        for source, target in (
            (torch_geometric.nn, gnnlib.nn),
            (gnnlib.nn, torch_geometric.nn),
        ):
            ready, lazy = make(source, F_IN), make(target, -1)
            lazy.load_state_dict(ready.state_dict())
            x, edge_index = torch.randn(N, F_IN), awkward_graph()
            assert_close(lazy(x, edge_index), ready(x, edge_index))
            lazy.load_state_dict(make(source, -1).state_dict())  # neither knows its width
