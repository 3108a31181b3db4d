"""Numbers and texts as the report prints them: escaped, rounded, with units."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any

__all__ = [
    "duration",
    "escape",
    "fixed",
    "is_percent",
    "memory",
    "metric_title",
    "MINUS",
    "model_title",
    "moment",
    "NONE",
    "number",
    "plain",
    "score",
]

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"  # stands where there is no value

_TITLES: Mapping[str, str] = {
    "accuracy": "accuracy",
    "ap": "average precision",
    "auc": "ROC-AUC",
    "average_distortion": "average distortion",
    "f1": "F1",
    "log10_mse": "log10 of the squared error",
    "mae": "mean absolute error",
    "map": "MAP",
    "mrr": "MRR",
    "rmse": "RMSE",
    "rocauc": "ROC-AUC",
    "worst_distortion": "worst-case distortion",
}

_MODELS: Mapping[str, str] = {"graphconv": "GraphConv", "sage": "GraphSAGE"}
_ACRONYM = 5  # a model's name up to this length is an acronym: gcn, appnp


def escape(text: object) -> str:
    """Text for html, in an element or an attribute."""
    return html.escape(str(text), quote=True)


def metric_title(name: str) -> str:
    """The metric's name in words: ``rocauc`` is ROC-AUC, ``hits@20`` is Hits@20.

    ``micro_f1@50`` is the micro F1 with half of the nodes labelled.
    """
    lower = name.lower().replace("roc-auc", "rocauc").replace("roc_auc", "rocauc")
    kind, _, share = lower.partition("_f1@")
    if share:
        return f"{kind} F1, {share} % labelled,"
    return _TITLES.get(lower, name.capitalize() if lower.startswith("hits") else name)


def model_title(name: str) -> str:
    """The model's name as its paper writes it: ``gcn`` is GCN, ``sage`` is GraphSAGE."""
    return _MODELS.get(name, name.upper() if len(name) <= _ACRONYM else name)


def is_percent(metric: str) -> bool:
    """Whether the field states this metric in percent: accuracy, F1 and Hits, not areas and errors."""
    return metric.lower().startswith(("acc", "f1", "micro", "macro", "hits"))


def score(value: float | None, metric: str, unit: bool = False) -> str:
    """A metric as the field writes it: ``81.5`` for accuracy, ``0.912`` for an area."""
    if value is None or not math.isfinite(value):
        return NONE
    if is_percent(metric):
        return f"{100 * value:.1f}" + (" %" if unit else "")
    return f"{value:.3f}" if abs(value) < 100 else number(value)


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits, without an exponent where it can be read without one."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        text = f"{value:.{max(0, digits - 1 - _exponent(value))}f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", MINUS)
    return f"{value:.{digits - 1}g}".replace("-", MINUS)


def fixed(value: float | None, decimals: int = 3) -> str:
    """A number for a column: always so many decimals."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.{decimals}f}".replace("-", MINUS)


def moment(text: object) -> str:
    """An ISO 8601 time in UTC as ``2025-01-31 12:00:00 UTC``."""
    return str(text or NONE).replace("T", " ").replace("+00:00", " UTC")


def duration(seconds: float | None) -> str:
    """Seconds as ``0.84 s``, ``12 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.95 else f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def memory(size: float | None) -> str:
    """Bytes as MiB or GiB."""
    if size is None or not math.isfinite(size):
        return NONE
    mebibytes = size / 2**20
    return f"{mebibytes:,.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.2f} GiB"


def plain(value: object) -> str:
    """A value of the configuration as text: lists joined, None as a dash."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or NONE
    if isinstance(value, Mapping):
        return _object(value)
    return str(value)


def _object(value: Mapping[Any, Any]) -> str:
    return ", ".join(f"{key} {plain(item)}" for key, item in value.items()) or NONE


def _exponent(value: float) -> int:
    return 0 if value == 0 else math.floor(math.log10(abs(value)))
