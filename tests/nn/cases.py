"""One line a layer: how the contract suite builds it. A public layer without a line fails the suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gnnlib.nn import (
    APPNP,
    GSPN,
    MLP,
    NCN,
    NCNC,
    AIRConv,
    AIRGate,
    AllDeepSetsConv,
    AllSetTransformerConv,
    ARMAConv,
    CatEncoder,
    CayleyConv,
    ChebConv,
    ClusterGCNConv,
    ComplexFaberConv,
    DAGNNConv,
    DCGRUCell,
    DGCNConv,
    DiffusionConv,
    DiGCNConv,
    DiGCNInceptionConv,
    DirGCNConv,
    DirGNNConv,
    DirResolvConv,
    ECConv,
    EdgeConv,
    EDHNNConv,
    EDHNNIIConv,
    FaberConv,
    FAConv,
    FastRGCNConv,
    GATConv,
    GatedGraphConv,
    GatedTemporalConv,
    GATv2Conv,
    GCN2Conv,
    GCNConv,
    GENConv,
    GGNNConv,
    GINConv,
    GINEConv,
    GPRConv,
    GraphConv,
    GraphViTMixer,
    GraphWaveNetLayer,
    GSPNClassifier,
    GSPNReadout,
    HGNNConv,
    HGNNPlusConv,
    HNHNConv,
    HyperGCNConv,
    HypergraphConv,
    JumpingKnowledge,
    LaplacianPE,
    LazyPropagation,
    LCFNConv,
    LEConv,
    LGConv,
    Linear,
    MagNetConv,
    MFConv,
    MixerBlock,
    MixHopConv,
    NeuralFingerprint,
    NNConv,
    NSDConv,
    PatchAttention,
    PatchEncoder,
    PatchTransformer,
    PathCNN,
    PathConv,
    PathGRU,
    PathLSTM,
    PathNN,
    PathSum,
    PathTransformer,
    PhenomNN,
    PhenomNNSimple,
    PNAConv,
    RandomWalkPE,
    ResGatedGraphConv,
    RGCNConv,
    SAGEConv,
    SGConv,
    SheafConv,
    SmoothedHops,
    SSGConv,
    STGCNBlock,
    SuperGATConv,
    TAGConv,
    TransformerConv,
    UniGATConv,
    UniGCNConv,
    UniGCNIIConv,
    UniGINConv,
    UniSAGEConv,
)
from gnnlib.nn.encode import id_lists
from gnnlib.nn.patch import graph_patches
from gnnlib.sparse import as_csr, enumerate_paths
from gnnlib.sparse.graphs import Graphs
from gnnlib.sparse.partition import partition_graphs

F_IN, F_OUT = 7, 5


def on_graph(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer(x, edge_index)
    return out


def on_nodes(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer(x)
    return out


def on_layers(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer([x, 2 * x.tanh(), x.square()])
    return out


def on_initial(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer(x, x.sin(), edge_index)
    return out


def on_two(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer(x, x.sin())
    return out


def on_fresh_memory(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    layer.reset_memory()  # type: ignore[operator]
    out: Tensor = layer(x, edge_index)
    return out


def on_own_pairs(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer(x, edge_index, torch.arange(x.size(0), device=x.device).expand(2, -1))
    return out.unsqueeze(1)


def on_relations(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer(x, edge_index, torch.arange(edge_index.size(1), device=x.device) % 3)
    return out


def on_edge_attr(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    place = torch.arange(edge_index.size(1), device=x.device) % 60  # each graph of a batch has 60 edges
    edge_attr = torch.stack([place.sin(), (2 * place).cos()], dim=1).to(x.dtype)
    out: Tensor = layer(x, edge_index, edge_attr)
    return out


def on_edge_attr_last(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    place = torch.arange(edge_index.size(1), device=x.device) % 60  # each graph of a batch has 60 edges
    edge_attr = torch.stack([place.sin(), (2 * place).cos()], dim=1).to(x.dtype)
    out: Tensor = layer(x, edge_index, edge_attr=edge_attr)
    return out


def on_single_nodes(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    batch = torch.arange(x.size(0), device=x.device)  # each node is read as a graph
    out: Tensor = layer(x, edge_index, batch, x.size(0))
    return out


def on_batches(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer(x, edge_index, torch.arange(x.size(0), device=x.device) // 20)
    return out


def on_sets(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    ids, ptr = id_lists((x > 0).to(x.dtype))
    out: Tensor = layer(ids, ptr) * x.sum(
        1, keepdim=True
    )  # sets know no gradient, so the rows weigh the codes
    return out


def on_single_codes(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer(x, torch.arange(x.size(0), device=x.device), x.size(0))
    return out


def on_graphs_of_one_node(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer(x, edge_index[:, :0], torch.arange(x.size(0), device=x.device), x.size(0))
    return out


def on_tokens(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    """Each row is the one token of a graph."""
    out: Tensor = layer(x[:, None], None, x.new_ones(x.size(0), 1, 1))
    return out[:, 0]


def on_patches(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    """A patch around each node of graphs of 20 nodes."""
    n = x.size(0)
    graphs = Graphs.of(edge_index, n, torch.arange(n) // 20)
    slots = partition_graphs(graphs, 21, torch.arange(graphs.num_graphs))  # more than there are nodes
    patches = graph_patches(graphs, 21, slots).to(x.device)
    out: Tensor = patches.slotted(layer(x, patches))
    return out[graphs.batch, slots]


def on_hyperedges(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer(x, edge_index)  # the targets are hyperedges, of which every node number may be one
    return out


def on_sequences(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    node = torch.arange(x.shape[0], device=x.device)
    out: Tensor = layer([(x, torch.stack([node, node, node], 1))])
    return out


def on_paths(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    paths = enumerate_paths(as_csr(edge_index, x.shape[0]), 2, "simple")
    out: Tensor = layer(x, paths.nodes[1])
    return out


def _steps(x: Tensor) -> Tensor:
    return torch.stack([x, x.sin(), x.cos(), 2 * x.tanh(), x.square()])  # [T, N, F]


def on_steps(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out = layer(_steps(x), edge_index)
    out = out if isinstance(out, Tensor) else torch.cat(out, dim=-1)
    last: Tensor = out[-1]
    return last


def on_steps_alone(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    last: Tensor = layer(_steps(x))[-1]
    return last


def on_bases(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    """Each 20 rows are users, and items too, with a basis of their own."""
    found = []
    for part in x.split(20):
        codes = layer(part, part.tanh(), part[:, :3].cos(), part[:, :2].sin())
        found.append(torch.cat(codes, dim=1))
    return torch.cat(found)


def on_state(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    out: Tensor = layer(x, edge_index, None, x[:, :F_OUT].cos())
    return out


def on_edges_too(layer: nn.Module, x: Tensor, edge_index: Any) -> Tensor:
    """A network whose base is no convolution."""
    out: Tensor = layer(x, edge_index)
    return out


@dataclass(frozen=True)
class Case:
    """A layer that maps features ``[N, F_IN]`` to ``[N, out]``."""

    name: str
    build: Callable[[], nn.Module]
    out: int = F_OUT
    run: Callable[[nn.Module, Tensor, Any], Tensor] = on_graph
    lazy: Callable[[], nn.Module] | None = None  # the same layer with in_channels=-1
    any_width: bool = False  # takes any number of features

    @property
    def graph(self) -> bool:
        return self.run is on_graph


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(F_IN, 6), nn.Tanh(), nn.Linear(6, F_OUT))


def _edge_network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, F_IN * F_OUT))


#: In-degrees of some graphs, for the scalers of PNA.
HISTOGRAM = torch.tensor([3, 2, 4, 5, 6, 1, 1])


def pna(in_channels: int, out_channels: int) -> nn.Module:
    aggregators, scalers = ["mean", "min", "max", "std"], ["identity", "amplification", "attenuation"]
    return PNAConv(in_channels, out_channels, aggregators, scalers, HISTOGRAM)


CASES = [
    Case("AIRConv", lambda: AIRConv(F_IN, 3), out=F_IN, lazy=lambda: AIRConv(-1, 3)),
    Case("AIRGate", lambda: AIRGate(F_IN), out=F_IN, run=on_two, lazy=lambda: AIRGate(-1)),
    Case(
        "AllDeepSetsConv",
        lambda: AllDeepSetsConv(F_IN, F_OUT, hidden_channels=6, dropout=0),
        run=on_hyperedges,
    ),
    Case(
        "AllSetTransformerConv",
        lambda: AllSetTransformerConv(F_IN, 6, heads=2, dropout=0),
        out=6,
        run=on_hyperedges,
    ),
    Case("APPNP", lambda: APPNP(3, 0.2), out=F_IN, any_width=True),
    Case(
        "ARMAConv",
        lambda: ARMAConv(F_IN, F_OUT, num_stacks=2, num_layers=2, act=torch.tanh),
        lazy=lambda: ARMAConv(-1, F_OUT, num_stacks=2, num_layers=2, act=torch.tanh),
    ),
    Case("CatEncoder", lambda: CatEncoder(F_IN, 4, F_OUT), run=on_sets, any_width=True),
    Case("CayleyConv", lambda: CayleyConv(F_IN, F_OUT, 2, 3)),
    Case("ChebConv", lambda: ChebConv(F_IN, F_OUT, 4), lazy=lambda: ChebConv(-1, F_OUT, 4)),
    Case(
        "ClusterGCNConv",
        lambda: ClusterGCNConv(F_IN, F_OUT, diag_lambda=0.3),
        lazy=lambda: ClusterGCNConv(-1, F_OUT, diag_lambda=0.3),
    ),
    Case("ComplexFaberConv", lambda: ComplexFaberConv(F_IN, F_OUT, 2), out=2 * F_OUT),
    Case("DAGNNConv", lambda: DAGNNConv(F_IN, 3), out=F_IN, lazy=lambda: DAGNNConv(-1, 3)),
    Case("DCGRUCell", lambda: DCGRUCell(F_IN, F_OUT, 3), run=on_state),
    Case("DGCNConv", lambda: DGCNConv(F_IN, F_OUT), out=3 * F_OUT, lazy=lambda: DGCNConv(-1, F_OUT)),
    Case(
        "DiffusionConv",
        lambda: DiffusionConv(F_IN, F_OUT, 3),
        run=on_steps,
        lazy=lambda: DiffusionConv(-1, F_OUT, 3),
    ),
    Case("DiGCNConv", lambda: DiGCNConv(F_IN, F_OUT), lazy=lambda: DiGCNConv(-1, F_OUT)),
    Case(
        "DiGCNInceptionConv",
        lambda: DiGCNInceptionConv(F_IN, F_OUT),
        lazy=lambda: DiGCNInceptionConv(-1, F_OUT),
    ),
    Case("DirGCNConv", lambda: DirGCNConv(F_IN, F_OUT), lazy=lambda: DirGCNConv(-1, F_OUT)),
    Case(
        "DirGNNConv",
        lambda: DirGNNConv(GCNConv(F_IN, F_OUT)),
        lazy=lambda: DirGNNConv(GCNConv(-1, F_OUT)),
    ),
    Case(
        "DirResolvConv",
        lambda: DirResolvConv(F_IN, F_OUT, 2),
        lazy=lambda: DirResolvConv(-1, F_OUT, 2),
    ),
    Case("ECConv", lambda: ECConv(F_IN, F_OUT, _edge_network(), aggr="mean"), run=on_edge_attr),
    Case("EdgeConv", lambda: EdgeConv(nn.Linear(2 * F_IN, F_OUT))),
    Case("EDHNNConv", lambda: EDHNNConv(F_IN, mlp2_layers=2), out=F_IN, run=on_initial),
    Case("EDHNNIIConv", lambda: EDHNNIIConv(F_IN, mlp2_layers=2), out=F_IN, run=on_initial),
    Case(
        "FaberConv",
        lambda: FaberConv(F_IN, F_OUT, 3, zero_order=True, learn_alpha=True),
        lazy=lambda: FaberConv(-1, F_OUT, 3, zero_order=True, learn_alpha=True),
    ),
    Case("FAConv", lambda: FAConv(F_IN), out=F_IN, run=on_initial, lazy=lambda: FAConv(-1)),
    Case("FastRGCNConv", lambda: FastRGCNConv(F_IN, F_OUT, 3, num_bases=2), run=on_relations),
    Case("GATConv", lambda: GATConv(F_IN, F_OUT, heads=2), out=2 * F_OUT, lazy=lambda: GATConv(-1, F_OUT, 2)),
    Case("GatedGraphConv", lambda: GatedGraphConv(F_IN, 2), out=F_IN),
    Case(
        "GatedTemporalConv",
        lambda: GatedTemporalConv(F_IN, F_OUT, 2, dilation=3),
        run=on_steps_alone,
        lazy=lambda: GatedTemporalConv(-1, F_OUT, 2, dilation=3),
    ),
    Case(
        "GATv2Conv",
        lambda: GATv2Conv(F_IN, F_OUT, heads=2),
        out=2 * F_OUT,
        lazy=lambda: GATv2Conv(-1, F_OUT, 2),
    ),
    Case("GCN2Conv", lambda: GCN2Conv(F_IN, 0.2, 0.5, 2), out=F_IN, run=on_initial),
    Case("GCNConv", lambda: GCNConv(F_IN, F_OUT), lazy=lambda: GCNConv(-1, F_OUT)),
    Case("GENConv", lambda: GENConv(F_IN, F_OUT), lazy=lambda: GENConv(-1, F_OUT)),
    Case("GGNNConv", lambda: GGNNConv(F_IN, 2), out=F_IN),
    Case("GINConv", lambda: GINConv(_mlp(), eps=0.3, train_eps=True)),
    Case("GINEConv", lambda: GINEConv(_mlp(), train_eps=True, edge_dim=2), run=on_edge_attr),
    Case("GPRConv", lambda: GPRConv(3, init="random"), out=F_IN, any_width=True),
    Case("GraphConv", lambda: GraphConv(F_IN, F_OUT), lazy=lambda: GraphConv(-1, F_OUT)),
    Case(  # in evaluation, since slots are random in training
        "GraphViTMixer",
        lambda: GraphViTMixer(F_IN, 6, F_OUT, "vit", num_layers=1, heads=2).eval(),
        run=on_graphs_of_one_node,
    ),
    Case(
        "GraphWaveNetLayer",
        lambda: GraphWaveNetLayer(F_IN, F_OUT, dilation=2),
        out=F_IN + F_OUT,
        run=on_steps,
    ),
    Case("GSPN", lambda: GSPN(F_IN, 3, 3, "gaussian"), out=9),
    Case(
        "GSPNClassifier",
        lambda: GSPNClassifier(F_IN, F_OUT, 4, 2, graph_mixtures=6, sizes=[3, F_IN - 3]),
        run=on_single_nodes,
    ),
    Case("GSPNReadout", lambda: GSPNReadout(F_IN, 1, F_OUT), run=on_single_codes),
    Case("HGNNConv", lambda: HGNNConv(F_IN, F_OUT), run=on_hyperedges, lazy=lambda: HGNNConv(-1, F_OUT)),
    Case(
        "HGNNPlusConv",
        lambda: HGNNPlusConv(F_IN, F_OUT),
        run=on_hyperedges,
        lazy=lambda: HGNNPlusConv(-1, F_OUT),
    ),
    Case(
        "HNHNConv",
        lambda: HNHNConv(F_IN, F_OUT, hidden_channels=6),
        run=on_hyperedges,
        lazy=lambda: HNHNConv(-1, F_OUT, hidden_channels=6),
    ),
    Case(
        "HyperGCNConv",
        lambda: HyperGCNConv(F_IN, F_OUT),
        run=on_hyperedges,
        lazy=lambda: HyperGCNConv(-1, F_OUT),
    ),
    Case(
        "HypergraphConv",
        lambda: HypergraphConv(F_IN, F_OUT),
        run=on_hyperedges,
        lazy=lambda: HypergraphConv(-1, F_OUT),
    ),
    Case("JumpingKnowledge", lambda: JumpingKnowledge("lstm", F_IN, 3), out=F_IN, run=on_layers),
    Case(  # in evaluation, since signs are random in training
        "LaplacianPE",
        lambda: LaplacianPE(F_IN, 2).eval(),
        out=F_IN,
        run=on_batches,
    ),
    Case(
        "LazyPropagation",
        lambda: LazyPropagation(beta=1.0, gamma=1.0),
        out=F_IN,
        run=on_fresh_memory,
        any_width=True,
    ),
    Case("LCFNConv", lambda: LCFNConv(F_IN, 3, 2), out=2 * F_IN, run=on_bases),
    Case("LEConv", lambda: LEConv(F_IN, F_OUT), lazy=lambda: LEConv(-1, F_OUT)),
    Case("LGConv", lambda: LGConv(), out=F_IN, any_width=True),
    Case("Linear", lambda: Linear(F_IN, F_OUT), run=on_nodes, lazy=lambda: Linear(-1, F_OUT)),
    Case("MagNetConv", lambda: MagNetConv(F_IN, F_OUT, 2), out=2 * F_OUT),
    Case(
        "MFConv",
        lambda: MFConv(F_IN, F_OUT, 4, root="shared", edge_dim=2),
        run=on_edge_attr_last,
        lazy=lambda: MFConv(-1, F_OUT, 4, root="shared", edge_dim=2),
    ),
    Case("MixerBlock", lambda: MixerBlock(1, F_IN), out=F_IN, run=on_tokens),
    Case(
        "MixHopConv",
        lambda: MixHopConv(F_IN, F_OUT, [0, 2, 3]),
        out=3 * F_OUT,
        lazy=lambda: MixHopConv(-1, F_OUT, [0, 2, 3]),
    ),
    Case(
        "MLP",
        lambda: MLP([F_IN, 6, F_OUT], act="tanh"),
        run=on_nodes,
        lazy=lambda: MLP([-1, 6, F_OUT], act="tanh"),
    ),
    Case("NCN", lambda: NCN(F_IN, F_OUT, use_xlin=True), out=1, run=on_own_pairs),
    Case("NCNC", lambda: NCNC(F_IN, F_OUT, use_xlin=True), out=1, run=on_own_pairs),
    Case(
        "NeuralFingerprint",
        lambda: NeuralFingerprint(F_IN, 6, F_OUT, 2, variant="paper"),
        run=on_single_nodes,
    ),
    Case("NNConv", lambda: NNConv(F_IN, F_OUT, _edge_network()), run=on_edge_attr),
    Case("NSDConv", lambda: NSDConv(F_IN, F_IN), out=F_IN),
    Case("PatchAttention", lambda: PatchAttention(F_IN, 1), out=F_IN, run=on_tokens),
    Case("PatchEncoder", lambda: PatchEncoder(F_IN, 2), out=F_IN, run=on_patches),
    Case("PatchTransformer", lambda: PatchTransformer(F_IN, 1), out=F_IN, run=on_tokens),
    Case("PathCNN", lambda: PathCNN(F_IN, F_OUT), run=on_sequences),
    Case("PathConv", lambda: PathConv(PathLSTM(F_IN, F_IN)), out=F_IN, run=on_paths),
    Case("PathGRU", lambda: PathGRU(F_IN, F_OUT), run=on_sequences),
    Case("PathLSTM", lambda: PathLSTM(F_IN, F_OUT), run=on_sequences),
    Case("PathNN", lambda: PathNN(F_IN, 6, F_OUT, 2, "ap", distance=True, act="tanh"), run=on_edges_too),
    Case("PathSum", lambda: PathSum(F_IN, F_OUT), run=on_sequences),
    Case("PathTransformer", lambda: PathTransformer(F_IN, 6, heads=2), out=6, run=on_sequences),
    Case("PhenomNN", lambda: PhenomNN(F_IN, 1.0, 2.0, alpha=0.3, K=3), out=F_IN, run=on_hyperedges),
    Case(
        "PhenomNNSimple", lambda: PhenomNNSimple(1.0, 2.0, K=3), out=F_IN, run=on_hyperedges, any_width=True
    ),
    Case("PNAConv", lambda: pna(F_IN, F_OUT)),
    Case("RandomWalkPE", lambda: RandomWalkPE(F_IN, 4), out=F_IN, run=on_batches),
    Case(
        "ResGatedGraphConv",
        lambda: ResGatedGraphConv(F_IN, F_OUT),
        lazy=lambda: ResGatedGraphConv(-1, F_OUT),
    ),
    Case("RGCNConv", lambda: RGCNConv(F_IN, F_OUT, 3), run=on_relations),
    Case("SAGEConv", lambda: SAGEConv(F_IN, F_OUT), lazy=lambda: SAGEConv(-1, F_OUT)),
    Case("SGConv", lambda: SGConv(F_IN, F_OUT, K=2), lazy=lambda: SGConv(-1, F_OUT, K=2)),
    Case("SheafConv", lambda: SheafConv(F_IN, F_OUT, 1)),
    Case("SmoothedHops", lambda: SmoothedHops(3, 0.2), out=F_IN, any_width=True),
    Case("SSGConv", lambda: SSGConv(F_IN, F_OUT, 0.1, K=3), lazy=lambda: SSGConv(-1, F_OUT, 0.1, K=3)),
    Case("STGCNBlock", lambda: STGCNBlock(F_IN, 6, F_OUT, 2), run=on_steps),
    Case(
        "SuperGATConv",
        lambda: SuperGATConv(F_IN, F_OUT, heads=2),
        out=2 * F_OUT,
        lazy=lambda: SuperGATConv(-1, F_OUT, 2),
    ),
    Case("TAGConv", lambda: TAGConv(F_IN, F_OUT), lazy=lambda: TAGConv(-1, F_OUT)),
    Case(
        "TransformerConv",
        lambda: TransformerConv(F_IN, F_OUT, heads=2),
        out=2 * F_OUT,
        lazy=lambda: TransformerConv(-1, F_OUT, 2),
    ),
    Case(
        "UniGATConv",
        lambda: UniGATConv(F_IN, F_OUT, heads=2),
        run=on_hyperedges,
        out=2 * F_OUT,
        lazy=lambda: UniGATConv(-1, F_OUT, heads=2),
    ),
    Case(
        "UniGCNConv", lambda: UniGCNConv(F_IN, F_OUT), run=on_hyperedges, lazy=lambda: UniGCNConv(-1, F_OUT)
    ),
    Case("UniGCNIIConv", lambda: UniGCNIIConv(F_IN), out=F_IN, run=on_initial),
    Case(
        "UniGINConv", lambda: UniGINConv(F_IN, F_OUT), run=on_hyperedges, lazy=lambda: UniGINConv(-1, F_OUT)
    ),
    Case(
        "UniSAGEConv",
        lambda: UniSAGEConv(F_IN, F_OUT),
        run=on_hyperedges,
        lazy=lambda: UniSAGEConv(-1, F_OUT),
    ),
]


def awkward_graph(num_nodes: int = 20, num_edges: int = 60) -> Tensor:
    """Unsorted edges with duplicates and self-loops; the last three nodes are isolated."""
    generator = torch.Generator().manual_seed(3)
    edge_index = torch.randint(0, num_nodes - 3, (2, num_edges), generator=generator)
    edge_index[:, 1] = edge_index[:, 0]
    edge_index[1, 2] = edge_index[0, 2]
    return edge_index


def weighted_graph(num_nodes: int = 20, num_edges: int = 60) -> Tensor:
    """The awkward graph with at most one self-loop a node."""
    edge_index = awkward_graph(num_nodes, num_edges)
    seen = set()
    for e, (source, target) in enumerate(edge_index.t().tolist()):
        if source == target and source in seen:
            edge_index[1, e] = (target + 1) % (num_nodes - 3)
        seen |= {source} if source == target else set()
    return edge_index


def plain_graph(num_nodes: int = 20, num_edges: int = 60) -> Tensor:
    """Unsorted edges without duplicates and self-loops; the last three nodes are isolated."""
    generator = torch.Generator().manual_seed(4)
    n = num_nodes - 3
    pairs = torch.randperm(n * n, generator=generator)
    edge_index = torch.stack([pairs // n, pairs % n])
    return edge_index[:, edge_index[0] != edge_index[1]][:, :num_edges]
