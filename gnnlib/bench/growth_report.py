"""The growth of time and memory as tables, in Markdown, and as a picture on logarithmic axes."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gnnlib.bench.curves import Axis, Curve, Growth
from gnnlib.bench.table import MISSING, seconds, size
from gnnlib.files import write_bytes

_HEADERS = ("edges", "nodes", "F", "time", "per edge and feature", "peak", "in N x F arrays")
_SUMMARY = ("work", "along", "from", "to", "slope of time", "slope of memory")
#: One a work, told apart by most eyes (Okabe and Ito).
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_AXES: tuple[Axis, ...] = ("edges", "features")


def _exponent(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"


def _rows(curve: Curve) -> list[list[str]]:
    return [
        [
            f"{p.edges:,}",
            f"{p.num_nodes:,}",
            str(p.features),
            seconds(p.seconds),
            f"{p.seconds / (p.edges * p.features) * 1e12:.0f} ps",
            size(p.peak),
            MISSING if p.arrays is None else f"{p.arrays:.1f}",
        ]
        for p in curve.points
    ]


def _summary(report: Growth) -> list[list[str]]:
    return [
        [
            c.title,
            c.axis,
            f"{c.places()[0]:,.0f}",
            f"{c.places()[-1]:,.0f}",
            _exponent(c.time_slope),
            _exponent(c.memory_slope),
        ]
        for c in report.curves
        if c.points
    ]


def _heading(report: Growth) -> str:
    s = report.setting
    threads = next((p.threads for c in report.curves for p in c.points), 0)
    quick = "; QUICK RUN: tiny graphs, the figures mean nothing" if s.quick else ""
    return (
        f"{s.cpu}, {s.cores} cores, {threads} threads; commit {s.commit or 'none'}; slopes of the lines "
        f"through the logarithms, 1 is linear{quick}"
    )


def tables(report: Growth) -> RenderableType:
    """A table for each work and axis, then the slopes."""
    parts: list[RenderableType] = []
    for curve in report.curves:
        table = Table(title=f"{curve.title}, along {curve.axis}", title_justify="left")
        for header in _HEADERS:
            table.add_column(header, justify="right")
        for row in _rows(curve):
            table.add_row(*row)
        parts += [table, ""]
    summary = Table(title="How ours grows", title_justify="left")
    for header in _SUMMARY:
        summary.add_column(header, justify="left" if header in _SUMMARY[:2] else "right")
    for row in _summary(report):
        summary.add_row(*row)
    parts += [summary, *(Text(f"not measured: {why}", style="bold red") for why in report.failures)]
    return Group(*parts, Text(_heading(report), style="dim"))


def markdown(report: Growth) -> str:
    """The slopes as a Markdown table, with the line about the machine below it."""
    lines = ["| " + " | ".join(_SUMMARY) + " |", "|" + "---|" * len(_SUMMARY)]
    lines += ["| " + " | ".join(row) + " |" for row in _summary(report)]
    lines += ["", *(f"Not measured: {why}" for why in report.failures)]
    return "\n".join([*lines, _heading(report), ""])


def draw(report: Growth, stem: Path) -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``; returns their paths, none when nothing was measured."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import NullFormatter

    if not any(c.points for c in report.curves):
        return []
    figure = Figure(figsize=(9, 7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2)
    works = list(dict.fromkeys(c.work for c in report.curves))
    lines: dict[str, Line2D] = {}
    for column, axis in enumerate(_AXES):
        for row, what in enumerate(("time", "memory")):
            axes = panels[row][column]
            for curve in (c for c in report.curves if c.axis == axis):
                found = [
                    (x, p.seconds if what == "time" else (p.peak or 0) / 1e6)
                    for x, p in zip(curve.places(), curve.points, strict=True)
                ]
                found = [(x, y) for x, y in found if y > 0]
                if not found:
                    continue
                exponent = curve.time_slope if what == "time" else curve.memory_slope
                color = _COLORS[works.index(curve.work) % len(_COLORS)]
                (lines[curve.title],) = axes.plot(*zip(*found, strict=True), "o-", color=color, markersize=4)
                axes.annotate(
                    _exponent(exponent), found[-1], xytext=(6, 0), textcoords="offset points", va="center",
                    fontsize=8, color=color, annotation_clip=False,
                )  # fmt: skip
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel("edges" if axis == "edges" else "features")
            axes.set_ylabel("seconds" if what == "time" else "peak memory, MB")
            axes.grid(color="0.9")
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.margins(x=0.1)
            if axis == "features":
                ticks = sorted({p.features for c in report.curves if c.axis == axis for p in c.points})
                axes.set_xticks(ticks, [str(t) for t in ticks])
                axes.minorticks_off()
    figure.legend(
        lines.values(), lines, loc="outside upper left", ncol=2, frameon=False, fontsize=8,
        title="slope of each line at its end; 1 is linear", title_fontsize=8, alignment="left",
    )  # fmt: skip
    _caption(figure, report)
    written = []
    for kind in ("png", "svg"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=150)
        written.append(stem.with_suffix(f".{kind}"))
        write_bytes(written[-1], buffer.getvalue())
    return written


def _caption(figure: object, report: Growth) -> None:
    from matplotlib.figure import Figure

    assert isinstance(figure, Figure)
    s = report.setting
    quick = "; quick run: tiny graphs, the figures mean nothing" if s.quick else ""
    figure.supxlabel(f"{s.cpu}, {s.cores} cores{quick}", fontsize=8, color="0.4")
