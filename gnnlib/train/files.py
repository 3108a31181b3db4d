"""The files of a run directory: what a training run writes, and what the report and `predict` read.

::

    OUT/
      config.json              the TrainConfig, every field resolved (no None where a default was chosen)
      result.json              written once, when every run of the directory has finished
      report.html              written by gnnlib.train.report.write_report(OUT)
      seed-0/                  one folder a run: seed-<seed>, or seed-<seed>-fold-<fold> with --folds
        last.ckpt              resume point: all that is needed to go on
        best.ckpt              the selected weights
        history.json           curves (written when the run has finished)
        predictions.npz        scores and labels of val and test at the selected epoch, and the embedding
        metrics.json           written last: a folder that has it is finished and is never trained again
      seed-1/ ...

All json is UTF-8 and strict: a NaN or an infinite number is written as null. Times are UTC ISO 8601
(``2025-01-31T12:00:00+00:00``), durations seconds, memory bytes, metrics fractions as the evaluator
returns them (accuracy 0.815, not 81.5). Every file is replaced whole, so a reader never sees half of one.

**config.json**: one flat object with the fields of `gnnlib.train.TrainConfig`; ``model_options`` is an
object (the fields of the model's config dataclass), ``seeds`` a list of integers.

**history.json**: one object of equally long lists, one entry an epoch::

    {"epoch": [1, 2, ...],            counted from 1
     "loss": [float|null, ...],       mean training loss over the epoch
     "val_loss": [float|null, ...],   null where the epoch was not evaluated
     "val": [float|null, ...],        the dataset's metric on validation; null where not evaluated
     "lr": [float, ...],              learning rate the epoch used
     "seconds": [float, ...],         training time since the start of the run, interruptions left out
     "best_epoch": 57}                the one scalar: the selected epoch

**predictions.npz** (no pickles; read with ``numpy.load(path, allow_pickle=False)``), all at the selected
epoch. P is the number of items in the part, C the number of outputs; ``part`` is ``val`` or ``test``::

    <part>_index  int64           [P] node or graph numbers; link task: [2, P] node pairs
    <part>_label  int64           [P] classes (multiclass, binary: 0 or 1; link: 1 for an edge, 0 for none)
                  float32         [P, C] targets (multilabel, regression; NaN where a label is missing)
    <part>_score  float32         [P, C] class probabilities (multiclass, rows sum to 1);
                                  [P] or [P, C] probabilities (binary, multilabel) or values (regression);
                                  [P] raw scores, higher is likelier (link, metric kind "ranking")
    embedding     float32         [K, d] last hidden representation of K nodes (or graphs), K <= 5000
    embedding_index int64         [K] which nodes (or graphs) these are
    embedding_label int64         [K] their class (multiclass, binary), or -1 for each where there is none
    embedding_part  int8          [K] 0 train, 1 val, 2 test, -1 in no part

**metrics.json**: one object, the entry of this run in ``result.json["runs"]``::

    {"dir": "seed-0", "seed": 0, "split": 0, "split_name": "public", "fold": null,
     "metrics": {"train": 0.99, "val": 0.80, "test": 0.815},     at the selected epoch; null: not measured
     "losses": {"train": 0.31, "val": 0.92, "test": 0.90},       at the selected epoch
     "details": {"mae@3": 2.1, ...},  further numbers of the test, where the task has some
     "best_epoch": 57, "epochs": 200,
     "stopped": "epochs" | "patience",
     "seconds": 1.9, "seconds_per_epoch": 0.0095,                training and validation
     "peak_memory": 512000000,        of the process (resident set), or of the device's allocator on a GPU
     "parameters": 23063,
     "started": "...", "finished": "..."}

and beside these ``model_text`` and ``counts``, which result.json holds once.

**result.json**::

    {"format": 1,
     "config": {...},                                            as config.json
     "dataset": {"name": "cora", "task": "node", "num_features": 1433, "num_outputs": 7,
                 "counts": {"train": 140, "val": 500, "test": 1000},    items of the first run's split
                 "title": str|null, "licence": str|null, "source": str|null, "class_names": [str]|null},
     "metric": {"name": "accuracy", "higher_is_better": true,
                "kind": "multiclass" | "multilabel" | "binary" | "regression" | "ranking"},
     "model": {"name": "gcn", "parameters": 23063, "text": "GCN(...)"},
     "runs": [{...metrics.json of each run...}],
     "summary": {"train": {"mean": 0.99, "std": 0.001, "n": 3}, "val": {...}, "test": {...}},
                                      std: sample deviation (n - 1), 0 when n is 1
     "best_run": "seed-2",            the run with the best validation metric
     "versions": {"gnnlib": .., "python": .., "torch": .., "torch_geometric": .., "numpy": .., "numba": ..},
     "platform": "Linux-6.1-x86_64", "cpu": "model name", "threads": 2,
     "device": "cpu" | "cuda:0 (name)", "precision": "32-true",
     "commit": "0123abc" | "0123abc+" (local changes) | null,
     "started": "...", "finished": "...",       of the first and the last run
     "seconds": 6.1, "peak_memory": 512000000}    sum and maximum over the runs
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gnnlib import files

__all__ = [
    "best_checkpoint",
    "best_run",
    "CURVES",
    "FORMAT",
    "last_checkpoint",
    "read_json",
    "read_predictions",
    "write_json",
    "write_predictions",
]

FORMAT = 1
CURVES = ("epoch", "loss", "val_loss", "val", "lr", "seconds")

CONFIG, RESULT, HISTORY = "config.json", "result.json", "history.json"
METRICS, PREDICTIONS = "metrics.json", "predictions.npz"


def last_checkpoint(folder: Path) -> Path:
    """The resume point of one run's folder."""
    return folder / "last.ckpt"


def best_checkpoint(folder: Path) -> Path:
    """The selected weights of one run's folder."""
    return folder / "best.ckpt"


def best_run(folder: Path) -> Path:
    """The folder of the best finished run, or, before the end of training, of the best one so far.

    Raises: FileNotFoundError when no run has written a checkpoint.
    """
    if (folder / RESULT).exists():
        return folder / str(read_json(folder / RESULT)["best_run"])
    begun = sorted(path.parent for path in folder.glob("seed-*/best.ckpt"))
    if not begun:
        raise FileNotFoundError(f"{folder} holds no trained weights yet; let a run get to a checkpoint")
    finished = [place for place in begun if (place / METRICS).exists()]
    return (finished or begun)[0]


def write_json(path: Path, content: Any, *, indent: int | None = 2) -> None:
    """Write strict json in one step; NaN and infinity become null.

    Raises: OSError when the disk refuses.
    """
    files.write_text(path, json.dumps(_strict(content), indent=indent, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a json file of a run directory.

    Raises: FileNotFoundError when it is absent, ValueError when it is damaged.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path} does not exist; is {path.parent} a run directory of gnnlib train, and has it finished?"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); restore it, or train again into another folder"
        ) from error


def write_predictions(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write named arrays as npz in one step.

    Raises: OSError when the disk refuses.
    """
    with files.atomic_write(path) as file:
        np.savez_compressed(file, **dict(arrays))  # type: ignore[arg-type]  # numpy's stub reads names as flags


def read_predictions(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read every array of ``predictions.npz``.

    Raises: FileNotFoundError when it is absent, ValueError when it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} does not exist; let the run finish first") from error
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"{path} is damaged; delete its folder and run again with --resume") from error


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    if isinstance(value, np.generic):
        return _strict(value.item())
    return value
