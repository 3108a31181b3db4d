"""``gnnlib reproduce``: run published results again, and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Recipes, or paths of toml files.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds; the recipe's own number if absent.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results, a json file a recipe.")] = Path("results"),
    runs: Annotated[Path, typer.Option(help="Folder of checkpoints, curves and reports.")] = Path(
        "runs/reproduce"
    ),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    root: Annotated[
        Path | None, typer.Option(help="Data root; $GNNLIB_DATA, then the user's cache, if absent.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Run every recipe.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List the recipes, and stop.")] = False,
    curve: Annotated[
        str | None,
        typer.Option(help="Draw a grid of recipes, published and ours, into OUT/curves; after any named."),
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Write RESULTS.md from the results, after any recipes named.")
    ] = False,
) -> None:
    """Run published results again: the paper's setting, our number beside the paper's.

    What an interrupted run has finished is not run again. Ends with status 1 when a result misses its
    expected range.
    """
    from rich.console import Console

    from gnnlib.recipes import names as recipe_names
    from gnnlib.recipes import read_recipe, render_table
    from gnnlib.recipes import reproduce as run_recipe
    from gnnlib.recipes.show import recipe_table, result_table

    console = Console()
    if listing:
        console.print(recipe_table([read_recipe(name) for name in recipe_names()]))
        return
    wanted = [*(names or []), *(recipe_names() if every else [])]
    if not wanted and not table and curve is None:
        raise ValueError("reproduce: no recipe is named; give names, --all, --table, or --list to see them")
    recipes = [read_recipe(name) for name in dict.fromkeys(wanted)]  # all are read before the first is run
    missed = False
    if recipes:
        from gnnlib.train import progress_on

        results = []
        for k, recipe in enumerate(recipes, 1):
            console.print(f"[bold]{k}/{len(recipes)} {recipe.name}[/]: {recipe.title}", highlight=False)
            results.append(
                run_recipe(
                    recipe,
                    out,
                    runs=runs,
                    seeds=seeds,
                    device=device,
                    root=str(root) if root else None,
                    progress=progress_on(console),
                )
            )
        console.print(result_table(results))
        console.print(f"written: {', '.join(str(out / f'{r.name}.json') for r in recipes)}", highlight=False)
        missed = any(not result["met"] for result in results)
    if curve is not None:
        from gnnlib.recipes.figure import draw_grid

        console.print(f"written: {draw_grid(curve, out)}", highlight=False)
    if table:
        console.print(f"written: {render_table(out)}", highlight=False)
    if missed:
        raise typer.Exit(1)
