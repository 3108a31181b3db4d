"""``gnnlib train``: train a model on a dataset, with seeds, a table and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gnnlib.train import TrainConfig


def train(
    dataset: Annotated[str | None, typer.Argument(help="Dataset; `gnnlib data` lists them. [digits]")] = None,
    model: Annotated[str | None, typer.Argument(help="Model; the dataset's own default if absent.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Runs, with seeds 0, 1, ... [3]")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of a run, at most.")] = None,
    folds: Annotated[
        int | None, typer.Option(help="Cross validation: this many folds for each seed.")
    ] = None,
    split: Annotated[int | None, typer.Option(help="Which of the dataset's splits, from 0.")] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any option of training or of the model; an unknown KEY lists them.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory. [runs/DATASET-MODEL-TIME]")] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Finish a stopped run; with --out alone, the one in that directory."),
    ] = False,
    root: Annotated[
        Path | None, typer.Option(help="Data root. [$GNNLIB_DATA, then the user's cache]")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps. [auto]")] = None,
    precision: Annotated[str | None, typer.Option(help="32-true, bf16-mixed, ... [32-true]")] = None,
) -> None:
    """Train a model on a dataset; alone, a GCN on the bundled handwritten digits.

    The task (node, link, graph, ...) follows from the dataset. Each seed is one run; model selection looks at
    the validation part only. The run directory gets checkpoints, result.json and report.html.
    """
    from rich.console import Console

    from gnnlib.train import progress_on, run

    given: dict[str, Any] = {
        "seeds": seeds,
        "epochs": epochs,
        "folds": folds,
        "split": split,
        "out": None if out is None else str(out),
        "root": None if root is None else str(root),
        "device": device,
        "precision": precision,
    }
    chosen = {name: value for name, value in given.items() if value is not None} | _pairs(options or [])
    config = _config(dataset, model, chosen, out if resume else None)
    result = run(config, progress=progress_on(Console(stderr=True)), resume=resume)
    console = Console()
    console.print(result.table())
    if (details := result.details()) is not None:
        console.print(details)
    console.print(f"result: {result.path / 'result.json'}", highlight=False, soft_wrap=True)
    console.print(f"report: {result.report}", highlight=False, soft_wrap=True)


def _config(
    dataset: str | None, model: str | None, chosen: dict[str, Any], resumed: Path | None
) -> TrainConfig:
    """The config of these options; with a run directory to resume and no dataset, of that directory."""
    from gnnlib.train import configure
    from gnnlib.train.config import to_json
    from gnnlib.train.experiment import read_config

    if dataset is None and resumed is not None:
        return configure(**{**to_json(read_config(resumed)), **chosen})
    return configure(dataset or "digits", model, **chosen)


def _pairs(options: list[str]) -> dict[str, str]:
    """``key=value`` texts as a dict."""
    pairs = {}
    for text in options:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"--set {text}: KEY=VALUE is expected, as in --set lr=0.01")
        pairs[key.strip()] = value
    return pairs
