"""Datasets by name, with their official splits and metrics."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnnlib.data.card import Card
    from gnnlib.data.catalogue import find_card, names
    from gnnlib.data.loaded import Loaded
    from gnnlib.data.metrics import Metric, get_metric, metric_names
    from gnnlib.data.registry import fetch, load
    from gnnlib.data.splits import LinkSplit, Split

__all__ = [
    "Card",
    "fetch",
    "find_card",
    "get_metric",
    "LinkSplit",
    "load",
    "Loaded",
    "Metric",
    "metric_names",
    "names",
    "Split",
]

# Listing datasets needs no tensor, so torch and PyG are imported with the first object that does.
_HOMES = {
    "Card": "card",
    "fetch": "registry",
    "find_card": "catalogue",
    "get_metric": "metrics",
    "LinkSplit": "splits",
    "load": "registry",
    "Loaded": "loaded",
    "Metric": "metrics",
    "metric_names": "metrics",
    "names": "catalogue",
    "Split": "splits",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gnnlib.data' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gnnlib.data.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
