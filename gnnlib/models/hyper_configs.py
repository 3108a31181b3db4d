"""What each hypergraph model is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gnnlib.models.configs import ModelConfig, StackConfig

SetNorm = Literal["layer", "batch", "none"]


@dataclass(frozen=True, kw_only=True)
class HyperConfig(StackConfig):
    """A stack of hypergraph convolutions; HGNN and HGNN+ are it without more options.

    Args:
        self_loops: give each node a hyperedge of its own, unless it has one.
    """

    hidden_channels: int = 64
    self_loops: bool = True


@dataclass(frozen=True, kw_only=True)
class HCHAConfig(HyperConfig):
    """Hypergraph attention, with the mean of its members as the feature of a hyperedge.

    Args:
        hidden_channels: width of one head in the hidden layers.
        heads: heads of the hidden layers, concatenated; the last layer has one.
        mode: whose weights are learned: the members of a hyperedge, the hyperedges of a node, or both.
    """

    hidden_channels: int = 16
    heads: int = 4
    mode: Literal["node", "edge", "both"] = "both"

    @property
    def width(self) -> int:
        """Width of a hidden layer, all heads."""
        return self.hidden_channels * self.heads


@dataclass(frozen=True, kw_only=True)
class HyperGCNConfig(HyperConfig):
    """HyperGCN on the graph of its input features (fast), or of each layer's own.

    Args:
        mediators: join the other members of a hyperedge to its two farthest.
        fast: one graph for all layers, from the input features.
    """

    hidden_channels: int = 32
    self_loops: bool = False  # its graph gives every node a loop
    mediators: bool = True
    fast: bool = True


@dataclass(frozen=True, kw_only=True)
class HNHNConfig(HyperConfig):
    """HNHN.

    Args:
        size_exponent: exponent of hyperedge sizes, alpha in the paper.
        degree_exponent: exponent of node degrees, beta in the paper.
    """

    size_exponent: float = -1.5
    degree_exponent: float = -0.5


@dataclass(frozen=True, kw_only=True)
class UniConfig(HyperConfig):
    """UniGCN, UniGIN and UniSAGE; the published one is 8 heads of 8, dropout 0.6.

    Args:
        hidden_channels: width of one head in the hidden layers.
        heads: heads of the hidden layers, concatenated; the last layer has one.
        use_norm: divide the rows of each layer by their L2 norm.
    """

    hidden_channels: int = 8
    heads: int = 8
    dropout: float = 0.6
    use_norm: bool = False

    @property
    def width(self) -> int:
        """Width of a hidden layer, all heads."""
        return self.hidden_channels * self.heads


@dataclass(frozen=True, kw_only=True)
class UniGATConfig(UniConfig):
    """UniGAT.

    Args:
        attention_dropout: probability in [0, 1) of dropping an attention weight; None: as ``dropout``.
        node_term: score with the node as well, as the paper writes and the authors' code does not.
        skip: add a linear map of each layer's input to its output.
    """

    attention_dropout: float | None = None
    node_term: bool = False
    skip: bool = False


@dataclass(frozen=True, kw_only=True)
class UniGCNIIConfig(ModelConfig):
    """UniGCNII: a deep stack with initial residual and identity map between two linear maps.

    Args:
        num_layers: convolutions.
        alpha: weight of the input in each layer.
        theta: the map of layer l weighs ln(theta / l + 1).
        self_loops: give each node a hyperedge of its own, unless it has one.
    """

    num_layers: int = 2
    dropout: float = 0.2
    alpha: float = 0.1
    theta: float = 0.5
    self_loops: bool = True


@dataclass(frozen=True, kw_only=True)
class AllSetConfig(ModelConfig):
    """AllDeepSets and AllSetTransformer; the published ones have one layer.

    Args:
        hidden_channels: width of nodes and hyperedges.
        num_layers: layers, each from nodes to hyperedges and back.
        input_dropout: probability in [0, 1) of dropping an input feature.
        mlp_layers: linear maps of each MLP.
        heads: of AllSetTransformer.
        set_norm: normalisation inside the MLPs of AllDeepSets.
        self_loops: give each node a hyperedge of its own, unless it has one.
    """

    num_layers: int = 1
    input_dropout: float | None = 0.2
    mlp_layers: int = 2
    heads: int = 1
    set_norm: SetNorm = "layer"
    self_loops: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("heads", self.hidden_channels % self.heads == 0, "a divisor of hidden_channels")


@dataclass(frozen=True, kw_only=True)
class EDHNNConfig(ModelConfig):
    """ED-HNN: one equivariant diffusion step, applied several times.

    Args:
        num_layers: times that the step is applied.
        mlp1_layers, mlp2_layers, mlp3_layers: linear maps of the step's MLPs; 0: none.
        classifier_layers: linear maps of the classifier.
        aggr: how members and messages are reduced.
        alpha: weight of the first step's input in each step.
        set_norm: normalisation inside the MLPs.
        share_weights: one step with the same weights; otherwise each has its own.
        self_loops: give each node a hyperedge of its own, unless it has one.
    """

    num_layers: int = 1
    mlp1_layers: int = 0
    mlp2_layers: int = 0
    mlp3_layers: int = 1
    classifier_layers: int = 1
    aggr: Literal["mean", "sum"] = "mean"
    alpha: float = 0.0
    set_norm: SetNorm = "layer"
    share_weights: bool = True
    self_loops: bool = True


@dataclass(frozen=True, kw_only=True)
class EDHNNIIConfig(ModelConfig):
    """ED-HNN II: states, messages and degrees joined, not mixed.

    Args:
        num_layers: times that the step is applied.
        mlp1_layers, mlp2_layers, mlp3_layers: linear maps of the step's MLPs; only the first may have none.
        classifier_layers: linear maps of the classifier.
        set_norm: normalisation inside the MLPs.
        share_weights: one step with the same weights; otherwise each has its own.
        self_loops: give each node a hyperedge of its own, unless it has one.
    """

    num_layers: int = 1
    mlp1_layers: int = 1
    mlp2_layers: int = 1
    mlp3_layers: int = 2
    classifier_layers: int = 1
    set_norm: SetNorm = "none"
    share_weights: bool = True
    self_loops: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("mlp2_layers", "mlp3_layers"):
            self._require(name, getattr(self, name) >= 1, "1 or more")


@dataclass(frozen=True, kw_only=True)
class PhenomNNConfig(ModelConfig):
    """PhenomNN and PhenomNN-simple: a linear map, K steps down the energy, a linear map.

    Args:
        num_layers: 1: the map before the steps.
        lam0: weight of the clique energy, >= 0.
        lam1: weight of the star energy, >= 0.
        step: step size in (0, 1]; None: 1 / (1 + lam0 + lam1).
        K: number of steps.
        prox: the ReLU after ``each`` step, as in the paper, or the ``last`` one, as in the authors' code.
        self_loops: give each node a hyperedge of its own; the expansions have loops already.
    """

    num_layers: int = 1
    dropout: float = 0.7
    lam0: float = 0.0
    lam1: float = 20.0
    step: float | None = None
    K: int = 16
    prox: Literal["each", "last"] = "each"
    self_loops: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("num_layers", self.num_layers == 1, "1: the map before the steps")
        self._require("lam0", self.lam0 >= 0, "0 or more")
        self._require("lam1", self.lam1 >= 0, "0 or more")
        self._require("step", self.step is None or 0 < self.step <= 1, "a number above 0 to 1")
