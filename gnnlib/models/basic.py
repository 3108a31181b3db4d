"""The common networks: stacks of one convolution, propagated MLPs, the MLP alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from gnnlib.models.configs import (
    APPNPConfig,
    GAEConfig,
    GATConfig,
    GCNConfig,
    GINConfig,
    GraphConvConfig,
    MLPConfig,
    SAGEConfig,
    SGCConfig,
    StackConfig,
    Task,
)
from gnnlib.models.encoders import (
    ConvStack,
    Encoder,
    FeatureEncoder,
    MakeConv,
    PropagatedMLP,
    SimpleEncoder,
)
from gnnlib.models.entry import GRAPHS, HYPER, Entry
from gnnlib.nn import APPNP, MLP, GATConv, GCNConv, GINConv, GraphConv, SAGEConv


def stack(make: Callable[[Any], MakeConv]) -> Callable[[StackConfig, Task, int, int], Encoder]:
    """An encoder of the convolutions that ``make(config)`` makes."""
    return lambda config, task, i, o: ConvStack(config, task, i, o, make(config))


def _gcn(c: GCNConfig) -> MakeConv:
    return lambda i, o, last: GCNConv(i, o, improved=c.improved)


def _sage(c: SAGEConfig) -> MakeConv:
    return lambda i, o, last: SAGEConv(i, o, c.aggr, c.normalize, project=c.project)


def _graphconv(c: GraphConvConfig) -> MakeConv:
    return lambda i, o, last: GraphConv(i, o, c.aggr)


def _gin(c: GINConfig) -> MakeConv:
    act = None if c.act == "none" else c.act
    return lambda i, o, last: GINConv(MLP([i, c.hidden_channels, o], act=act), c.eps, c.train_eps)


def _gat(c: GATConfig) -> MakeConv:
    drop = c.dropout if c.attention_dropout is None else c.attention_dropout

    def make(i: int, o: int, last: bool) -> nn.Module:
        heads = c.out_heads if last else c.heads
        width = o if last else o // heads
        return GATConv(i, width, heads, not last, c.negative_slope, drop, residual=c.skip)

    return make


def _appnp(config: APPNPConfig, task: Task, in_channels: int, out_channels: int) -> Encoder:
    edge_dropout = config.dropout if config.edge_dropout is None else config.edge_dropout
    return PropagatedMLP(
        config, task, in_channels, out_channels, lambda width: APPNP(config.K, config.alpha, edge_dropout)
    )


def _gae(config: GAEConfig, task: Task, in_channels: int, out_channels: int) -> Encoder:
    return ConvStack(config, task, in_channels, config.out_channels, lambda i, o, last: GCNConv(i, o))


MODELS: dict[str, Entry] = {
    "appnp": Entry(APPNPConfig, _appnp),
    "gae": Entry(GAEConfig, _gae, frozenset({"link"})),
    "gat": Entry(GATConfig, stack(_gat)),
    "gcn": Entry(GCNConfig, stack(_gcn)),
    "gin": Entry(GINConfig, stack(_gin)),
    "graphconv": Entry(GraphConvConfig, stack(_graphconv)),
    "mlp": Entry(MLPConfig, FeatureEncoder, GRAPHS | HYPER),
    "sage": Entry(SAGEConfig, stack(_sage)),
    "sgc": Entry(SGCConfig, SimpleEncoder),
}
