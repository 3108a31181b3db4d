"""Recipes that differ in their model and in one size alone, as one toml file: a row a model, a column a size.

::

    name = "{row}-tree-neighbors-match-{column}"  # of each recipe
    columns = [2, 3]

    [recipe]                                      # what all share, as in a recipe's own file
    title = "{label} on TreeNeighborsMatch of depth {column}"
    ...
    [column.2]                                    # what a column adds, tables within tables
    model_options = { num_layers = 3 }
    [row.ggnn]                                    # what a row adds, and its numbers, one a column
    label = "GGNN"
    values = [1.0, 1.0]                           # published
    low = [0.99, 0.99]
    high = [1.0, 1.0]
    recipe = { model = "ggnn" }
    differences = ["..."]                         # where it has more of them than all others

In texts ``{row}``, ``{column}``, ``{label}`` and the settings of ``[recipe.train]`` by name are filled in. A
row whose lists are shorter than the columns has no recipe for the last ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Grid", "read_grid"]

_KEYS = {"name", "columns", "recipe", "column", "row"}
_ROW = {"label", "values", "low", "high", "recipe"}
_MORE = "differences"


@dataclass(frozen=True)
class Grid:
    """A grid's recipes.

    Args:
        columns: the sizes.
        labels: of each row, what its model is called.
        names: of each row, the recipes of its columns.
        contents: of each recipe, what its file would hold.

    Shapes: none.
    """

    columns: tuple[int, ...]
    labels: Mapping[str, str]
    names: Mapping[str, tuple[str, ...]]
    contents: Mapping[str, Mapping[str, Any]]


def read_grid(content: Mapping[str, Any], where: str) -> Grid:
    """The recipes of a grid's toml content.

    Shapes: none.
    Raises: ValueError for a key that is unknown or missing, a list of another length, a word in braces that
        nothing fills.
    """
    _exactly(content, _KEYS, where)
    columns, base = tuple(content["columns"]), content["recipe"]
    names: dict[str, tuple[str, ...]] = {}
    contents: dict[str, Mapping[str, Any]] = {}
    for row, given in content["row"].items():
        _exactly({k: v for k, v in given.items() if k != _MORE}, _ROW, f"{where} [row.{row}]")
        counts = {len(given[key]) for key in ("values", "low", "high")}
        if len(counts) != 1 or not 1 <= min(counts) <= len(columns):
            raise ValueError(
                f"{where} [row.{row}]: values, low and high hold {sorted(counts)} numbers; pass one for each "
                f"of the {len(columns)} columns, or for the first of them"
            )
        made = []
        for k, column in enumerate(columns[: min(counts)]):
            numbers = {
                "paper": {"value": given["values"][k]},
                "expected": {"low": given["low"][k], "high": given["high"][k]},
            }
            whole = _merged(base, content["column"].get(str(column), {}), given["recipe"], numbers)
            whole[_MORE] = [*whole.get(_MORE, ()), *given.get(_MORE, ())]
            words = {**whole.get("train", {}), "row": row, "column": column, "label": given["label"]}
            name = _filled(content["name"], words, where)
            made.append(name)
            contents[name] = _filled(whole, words, where)
        names[row] = tuple(made)
    labels = {row: str(given["label"]) for row, given in content["row"].items()}
    return Grid(columns, labels, names, contents)


def _exactly(table: Mapping[str, Any], keys: set[str], where: str) -> None:
    if wrong := sorted(keys.symmetric_difference(table)):
        raise ValueError(f"{where}: '{wrong[0]}' is missing or unknown; a grid has {', '.join(sorted(keys))}")


def _merged(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """The tables on top of each other, those inside them too."""
    out: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            inner = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
            out[key] = _merged(out[key], value) if inner else value
    return out


def _filled(value: Any, words: Mapping[str, Any], where: str) -> Any:
    if isinstance(value, str):
        try:
            return value.format_map(words)
        except KeyError as error:
            raise ValueError(f"{where}: nothing fills {{{error.args[0]}}} in {value!r}") from None
    if isinstance(value, Mapping):
        return {key: _filled(inner, words, where) for key, inner in value.items()}
    return [_filled(inner, words, where) for inner in value] if isinstance(value, list) else value
