"""Starting a run from the trained weights of another one."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from gnnlib.train import checkpoint, files

__all__ = ["check_start", "start_from"]


def check_start(run_dir: str) -> None:
    """Refuse a folder to start from that holds no weights.

    Raises: FileNotFoundError: there is no such run directory, or it holds no weights yet.
    """
    folder = Path(run_dir)
    if not (folder / files.CONFIG).is_file():
        raise FileNotFoundError(
            f"option start is {run_dir}, which is no run directory of gnnlib; train that run first, or "
            "correct the path"
        )
    files.best_run(folder)


def start_from(run_dir: str, job: str, model: nn.Module) -> Path:
    """Give a new model the selected weights of a run directory; return the folder that they came from.

    Args:
        run_dir: what ``gnnlib train`` wrote.
        job: the name of the folder of this run, ``seed-0``; where there is none, the best run serves.
        model: has the same parameters.

    Raises:
        FileNotFoundError: there is no such run directory, or it holds no weights yet.
        ValueError: the weights are damaged or fit another model; the message names the first that differ.
    """
    check_start(run_dir)
    place = Path(run_dir) / job
    if not files.best_checkpoint(place).exists():
        place = files.best_run(Path(run_dir))
    path = files.best_checkpoint(place)
    checkpoint.load_weights(path, model, checkpoint.load(path, {})["model"])
    return place
