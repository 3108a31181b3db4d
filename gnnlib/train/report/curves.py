"""The learning curves: every run light, their mean bold, the selected epochs marked."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from gnnlib.train.report.plot import Axis, Floats, axis, dots, figure, line
from gnnlib.train.report.read import Run, RunDir
from gnnlib.train.report.words import is_percent, metric_title, number, score

__all__ = ["curves"]

Curve = tuple[Floats, Floats]


def curves(found: RunDir) -> tuple[str, str]:
    """The two figures as html, and the json that the crosshair reads; empty where there is no history."""
    metric = str(found.result["metric"]["name"])
    runs = found.runs
    longest = max((int(r.history["epoch"][-1]) for r in runs if r.history.get("epoch")), default=0)
    if not longest:
        return "", "{}"
    x = axis(1, max(longest, 2), tight=True)
    shown: dict[str, dict[str, list[list[float]]]] = {}
    parts = [
        _plot(found, "loss", "Loss", x, {"train": "loss", "validation": "val_loss"}, False, shown),
        _plot(
            found,
            "metric",
            f"Validation {metric_title(metric)}" + (", %" if is_percent(metric) else ""),
            x,
            {"training": "train", "validation": "val"},
            is_percent(metric),
            shown,
        ),
    ]
    return "".join(parts), json.dumps(shown, separators=(",", ":")).replace("<", "\\u003c")


def mean_curve(curves_of_runs: Sequence[Curve]) -> Curve:
    """The mean over runs, at the epochs that at least half of the runs measured."""
    epochs = np.unique(np.concatenate([c[0] for c in curves_of_runs] or [np.empty(0)]))
    table = np.full((len(curves_of_runs), epochs.size), np.nan)
    for row, (xs, ys) in zip(table, curves_of_runs, strict=True):
        row[np.searchsorted(epochs, xs)] = ys
    counts = np.isfinite(table).sum(axis=0)
    keep = 2 * counts >= len(curves_of_runs)
    return epochs[keep], np.nansum(table[:, keep], axis=0) / np.maximum(counts[keep], 1)


def _plot(
    found: RunDir,
    name: str,
    title: str,
    x: Axis,
    columns: dict[str, str],
    percent: bool,
    shown: dict[str, dict[str, list[list[float]]]],
) -> str:
    series = {word: [run.curve(column) for run in found.runs] for word, column in columns.items()}
    series = {word: lines for word, lines in series.items() if any(xs.size for xs, _ in lines)}
    if not series:
        return ""
    every = np.concatenate([ys for lines in series.values() for _, ys in lines])
    y = _value_axis(every, percent)
    light, bold, legend, told = [], [], [], []
    shown[f"curve-{name}"] = {"axis": [[x.low, x.high], [y.low, y.high], [100.0 if percent else 1.0]]}
    for word, lines in series.items():
        css = "s-val" if word == "validation" else "s-train"
        light += [line(x, y, xs, ys, f"run {css}") for xs, ys in lines] if len(lines) > 1 else []
        xs, ys = mean_curve(lines)
        bold.append(line(x, y, xs, ys, f"mean {css}"))
        legend.append((css, word + (", mean" if len(lines) > 1 else "")))
        if ys.size:
            told.append(f"{word} from {number(ys[0], 3)} to {number(ys[-1], 3)}")
            stride = max(1, xs.size // 400)
            shown[f"curve-{name}"][word] = [
                [round(float(v), 5) for v in xs[::stride]],
                [round(float(v), 5) for v in ys[::stride]],
            ]
    marks = [*light, *bold]
    if chosen := [p for run in found.runs if (p := _selected(run, columns["validation"])) is not None]:
        at = np.array(chosen)
        marks += [dots(x, y, at[:, 0], at[:, 1], "halo"), dots(x, y, at[:, 0], at[:, 1], "best s-val")]
        legend.append(("s-best", "selected epoch"))
    return figure(
        f"curve-{name}",
        title,
        f"{title} over {number(x.high)} epochs, mean over {len(found.runs)} runs: {'; '.join(told)}.",
        x,
        y,
        marks,
        x_title="epoch",
        legend=legend,
        css="curve",
    )


def _selected(run: Run, column: str) -> tuple[float, float] | None:
    epoch = run.record.get("best_epoch")
    xs, ys = run.curve(column)
    hit = np.flatnonzero(xs == epoch) if epoch is not None else np.empty(0, dtype=np.int64)
    return (float(epoch), float(ys[hit[0]])) if epoch is not None and hit.size else None


def _value_axis(values: Floats, percent: bool) -> Axis:
    """An axis over the values; a short spike far above the rest is cut off, so that the rest can be seen."""
    low, high = float(values.min()), float(values.max())
    usual = float(np.quantile(values, 0.98))
    if not percent and high - low > 3 * (usual - low) > 0:
        high = low + 1.3 * (usual - low)
    if percent:
        high = min(high, 1.0)
    return axis(low, high, percent=percent)


def strip(found: RunDir) -> str:
    """A small strip with the test score of each run, its mean and the deviation around it."""
    metric = str(found.result["metric"]["name"])
    values = [r.record["metrics"].get("test") for r in found.runs]
    scores = np.array([v for v in values if v is not None], dtype=np.float64)
    if scores.size < 2:
        return ""
    mean, std = float(scores.mean()), float(scores.std(ddof=1))
    percent = is_percent(metric)
    spread = max(float(scores.max() - scores.min()), 2 * std, 1e-3)
    x = axis(
        min(scores.min(), mean - std) - 0.15 * spread,
        max(scores.max(), mean + std) + 0.15 * spread,
        percent=percent,
        count=4,
        tight=True,
    )
    y = Axis(0.0, 1.0, (), ())
    left, right = (x.place(np.array([mean - std, mean + std])) * 1000).tolist()
    middle = float(x.place(mean)) * 1000
    marks = [
        f'<path class="band" d="M{left:.1f} 0H{right:.1f}V1000H{left:.1f}Z"/>',
        f'<path class="mean-line" d="M{middle:.1f} 0V1000"/>',
        dots(x, y, scores, 0.5 + 0.22 * _sides(scores, spread), "score"),
    ]
    title = f"Test {metric_title(metric)} of each run" + (", %" if percent else "")
    told = f"{scores.size} runs from {score(scores.min(), metric)} to {score(scores.max(), metric)}."
    return figure("strip", title, told, x, y, marks, x_title="", css="strip")


def _sides(scores: Floats, spread: float) -> Floats:
    """Small vertical shifts, so that near-equal scores do not cover each other."""
    order = np.argsort(scores, kind="stable")
    shift = np.zeros(scores.size)
    level, last = 0, -np.inf
    for k in order:
        level = level + 1 if scores[k] - last < 0.03 * spread else 0
        last = scores[k]
        shift[k] = (-1) ** level * ((level + 1) // 2)
    return np.clip(shift, -2, 2)
