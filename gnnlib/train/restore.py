"""A trained model of a run directory, with its data, as it was at the selected epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from gnnlib import data
from gnnlib.train import checkpoint, files
from gnnlib.train import fabric as fabrics
from gnnlib.train.config import TrainConfig
from gnnlib.train.experiment import read_config
from gnnlib.train.tasks import Task, make_task

__all__ = ["restore", "Restored"]


@dataclass(frozen=True)
class Restored:
    """What a run directory holds.

    Args:
        config: the run's options.
        place: the folder of the run that was taken.
        kept: the checkpoint.
        loaded: the dataset that the task was made of.
        task: the task.
        model: the trained model, in eval mode; ``fabric_model`` the same in fabric's precision.

    Shapes: none.
    """

    config: TrainConfig
    place: Path
    kept: Mapping[str, Any]
    loaded: data.Loaded
    task: Task
    model: nn.Module
    fabric_model: nn.Module


def restore(run_dir: str | Path, dataset: str | None = None, *, root: str | None = None) -> Restored:
    """Load the run with the best validation result.

    Args:
        run_dir: a directory that ``gnnlib train`` wrote.
        dataset: put the model on this dataset instead; it must have the same task, features and outputs.
        root: the data root; None: the one used in training.

    Shapes: none.
    Raises:
        FileNotFoundError: the directory holds no finished checkpoint.
        ValueError: a checkpoint or a dataset that does not fit.
    """
    folder = Path(run_dir)
    config = read_config(folder)
    place = files.best_run(folder)
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
    return Restored(config, place, kept, loaded, task, raw, model)


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
