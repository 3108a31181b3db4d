"""Graph MLP-Mixer and Graph ViT: graphs as overlapping patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor, nn

from gnnlib.models.configs import ModelConfig, Task
from gnnlib.models.encoders import GraphEncoder
from gnnlib.models.entry import Entry
from gnnlib.nn import GraphViTMixer, LaplacianPE, Linear, PatchEncoder, RandomWalkPE
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.encode.base import PlaceEncoding
from gnnlib.nn.patch import GraphPartition
from gnnlib.nn.patch.encoder import PatchConv
from gnnlib.nn.patch.model import Kind
from gnnlib.sparse.dropout import dropout

Encoding: TypeAlias = Literal["walk", "laplacian", "none"]


@dataclass(frozen=True, kw_only=True)
class GraphMixerConfig(ModelConfig):
    """Graph MLP-Mixer of He et al.: METIS patches, a network on each, an MLP-Mixer over their codes.

    Normalisations, activations and the readout are the published ones: ``norm``, ``act`` and ``readout`` are
    not looked at. A code of a graph passes a linear map, batch normalisation and ReLU before the last map.

    Args:
        hidden_channels: width of nodes and patches.
        num_layers: blocks of the mixer.
        dropout: in the network on the patches, after each convolution.
        mixer_dropout: in the blocks.
        conv: ``gine`` (GIN where there are no edge features), ``gcn``, ``gated`` or ``transformer``.
        patch_layers: convolutions in a patch.
        num_patches: patches of a graph.
        num_hops: hops by which patches overlap.
        partition_dropout: probability of hiding an edge from METIS in training.
        online: cut each graph anew in each training step; otherwise once.
        partitions: in evaluation, average the codes of so many cuts.
        encoding: of a node's place: ``walk``, ``laplacian`` or ``none``.
        encoding_size: steps of the walk, or number of eigenvectors.
        patch_steps: steps of the walks that encode a patch's place, 0 for none.
    """

    hidden_channels: int = 128
    num_layers: int = 4
    dropout: float = 0.0
    mixer_dropout: float = 0.0
    conv: PatchConv = "gine"
    patch_layers: int = 4
    num_patches: int = 32
    num_hops: int = 1
    partition_dropout: float = 0.3
    online: bool = True
    partitions: int = 1
    encoding: Encoding = "walk"
    encoding_size: int = 16
    patch_steps: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("patch_layers", "num_patches", "partitions", "encoding_size"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        for name in ("num_hops", "patch_steps"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("mixer_dropout", "partition_dropout"):
            self._require(name, 0 <= getattr(self, name) < 1, "a number from 0 to below 1")

    @property
    def kind(self) -> Kind:
        """What mixes the codes of patches."""
        return "mixer"


@dataclass(frozen=True, kw_only=True)
class GraphViTConfig(GraphMixerConfig):
    """Graph ViT of He et al.: the patches of the Graph MLP-Mixer with attention over their codes.

    Args:
        heads: of attention; divides ``hidden_channels``.
        attention: ``vit``, the published Hadamard attention, ``standard``, ``graph`` or ``kernel``.
        walk: attention sees the random walk over patches after so many steps; 0: the nodes that they share.
    """

    heads: int = 8
    attention: Literal["vit", "standard", "graph", "kernel"] = "vit"
    walk: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("hidden_channels", self.hidden_channels % self.heads == 0, "a multiple of heads")
        least = int(self.attention == "kernel")
        self._require("walk", self.walk >= least, f"{least} or more with attention={self.attention!r}")

    @property
    def kind(self) -> Kind:
        """What mixes the codes of patches."""
        return self.attention


class PatchModelEncoder(GraphEncoder):
    """A :class:`gnnlib.nn.GraphViTMixer` as a config describes it, and a hidden layer.

    Args:
        config: the options.
        task: graph.
        in_channels: width of x.
        out_channels: not looked at; the head maps the hidden layer.
        edge_channels: width of edge_attr, 0 for graphs without.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, batch ``[N]``, edge_attr ``[E, D]`` -> ``[B, hidden]`` and
        None.
    """

    def __init__(
        self,
        config: GraphMixerConfig,
        task: Task,
        in_channels: int,
        out_channels: int,
        edge_channels: int = 0,
    ) -> None:
        super().__init__()
        width = self.out_channels = config.hidden_channels
        self.input_dropout = config.input_dropout_for(task)
        self.body = GraphViTMixer(
            in_channels,
            width,
            kind=config.kind,
            partition=GraphPartition(
                config.num_patches,
                num_hops=config.num_hops,
                drop_rate=config.partition_dropout,
                online=config.online,
            ),
            encoding=_encoding(config),
            encoder=PatchEncoder(
                width,
                config.patch_layers,
                config.conv,
                edge_dim=edge_channels or None,
                dropout=config.dropout,
            ),
            num_layers=config.num_layers,
            heads=getattr(config, "heads", 1),
            walk=getattr(config, "walk", 0),
            patch_steps=config.patch_steps,
            dropout=config.mixer_dropout,
            partitions=config.partitions,
        )
        self.hidden = nn.Sequential(Linear(width, width), nn.BatchNorm1d(width), nn.ReLU())

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        batch: Tensor | None,
        batch_size: int | None,
        edge_attr: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Codes ``[B, hidden]``."""
        x = dropout(x, self.input_dropout, self.training)
        out: Tensor = self.hidden(self.body(x, edge_index, batch, batch_size, edge_attr))
        return out, None


def _encoding(config: GraphMixerConfig) -> PlaceEncoding | None:
    if config.encoding == "none":
        return None
    kind = RandomWalkPE if config.encoding == "walk" else LaplacianPE
    return kind(config.hidden_channels, config.encoding_size)


def _entry(config: type[GraphMixerConfig]) -> Entry:
    return Entry(config, PatchModelEncoder, frozenset({"graph"}), edges=True)


MODELS: dict[str, Entry] = {"graph-mixer": _entry(GraphMixerConfig), "graph-vit": _entry(GraphViTConfig)}
