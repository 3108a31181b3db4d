"""Hypergraph networks: stacks of one layer, and the published models with heads and tails of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn

from gnnlib.models.configs import Task
from gnnlib.models.encoders import ConvStack, Encoder, MakeConv
from gnnlib.models.entry import HYPER, Entry
from gnnlib.models.hyper_configs import (
    AllSetConfig,
    EDHNNConfig,
    EDHNNIIConfig,
    HCHAConfig,
    HNHNConfig,
    HyperConfig,
    HyperGCNConfig,
    PhenomNNConfig,
    UniConfig,
    UniGATConfig,
    UniGCNIIConfig,
)
from gnnlib.nn import (
    AllDeepSetsConv,
    AllSetTransformerConv,
    EDHNNConv,
    EDHNNIIConv,
    HGNNConv,
    HGNNPlusConv,
    HNHNConv,
    HyperGCNConv,
    HypergraphConv,
    Linear,
    PhenomNN,
    PhenomNNSimple,
    UniGATConv,
    UniGCNConv,
    UniGCNIIConv,
    UniGINConv,
    UniSAGEConv,
)
from gnnlib.nn.hyper.base import Incidences, apply_linear
from gnnlib.nn.hyper.hypergcn import hypergcn_graph
from gnnlib.nn.hyper.mlp import SetMLP, widths_of
from gnnlib.sparse import Hypergraph, as_hypergraph, spmm
from gnnlib.sparse.dropout import dropout


def looped(x: Tensor, incidences: Incidences, self_loops: bool) -> Hypergraph:
    """The hypergraph that a model works on."""
    h = as_hypergraph(incidences, x.size(0))
    return h.add_self_loops() if self_loops else h


class HyperStack(ConvStack):
    """Hypergraph convolutions with activation and dropout between them.

    Shapes: x ``[N, in]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph` ->
        ``[N, out_channels]``.
    """

    def __init__(
        self, config: HyperConfig, task: Task, in_channels: int, out_channels: int, make: MakeConv
    ) -> None:
        super().__init__(config, task, in_channels, out_channels, make)
        self.self_loops = config.self_loops

    def _conv(self, i: int, x: Tensor, edge_index: Incidences, edge_weight: Tensor | None) -> Tensor:
        return cast(Tensor, self.convs[i](x, looped(x, edge_index, self.self_loops)))


class AttentionStack(HyperStack):
    """Hypergraph attention whose hyperedges have the mean of their members for features.

    Shapes: as :class:`HyperStack`.
    """

    def _conv(self, i: int, x: Tensor, edge_index: Incidences, edge_weight: Tensor | None) -> Tensor:
        h = looped(x, edge_index, self.self_loops)
        return cast(Tensor, self.convs[i](x, h, None, spmm(h.v2e, x, None, "mean")))


class HyperGCNStack(HyperStack):
    """HyperGCN; the graph of all layers comes from the features before dropout where it is fast.

    Shapes: as :class:`HyperStack`.
    """

    def __init__(
        self, config: HyperGCNConfig, task: Task, in_channels: int, out_channels: int, make: MakeConv
    ) -> None:
        super().__init__(config, task, in_channels, out_channels, make)
        self.fast, self.mediators = config.fast, config.mediators

    def forward(self, x: Tensor, edge_index: Incidences, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, out_channels]``."""
        return super().forward(x, self._with_graph(x, edge_index), edge_weight)

    def hidden(self, x: Tensor, edge_index: Incidences, edge_weight: Tensor | None = None) -> Tensor:
        """The input of the plain last layer, ``[N, hidden]``."""
        return super().hidden(x, self._with_graph(x, edge_index), edge_weight)

    def _with_graph(self, x: Tensor, incidences: Any) -> Any:
        if isinstance(incidences, tuple):
            return incidences
        h = looped(x, incidences, self.self_loops)
        return h, hypergcn_graph(x, h, mediators=self.mediators) if self.fast else None

    def _conv(self, i: int, x: Tensor, edge_index: Any, edge_weight: Tensor | None) -> Tensor:
        h, graph = edge_index
        return cast(Tensor, self.convs[i](x, h, graph=graph))


class _OwnEnds(Encoder):
    """What a model with a head of its own computes before its classifier.

    Shapes: as :class:`HyperStack`.
    """

    classifier: nn.Module

    def __init__(self, config: Any, task: Task, out_channels: int) -> None:
        super().__init__(config, task)
        self.self_loops: bool = config.self_loops
        self.out_channels = out_channels

    def forward(self, x: Tensor, edge_index: Incidences, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, out_channels]``."""
        return cast(Tensor, self.classifier(self.hidden(x, edge_index, edge_weight)))

    def hidden(self, x: Tensor, edge_index: Incidences, edge_weight: Tensor | None = None) -> Tensor:
        """The input of the classifier, ``[N, hidden]``."""
        x = self._drop_input(x)
        return self._codes(x, looped(x, edge_index, self.self_loops))

    def _codes(self, x: Tensor, h: Hypergraph) -> Tensor:
        raise NotImplementedError

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)

    def _acted(self, x: Tensor) -> Tensor:
        return x if self.act is None else self.act(x)


class UniGCNIIEncoder(_OwnEnds):
    """A linear map, UniGCNII layers, a linear map.

    Shapes: as :class:`HyperStack`.
    """

    def __init__(self, config: UniGCNIIConfig, task: Task, in_channels: int, out_channels: int) -> None:
        super().__init__(config, task, out_channels)
        width = config.hidden_channels
        self.lin = Linear(in_channels, width)
        self.convs = nn.ModuleList(
            UniGCNIIConv(width, alpha=config.alpha, beta=math.log(config.theta / layer + 1))
            for layer in range(1, config.num_layers + 1)
        )
        self.classifier = Linear(width, out_channels)

    def _codes(self, x: Tensor, h: Hypergraph) -> Tensor:
        x = x_0 = self._acted(apply_linear(self.lin, x))
        for conv in self.convs:
            x = self._acted(conv(self._drop(x), x_0, h))
        return self._drop(x)


class AllSetEncoder(_OwnEnds):
    """AllSet layers with an activation after each, and a linear map.

    Shapes: as :class:`HyperStack`.
    """

    def __init__(
        self,
        config: AllSetConfig,
        task: Task,
        in_channels: int,
        out_channels: int,
        make: Callable[[AllSetConfig, int], nn.Module],
    ) -> None:
        super().__init__(config, task, out_channels)
        width = config.hidden_channels
        self.convs = nn.ModuleList(
            make(config, in_channels if layer == 0 else width) for layer in range(config.num_layers)
        )
        self.classifier = Linear(width, out_channels)

    def _codes(self, x: Tensor, h: Hypergraph) -> Tensor:
        for conv in self.convs:
            x = self._drop(self._acted(conv(x, h)))
        return x


class EDHNNEncoder(_OwnEnds):
    """A linear map, the diffusion steps, an MLP.

    Shapes: as :class:`HyperStack`.
    """

    def __init__(
        self, config: EDHNNConfig | EDHNNIIConfig, task: Task, in_channels: int, out_channels: int
    ) -> None:
        super().__init__(config, task, out_channels)
        width = config.hidden_channels
        self.lin = Linear(in_channels, width)
        self.num_layers = config.num_layers
        self.convs = nn.ModuleList(
            _diffusion(config) for _ in range(1 if config.share_weights else config.num_layers)
        )
        widths = widths_of(width, width, out_channels, config.classifier_layers)
        self.classifier = SetMLP(widths, norm=config.set_norm, dropout=config.dropout)

    def _codes(self, x: Tensor, h: Hypergraph) -> Tensor:
        x = x_0 = self._acted(apply_linear(self.lin, x))
        for layer in range(self.num_layers):
            x = self._acted(self.convs[layer % len(self.convs)](self._drop(x), x_0, h))
        return self._drop(x)


def _diffusion(c: EDHNNConfig | EDHNNIIConfig) -> nn.Module:
    options: dict[str, Any] = {
        "mlp1_layers": c.mlp1_layers,
        "mlp2_layers": c.mlp2_layers,
        "mlp3_layers": c.mlp3_layers,
        "norm": c.set_norm,
        "dropout": c.dropout,
    }
    if isinstance(c, EDHNNIIConfig):
        return EDHNNIIConv(c.hidden_channels, **options)
    return EDHNNConv(c.hidden_channels, aggr=c.aggr, alpha=c.alpha, **options)


class PhenomNNEncoder(_OwnEnds):
    """A linear map, the steps down the energy, a linear map.

    Shapes: as :class:`HyperStack`.
    """

    def __init__(
        self, config: PhenomNNConfig, task: Task, in_channels: int, out_channels: int, prop: nn.Module
    ) -> None:
        super().__init__(config, task, out_channels)
        self.lin = Linear(in_channels, config.hidden_channels)
        self.prop = prop
        self.classifier = Linear(config.hidden_channels, out_channels)

    def _codes(self, x: Tensor, h: Hypergraph) -> Tensor:
        x = self._drop(self._acted(apply_linear(self.lin, x)))
        return self._drop(self._acted(self.prop(x, h)))


def _stack(
    make: Callable[[Any], MakeConv], cls: type[HyperStack] = HyperStack
) -> Callable[[Any, Task, int, int], Encoder]:
    return lambda config, task, i, o: cls(config, task, i, o, make(config))


def _hcha(c: HCHAConfig) -> MakeConv:
    def make(i: int, o: int, last: bool) -> nn.Module:
        heads = 1 if last else c.heads
        return HypergraphConv(i, o // heads, True, c.mode, heads)

    return make


def _uni(cls: Any, c: UniConfig, **options: Any) -> MakeConv:
    def make(i: int, o: int, last: bool) -> nn.Module:
        heads = 1 if last else c.heads
        layer: nn.Module = cls(i, o // heads, heads=heads, normalize=c.use_norm, **options)
        return layer

    return make


def _unigat(c: UniGATConfig) -> MakeConv:
    drop = c.dropout if c.attention_dropout is None else c.attention_dropout
    return _uni(UniGATConv, c, dropout=drop, node_term=c.node_term, skip=c.skip)


def _deep_sets(c: AllSetConfig, i: int) -> nn.Module:
    width = c.hidden_channels
    return AllDeepSetsConv(i, width, mlp_layers=c.mlp_layers, norm=c.set_norm, dropout=c.dropout)


def _transformer(c: AllSetConfig, i: int) -> nn.Module:
    width = c.hidden_channels
    return AllSetTransformerConv(i, width, heads=c.heads, mlp_layers=c.mlp_layers, dropout=c.dropout)


def _phenomnn(learned: bool) -> Callable[[PhenomNNConfig, Task, int, int], Encoder]:
    def build(c: PhenomNNConfig, task: Task, i: int, o: int) -> Encoder:
        prop: nn.Module
        if learned:
            prop = PhenomNN(c.hidden_channels, c.lam0, c.lam1, alpha=c.step, K=c.K, prox=c.prox)
        else:
            prop = PhenomNNSimple(c.lam0, c.lam1, alpha=c.step, K=c.K, prox=c.prox)
        return PhenomNNEncoder(c, task, i, o, prop)

    return build


MODELS: dict[str, Entry] = {
    "alldeepsets": Entry(AllSetConfig, lambda c, t, i, o: AllSetEncoder(c, t, i, o, _deep_sets), HYPER),
    "allsettransformer": Entry(
        AllSetConfig, lambda c, t, i, o: AllSetEncoder(c, t, i, o, _transformer), HYPER
    ),
    "edhnn": Entry(EDHNNConfig, EDHNNEncoder, HYPER),
    "edhnn-ii": Entry(EDHNNIIConfig, EDHNNEncoder, HYPER),
    "hcha": Entry(HCHAConfig, _stack(_hcha, AttentionStack), HYPER),
    "hgnn": Entry(HyperConfig, _stack(lambda c: lambda i, o, last: HGNNConv(i, o)), HYPER),
    "hgnnplus": Entry(HyperConfig, _stack(lambda c: lambda i, o, last: HGNNPlusConv(i, o)), HYPER),
    "hnhn": Entry(
        HNHNConfig,
        _stack(
            lambda c: (
                lambda i, o, last: HNHNConv(
                    i, o, hidden_channels=c.hidden_channels, alpha=c.size_exponent, beta=c.degree_exponent
                )
            )
        ),
        HYPER,
    ),
    "hypergcn": Entry(
        HyperGCNConfig,
        _stack(
            lambda c: lambda i, o, last: HyperGCNConv(i, o, mediators=c.mediators, fast=c.fast), HyperGCNStack
        ),
        HYPER,
    ),
    "phenomnn": Entry(PhenomNNConfig, _phenomnn(True), HYPER),
    "phenomnn-simple": Entry(PhenomNNConfig, _phenomnn(False), HYPER),
    "unigat": Entry(UniGATConfig, _stack(_unigat), HYPER),
    "unigcn": Entry(UniConfig, _stack(lambda c: _uni(UniGCNConv, c)), HYPER),
    "unigcnii": Entry(UniGCNIIConfig, UniGCNIIEncoder, HYPER),
    "unigin": Entry(UniConfig, _stack(lambda c: _uni(UniGINConv, c)), HYPER),
    "unisage": Entry(UniConfig, _stack(lambda c: _uni(UniSAGEConv, c)), HYPER),
}
