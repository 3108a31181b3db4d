"""Recipes: published results as toml files, the runner that repeats them, the table that compares them.

A recipe names a dataset, a split, a model, every hyper-parameter, the seeds, the paper's number with its
source and how far that number was checked, and the range that a correct run is expected to reach.
``gnnlib reproduce NAME`` runs one; its json results are all that ``RESULTS.md`` is made from.
"""

from __future__ import annotations

from gnnlib.recipes.recipe import Paper, Recipe, names, read_recipe
from gnnlib.recipes.runner import reproduce
from gnnlib.recipes.table import render_table

__all__ = ["names", "Paper", "read_recipe", "Recipe", "render_table", "reproduce"]
