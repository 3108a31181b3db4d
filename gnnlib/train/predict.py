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

from gnnlib.files import atomic_write, write_text
from gnnlib.train.restore import restore
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
    target = Path(out_file)
    if target.suffix not in SUFFIXES:
        raise ValueError(f"predict: {target} ends in {target.suffix!r}; choose one of {', '.join(SUFFIXES)}")
    found = restore(run_dir, dataset, root=root)
    with torch.no_grad():
        rows = found.task.rows(found.fabric_model)
    _write(
        target,
        rows,
        {
            "dataset": found.loaded.name,
            "model": found.config.model,
            "run": found.place.name,
            "epoch": found.kept["epoch"],
        },
    )
    return target


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
