"""How far several trained runs on one graph look: one table, one picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gnnlib.files import make_dir, write_text
from gnnlib.measure.picture import draw_influence
from gnnlib.train import files
from gnnlib.train.config import training_options
from gnnlib.train.measure import influence_of
from gnnlib.train.report.words import metric_title, score
from gnnlib.train.restore import restore
from gnnlib.train.result import Result
from gnnlib.train.tasks import NodeTask

__all__ = ["compare"]


def compare(
    run_dirs: Sequence[str | Path],
    *,
    out: str | Path = "runs/measure",
    num_samples: int | None = 500,
    max_hops: int | None = None,
    root: str | None = None,
) -> dict[str, Any]:
    """Measure the influence by hop of the best run of each directory, on the same nodes.

    Args:
        run_dirs: directories that ``gnnlib train`` wrote, all of the same dataset of one graph.
        out: where ``DATASET.json``, ``DATASET.csv`` (a row a run and hop) and ``DATASET.png`` go.
        num_samples: nodes whose influence is measured, the same for all runs; None: every node.
        max_hops: the last hop of the curves; None: as far as each model looks.
        root: the data root; None: the one used in training.

    Shapes: none.
    Returns: the content of the json file.
    Raises: ValueError for runs of different datasets, or no node models on one graph; what :func:`restore`
        raises.
    """
    names = _names([Path(run) for run in run_dirs])
    models: dict[str, Any] = {}
    dataset = metric = ""
    for name, run_dir in zip(names, run_dirs, strict=True):
        found = restore(run_dir, root=root)
        if not isinstance(found.task, NodeTask):
            raise ValueError(
                f"measure: {run_dir} is a run on {found.loaded.name}, which is no node dataset of one graph; "
                "influence is compared on one graph"
            )
        if dataset not in ("", found.loaded.name):
            raise ValueError(
                f"measure: {run_dir} is a run on {found.loaded.name}, the one before on {dataset}; compare "
                "runs on one dataset"
            )
        dataset, metric = found.loaded.name, str(found.loaded.metric.name)
        content = Result.read(Path(run_dir)).content
        scores = next(run["metrics"] for run in content["runs"] if run["dir"] == found.place.name)
        models[name] = {
            "model": found.config.model,
            "options": dict(found.config.model_options),
            "training": training_options(found.config),
            "parameters": content["model"]["parameters"],
            "epochs": found.config.epochs,
            "test": scores["test"],
            "val": scores["val"],
            **influence_of(found, num_samples, max_hops),
        }
    result = {"dataset": dataset, "metric": metric, "models": models}
    folder = make_dir(out)
    files.write_json(folder / f"{dataset}.json", result)
    write_text(folder / f"{dataset}.csv", _rows(models))
    shown = {name: m | {"score": _said(metric, m["test"])} for name, m in models.items()}
    draw_influence(shown, folder / f"{dataset}.png", f"How far {len(models)} models look on {dataset}")
    return result


def _said(metric: str, value: float) -> str:
    return f"{metric_title(metric).lower()} {score(value, metric, unit=True)}"


def _names(places: Sequence[Path]) -> list[str]:
    """A short name for each directory: the last part of its path, or all of it where that is not enough."""
    last = [place.name for place in places]
    return last if len(set(last)) == len(last) else [str(place) for place in places]


def _rows(models: Mapping[str, Mapping[str, Any]]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("run", "model", "hop", "influence", "standard_error"))
    for name, found in models.items():
        for hop, (value, error) in enumerate(zip(found["curve"], found["curve_error"], strict=True)):
            rows.writerow((name, found["model"], hop, value, error))
    return text.getvalue()
