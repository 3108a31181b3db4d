"""Link models whose structural features come from sketches of balls: ELPH and BUDDY."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from gnnlib.models.configs import Decoder, StackConfig, Task
from gnnlib.models.encoders import ConvStack, Encoder
from gnnlib.models.entry import Entry
from gnnlib.models.heads import LinkModel
from gnnlib.nn import MLP, GCNConv, Linear
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.conv.gcn_norm import gcn_norm
from gnnlib.nn.conv.hops import repeat
from gnnlib.nn.link import ball_sketches, unlinked_features
from gnnlib.sparse import as_csr
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.dropout import feature_dropout
from gnnlib.sparse.features import feature_linear
from gnnlib.sparse.relations import derive_by_type


@dataclass(frozen=True, kw_only=True)
class ELPHConfig(StackConfig):
    """ELPH: a GCN's codes beside the sizes of the intersections of balls.

    Args:
        hidden_channels: width of the codes and of what is made of their product.
        num_layers: convolutions; the authors take as many as hops.
        label_dropout: probability in [0, 1) of dropping a number made of the structural features.
        hops: largest radius of a ball, 1 or 2.
        permutations: hash functions of a MinHash sketch.
        precision: logarithm of the registers of a HyperLogLog sketch, 4 to 16.
        zero_one: use the numbers of nodes at (0, 1) and (1, 0), see
            :func:`gnnlib.nn.link.intersection_features`.
        sketch_seed: of the hash functions, the same for every run.
    """

    hidden_channels: int = 1024
    decoder: Decoder = "mlp"
    label_dropout: float = 0.5
    hops: int = 2
    permutations: int = 128
    precision: int = 8
    zero_one: bool = False
    sketch_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("decoder", self.decoder == "mlp", "mlp: a network looks at codes and structure")
        self._require("label_dropout", 0 <= self.label_dropout < 1, "a number from 0 to below 1")
        self._require("hops", 1 <= self.hops <= 2, "1 or 2")
        self._require("permutations", self.permutations >= 1, "1 or more")
        self._require("precision", 4 <= self.precision <= 16, "a number from 4 to 16")


@dataclass(frozen=True, kw_only=True)
class BUDDYConfig(ELPHConfig):
    """BUDDY: ELPH on features that are spread over the graph once, before training.

    Args:
        num_layers: 1, the linear map.
        K: the largest power of the propagation, at least 0.
    """

    num_layers: int = 1
    K: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("num_layers", self.num_layers == 1, "1: the codes are one linear map")


class SpreadFeatures(Encoder):
    r"""One linear map of the features at every hop.

    .. math:: Z = [X \,\|\, S X \,\|\, \dots \,\|\, S^K X]\, W + b, \qquad
        S = \tilde D^{-1/2} \tilde A \tilde D^{-1/2}

    Frasca et al., SIGN: Scalable Inception Graph Neural Networks, 2020. The hops are kept for as long as the
    tensors of the features and of the graph live unchanged.

    Args:
        config: the options.
        task: link.
        in_channels: width of x.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` -> ``[N, hidden]``.
    """

    def __init__(self, config: BUDDYConfig, task: Task, in_channels: int) -> None:
        super().__init__(config, task)
        self.K = config.K
        self.out_channels = config.hidden_channels
        self.lin = Linear((config.K + 1) * in_channels, config.hidden_channels)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, hidden]``."""
        h = feature_dropout(self.hidden(x, edge_index, edge_weight), self.input_dropout, self.training)
        self.lin.expect(h.size(1))
        return feature_linear(h, self.lin.weight, self.lin.bias)

    def hidden(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """The hops ``[N, (K + 1) in]``."""
        adj = as_csr(edge_index, x.size(0))
        if edge_weight is not None or (x.requires_grad and torch.is_grad_enabled()):
            return self._hops(adj, x, edge_weight)
        key = ("spread features", self.K)
        return cast(Tensor, derive_by_type(adj, x, key, lambda a, b: self._hops(a, b, None).detach()))

    def _hops(self, adj: CSR, x: Tensor, edge_weight: Tensor | None) -> Tensor:
        hops = repeat(gcn_norm(adj, edge_weight, x), x, self.K, every=True)
        return hops.transpose(0, 1).reshape(x.size(0), (self.K + 1) * x.size(1))


class SketchModel(LinkModel):
    r"""Scores of node pairs from their codes z and the sketches of the balls around them.

    .. math:: s_{uv} = w^\top \big[ \sigma(\mathrm{BN}(W_1 a_{uv})) \,\|\,
        \sigma(\mathrm{BN}(W_2 (z_u \odot z_v))) \big] + b

    with :math:`a_{uv}` the estimated numbers of nodes at each pair of distances from u and v, in the graph
    without an edge between them: a training pair does not show by them whether its edge is there. Chamberlain
    et al., Graph Neural Networks for Link Prediction with Subgraph Sketching, ICLR 2023. The authors leave
    the edge in, whose ends count among the common neighbours of every training edge and of no other pair.

    Sketches are kept with the graph: they are made once where it stays (``remove_targets=false``, as BUDDY
    is meant), and at every step where the task takes targets out of it (as ELPH is).

    Args:
        config: the options it was built from.
        encoder: from features to codes z.

    Shapes: as :class:`LinkModel`; decode takes the graph that codes were made on.
    Raises: ValueError when decode is called without the graph.
    """

    uses_graph = True

    def __init__(self, config: ELPHConfig, encoder: Encoder) -> None:
        super().__init__(config, encoder)
        self.mlp = None  # in its place:
        self.config: ELPHConfig = config
        counts, width = config.hops * (config.hops + 2), encoder.out_channels
        self.structure = MLP([counts, counts], plain_last=False, dropout=config.label_dropout)
        self.product = MLP([width, width], plain_last=False, dropout=config.dropout)
        self.last = Linear(counts + width, 1)

    def decode(self, z: Tensor, pairs: Tensor, graph: Adj | None = None) -> Tensor:
        """Scores ``[P]`` of pairs ``[2, P]`` from codes z ``[N, hidden]`` and the graph."""
        if graph is None:
            raise ValueError("SketchModel: decode needs the graph; pass decode(z, pairs, edge_index)")
        structure = self.structure(self._counts(graph, z.size(0), pairs).to(z.dtype))
        product = self.product(z.index_select(0, pairs[0]) * z.index_select(0, pairs[1]))
        return cast(Tensor, self.last(torch.cat([structure, product], dim=1)).squeeze(1))

    @torch.no_grad()
    def _counts(self, graph: Adj, num_nodes: int, pairs: Tensor) -> Tensor:
        c = self.config
        sketches = ball_sketches(
            as_csr(graph, num_nodes),
            c.hops,
            permutations=c.permutations,
            precision=c.precision,
            seed=c.sketch_seed,
        )
        return unlinked_features(sketches, pairs, zero_one=c.zero_one)


def _elph(config: ELPHConfig, task: Task, in_channels: int, out_channels: int) -> nn.Module:
    width = config.hidden_channels
    return SketchModel(config, ConvStack(config, task, in_channels, width, lambda i, o, last: GCNConv(i, o)))


def _buddy(config: BUDDYConfig, task: Task, in_channels: int, out_channels: int) -> nn.Module:
    return SketchModel(config, SpreadFeatures(config, task, in_channels))


LINK = frozenset({"link"})

MODELS: dict[str, Entry] = {
    "buddy": Entry(BUDDYConfig, None, LINK, _buddy),
    "elph": Entry(ELPHConfig, None, LINK, _elph),
}
