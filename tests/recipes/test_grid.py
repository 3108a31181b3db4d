"""Recipes that come from a grid, and the picture of a grid."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gnnlib.recipes import names, read_recipe
from gnnlib.recipes.figure import draw_grid
from gnnlib.recipes.grid import read_grid
from gnnlib.recipes.recipe import grids

SMALL = tomllib.loads("""
name = "{row}-rings-{column}"
columns = [4, 6]
[recipe]
title = "{label} on rings of {column}"
differences = ["{epochs} epochs."]
[recipe.train]
epochs = 5
lr = 0.1
[recipe.paper]
metric = "accuracy"
[column.6]
train = { epochs = 9 }
[row.a]
label = "A"
values = [1.0, 0.5]
low = [0.9, 0.4]
high = [1.0, 0.6]
recipe = { model = "gcn", train = { lr = 0.2 } }
[row.b]
label = "B"
values = [0.7]
low = [0.6]
high = [0.8]
recipe = { model = "gin" }
differences = ["{label} has {epochs}."]
""")


def test_a_grid_by_hand() -> None:
    grid = read_grid(SMALL, "grid small")
    assert grid.names == {"a": ("a-rings-4", "a-rings-6"), "b": ("b-rings-4",)}
    assert grid.contents["a-rings-6"] == {
        "title": "A on rings of 6",
        "differences": ["9 epochs."],
        "train": {"epochs": 9, "lr": 0.2},
        "paper": {"metric": "accuracy", "value": 0.5},
        "expected": {"low": 0.4, "high": 0.6},
        "model": "gcn",
    }
    assert grid.contents["b-rings-4"]["differences"] == ["5 epochs.", "B has 5."]
    assert grid.contents["b-rings-4"]["train"] == {"epochs": 5, "lr": 0.1}
    assert SMALL["recipe"]["train"] == {"epochs": 5, "lr": 0.1}  # nothing is written into what came


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("columns"), "'columns' is missing or unknown; a grid has column, columns"),
        (lambda c: c["row"]["a"].update(top=1), r"\[row.a\]: 'top' is missing or unknown"),
        (lambda c: c["row"]["a"]["low"].pop(), r"\[row.a\]: values, low and high hold \[1, 2\] numbers"),
        (lambda c: c["recipe"].update(title="{who}"), r"nothing fills \{who\} in '\{who\}'"),
    ],
)
def test_a_bad_grid_says_so(change: Any, message: str) -> None:
    content = copy.deepcopy(SMALL)
    change(content)
    with pytest.raises(ValueError, match=message):
        read_grid(content, "grid small")


def test_tree_neighbors_match_has_the_published_curve() -> None:
    grid = grids()["tree-neighbors-match"]
    assert set(grid.contents) <= set(names())
    assert len(grid.contents) == 26  # GIN's curve ends at depth 6
    recipe = read_recipe("ggnn-tree-neighbors-match-5")
    assert (recipe.dataset, recipe.paper.value) == ("tree-neighbors-match-5", 0.6)
    assert recipe.model_options["num_layers"] == 6
    assert read_recipe("residual-gcn-tree-neighbors-match-4").paper.value == 0.7
    for name in grid.contents:  # as many layers as hops, and one more, as the authors advise
        recipe = read_recipe(name)
        assert recipe.model_options["num_layers"] == int(name.rpartition("-")[2]) + 1


def test_the_picture_of_a_grid(tmp_path: Path) -> None:
    name = grids()["tree-neighbors-match"].names["ggnn"][0]
    (tmp_path / f"{name}.json").write_text(json.dumps({"mean": 1.0}))
    path = draw_grid("tree-neighbors-match", tmp_path)
    assert path == tmp_path / "curves" / "tree-neighbors-match.png"
    assert path.stat().st_size > 10_000
    with pytest.raises(ValueError, match="did you mean 'tree-neighbors-match'"):
        draw_grid("tree-neighbours-match", tmp_path)
