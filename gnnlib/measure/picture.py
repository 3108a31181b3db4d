"""The measurements of a run as one picture: influence, smoothing, squashing, gap."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gnnlib.files import write_bytes

__all__ = ["draw", "draw_influence"]

_BLUE, _ORANGE = "#3b6ea8", "#e08e3c"
_COLOURS = ("#3b6ea8", "#e08e3c", "#5a9a68", "#a85a8f", "#8a7a3b", "#5a8fa8")


def draw(found: Mapping[str, Any], path: Path, title: str) -> Path:
    """Draw what a measurement holds, and leave out what it does not."""
    panels = [
        (name, panel)
        for name, panel in (
            ("influence", _influence),
            ("smoothing", _smoothing),
            ("squashing", _squashing),
            ("gap", _gap),
        )
        if found.get(name)
    ]
    figure = _figure(6.2 * min(2, len(panels)), 4.2 * ((len(panels) + 1) // 2))
    columns = min(2, len(panels))
    for k, (name, panel) in enumerate(panels):
        panel(figure.add_subplot((len(panels) + 1) // 2, columns, k + 1), found[name])
    figure.suptitle(title)
    return _written(figure, path)


def draw_influence(curves: Mapping[str, Mapping[str, Any]], path: Path, title: str) -> Path:
    """Draw the influence by hop of several models, and beside it the range R of each, the farthest first.

    A model's entry may hold ``R_interval`` and a text ``score``.
    """
    names = sorted(curves, key=lambda name: -curves[name]["R"])
    colour = {name: _COLOURS[k % len(_COLOURS)] for k, name in enumerate(names)}
    figure = _figure(11.0, 0.4 * max(0, len(names) - 6) + 4.8)
    by_hop, ranges = figure.subplots(1, 2, width_ratios=(3, 2))
    for name in names:
        _curve(by_hop, curves[name], colour[name], name)
    _influence_axes(by_hop, {curves[name].get("relative_to", 0) for name in names})
    by_hop.set_title("Influence by distance, mean over nodes", fontsize=11)
    widest = max(curves[name]["R"] for name in names) or 1.0
    for k, name in enumerate(names):
        found = curves[name]
        ranges.barh(k, found["R"], color=colour[name], height=0.6)
        low, high = found.get("R_interval", (found["R"], found["R"]))
        ranges.plot([low, high], [k, k], color="0.2", linewidth=1.2)
        told = f"{found['R']:.2f} hops" + (f", {found['score']}" if "score" in found else "")
        ranges.text(max(found["R"], high) + 0.03 * widest, k, told, va="center", fontsize=9)
    ranges.set_yticks(range(len(names)), names)
    ranges.invert_yaxis()
    ranges.set_xlim(0, 1.9 * widest)
    ranges.set_xlabel("range R: mean distance of what influences a node, hops")
    ranges.set_title("Range, with 95 % interval", fontsize=11)
    _plain(ranges)
    figure.suptitle(title)
    return _written(figure, path)


def _curve(axes: Any, found: Mapping[str, Any], colour: str, label: str) -> None:
    shown = [
        (h, v, e) for h, (v, e) in enumerate(zip(found["curve"], found["curve_error"], strict=True)) if v > 0
    ]
    if not shown:
        return
    hops, value, error = (list(column) for column in zip(*shown, strict=True))
    axes.plot(hops, value, "o-", color=colour, markersize=3.5, label=label)
    low = [max(v - 1.96 * e, v / 100) for v, e in zip(value, error, strict=True)]
    high = [v + 1.96 * e for v, e in zip(value, error, strict=True)]
    axes.fill_between(hops, low, high, color=colour, alpha=0.2, linewidth=0)


def _influence_axes(axes: Any, bases: set[int]) -> None:
    base = (
        "the node itself" if bases == {0} else f"hop {min(bases)}" if len(bases) == 1 else "one hop of each"
    )
    axes.set_yscale("log")
    axes.set_xlabel("distance from the node, hops")
    axes.set_ylabel(f"total influence of that distance,\nrelative to {base}")
    _plain(axes)
    axes.legend(frameon=False, fontsize=9)


def _influence(axes: Any, found: Mapping[str, Any]) -> None:
    _curve(axes, found, _BLUE, "mean over nodes, with 95 % interval")
    axes.axvline(found["R"], color=_ORANGE, label=f"range R = {found['R']:.2f} hops")
    axes.set_title("How far the model looks")
    _influence_axes(axes, {found.get("relative_to", 0)})


def _smoothing(axes: Any, found: Sequence[Mapping[str, Any]]) -> None:
    axes.plot(range(len(found)), [row["share"] for row in found], "o-", color=_BLUE)
    names = [str(row["layer"]).removeprefix("encoder.") for row in found]
    axes.set_xticks(range(len(found)), names, rotation=30 if len(found) > 4 else 0, fontsize=8)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("layer")
    axes.set_ylabel("Dirichlet energy / squared norm\n(0: all nodes alike)")
    axes.set_title("How alike nodes become")
    _plain(axes)


def _squashing(axes: Any, found: Mapping[str, Any]) -> None:
    axes.plot(found["resistance"], found["sensitivity"], ".", color=_BLUE, markersize=3, alpha=0.6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("effective resistance between two nodes, ohm (1 an edge)")
    axes.set_ylabel("sensitivity of one to the other,\nsum of absolute derivatives")
    axes.set_title(f"How little gets through ({len(found['resistance'])} pairs)")
    _plain(axes)


def _gap(axes: Any, found: Mapping[str, Any]) -> None:
    axes.plot(found["epoch"], found["train"], color=_BLUE, label="training loss")
    axes.plot(found["epoch"], found["held_out"], color=_ORANGE, label="validation loss")
    axes.fill_between(found["epoch"], found["train"], found["held_out"], color="0.85", label="gap")
    axes.axvline(found["best_epoch"], color="0.4", linewidth=0.8, linestyle="--", label="selected epoch")
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.set_title("How it generalises")
    _plain(axes)
    axes.legend(frameon=False, fontsize=9)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _written(figure: Any, path: Path) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.removeprefix("."), dpi=150)
    write_bytes(path, buffer.getvalue())
    return path
