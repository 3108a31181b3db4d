"""Models by name: which there are, their options, and how one is built for a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from torch import nn

from gnnlib.models.configs import (
    APPNPConfig,
    GAEConfig,
    GATConfig,
    GCNConfig,
    GINConfig,
    GraphConvConfig,
    MLPConfig,
    ModelConfig,
    SAGEConfig,
    SGCConfig,
    StackConfig,
    Task,
)
from gnnlib.models.encoders import (
    CategoryEncoder,
    ConvStack,
    Encoder,
    FeatureEncoder,
    MakeConv,
    PropagatedMLP,
    SimpleEncoder,
)
from gnnlib.models.heads import GraphModel, LinkModel, NodeModel
from gnnlib.names import choose
from gnnlib.nn import MLP, GATConv, GCNConv, GINConv, GraphConv, SAGEConv

ALL: tuple[Task, ...] = get_args(Task)


@dataclass(frozen=True)
class _Entry:
    config: type[ModelConfig]
    encoder: Callable[[Any, Task, int, int], Encoder]
    tasks: frozenset[str] = frozenset(ALL)


def _stack(make: Callable[[Any], MakeConv]) -> Callable[[StackConfig, Task, int, int], Encoder]:
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


def _gae(config: GAEConfig, task: Task, in_channels: int, out_channels: int) -> Encoder:
    return ConvStack(config, task, in_channels, config.out_channels, lambda i, o, last: GCNConv(i, o))


_MODELS = {
    "appnp": _Entry(APPNPConfig, PropagatedMLP),
    "gae": _Entry(GAEConfig, _gae, frozenset({"link"})),
    "gat": _Entry(GATConfig, _stack(_gat)),
    "gcn": _Entry(GCNConfig, _stack(_gcn)),
    "gin": _Entry(GINConfig, _stack(_gin)),
    "graphconv": _Entry(GraphConvConfig, _stack(_graphconv)),
    "mlp": _Entry(MLPConfig, FeatureEncoder),
    "sage": _Entry(SAGEConfig, _stack(_sage)),
    "sgc": _Entry(SGCConfig, SimpleEncoder),
}


def names(task: str | None = None) -> list[str]:
    """Names of all models, or of those that serve a task (``"node"``, ``"graph"``, ``"link"``), sorted."""
    if task is not None:
        task = choose("task", task, ALL)
    return [name for name, entry in _MODELS.items() if task is None or task in entry.tasks]


def config_class(name: str) -> type[ModelConfig]:
    """The frozen dataclass of a model's options.

    Raises: ValueError for an unknown model (names the nearest).
    """
    return _MODELS[choose("model", name, _MODELS)].config


def tasks(name: str) -> frozenset[str]:
    """The tasks that a model serves.

    Raises: ValueError for an unknown model (names the nearest).
    """
    return _MODELS[choose("model", name, _MODELS)].tasks


def build(
    name: str,
    task: str,
    in_channels: int,
    out_channels: int,
    config: ModelConfig | None = None,
    *,
    encoder: str | None = None,
    feature_sizes: Sequence[int] | None = None,
) -> NodeModel | GraphModel | LinkModel:
    """A new model of a task.

    Args:
        name: the model.
        task: ``"node"``, ``"graph"`` or ``"link"``.
        in_channels: width of the node features.
        out_channels: number of scores of a node or graph; a link model scores a pair by one number and
            does not look at it.
        config: its options; the defaults when omitted.
        encoder: ``"atom"`` embeds integer node features, one table a column; graph models only.
        feature_sizes: number of values of each of those columns.

    Shapes: see :class:`NodeModel`, :class:`GraphModel` and :class:`LinkModel`.
    Raises: ValueError for an unknown model, task or encoder, or a model that does not serve the task;
        TypeError for the config of another model.
    """
    name, task = choose("model", name, _MODELS), choose("task", task, ALL)
    entry = _MODELS[name]
    if task not in entry.tasks:
        raise ValueError(
            f"model '{name}' serves {', '.join(sorted(entry.tasks))}, not {task}; choose one of "
            f"{', '.join(names(task))}"
        )
    config = entry.config() if config is None else config
    if type(config) is not entry.config:
        raise TypeError(
            f"model '{name}' takes a {entry.config.__name__}, but {type(config).__name__} came; build one "
            f"with config_class({name!r})"
        )
    if encoder is not None and (encoder != "atom" or task != "graph" or not feature_sizes):
        raise ValueError(
            f"encoder={encoder!r} with feature_sizes={feature_sizes} in a {task} model; pass encoder='atom' "
            "and the sizes of the columns, in a graph model"
        )
    kind = cast(Task, task)
    if kind == "node":
        return NodeModel(config, entry.encoder(config, kind, in_channels, out_channels))
    if kind == "link":
        return LinkModel(config, entry.encoder(config, kind, in_channels, config.hidden_channels))
    categories = None
    if encoder is not None and feature_sizes:
        in_channels = getattr(config, "width", config.hidden_channels)
        categories = CategoryEncoder(feature_sizes, in_channels)
    return GraphModel(
        config, entry.encoder(config, kind, in_channels, out_channels), out_channels, categories
    )
