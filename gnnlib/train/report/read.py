"""The run directory as the report sees it; the format is in :mod:`gnnlib.train.files`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_run_dir", "Run", "RunDir"]

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """One trained model: its entry of ``result.json`` and the folder with its curves and predictions."""

    path: Path
    record: Json

    @property
    def label(self) -> str:
        """The run in words, such as ``seed 3, fold 1``."""
        fold = self.record.get("fold")
        return f"seed {self.record['seed']}" + ("" if fold is None else f", fold {fold}")

    @cached_property
    def history(self) -> Json:
        """The curves, or an empty mapping where the file is gone."""
        path = self.path / "history.json"
        return _json(path) if path.is_file() else {}

    @cached_property
    def predictions(self) -> Mapping[str, NDArray[Any]]:
        """The arrays of ``predictions.npz``, or an empty mapping where the file is gone."""
        path = self.path / "predictions.npz"
        if not path.is_file():
            return {}
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def curve(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Epochs and values of one column of the history, epochs without a value left out."""
        epochs = np.asarray(self.history.get("epoch", []), dtype=np.float64)
        values = np.array([np.nan if v is None else v for v in self.history.get(name, [])], dtype=np.float64)
        length = min(epochs.size, values.size)
        keep = np.isfinite(values[:length])
        return epochs[:length][keep], values[:length][keep]


@dataclass(frozen=True)
class RunDir:
    """A finished run directory."""

    path: Path
    result: Json
    runs: tuple[Run, ...]

    @property
    def kind(self) -> str:
        """The metric's kind of loss: multiclass, multilabel, binary, regression or ranking."""
        return str(self.result["metric"]["kind"])

    @property
    def best(self) -> Run:
        """The run with the best validation metric."""
        wanted = self.result.get("best_run")
        return next((run for run in self.runs if run.path.name == wanted), self.runs[0])

    @property
    def class_names(self) -> list[str]:
        """The dataset's own names of the classes, or ``0, 1, ...``."""
        given = self.result["dataset"].get("class_names")
        if given:
            return [str(name) for name in given]
        outputs = int(self.result["dataset"].get("num_outputs") or 0)
        return [str(k) for k in range(outputs if self.kind == "multiclass" else 2)]


def read_run_dir(path: Path) -> RunDir:
    """Read a run directory.

    Shapes: none.
    Raises: FileNotFoundError where the directory holds no result; ValueError where the result holds no run.
    """
    if not (path / "result.json").is_file():
        raise FileNotFoundError(
            f"report: {path} has no result.json; a run writes it when it finishes, "
            "so finish it with the --resume option of gnnlib train"
        )
    result = _json(path / "result.json")
    runs = tuple(Run(path / str(record["dir"]), record) for record in result["runs"])
    if not runs:
        raise ValueError(f"report: {path / 'result.json'} lists no run; expected at least one; train again")
    return RunDir(path, result, runs)


def _json(path: Path) -> Json:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"report: {path} is not valid json ({error}); train again or restore it") from error
    if not isinstance(found, dict):
        raise ValueError(f"report: {path} holds a {type(found).__name__}, expected an object; train again")
    return found
