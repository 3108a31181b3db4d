"""The report as a picture: a bar for each ratio on a logarithmic axis, a mark where it should reach."""

from __future__ import annotations

import io
from pathlib import Path

from gnnlib.bench.results import Outcome, Ratio, Report
from gnnlib.bench.table import times
from gnnlib.files import write_bytes

_SERIES = (
    ("pyg", "against PyG, edge_index", "#3b6ea8"),
    ("best", "against the best PyG form", "#e08e3c"),
    ("other", "against another library", "#5a9a68"),
)
_COLORS = {key: color for key, _, color in _SERIES}


def _drawn(outcome: Outcome) -> dict[str, Ratio]:
    """The ratios that get a bar: those against PyG, or against another library where PyG has no part."""
    found = {key: ratio for key, *_ in _SERIES if (ratio := outcome.ratios().get(key)) is not None}
    if "pyg" in found or "best" in found:
        found.pop("other", None)
    return found


_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


def draw(report: Report, stem: Path) -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``; returns their paths, none when no case has a ratio."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [(o, _drawn(o)) for o in report.outcomes if _drawn(o)]
    if not shown:
        return []
    figure = Figure(figsize=(8.5, 1.6 + 0.75 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, (_, ratios) in enumerate(shown):
        for k, (key, ratio) in enumerate(ratios.items()):
            _bar(axes, place + 0.19 * (2 * k + 1 - len(ratios)), ratio, _COLORS[key])
    axes.axvline(1, color="0.3", linewidth=0.8)
    axes.set_xscale("log")
    drawn = [ratio for _, found in shown for ratio in found.values()]
    highest = max(2.0, *(max(r.value, r.target or 1) for r in drawn))
    lowest = min(r.value for r in drawn)
    axes.set_xlim(0.9 if lowest >= 1 else 0.6 * lowest, 1.6 * highest)
    ticks = [t for t in _TICKS if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{t:g}x" for t in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(shown)), [f"{o.title}\n{o.graph}" for o, _ in shown])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    s = report.setting
    quick = "; quick run: tiny graphs, the figures mean nothing" if s.quick else ""
    axes.set_xlabel("times faster (logarithmic)")
    figure.supxlabel(f"{s.cpu}, {s.cores} cores{quick}", fontsize=8, color="0.4")
    used = {key for _, found in shown for key in found}
    handles = [axes.barh([0], [0], color=color, label=label) for key, label, color in _SERIES if key in used]
    aim = axes.plot([], [], "k|", markersize=11, markeredgewidth=1.8, label="aim")
    figure.legend(handles=[*handles, *aim], loc="outside upper left", ncols=4, frameon=False)
    written = []
    for kind in ("png", "svg"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=150)
        written.append(stem.with_suffix(f".{kind}"))
        write_bytes(written[-1], buffer.getvalue())
    return written


def _bar(axes: object, place: float, ratio: Ratio, color: str) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    axes.barh([place], [ratio.value - 1], left=1, height=0.34, color=color)
    faster = ratio.value >= 1
    axes.annotate(
        times(ratio.value),
        (ratio.value, place),
        (4 if faster else -4, 0),
        textcoords="offset points",
        ha="left" if faster else "right",
        va="center",
        fontsize=8,
    )
    if ratio.target is not None:
        axes.plot([ratio.target], [place], "k|", markersize=11, markeredgewidth=1.8)
