"""Models by name: which there are, their options, and how one is built for a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import nn

from gnnlib.models import (
    autoencoders,
    basic,
    category,
    deep,
    directed,
    edges,
    fingerprint,
    gated,
    gmt,
    gspn,
    heuristics,
    hyper,
    link,
    overlap,
    patches,
    path,
    pooling,
    recommend,
    seal,
    sets,
    sheaf,
    sketch,
    spectral,
    temporal,
)
from gnnlib.models.configs import ModelConfig, Task
from gnnlib.models.encoders import CategoryEncoder, Encoder
from gnnlib.models.entry import ALL, Entry
from gnnlib.models.heads import GraphModel, IncidenceModel, LinkModel, NodeModel
from gnnlib.names import choose

#: Each family of models is a module with a table ``MODELS``.
FAMILIES = (
    autoencoders,
    basic,
    category,
    deep,
    directed,
    edges,
    fingerprint,
    gated,
    gmt,
    gspn,
    heuristics,
    hyper,
    link,
    overlap,
    patches,
    path,
    pooling,
    recommend,
    seal,
    sets,
    sheaf,
    sketch,
    spectral,
    temporal,
)

_MODELS: dict[str, Entry] = dict(
    sorted((name, entry) for family in FAMILIES for name, entry in family.MODELS.items())
)


def names(task: str | None = None) -> list[str]:
    """Names of all models, or of those that serve a task (``"node"``, ``"graph"``, ...), sorted."""
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


def takes_edges(name: str) -> bool:
    """Whether a model takes edge features.

    Raises: ValueError for an unknown model (names the nearest).
    """
    return _MODELS[choose("model", name, _MODELS)].edges


def takes_parts(name: str) -> bool:
    """Whether a model remembers all nodes, so that a part of a graph comes with a :class:`Part`.

    Raises: ValueError for an unknown model (names the nearest).
    """
    return _MODELS[choose("model", name, _MODELS)].parts


def build(
    name: str,
    task: str,
    in_channels: int,
    out_channels: int,
    config: ModelConfig | None = None,
    *,
    encoder: str | None = None,
    feature_sizes: Sequence[int] | None = None,
    edge_channels: int = 0,
    edge_feature_sizes: Sequence[int] = (),
    sizes: Sequence[int] = (),
) -> nn.Module:
    """A new model of a task.

    Args:
        name: the model.
        task: ``"node"``, ``"graph"``, ``"link"``, ``"hypergraph"`` (labels of its nodes), ``"incidence"``,
            ``"forecast"`` or ``"recommendation"``.
        in_channels: width of the node features.
        out_channels: number of scores of a node or graph, or of steps to forecast; link and incidence models
            score a pair by one number and do not look at it.
        config: its options; the defaults when omitted.
        encoder: ``"atom"`` embeds integer node features, one table a column; node, graph and link models.
        feature_sizes: number of values of each of those columns.
        edge_channels: width of the edge features, 0 for none; only for models that take them.
        edge_feature_sizes: number of values of each column of integer edge features, which are embedded.
        sizes: numbers of the nodes that have embeddings of their own: of a forecast, all of them; users
            and items of a recommendation.

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
    if encoder is not None and (encoder != "atom" or not feature_sizes):
        raise ValueError(
            f"encoder={encoder!r} with feature_sizes={feature_sizes} in a {task} model; pass encoder='atom' "
            "and the sizes of the columns"
        )
    kind = cast(Task, task)
    if entry.whole is not None:
        return entry.whole(config, kind, in_channels, out_channels)
    if entry.sized is not None:
        return entry.sized(config, in_channels, out_channels, sizes)
    assert entry.encoder is not None, f"model {name!r} has neither encoder nor whole"
    if kind == "incidence":
        members = entry.encoder(config, kind, in_channels, config.hidden_channels)
        return IncidenceModel(config, cast(Encoder, members))
    if edge_channels and not entry.edges:
        raise ValueError(
            f"model '{name}' takes no edge features; pass edge_channels=0, or take gine or gatedgcn"
        )
    categories = edge_categories = None
    width = getattr(config, "width", config.hidden_channels)
    if encoder is not None and feature_sizes:
        in_channels, categories = width, CategoryEncoder(feature_sizes, width)
    if edge_channels and edge_feature_sizes:
        edge_channels, edge_categories = width, CategoryEncoder(edge_feature_sizes, width)
    widths = (edge_channels,) if entry.edges else ()
    if kind == "link":
        codes = entry.encoder(config, kind, in_channels, config.hidden_channels, *widths)
        return LinkModel(config, cast(Encoder, codes), categories, edge_categories)
    made = entry.encoder(config, kind, in_channels, out_channels, *widths)
    if kind in ("node", "hypergraph"):
        return NodeModel(config, cast(Encoder, made), categories, edge_categories)
    return GraphModel(config, made, out_channels, categories, edge_categories)
