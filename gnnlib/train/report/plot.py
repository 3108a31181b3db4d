"""A plot as html and svg: the drawing stretches with the page, while text and line widths keep their size.

The svg holds marks only, in a box of 1000 x 1000 that is stretched to the space there is (strokes do not
scale). Tick labels are html, placed in percent. So a plot is as readable on a telephone as on a wide screen,
and its colours follow the page's light or dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnnlib.train.report.words import MINUS, escape, number

__all__ = ["Axis", "axis", "dots", "figure", "line", "SIZE", "step_area"]

SIZE = 1000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """A range of values and the ticks within it."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]

    def place(self, values: float | Floats) -> Floats:
        """Fractions of the axis, 0 at its low end."""
        return (np.asarray(values, dtype=np.float64) - self.low) / (self.high - self.low)


def axis(low: float, high: float, percent: bool = False, count: int = 5, tight: bool = False) -> Axis:
    """An axis over ``[low, high]`` with about ``count`` round ticks; ``tight`` keeps the ends as they are."""
    if not high > low:
        pad = abs(low) * 0.1 or 0.5
        low, high = low - pad, high + pad
    factor = 100.0 if percent else 1.0
    step = _round_step((high - low) * factor / count) / factor
    if not tight:
        low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    ticks = tuple(k * step for k in range(first, last + 1))
    return Axis(low, high, ticks, _tick_labels([t * factor for t in ticks], step * factor))


def line(x: Axis, y: Axis, xs: Floats, ys: Floats, css: str) -> str:
    """A polyline; at most about 500 points of it are drawn."""
    if xs.size == 0:
        return ""
    stride = max(1, math.ceil(xs.size / 500))
    keep = np.unique(np.append(np.arange(0, xs.size, stride), xs.size - 1))
    points = " ".join(_points(x, y, xs[keep], ys[keep]))
    if keep.size == 1:  # a single point: a stroke of no length shows as a dot
        return f'<path class="{css}" d="M{points}h0"/>'
    return f'<polyline class="{css}" points="{points}"/>'


def dots(x: Axis, y: Axis, xs: Floats, ys: Floats, css: str) -> str:
    """Points as strokes of no length, so that each keeps its shape and size when the plot is stretched."""
    return f'<path class="{css}" d="{"".join(f"M{p}h0" for p in _points(x, y, xs, ys))}"/>' if xs.size else ""


def step_area(x: Axis, y: Axis, edges: Floats, heights: Floats, css: str) -> str:
    """The outline of a histogram, closed along the bottom."""
    xs = np.repeat(edges, 2)
    ys = np.concatenate([[0.0], np.repeat(heights, 2), [0.0]])
    return f'<polygon class="{css}" points="{" ".join(_points(x, y, xs, ys))}"/>'


def figure(
    name: str,
    title: str,
    description: str,
    x: Axis,
    y: Axis,
    marks: Iterable[str],
    *,
    x_title: str,
    legend: Sequence[tuple[str, str]] = (),
    note: str = "",
    css: str = "",
) -> str:
    """One plot with its axes, title, legend and note.

    Args:
        name: unique on the page; the ids of the svg's title and description start with it.
        description: what a reader who cannot see the picture should know.
        legend: pairs of a css class for the swatch and a text.
    """
    grid = "".join(f'<path class="grid" d="M0 {_flip(v)}H{SIZE}"/>' for v in y.place(np.array(y.ticks)))
    y_labels = "".join(
        f'<span style="bottom:{100 * at:.2f}%">{text}</span>'
        for at, text in zip(y.place(np.array(y.ticks)), y.labels, strict=True)
    )
    x_labels = "".join(
        f'<span style="left:{100 * at:.2f}%">{text}</span>'
        for at, text in zip(x.place(np.array(x.ticks)), x.labels, strict=True)
    )
    keys = "".join(f'<li><i class="key {mark}"></i>{escape(text)}</li>' for mark, text in legend)
    return (
        f'<figure class="plot {css}" id="{name}"><figcaption>{escape(title)}</figcaption>'
        + (f'<ul class="legend">{keys}</ul>' if keys else "")
        + f'<div class="frame"><div class="y-axis" aria-hidden="true">{y_labels}</div><div class="canvas">'
        f'<svg viewBox="0 0 {SIZE} {SIZE}" preserveAspectRatio="none" role="img" '
        f'aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>{grid}{"".join(marks)}</svg></div>'
        f'<div class="x-axis" aria-hidden="true">{x_labels}</div>'
        f'<div class="x-title" aria-hidden="true">{escape(x_title)}</div></div>'
        + (f'<p class="note">{escape(note)}</p>' if note else "")
        + "</figure>"
    )


def _tick_labels(ticks: Sequence[float], step: float) -> tuple[str, ...]:
    """The same number of decimals on every tick, as many as the step needs."""
    if not 1e-4 <= step < 1e5:
        return tuple(number(t) for t in ticks)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return tuple(f"{t + 0.0:.{decimals}f}".replace("-", MINUS) for t in ticks)


def _points(x: Axis, y: Axis, xs: Floats, ys: Floats) -> list[str]:
    across = np.round(x.place(xs) * SIZE, 1)
    down = np.round((1 - np.clip(y.place(ys), -1.0, 2.0)) * SIZE, 1)
    return [f"{a:g} {b:g}" for a, b in zip(across, down, strict=True)]


def _flip(fraction: float) -> str:
    return f"{(1 - fraction) * SIZE:g}"


def _round_step(raw: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below ``raw``."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
