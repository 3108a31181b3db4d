"""What suits a dataset and a model when nobody says otherwise: a small table, later rows win.

Settings of published experiments beyond these few live in ``gnnlib/recipes``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from gnnlib.data import find_card

__all__ = ["Defaults", "defaults"]

MODELS = {
    "node": "gcn",
    "graph": "gin",
    "link": "gae",
    "hypergraph": "hgnn",
    "incidence": "unisage",
    "forecast": "graph-wavenet",
    "recommendation": "lightgcn",
}

CITATION = ("cora", "citeseer", "pubmed")
HEURISTICS = (
    "adamic-adar",
    "common-neighbors",
    "jaccard",
    "preferential-attachment",
    "resource-allocation",
)
HETEROPHILOUS = ("texas", "wisconsin", "cornell", "actor", "chameleon*", "squirrel*")


@dataclass(frozen=True)
class Row:
    """Settings for some datasets (or tasks) and models, each a pattern."""

    datasets: tuple[str, ...]
    models: tuple[str, ...]
    training: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


ROWS = (
    Row(("*",), ("*",), {"seeds": 3, "epochs": 200, "lr": 0.01}),
    Row(("node",), ("*",), {"weight_decay": 5e-4, "patience": 100}),
    Row(("hypergraph",), ("*",), {"weight_decay": 5e-4, "patience": 100}),
    Row(("graph",), ("*",), {"epochs": 100, "batch_size": 32}),
    # Kipf & Welling 2017: two layers of 16, L2 on the first one, 200 epochs
    Row(
        CITATION,
        ("gcn",),
        {"weight_decay_scope": "first", "normalize_features": True, "patience": None},
        {"hidden_channels": 16, "dropout": 0.5},
    ),
    # Velickovic et al. 2018: 8 heads of 8, patience 100 on both validation loss and accuracy
    Row(
        CITATION,
        ("gat",),
        {"lr": 0.005, "epochs": 1000, "monitor": "both", "normalize_features": True},
        {"hidden_channels": 8, "heads": 8, "dropout": 0.6},
    ),
    # Wu et al. 2019: 100 epochs at a high rate on features propagated twice
    Row(
        CITATION,
        ("sgc",),
        {"lr": 0.2, "epochs": 100, "weight_decay": 1e-5, "normalize_features": True, "patience": None},
    ),
    # Klicpera et al. 2019: L2 of 0.005 on the first layer
    Row(
        CITATION,
        ("appnp",),
        {"weight_decay": 5e-3, "weight_decay_scope": "first", "normalize_features": True, "patience": None},
        {"hidden_channels": 64, "dropout": 0.5},
    ),
    # Liu et al. 2020: at least 500 epochs, the lowest validation loss
    Row(
        CITATION,
        ("dagnn",),
        {
            "weight_decay": 5e-3,
            "epochs": 500,
            "monitor": "loss",
            "normalize_features": True,
            "patience": None,
        },
        {"dropout": 0.8},
    ),
    Row(("citeseer",), ("dagnn",), {"weight_decay": 2e-2}, {"dropout": 0.5}),
    # Chen et al. 2020: patience 100 on the validation loss
    Row(CITATION, ("gcnii",), {"epochs": 1500, "monitor": "loss", "normalize_features": True}),
    # LazyGNN tends to APPNP, and takes its decay
    Row(
        CITATION,
        ("lazygnn",),
        {"weight_decay": 5e-3, "weight_decay_scope": "first", "normalize_features": True},
        {"norm": "none", "K": 10, "beta": 0.9, "gamma": 0.9},
    ),
    Row(
        ("forecast",),
        ("*",),
        {"epochs": 100, "lr": 0.001, "batch_size": 64, "grad_clip": 5.0, "patience": 15},
    ),
    # a synthetic series: small models, few epochs
    Row(("synthetic-flow",), ("*",), {"epochs": 20, "lr": 0.003, "seeds": 1}, {"hidden_channels": 16}),
    Row(("synthetic-flow",), ("dcrnn",), {}, {"num_layers": 1, "sampling_decay": 100.0}),
    Row(
        ("synthetic-flow",),
        ("graph-wavenet",),
        {},
        {"num_layers": 2, "dilations": (1, 2, 4), "skip_channels": 32, "end_channels": 64},
    ),
    Row(("recommendation",), ("*",), {"lr": 0.005, "batch_size": 1024, "patience": 20}),
    Row(HETEROPHILOUS, ("*",), {"seeds": 10, "epochs": 500}),  # ten splits, one a seed
    # Bodnar et al. 2022
    Row(HETEROPHILOUS, ("nsd",), {"lr": 0.02, "patience": 200, "normalize_features": True}, {"dropout": 0.7}),
    # Xu et al. 2019, for the TU sets
    Row(
        ("mutag", "proteins", "ptc-mr", "nci1", "enzymes", "imdb-*", "tu:*"),
        ("gin",),
        {"lr_schedule": "step", "lr_step": 50, "lr_gamma": 0.5},
    ),
    Row(("ogbg-*",), ("*",), {"lr": 0.001}),
    # Dwivedi et al. 2022
    Row(("peptides-struct",), ("*",), {"loss": "absolute"}),
    Row(("pascalvoc-sp", "coco-sp"), ("*",), {"loss": "balanced"}),
    Row(("link",), HEURISTICS, {"seeds": 1, "epochs": 0}),  # nothing is trained or drawn
    # Zhang and Chen 2018: the model leaves out a pair's own edge itself
    Row(("link",), ("seal",), {"remove_targets": False, "lr": 1e-4, "batch_size": 32, "epochs": 50}),
    # Chamberlain et al. 2023: BUDDY's features are made once, of a graph that stays; a small rate
    Row(("link",), ("buddy",), {"remove_targets": False}),
    Row(("link",), ("buddy", "elph", "neognn"), {"lr": 1e-3, "batch_size": 64}),
    Row(("*-links", "ogbl-*"), ("buddy", "elph", "neognn"), {"batch_size": 1024}),
    # Wang et al. 2024, on Cora; a batch must leave most edges in the graph
    Row(("link",), ("ncn", "ncnc"), {"epochs": 100, "lr": 0.0043, "head_lr": 0.0024, "batch_size": 1152}),
    Row(("les-miserables",), ("ncn", "ncnc"), {"batch_size": 50}),
    # Kipf & Welling 2016: the loss goes over all pairs of nodes
    Row(("cora-links", "citeseer-links"), ("*",), {"normalize_features": True}),
    Row(("cora-links", "citeseer-links"), ("gae", "vgae", "arga", "arvga"), {"negatives": "all"}),
    Row(("cora-links", "citeseer-links"), ("vgae", "arga", "arvga"), {"normalize_features": False}),
)


@dataclass(frozen=True)
class Defaults:
    """A model's name, training fields and model options.

    Shapes: none.
    """

    model: str
    training: Mapping[str, Any]
    options: Mapping[str, Any]


def defaults(dataset: str, model: str | None = None) -> Defaults:
    """The settings for a dataset and a model, or for the dataset's own default model.

    Raises: ValueError for an unknown dataset (names the nearest).
    """
    card = find_card(dataset)
    model = model or MODELS.get(card.task, "gcn")
    names = (card.name.lower(), card.task)
    training: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for row in ROWS:
        if any(fnmatchcase(name, pattern) for name in names for pattern in row.datasets) and any(
            fnmatchcase(model.lower(), pattern) for pattern in row.models
        ):
            training |= row.training
            options |= row.options
    return Defaults(model, training, options)
