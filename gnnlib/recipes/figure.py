"""A grid's published curve and ours in one picture, from the json files of a results folder."""

from __future__ import annotations

import json
from pathlib import Path

from gnnlib.files import write_bytes
from gnnlib.names import choose
from gnnlib.recipes.recipe import grids, read_recipe

__all__ = ["draw_grid"]

_COLOURS = ("#3b6ea8", "#e08e3c", "#5a9a68", "#a85a8f", "#8a7a3b", "#5a8fa8")


def draw_grid(name: str, results: Path | str = "results", path: Path | str | None = None) -> Path:
    """Draw the published numbers of a grid as dashed lines, and the results there are as points.

    Args:
        name: a grid, as ``tree-neighbors-match``.
        results: folder of json files that :func:`reproduce` wrote.
        path: where the picture goes; None: ``NAME.png`` in a folder ``curves`` of the results.

    Shapes: none.
    Raises: ValueError for an unknown grid (names the nearest).
    """
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    grid = grids()[choose("grid", name, grids())]
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    done = 0
    for colour, (row, names) in zip(_COLOURS, grid.names.items(), strict=False):
        published = [read_recipe(recipe).paper.value for recipe in names]
        sizes = grid.columns[: len(names)]
        axes.plot(sizes, published, "--", color=colour, linewidth=1.2)
        ours = {
            size: json.loads(file.read_text(encoding="utf-8"))["mean"]
            for size, recipe in zip(sizes, names, strict=True)
            if (file := Path(results) / f"{recipe}.json").is_file()
        }
        done += len(ours)
        axes.plot(list(ours), list(ours.values()), "o-", color=colour, label=grid.labels[row])
    axes.plot([], [], "--", color="0.4", label="published")
    axes.plot([], [], "o-", color="0.4", label="ours")
    axes.set_xlabel("size")
    metric = read_recipe(next(iter(grid.contents))).paper.metric
    axes.set_ylabel(metric.replace("_", " "))
    axes.set_title(f"{name}: published and ours ({done} of {len(grid.contents)} recipes run)", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")
    axes.legend(frameon=False)
    target = Path(path) if path is not None else Path(results) / "curves" / f"{name}.png"
    buffer = io.BytesIO()
    figure.savefig(buffer, format=target.suffix.removeprefix("."), dpi=150)
    write_bytes(target, buffer.getvalue())
    return target
