"""What each model is made of: one frozen dataclass a model, checked when it is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from gnnlib.sparse import PathQuery

Act: TypeAlias = Literal["relu", "elu", "leaky_relu", "gelu", "tanh", "abs", "none"]
Norm: TypeAlias = Literal["auto", "none", "batch", "layer"]
Jump: TypeAlias = Literal["auto", "last", "cat", "max", "lstm"]
Readout: TypeAlias = Literal["mean", "sum", "max"]
Decoder: TypeAlias = Literal["dot", "mlp"]
Task: TypeAlias = Literal["node", "graph", "link", "hypergraph", "incidence", "forecast", "recommendation"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What every model has.

    Args:
        hidden_channels: width of the hidden layers, at least 1.
        num_layers: number of layers with weights in the encoder, at least 1.
        dropout: probability in [0, 1) of dropping a hidden feature.
        input_dropout: probability in [0, 1) of dropping an input feature; None: as ``dropout`` in node
            models, whose published settings do so, and 0 in graph and link models.
        readout_dropout: probability in [0, 1) of dropping a feature of a graph's readout before the last
            map; None: as ``dropout``.
        act: activation between layers.
        norm: normalisation between layers; auto: batch normalisation in graph models, else none.
        readout: how a graph model reduces the nodes of a graph.
        decoder: how a link model scores a pair: inner product of the codes, or an MLP of their
            elementwise product.
    """

    hidden_channels: int = 64
    num_layers: int = 2
    dropout: float = 0.5
    input_dropout: float | None = None
    readout_dropout: float | None = None
    act: Act = "relu"
    norm: Norm = "auto"
    readout: Readout = "mean"
    decoder: Decoder = "dot"

    def __post_init__(self) -> None:
        for name in ("hidden_channels", "num_layers", "heads", "out_heads", "out_channels"):
            value = getattr(self, name, 1)
            self._require(name, value is None or value >= 1, "1 or more")
        for name in ("dropout", "input_dropout", "readout_dropout", "attention_dropout", "edge_dropout"):
            value = getattr(self, name, None)
            self._require(name, value is None or 0 <= value < 1, "a number from 0 to below 1")
        self._require("alpha", 0 <= getattr(self, "alpha", 0.0) <= 1, "a number from 0 to 1")
        self._require("K", getattr(self, "K", 0) >= 0, "0 or more")

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise ValueError(f"{type(self).__name__}: {name}={getattr(self, name)}; pass {wanted}")

    @property
    def path_query(self) -> PathQuery | None:
        """The paths that the model reads, which a task finds once for all its graphs; None: it reads none."""
        return None

    @property
    def needs_features(self) -> bool:
        """Whether nodes must have features; link models alone may do without."""
        return True

    def norm_for(self, task: Task) -> Literal["none", "batch", "layer"]:
        """The normalisation of the encoder in a model of this task."""
        if self.norm == "auto":
            return "batch" if task == "graph" else "none"
        return self.norm

    def input_dropout_for(self, task: Task) -> float:
        """The probability of dropping an input feature in a model of this task."""
        if self.input_dropout is None:
            return self.dropout if task in ("node", "hypergraph") else 0.0
        return self.input_dropout


@dataclass(frozen=True, kw_only=True)
class StackConfig(ModelConfig):
    """A stack of convolutions.

    Args:
        jk: which layers the output is made of: the last one, or all of them by concatenation, maximum or
            LSTM attention, each followed by a linear map; auto: the last.
    """

    jk: Jump = "auto"

    def jk_for(self, task: Task) -> Literal["last", "cat", "max", "lstm"]:
        """Which layers the output is made of in a model of this task."""
        return "last" if self.jk == "auto" else self.jk

    @property
    def width(self) -> int:
        """Width of a hidden layer."""
        return self.hidden_channels


@dataclass(frozen=True, kw_only=True)
class GCNConfig(StackConfig):
    """Graph convolutional network; Kipf and Welling's is hidden 16, two layers, dropout 0.5.

    Args:
        improved: added loops weigh 2 on weighted graphs.
    """

    improved: bool = False


@dataclass(frozen=True, kw_only=True)
class SAGEConfig(StackConfig):
    """GraphSAGE.

    Args:
        aggr: how neighbours are reduced.
        project: map neighbours through a layer of their own first.
        normalize: divide each layer's output rows by their L2 norm.
    """

    aggr: Literal["mean", "sum", "max", "min"] = "mean"
    project: bool = False
    normalize: bool = False


@dataclass(frozen=True, kw_only=True)
class GraphConvConfig(StackConfig):
    """Higher-order graph convolution.

    Args:
        aggr: how neighbours are reduced.
    """

    aggr: Literal["mean", "sum", "max", "min"] = "sum"


@dataclass(frozen=True, kw_only=True)
class GINConfig(StackConfig):
    """Graph isomorphism network with two-layer MLPs and batch normalisation.

    A graph model reads out every layer and the input and sums a linear map of each, which is the linear
    map of their concatenation. Xu et al. count the input: their five layers are ``num_layers=4``.

    Args:
        train_eps: learn the weight of the node itself.
        eps: its initial value, less 1.
    """

    num_layers: int = 4
    norm: Norm = "batch"
    readout: Readout = "sum"
    train_eps: bool = False
    eps: float = 0.0

    def jk_for(self, task: Task) -> Literal["last", "cat", "max", "lstm"]:
        """All layers in a graph model, else the last."""
        if self.jk == "auto":
            return "cat" if task == "graph" else "last"
        return self.jk


@dataclass(frozen=True, kw_only=True)
class GATConfig(StackConfig):
    """Graph attention network; on Cora 8 heads of 8, one head at the output, dropout 0.6.

    Args:
        hidden_channels: width of one head in the hidden layers.
        heads: heads of the hidden layers, concatenated.
        out_heads: heads of the last layer of node and link models, averaged.
        attention_dropout: probability in [0, 1) of dropping an attention weight; None: as ``dropout``.
        negative_slope: slope of the scores' LeakyReLU below 0.
        skip: add a linear map of each layer's input to its output.
    """

    hidden_channels: int = 8
    heads: int = 8
    out_heads: int = 1
    dropout: float = 0.6
    attention_dropout: float | None = None
    negative_slope: float = 0.2
    skip: bool = False
    act: Act = "elu"

    @property
    def width(self) -> int:
        """Width of a hidden layer, all heads."""
        return self.hidden_channels * self.heads


@dataclass(frozen=True, kw_only=True)
class SGCConfig(ModelConfig):
    """Simple graph convolution: K steps of propagation and one linear map, no hidden layer.

    Args:
        K: number of steps, at least 0.
        hidden_channels: width of the code in graph and link models; a node model has none.
        num_layers: 1, the linear map.
        dropout: on the features of a node model and the readout of a graph model.
    """

    K: int = 2
    num_layers: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("num_layers", self.num_layers == 1, "1: the model is one linear map")


@dataclass(frozen=True, kw_only=True)
class APPNPConfig(ModelConfig):
    """An MLP whose predictions are spread by personalised PageRank.

    Args:
        num_layers: linear maps of the MLP.
        K: number of propagation steps, at least 0.
        alpha: teleport probability in [0, 1].
        edge_dropout: probability in [0, 1) of dropping an edge in a step; None: as ``dropout``.
    """

    K: int = 10
    alpha: float = 0.1
    edge_dropout: float | None = None


@dataclass(frozen=True, kw_only=True)
class MLPConfig(ModelConfig):
    """A network of the features alone, to see what the graph adds."""


@dataclass(frozen=True, kw_only=True)
class GAEConfig(StackConfig):
    """Graph auto-encoder: a GCN and the inner product of its codes; Kipf and Welling's is 32 and 16.

    Args:
        out_channels: width of the codes.
    """

    hidden_channels: int = 32
    out_channels: int = 16
    dropout: float = 0.0
