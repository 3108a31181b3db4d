"""Recipes and their results as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gnnlib.recipes.recipe import Recipe
from gnnlib.train.report.words import duration, metric_title, score

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["recipe_table", "result_table"]


def recipe_table(recipes: Sequence[Recipe]) -> Table:
    """What there is to run: name, title, split, the paper's number and the expected range."""
    from rich.table import Table

    table = Table(title="Recipes")
    for name in ("name", "title", "split", "seeds", "metric", "paper", "expected"):
        table.add_column(name, justify="right" if name in ("seeds", "paper", "expected") else "left")
    for recipe in recipes:
        metric = recipe.paper.metric
        table.add_row(
            recipe.name,
            recipe.title,
            recipe.split,
            str(recipe.seeds),
            metric_title(metric),
            score(recipe.paper.value, metric, unit=True),
            f"{score(recipe.low, metric)} to {score(recipe.high, metric)}",
        )
    return table


def result_table(results: Sequence[Mapping[str, Any]]) -> Table:
    """What came out: ours, the expected range, the paper's number, and the time."""
    from rich.table import Table

    table = Table(title="Results")
    for name in ("recipe", "metric", "ours", "runs", "expected", "paper", "time"):
        table.add_column(name, justify="left" if name in ("recipe", "metric") else "right")
    for result in results:
        metric, paper = str(result["metric"]), result["paper"]
        mark = "[green]" if result["met"] else "[bold red]"
        low, high = result["expected"]["low"], result["expected"]["high"]
        table.add_row(
            result["recipe"],
            metric_title(metric),
            f"{mark}{score(result['mean'], metric)} ± {score(result['std'], metric)}[/]",
            str(result["n"]),
            f"{score(low, metric)} to {score(high, metric)}" + ("" if result["met"] else ", not met"),
            f"{score(paper['value'], metric)} \\[{paper['trust']}]",
            duration(result["seconds"]),
        )
    return table
