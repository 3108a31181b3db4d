"""Predictions of a trained run, written as csv, json or npz."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnnlib import data
from gnnlib.files import atomic_write, write_text
from gnnlib.train import checkpoint, files
from gnnlib.train import fabric as fabrics
from gnnlib.train.experiment import read_config
from gnnlib.train.tasks import make_task
from gnnlib.train.tasks.base import Arrays

__all__ = ["predict"]

SUFFIXES = (".csv", ".json", ".npz")


def predict(
    run_dir: str | Path, out_file: str | Path, dataset: str | None = None, *, root: str | None = None
) -> Path:
    """Write the predictions of the run with the best validation result, and return the file.

    The file has a row for each node, graph, or held-out pair: its number (or the pair's two ends), the
    part of the split it lies in, its label, the predicted class or value, and the scores.

    Args:
        run_dir: a directory that ``gnnlib train`` wrote.
        out_file: ends in ``.csv``, ``.json`` or ``.npz``; replaced whole.
        dataset: predict on this dataset instead of the one trained on; it must have the same task,
            features and outputs.
        root: the data root; None: the one used in training.

    Shapes: scores ``[n, C]``, one column ``score_0``, ``score_1``, ... each in csv and json.
    Raises:
        FileNotFoundError: the directory holds no finished checkpoint.
        ValueError: another suffix, a checkpoint that does not fit, or a dataset that does not fit.
        OSError: the disk refuses.
    """
    folder, target = Path(run_dir), Path(out_file)
    if target.suffix not in SUFFIXES:
        raise ValueError(f"predict: {target} ends in {target.suffix!r}; choose one of {', '.join(SUFFIXES)}")
    config = read_config(folder)
    place = _best_run(folder)
    path = files.best_checkpoint(place)
    kept = checkpoint.load(path, {"dataset": config.dataset, "model": config.model})
    split = int(kept["identity"]["split"])
    trained_on = data.load(config.dataset, root or config.root, split=split)
    loaded = trained_on if dataset is None else data.load(dataset, root or config.root)
    _check_fits(path, config.model, trained_on, loaded)
    fabric = fabrics.launch(config)
    task = make_task(loaded, config, fabric.device)
    raw = task.build()
    checkpoint.load_weights(path, raw, kept["model"])
    model = fabric.setup_module(raw)
    task.precision = fabric.strategy.precision
    model.eval()
    with torch.no_grad():
        rows = task.rows(model)
    _write(
        target,
        rows,
        {"dataset": loaded.name, "model": config.model, "run": place.name, "epoch": kept["epoch"]},
    )
    return target


def _best_run(folder: Path) -> Path:
    """The folder of the best finished run, or, before the end of training, of the best one so far."""
    if (folder / files.RESULT).exists():
        return folder / str(files.read_json(folder / files.RESULT)["best_run"])
    begun = sorted(path.parent for path in folder.glob("seed-*/best.ckpt"))
    if not begun:
        raise FileNotFoundError(
            f"predict: {folder} holds no trained weights yet; let a run get to a checkpoint"
        )
    finished = [place for place in begun if (place / files.METRICS).exists()]
    return (finished or begun)[0]


def _check_fits(path: Path, model: str, trained: data.Loaded, wanted: data.Loaded) -> None:
    had = (trained.task, trained.num_features, trained.num_outputs)
    have = (wanted.task, wanted.num_features, wanted.num_outputs)
    if had != have:
        raise ValueError(
            f"predict: {path} holds {model} trained on {trained.name} ({_words(*had)}), "
            f"but {wanted.name} is a {_words(*have)}; choose a dataset of the same form"
        )


def _words(task: str, features: int, outputs: int) -> str:
    return f"{task} task with {features} features and {outputs} outputs"


def _write(target: Path, rows: Arrays, about: dict[str, Any]) -> None:
    if target.suffix == ".npz":
        with atomic_write(target) as file:
            np.savez_compressed(file, **rows)  # type: ignore[arg-type]  # numpy's stub reads names as flags
        return
    columns = _columns(rows)
    names, values = list(columns), [column.tolist() for column in columns.values()]
    if target.suffix == ".json":
        items = [dict(zip(names, map(_plain, row), strict=True)) for row in zip(*values, strict=True)]
        write_text(target, json.dumps({**about, "items": items}, allow_nan=False) + "\n")
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(_text(row) for row in zip(*values, strict=True))
    write_text(target, text.getvalue())


def _columns(rows: Arrays) -> Arrays:
    """Matrices as numbered columns."""
    columns: Arrays = {}
    for name, value in rows.items():
        if value.ndim == 1:
            columns[name] = value
        else:
            columns |= {f"{name}_{c}": value[:, c] for c in range(value.shape[1])}
    return columns


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(row: tuple[Any, ...]) -> list[Any]:
    return ["" if _plain(v) is None else f"{v:.8g}" if isinstance(v, float) else v for v in row]
