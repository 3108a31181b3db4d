"""``gnnlib predict``: what a trained run says of every node, graph or held-out pair."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    run: Annotated[Path, typer.Argument(help="A run directory of `gnnlib train`.", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="The file to write; ends in .csv, .json or .npz.", show_default=False)
    ],
    dataset: Annotated[str | None, typer.Option(help="Another dataset of the same form.")] = None,
    root: Annotated[Path | None, typer.Option(help="Data root. [the one used in training]")] = None,
) -> None:
    """Write the predictions of the run with the best validation result."""
    from gnnlib.train import predict as write

    path = write(run, out, dataset, root=None if root is None else str(root))
    typer.echo(f"predictions: {path}")
