"""Deep and lazy propagation: networks that look many hops far."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

from torch import Tensor, nn

from gnnlib.models.basic import stack
from gnnlib.models.configs import Jump, ModelConfig, Norm, StackConfig, Task
from gnnlib.models.encoders import Encoder, MakeConv, Part, PropagatedMLP, norm_of
from gnnlib.models.entry import Entry
from gnnlib.nn import (
    AIRConv,
    AIRGate,
    DAGNNConv,
    GCN2Conv,
    GCNConv,
    GPRConv,
    LazyPropagation,
    Linear,
    SmoothedHops,
)
from gnnlib.nn.conv.base import Adj
from gnnlib.sparse.dropout import dropout


@dataclass(frozen=True, kw_only=True)
class DAGNNConfig(ModelConfig):
    """Deep adaptive graph neural network: an MLP whose scores are spread and gated hop by hop.

    Args:
        num_layers: linear maps of the MLP.
        K: number of propagation steps, at least 0.
    """

    K: int = 10
    dropout: float = 0.8


@dataclass(frozen=True, kw_only=True)
class DGMLPConfig(ModelConfig):
    """Deep graph MLP: hops weighed by their smoothness, then an MLP with residuals.

    Args:
        num_layers: depth of transformation, linear maps of the MLP.
        K: depth of propagation, number of steps, at least 0.
        temperature: of the softmax over hops, above 0.
    """

    K: int = 10
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("temperature", self.temperature > 0, "a number above 0")


@dataclass(frozen=True, kw_only=True)
class AIRConfig(ModelConfig):
    """Adaptive initial residual, in a deep GCN or in the propagation of an MLP's codes.

    Args:
        base: ``"gcn"``: ``num_layers`` convolutions with the residual between them; ``"appnp"``: an MLP of
            ``num_layers`` maps, whose codes take K steps.
        K: steps of ``base="appnp"``, at least 0.
    """

    base: Literal["gcn", "appnp"] = "gcn"
    num_layers: int = 4
    K: int = 10


@dataclass(frozen=True, kw_only=True)
class LazyGNNConfig(ModelConfig):
    """LazyGNN: an MLP with batch normalisation, and propagation that goes on from step to step.

    Args:
        num_layers: linear maps of the MLP.
        L: propagation steps of a training step, at least 1.
        K: propagation steps while evaluating, at least 0.
        alpha: teleport probability in [0, 1].
        beta: share of the new codes in the first state, in [0, 1].
        gamma: share of the new gradient in the first gradient, in [0, 1].
    """

    norm: Norm = "batch"
    L: int = 2
    K: int = 7
    alpha: float = 0.1
    beta: float = 0.5
    gamma: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("L", self.L >= 1, "1 or more")
        for name in ("beta", "gamma"):
            self._require(name, 0 <= getattr(self, name) <= 1, "a number from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class GCNIIConfig(ModelConfig):
    """GCNII: a deep GCN with initial residual and identity mapping.

    Args:
        num_layers: number of convolutions, between a linear map in and one out.
        alpha: share of the first representation in each layer, in [0, 1].
        theta: strength of the maps, above 0.
        shared_weights: use one map for the propagated and the first representation.
    """

    num_layers: int = 64
    dropout: float = 0.6
    alpha: float = 0.1
    theta: float = 0.5
    shared_weights: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("theta", self.theta > 0, "a number above 0")


@dataclass(frozen=True, kw_only=True)
class JKNetConfig(StackConfig):
    """Jumping knowledge network: a GCN whose output is made of all layers."""

    num_layers: int = 6
    jk: Jump = "cat"


@dataclass(frozen=True, kw_only=True)
class GPRGNNConfig(ModelConfig):
    """Generalised PageRank network: an MLP whose codes are spread with a learned weight for each hop.

    Args:
        num_layers: linear maps of the MLP.
        K: number of steps, at least 0.
        alpha: what the first weights are made of, in [0, 1].
        init: the first weights, see :class:`gnnlib.nn.GPRConv`.
        code_dropout: probability in [0, 1) of dropping a number of the codes before they are spread.
    """

    K: int = 10
    alpha: float = 0.1
    init: Literal["ppr", "nppr", "sgc", "random"] = "ppr"
    code_dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("code_dropout", 0 <= self.code_dropout < 1, "a number from 0 to below 1")


class DGMLPEncoder(Encoder):
    r"""Smoothed hops, then an MLP with residuals.

    .. math:: H_1 = \sigma(\bar X W_1), \qquad H_i = \sigma(H_{i-1} W_i) + H_{i-1}, \qquad
        Z = H_{D-1} W_D

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_weight ``[E]`` -> ``[N, out_channels]``.
    """

    def __init__(self, config: DGMLPConfig, task: Task, in_channels: int, out_channels: int) -> None:
        super().__init__(config, task)
        self.prop = SmoothedHops(config.K, config.temperature, cached=True)
        layers = config.num_layers if task == "graph" else config.num_layers - 1
        widths = [in_channels] + [config.hidden_channels] * layers
        self.lins = nn.ModuleList(Linear(i, o) for i, o in pairwise(widths))
        self.norms = nn.ModuleList(norm_of(config.norm_for(task), w) for w in widths[1:])
        self.last = None if task == "graph" else Linear(widths[-1], out_channels)
        self.out_channels = config.hidden_channels if task == "graph" else out_channels

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, out_channels]``."""
        h = self.hidden(x, edge_index, edge_weight)
        return h if self.last is None else cast(Tensor, self.last(h))

    def hidden(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """The input of the last linear map, ``[N, hidden]``."""
        h = self._drop_input(self.prop(x, edge_index, edge_weight))
        for i, (lin, norm) in enumerate(zip(self.lins, self.norms, strict=True)):
            new = self._between(lin(h), norm)
            h = new if i == 0 else new + h
        return h


class AIREncoder(Encoder):
    """A deep GCN with the adaptive initial residual before each convolution but the first two.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_weight ``[E]`` -> ``[N, out_channels]``.
    """

    def __init__(self, config: AIRConfig, task: Task, in_channels: int, out_channels: int) -> None:
        super().__init__(config, task)
        hidden, layers = config.hidden_channels, config.num_layers
        self.plain_last = task != "graph"
        self.out_channels = out_channels if self.plain_last else hidden
        widths = [in_channels] + [hidden] * (layers - 1) + [self.out_channels]
        self.convs = nn.ModuleList(GCNConv(i, o) for i, o in pairwise(widths))
        inner = layers - 1 if self.plain_last else layers
        self.norms = nn.ModuleList(norm_of(config.norm_for(task), hidden) for _ in range(inner))
        self.gate = AIRGate(hidden) if inner > 1 else None
        self.prelu = nn.PReLU() if inner else None

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, out_channels]``."""
        h = self.hidden(x, edge_index, edge_weight)
        return cast(Tensor, self.convs[-1](h, edge_index, edge_weight)) if self.plain_last else h

    def hidden(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """The input of the plain last layer, ``[N, hidden]``."""
        h, first = self._drop_input(x), None
        for conv, norm in zip(self.convs, self.norms, strict=False):
            h = conv(h, edge_index, edge_weight)
            if first is None:
                first = h
            elif self.gate is not None:
                h = self.gate(h, first)
            h = self._between(h, norm)
        return h

    def _between(self, x: Tensor, norm: nn.Module) -> Tensor:
        assert self.prelu is not None
        return dropout(self.prelu(norm(x)), self.dropout, self.training)


class GCNIIEncoder(Encoder):
    """A linear map, many convolutions with initial residual and identity mapping, and a linear map.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_weight ``[E]`` -> ``[N, out_channels]``.
    """

    def __init__(self, config: GCNIIConfig, task: Task, in_channels: int, out_channels: int) -> None:
        super().__init__(config, task)
        hidden = config.hidden_channels
        self.first = Linear(in_channels, hidden)
        self.convs = nn.ModuleList(
            GCN2Conv(hidden, config.alpha, config.theta, layer, config.shared_weights)
            for layer in range(1, config.num_layers + 1)
        )
        self.norms = nn.ModuleList(norm_of(config.norm_for(task), hidden) for _ in self.convs)
        self.last = None if task == "graph" else Linear(hidden, out_channels)
        self.out_channels = hidden if task == "graph" else out_channels

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, out_channels]``."""
        h = self.hidden(x, edge_index, edge_weight)
        return h if self.last is None else cast(Tensor, self.last(h))

    def hidden(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """The input of the last linear map, ``[N, hidden]``."""
        h = self.first(self._drop_input(x))
        start = h = h if self.act is None else self.act(h)
        h = dropout(h, self.dropout, self.training)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = self._between(conv(h, start, edge_index, edge_weight), norm)
        return h


def _dagnn(config: DAGNNConfig, task: Task, in_channels: int, out_channels: int) -> Encoder:
    return PropagatedMLP(
        config, task, in_channels, out_channels, lambda width: DAGNNConv(width, config.K), any_width=False
    )


def _air(config: AIRConfig, task: Task, in_channels: int, out_channels: int) -> Encoder:
    if config.base == "gcn":
        return AIREncoder(config, task, in_channels, out_channels)
    return PropagatedMLP(
        config, task, in_channels, out_channels, lambda width: AIRConv(width, config.K), any_width=False
    )


class LazyEncoder(PropagatedMLP):
    """An MLP whose codes are propagated lazily, over the whole graph or over a part of it.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_weight ``[E]`` -> ``[N, out_channels]``.
    """

    def __init__(self, config: LazyGNNConfig, task: Task, in_channels: int, out_channels: int) -> None:
        def make(width: int) -> nn.Module:
            return LazyPropagation(
                config.L, config.alpha, config.beta, config.gamma, K=config.K, persistent=True
            )

        super().__init__(config, task, in_channels, out_channels, make)

    def part(self, x: Tensor, edge_index: Adj, edge_weight: Tensor, part: Part) -> Tensor:
        """Codes of the targets of a part, ``[T, out_channels]``."""
        prop = cast(LazyPropagation, self.prop)
        prop.num_nodes = part.num_nodes
        codes, n = self.mlp(self._drop_input(x)), part.targets
        out = prop(codes, edge_index, edge_weight, n_id=part.n_id, num_targets=n, normalize=False)
        return cast(Tensor, out)[:n]


def _gprgnn(config: GPRGNNConfig, task: Task, in_channels: int, out_channels: int) -> Encoder:
    return PropagatedMLP(
        config,
        task,
        in_channels,
        out_channels,
        lambda width: GPRConv(config.K, config.alpha, config.init),
        code_dropout=config.code_dropout,
    )


def _gcn(config: JKNetConfig) -> MakeConv:
    return lambda i, o, last: GCNConv(i, o)


MODELS: dict[str, Entry] = {
    "air": Entry(AIRConfig, _air),
    "dagnn": Entry(DAGNNConfig, _dagnn),
    "dgmlp": Entry(DGMLPConfig, DGMLPEncoder),
    "gcnii": Entry(GCNIIConfig, GCNIIEncoder),
    "gprgnn": Entry(GPRGNNConfig, _gprgnn),
    "jknet": Entry(JKNetConfig, stack(_gcn)),
    # Its memories are of one graph, so it has no model for batches of graphs.
    "lazygnn": Entry(LazyGNNConfig, LazyEncoder, frozenset({"node", "link"}), parts=True),
}
