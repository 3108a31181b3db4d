"""PyG layers that ``accelerate`` knows, with options, and the inputs on which both paths must agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.utils import to_torch_coo_tensor, to_torch_csc_tensor, to_torch_csr_tensor

from tests.nn.cases import awkward_graph, plain_graph, weighted_graph

N, N_DST, F, F_DST, EDGE_DIM, RELATIONS = 20, 12, 6, 4, 3, 3
DOUBLE = torch.float64
WITHOUT_CHANNELS = ("APPNP", "LGConv", "GatedGraphConv")


@dataclass(frozen=True)
class Case:
    """One layer: how to build it, what its forward takes, and the inputs on which PyG's code must run."""

    build: Callable[[Any], nn.Module]
    takes: str = ""  # the argument after edge_index, see EXTRAS
    pairs: bool = False
    stock: frozenset[str] = field(default_factory=frozenset)
    name: str = ""

    def __str__(self) -> str:
        return self.name


def case(
    kind: str, *args: Any, takes: str = "", pairs: bool = False, stock: str = "", **options: Any
) -> Case:
    names = (a.__name__ if callable(a) else str(a) for a in args)
    shown = ", ".join([*names, *(f"{k}={v}" for k, v in options.items())])

    def build(channels: Any) -> nn.Module:
        given = [a(args[0]) if a is edge_maps else a() if callable(a) else a for a in args]
        if args and callable(args[0]):  # the layer's network, new for each
            layer: nn.Module = getattr(pyg, kind)(*given, **options)
        elif kind in WITHOUT_CHANNELS:
            layer = getattr(pyg, kind)(*given, **options)
        else:
            layer = getattr(pyg, kind)(channels, *given, **options)
        return layer

    return Case(build, takes, pairs, frozenset(stock.split()), f"{kind}({shown})")


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(F, 5), nn.Tanh(), nn.Linear(5, 3))


KINDS = (
    "plain",
    "awkward",
    "empty",
    "int32",
    "edge_index_class",
    "csr",
    "csr_loops",
    "coo",
    "csc",
    "pair",
    "no_targets",
    "with_extra",
    "pair_with_extra",
)


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(2 * F, 4))


def twice() -> nn.Module:
    return nn.Sequential(nn.Linear(2 * F, 5), nn.Tanh(), nn.Linear(5, 3))


def edge_maps(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(EDGE_DIM, 5), nn.Tanh(), nn.Linear(5, F * outputs))


DEGREES = torch.tensor([1, 4, 6, 5, 3, 1])
MOMENTS = ["mean", "max", "min", "std", "var", "sum"]
SCALERS = ["identity", "amplification", "attenuation", "linear", "inverse_linear"]

W = {"takes": "weight"}
WP = {"takes": "weight", "pairs": True}
P = {"pairs": True}
A = {"takes": "attr", "pairs": True}
# A matrix with a diagonal, and CSC, are the affair of PyG's gcn_norm.
LOOPS = {"stock": "csr_loops csc"}
T = {"takes": "type", "pairs": True}
MATRICES = {"stock": "csr csr_loops coo csc edge_index_class"}
EDGES = {"stock": "csr csr_loops coo csc"}
ALL = {"stock": " ".join(KINDS)}

CASES = [
    case("GCNConv", 4, **W, **LOOPS),
    case("GCNConv", 9, improved=True, **W, **LOOPS),
    case("GCNConv", 4, add_self_loops=False, **W, stock="csc"),
    case("GCNConv", 9, normalize=False, bias=False, **W),
    case("GCNConv", 4, cached=True, **W, stock="csc"),
    case("GCNConv", 9, aggr="max", **W, **LOOPS),
    case("GCNConv", 4, aggr="mean", **W, **LOOPS),
    case("GCNConv", 4, flow="target_to_source", **W, stock="csr csr_loops coo csc"),
    case("GCNConv", 4, decomposed_layers=2, **W, **LOOPS),
    case("SGConv", 4, K=2, **W, **LOOPS),
    case("SGConv", 9, K=3, add_self_loops=False, **W, stock="csc"),
    case("SGConv", 4, K=2, cached=True, **W, **LOOPS),
    case("APPNP", 3, 0.2, **W, **LOOPS),
    case("APPNP", 3, 0.2, normalize=False, **W),
    case("APPNP", 3, 0.2, cached=True, **W, stock="csc"),
    case("SSGConv", 4, 0.1, K=3, **W, **LOOPS),
    case("SSGConv", 9, 0.1, K=2, cached=True, add_self_loops=False, **W, stock="csc"),
    case("LGConv", **W, stock="csc"),
    case("LGConv", normalize=False, **W),
    case("TAGConv", 4, **W, stock="csc"),
    case("TAGConv", 9, K=2, normalize=False, bias=False, **W),
    case("TAGConv", 9, flow="target_to_source", **W, **EDGES),
    case("MixHopConv", 4, powers=[0, 2, 3], **W, **LOOPS),
    case("GCN2Conv", 0.2, takes="weight", **LOOPS),
    case("GCN2Conv", 0.2, theta=0.5, layer=2, shared_weights=False, **W, **LOOPS),
    case("GCN2Conv", 0.2, cached=True, **W, stock="csc"),
    case("ChebConv", 4, K=3, **W, **EDGES),
    case("ChebConv", 9, K=2, normalization="rw", **W, **EDGES),
    case("ChebConv", 4, K=1, normalization=None, bias=False, **W, **EDGES),
    case("ChebConv", 9, K=4, flow="target_to_source", **W, **ALL),
    case("ClusterGCNConv", 4, flow="target_to_source", **ALL),
    case("ClusterGCNConv", 4, diag_lambda=0.5, **EDGES),
    case("ClusterGCNConv", 9, add_self_loops=False, **EDGES),
    case("GraphConv", 4, **WP),
    case("GraphConv", 9, aggr="mean", bias=False, **WP),
    case("GraphConv", 4, aggr="max", **WP),
    case("SAGEConv", 4, **P),
    case("SAGEConv", 9, aggr="sum", **P),
    case("SAGEConv", 4, aggr="max", normalize=True, **P),
    case("SAGEConv", 4, aggr="min", root_weight=False, **P),
    case("SAGEConv", 4, aggr=["mean", "max", "add"], **P, stock="csc"),
    case("SAGEConv", 4, aggr=["std", "var", "min"], **P, stock="csc"),
    case("SAGEConv", 4, aggr="std", **P, stock="csc"),
    case("SAGEConv", 4, aggr="softmax", **P, stock="csc"),
    case("SAGEConv", 4, aggr=["mean", "softmax"], **P, stock="csc"),
    case("SAGEConv", 4, aggr="median", **P, **ALL),
    case("SAGEConv", 4, aggr="lstm", **P, **ALL),
    case("SAGEConv", 4, project=True, **P),
    case("GINConv", mlp, **P),
    case("GINConv", mlp, eps=0.4, train_eps=True, aggr="mean", **P),
    case("GATConv", 4, **P, stock="csc"),
    case("GATConv", 4, heads=3, concat=False, bias=False, **P, stock="csc"),
    case("GATConv", 4, heads=2, add_self_loops=False, negative_slope=0.3, **P, stock="csc"),
    case("GATConv", 4, heads=2, residual=True, flow="target_to_source", stock="csr csr_loops coo csc"),
    case("GATConv", 4, heads=2, edge_dim=EDGE_DIM, **A, **MATRICES),
    case("GATConv", 4, edge_dim=EDGE_DIM, fill_value="max", **A, **MATRICES),
    case("GATConv", 4, edge_dim=EDGE_DIM, fill_value=0.7, **A, **MATRICES),
    case("GATConv", 4, edge_dim=EDGE_DIM, flow="target_to_source", takes="attr", **ALL),
    case("GATConv", 4, edge_dim=EDGE_DIM, fill_value=0.7, flow="target_to_source", takes="attr", **MATRICES),
    case("GATv2Conv", 4, edge_dim=EDGE_DIM, fill_value="max", flow="target_to_source", takes="attr", **ALL),
    case("GATv2Conv", 4, **P, stock="csc"),
    case("GATv2Conv", 4, heads=3, concat=False, bias=False, residual=True, **P, stock="csc"),
    case("GATv2Conv", 4, heads=2, share_weights=True, add_self_loops=False, stock="csc"),
    case("GATv2Conv", 4, heads=2, edge_dim=EDGE_DIM, **A, **MATRICES),
    case("TransformerConv", 4, **P, stock="csc"),
    case("TransformerConv", 4, heads=3, concat=False, beta=True, **P, stock="csc"),
    case("TransformerConv", 4, heads=2, bias=False, root_weight=False, **P, stock="csc"),
    case("TransformerConv", 4, heads=2, edge_dim=EDGE_DIM, takes="attr!", pairs=True, **MATRICES),
    case("TransformerConv", 4, heads=2, aggr="max", **P, stock="csc"),
    case("TransformerConv", 4, heads=2, edge_dim=EDGE_DIM, aggr="max", takes="attr!", pairs=True, **ALL),
    case("TransformerConv", 4, heads=2, edge_dim=EDGE_DIM, aggr="mean", takes="attr!", **ALL),
    case("GINEConv", mlp, edge_dim=EDGE_DIM, takes="attr!", pairs=True, **EDGES),
    case("GINEConv", mlp, edge_dim=EDGE_DIM, aggr="max", train_eps=True, takes="attr!", **EDGES),
    case("GENConv", 6, norm="layer", takes="attr6", pairs=True, **EDGES),
    case("GENConv", 4, aggr="add", edge_dim=EDGE_DIM, norm="layer", **A, **EDGES),
    case("GENConv", 4, t=0.5, learn_t=True, msg_norm=True, learn_msg_scale=True, num_layers=1, **P, **EDGES),
    case("GENConv", 4, aggr=["mean", "max"], norm="batch", **P, **EDGES),
    case("GENConv", 4, aggr="powermean", norm=None, **P, **ALL),
    case("PNAConv", 4, MOMENTS, SCALERS, DEGREES, **EDGES),
    case("PNAConv", 4, ["mean"], ["identity"], DEGREES, towers=2, divide_input=True, **EDGES),
    case("PNAConv", 4, MOMENTS, SCALERS, DEGREES, edge_dim=EDGE_DIM, pre_layers=2, takes="attr!", **EDGES),
    case("PNAConv", 4, ["sum", "std"], SCALERS, DEGREES, train_norm=True, post_layers=2, **EDGES),
    case("EdgeConv", linear, **P, stock="csc"),
    case("EdgeConv", linear, aggr="mean", **P, stock="csc"),
    case("EdgeConv", twice, **P, stock="csc"),
    case("ResGatedGraphConv", 4, **P, **EDGES),
    case("ResGatedGraphConv", 4, root_weight=False, bias=False, aggr="mean", **P, **EDGES),
    case("ResGatedGraphConv", 4, edge_dim=EDGE_DIM, takes="attr!", pairs=True, **EDGES),
    case("NNConv", 4, edge_maps, takes="attr!", pairs=True, **EDGES),
    case("NNConv", 9, edge_maps, aggr="max", root_weight=False, takes="attr!", **EDGES),
    case("GatedGraphConv", 8, 2, **W),
    case("FAConv", **EDGES),
    case("FAConv", eps=0.3, cached=True, add_self_loops=False, **EDGES),
    case("RGCNConv", 4, RELATIONS, **T),
    case("RGCNConv", 9, RELATIONS, num_bases=2, aggr="sum", **T),
    case("RGCNConv", 4, RELATIONS, num_blocks=2, root_weight=False, takes="type"),
    case("RGCNConv", 4, RELATIONS, aggr="max", **T),
    case("FastRGCNConv", 4, RELATIONS, bias=False, **T),
]


def leaf(*shape: int, positive: bool = False) -> Tensor:
    value = torch.rand(*shape, dtype=DOUBLE) + 0.2 if positive else torch.randn(*shape, dtype=DOUBLE)
    return value.requires_grad_()


def bipartite() -> Tensor:
    edge_index = awkward_graph()
    edge_index[1] %= N_DST - 2  # the last two targets are isolated
    return edge_index


EXTRAS: dict[str, Callable[[int], Tensor]] = {
    "weight": lambda e: leaf(e, positive=True),
    "attr": lambda e: leaf(e, EDGE_DIM),
    "attr!": lambda e: leaf(e, EDGE_DIM),
    "attr6": lambda e: leaf(e, F),
    "type": lambda e: torch.randint(0, RELATIONS, (e,)),
}
ALWAYS = ("type", "attr!")
EQUAL_WIDTHS = ("GIN", "EdgeConv")


@dataclass
class Call:
    """Arguments of one forward, and those of them that get a gradient."""

    channels: Any
    args: tuple[Any, ...]
    leaves: list[Tensor]
    options: dict[str, Any] = field(default_factory=dict)

    def long(self) -> Call:
        """With int64 indices: torch's scatter has wrong gradients for int32, so PyG's path has them too."""
        args = (a.long() if isinstance(a, Tensor) and a.dtype == torch.int32 else a for a in self.args)
        return Call(self.channels, tuple(args), self.leaves, self.options)


def call(case: Case, kind: str) -> Call | None:
    """The arguments of ``kind`` for a layer, or None where it has no such form."""
    pair = kind.startswith("pair") or kind == "no_targets"
    needs = case.takes in ALWAYS
    if (pair and not case.pairs) or (kind.endswith("with_extra") and (needs or not case.takes)):
        return None
    graph: Any = bipartite() if pair else plain_graph()
    if kind == "awkward":
        graph = awkward_graph()
    elif kind == "with_extra":
        graph = weighted_graph()  # of several loops at a node PyG's gradient is that of the last one
    elif kind == "empty":
        graph = torch.empty(2, 0, dtype=torch.int64)
    elif kind == "int32":
        graph = graph.to(torch.int32)
    elif kind == "edge_index_class":
        graph = EdgeIndex(graph, sparse_size=(N, N)).sort_by("col")[0]
    elif kind in ("csr", "csr_loops", "coo", "csc"):
        edges = awkward_graph() if kind == "csr_loops" else graph
        edges = edges.unique(dim=1)
        value = torch.rand(edges.size(1), dtype=DOUBLE) + 0.2
        form = {"coo": to_torch_coo_tensor, "csc": to_torch_csc_tensor}.get(kind, to_torch_csr_tensor)
        graph = form(edges.flip(0), value, size=(N, N))
    x: Any = leaf(N, F)
    leaves = [x]
    options: dict[str, Any] = {}
    if kind.startswith("pair"):
        x = (x, leaf(N_DST, F if case.name.startswith(EQUAL_WIDTHS) else F_DST))
        leaves.append(x[1])
    elif kind == "no_targets":
        x, options = (x, None), {"size": (N, N_DST)}
    args: tuple[Any, ...] = (x, graph)
    if case.name.startswith(("GCN2Conv", "FAConv")):
        first = leaf(N, F)
        args, leaves = (x, first, graph), [*leaves, first]
    if needs or kind.endswith("with_extra"):
        extra = EXTRAS[case.takes](graph.size(1) if graph.layout is torch.strided else 0)
        args, leaves = (*args, extra), [*leaves, *([extra] if extra.requires_grad else [])]
    return Call((F, F_DST) if pair else F, args, leaves, options)
