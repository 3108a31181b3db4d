"""What the model did on the test part: confusion matrix, score histogram, or predicted against true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnlib.train.report.plot import Floats, axis, dots, figure, step_area
from gnnlib.train.report.read import RunDir
from gnnlib.train.report.words import escape, number

__all__ = ["outcome"]

_NUMBERS_UP_TO = 12  # classes; a larger matrix is drawn without numbers in its cells
_SCATTER_POINTS = 3000
_BINS = 40


def outcome(found: RunDir) -> str:
    """The figure that fits the task, over the test predictions of all runs; empty where there are none."""
    pairs = [
        (run.predictions["test_label"], run.predictions["test_score"])
        for run in found.runs
        if run.predictions.get("test_label", np.empty(0)).size
    ]
    if not pairs:
        return ""
    over = f"Test part, {len(pairs)} runs together." if len(pairs) > 1 else "Test part."
    if found.kind == "multiclass":
        return _confusion(pairs, found.class_names, over)
    labels = np.concatenate([label.reshape(-1).astype(np.float64) for label, _ in pairs])
    scores = np.concatenate([s.reshape(-1).astype(np.float64) for _, s in pairs])
    keep = np.isfinite(labels) & np.isfinite(scores)
    if not keep.any():
        return ""
    if found.kind == "regression":
        return _scatter(labels[keep], scores[keep], over)
    return _histogram(labels[keep] > 0.5, scores[keep], found, over)


def confusion_counts(label: NDArray[Any], predicted: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Counts with the true class in rows and the predicted class in columns, ``[classes, classes]``."""
    flat = label.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def _confusion(pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]], names: Sequence[str], over: str) -> str:
    classes = max(len(names), *(s.shape[1] for _, s in pairs))
    names = [*names, *(str(k) for k in range(len(names), classes))]
    counts = np.zeros((classes, classes), dtype=np.int64)
    for label, scores in pairs:
        known = label >= 0
        counts += confusion_counts(label[known], scores[known].argmax(axis=1), classes)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    dense = classes > _NUMBERS_UP_TO
    room = 1.0 + 0.55 * max(len(name) for name in names)  # rem, for the names of the rows
    head = "".join(
        f'<th scope="col"><span title="{escape(name)}">{escape(_short(name))}</span></th>' for name in names
    )
    rows = "".join(
        f'<tr><th scope="row"><span title="{escape(name)}">{escape(name)}</span></th>'
        + "".join(_cell(share[i, j], int(counts[i, j]), i == j) for j in range(classes))
        + "</tr>"
        for i, name in enumerate(names)
    )
    return (
        f'<figure class="confusion{" dense" if dense else ""}" id="outcome">'
        "<figcaption>Confusion matrix, % of the true class</figcaption>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Confusion matrix">'
        "<table><caption>Rows: true class. Columns: predicted class.</caption>"
        f'<thead><tr><td style="--names:{room:.1f}rem"></td>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        f'<p class="note">{escape(over)} {counts.sum():,} predictions.</p></figure>'
    )


def _cell(share: float, count: int, diagonal: bool) -> str:
    css = ("d " if diagonal else "") + ("deep" if share > 0.5 else "")
    text = f"{100 * share:.0f}" if count else ""
    return f'<td class="{css.strip()}" style="--v:{100 * share:.0f}%" title="{count:,}"><b>{text}</b></td>'


def _short(name: str) -> str:
    return name if len(name) <= 4 else name[:3] + "…"


def _histogram(positive: NDArray[np.bool_], scores: Floats, found: RunDir, over: str) -> str:
    probability = found.kind != "ranking"
    low, high = (0.0, 1.0) if probability else np.quantile(scores, [0.002, 0.998]).tolist()
    x = axis(low, high, tight=probability)
    edges = np.linspace(x.low, x.high, _BINS + 1)
    inside = np.clip(scores, x.low, x.high)
    shares = []
    for part in (inside[~positive], inside[positive]):
        heights = np.histogram(part, bins=edges)[0]
        shares.append(heights / max(part.size, 1))
    y = axis(0.0, float(max(s.max() for s in shares)), percent=True, count=4)
    task = found.result["dataset"]["task"]
    pairs = {
        "link": ("no edge", "edge"),
        "incidence": ("no member", "member"),
        "recommendation": ("not taken", "taken"),
    }
    names = pairs[task] if task in pairs else _label_names(found)
    marks = [
        step_area(x, y, edges, heights, css)
        for heights, css in zip(shares, ("area s-neg", "area s-pos"), strict=True)
    ]
    told = (
        f"Scores of {int((~positive).sum()):,} items labelled {names[0]} (median "
        f"{number(_median(scores[~positive]), 3)}) and {int(positive.sum()):,} labelled {names[1]} "
        f"(median {number(_median(scores[positive]), 3)})."
    )
    return figure(
        "outcome",
        "Scores by label, % of the label",
        told,
        x,
        y,
        marks,
        x_title="predicted probability" if probability else "score, higher is likelier",
        legend=[("s-neg", names[0]), ("s-pos", names[1])],
        note=f"{over} {told}",
    )


def _label_names(found: RunDir) -> tuple[str, str]:
    names = found.class_names
    return (names[0], names[1]) if found.kind == "binary" and len(names) == 2 else ("0", "1")


def _median(values: Floats) -> float | None:
    return float(np.median(values)) if values.size else None


def _scatter(true: Floats, predicted: Floats, over: str) -> str:
    rng = np.random.default_rng(0)
    shown = np.arange(true.size)
    if true.size > _SCATTER_POINTS:
        shown = np.sort(rng.choice(true.size, _SCATTER_POINTS, replace=False))
    both = np.concatenate([true[shown], predicted[shown]])
    x = axis(float(both.min()), float(both.max()))
    marks = ['<path class="diagonal" d="M0 1000L1000 0"/>', dots(x, x, true[shown], predicted[shown], "item")]
    error = predicted - true
    spread = float(((true - true.mean()) ** 2).sum())
    fit = 1 - float((error**2).sum()) / spread if spread > 0 else None
    told = (
        f"Mean error {number(float(error.mean()), 3)}, "
        f"root mean square error {number(float(np.sqrt((error**2).mean())), 3)}"
        + (f", R² {number(fit, 3)}." if fit is not None else ".")
    )
    few = f" {shown.size:,} of {true.size:,} drawn." if shown.size < true.size else ""
    return figure(
        "outcome",
        "Predicted (upwards) against true",
        f"{told} The diagonal is a perfect prediction.",
        x,
        x,
        marks,
        x_title="true value",
        note=f"{over} {told}{few}",
        css="square",
    )
