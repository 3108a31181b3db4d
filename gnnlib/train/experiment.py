"""A run directory: one run for each seed and fold, each skipped when finished and resumed when begun."""

from __future__ import annotations

import dataclasses
import shlex
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from gnnlib import data
from gnnlib.files import make_dir
from gnnlib.train import fabric as fabrics
from gnnlib.train import files
from gnnlib.train.config import TrainConfig, from_json, to_json
from gnnlib.train.interrupt import Interrupted
from gnnlib.train.loop import Run
from gnnlib.train.progress import Progress
from gnnlib.train.report import write_report
from gnnlib.train.result import Result, environment, now, peak_memory, summarise
from gnnlib.train.start import check_start, start_from
from gnnlib.train.tasks import Task, make_task
from gnnlib.train.tasks.base import PARTS

__all__ = ["read_config", "run"]

# Resuming may change these: they do not change a number that was already computed.
MAY_CHANGE = frozenset({"out", "root", "device", "checkpoint_seconds", "seeds"})


@dataclass(frozen=True)
class Job:
    """One run of a run directory."""

    dir: str
    seed: int
    split: int
    fold: int | None


def run(config: TrainConfig, *, progress: Progress | None = None, resume: bool = False) -> Result:
    """Train a model, once for each seed and fold, and write a run directory.

    Args:
        config: what to train; its ``out`` names the directory.
        progress: shows what goes on; None: nothing is shown.
        resume: finish the runs of a directory that a former call with the same config began.

    Shapes: none.
    Raises:
        ValueError: the config does not fit the dataset or the directory, there is no directory to resume, or
            the data hold NaN.
        FileExistsError: the directory holds files and ``resume`` is False.
        FloatingPointError: training met NaN or infinity; the last good checkpoint is kept.
        Interrupted: on Ctrl-C, with the command that resumes.
        OSError: the disk refuses.
    """
    if resume and not config.out:
        raise ValueError("--resume needs --out, the run directory to finish" + _unfinished(Path("runs")))
    folder = Path(config.out) if config.out else _default_out(config)
    _check_folder(folder, config, resume)
    if config.start is not None and not resume:
        check_start(config.start)
    device = fabrics.launch(config).device
    first = data.load(config.dataset, config.root, split=config.split or 0)
    jobs = _jobs(config, first)
    task = make_task(first, config, device)
    try:
        make_dir(folder)
        files.write_json(folder / files.CONFIG, to_json(config.replace(dataset=first.name, out=str(folder))))
        with progress or Progress() as shown:
            shown.begin(_title(first, config, jobs, device), len(jobs), config.epochs, first.metric)
            records = []
            loaded = first
            for index, job in enumerate(jobs):
                if (folder / job.dir / files.METRICS).exists():
                    shown.note(f"{job.dir} is finished, skipped")
                else:
                    loaded = _on_split(loaded, job.split, config)
                    task.take(loaded)
                    _train(task, loaded, config, folder, job, index, shown)
                records.append(files.read_json(folder / job.dir / files.METRICS))
            content = _content(config.replace(dataset=first.name, out=str(folder)), first, records, device)
            files.write_json(folder / files.RESULT, content)
            report = write_report(folder)
    except KeyboardInterrupt as stop:
        raise _with_command(stop, folder) from None
    return Result(folder, content, report)


def read_config(folder: Path) -> TrainConfig:
    """The config that a run directory was made with.

    Raises: FileNotFoundError when it is no run directory.
    """
    return from_json(files.read_json(folder / files.CONFIG))


def _default_out(config: TrainConfig) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{config.dataset}-{config.model}-{stamp}".replace(":", "-").replace("/", "-")
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


def _unfinished(place: Path) -> str:
    """The run directories in ``place`` that were begun and not finished, the latest first, as an ending."""
    begun = [c.parent for c in place.glob(f"*/{files.CONFIG}") if not (c.parent / files.RESULT).exists()]
    latest = sorted(begun, key=lambda folder: (folder / files.CONFIG).stat().st_mtime, reverse=True)
    return "; unfinished: " + ", ".join(map(str, latest[:5])) if latest else ""


def _check_folder(folder: Path, config: TrainConfig, resume: bool) -> None:
    """Refuse a directory that holds something else, or the runs of another config."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"run directory {folder} is a file; give another --out")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / files.CONFIG).exists():
        raise FileExistsError(f"{folder} is not empty and no run directory of gnnlib; give another --out")
    if not resume:
        raise FileExistsError(
            f"run directory {folder} holds a run already; add --resume to finish it, or give another --out"
        )
    had, wanted = to_json(read_config(folder)), to_json(config)
    differing = [k for k in wanted if k not in MAY_CHANGE and not _same(k, had[k], wanted[k])]
    if differing:
        before = ", ".join(f"{k}={had[k]}" for k in differing)
        after = ", ".join(f"{k}={wanted[k]}" for k in differing)
        raise ValueError(
            f"run directory {folder} was made with {before}, but this run has {after}; "
            "resume with the same options, or give another --out"
        )


def _same(key: str, had: Any, wanted: Any) -> bool:
    if key == "dataset" and had != wanted:  # "Cora" and "cora" are one
        return bool(data.find_card(had).name == data.find_card(wanted).name)
    return bool(had == wanted)


def _jobs(config: TrainConfig, loaded: data.Loaded) -> list[Job]:
    count = len(loaded.splits)
    if config.folds is not None:
        if config.folds > count or count == 1:
            raise ValueError(
                f"option folds is {config.folds} but {loaded.name} has {count} split{'s' * (count > 1)}; "
                + (f"choose at most {count}" if count > 1 else "drop folds")
            )
        pairs = [(seed, fold) for seed in config.seed_list for fold in range(config.folds)]
        return [Job(f"seed-{seed}-fold-{fold}", seed, fold, fold) for seed, fold in pairs]
    # equal rights: "fold-0", "fold-1", ...; otherwise the first is the public split, the others are extras
    equal = len({name.rstrip("0123456789") for name in loaded.split_names}) == 1
    return [
        Job(
            f"seed-{seed}",
            seed,
            config.split if config.split is not None else seed % count if equal else 0,
            None,
        )
        for seed in config.seed_list
    ]


def _on_split(loaded: data.Loaded, split: int, config: TrainConfig) -> data.Loaded:
    """The same dataset on another split; a link split changes the graph too, so it is loaded anew."""
    if loaded.split_index == split:
        return loaded
    if loaded.task in ("link", "incidence", "recommendation") or split >= len(loaded.splits):
        return data.load(config.dataset, config.root, split=split)
    return dataclasses.replace(loaded, split=loaded.splits[split], split_index=split)


def _title(loaded: data.Loaded, config: TrainConfig, jobs: list[Job], device: torch.device) -> str:
    runs = f"{len(jobs)} run{'s' * (len(jobs) > 1)}"
    task = f"{loaded.name} ({loaded.task} task)"
    return f"{task} with {config.model}: {runs} of {config.epochs} epochs on {device}"


def _train(
    task: Task, loaded: data.Loaded, config: TrainConfig, folder: Path, job: Job, index: int, shown: Progress
) -> None:
    """One run, from the seed or its resume point to ``metrics.json``."""
    started, place = now(), folder / job.dir
    identity = {"dataset": loaded.name, "model": config.model, "seed": job.seed, "split": job.split}
    if task.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(task.device)
    fabric = fabrics.launch(config)
    run = Run(task, config, fabric, seed=job.seed, folder=make_dir(place), identity=identity)
    done = run.resume()
    if config.start is not None and not done:
        shown.note(f"{job.dir} starts from the weights of {start_from(config.start, job.dir, run.raw)}")
    shown.run_begin(job.dir, index, done)
    outcome = run.fit(shown)
    outcome.model.eval()
    with torch.no_grad():
        found = task.evaluate(outcome.model, [part for part in PARTS if part in task.counts])
        details = dict(task.details(outcome.model))
        arrays = task.predictions(outcome.model, [part for part in ("val", "test") if part in task.counts])
    history = {**outcome.history, "best_epoch": outcome.best_epoch}
    files.write_json(place / files.HISTORY, history, indent=None)  # one number a line helps nobody
    files.write_predictions(place / files.PREDICTIONS, arrays)
    record: dict[str, Any] = {
        "dir": job.dir,
        "seed": job.seed,
        "split": job.split,
        "split_name": loaded.split_name,
        "fold": job.fold,
        "metrics": {part: evaluation.metric for part, evaluation in found.items()},
        "losses": {part: evaluation.loss for part, evaluation in found.items()},
        **({"details": details} if details else {}),
        "best_epoch": outcome.best_epoch,
        "epochs": outcome.epochs,
        "stopped": outcome.stopped,
        "seconds": outcome.seconds,
        "seconds_per_epoch": outcome.seconds / max(outcome.epochs, 1),
        "peak_memory": peak_memory(task.device),
        "parameters": sum(p.numel() for p in run.raw.parameters()),
        "started": started,
        "finished": now(),
        "model_text": str(run.raw),
        "counts": dict(task.counts),
    }
    files.write_json(place / files.METRICS, record)
    if config.epochs == 0 and record["parameters"]:
        shown.note(f"{job.dir} has 0 epochs: these are the results of the initial weights, untrained")
    shown.run_end(job.dir, outcome.epochs, record["metrics"], outcome.seconds)


def _content(
    config: TrainConfig, loaded: data.Loaded, records: list[dict[str, Any]], device: torch.device
) -> dict[str, Any]:
    """What ``result.json`` holds."""
    runs = [{k: v for k, v in record.items() if k not in ("model_text", "counts")} for record in records]
    sign = 1 if loaded.metric.higher_is_better else -1

    def validation(run: Mapping[str, Any]) -> float:
        value = run["metrics"].get("val")
        return float("-inf") if value is None else sign * float(value)

    return {
        "format": files.FORMAT,
        "config": to_json(config),
        "dataset": {
            "name": loaded.name,
            "task": loaded.task,
            "num_features": loaded.num_features,
            "num_outputs": loaded.num_outputs,
            "counts": records[0]["counts"],
            "title": loaded.card.title,
            "licence": loaded.card.licence,
            "source": loaded.card.source,
            "class_names": None,
        },
        "metric": {
            "name": loaded.metric.name,
            "higher_is_better": loaded.metric.higher_is_better,
            "kind": loaded.metric.kind,
        },
        "model": {
            "name": config.model,
            "parameters": records[0]["parameters"],
            "text": records[0]["model_text"],
        },
        "runs": runs,
        "summary": summarise(runs),
        "best_run": max(runs, key=validation)["dir"],
        **environment(),
        "device": fabrics.device_text(device),
        "precision": config.precision,
        "started": min(run["started"] for run in runs),
        "finished": max(run["finished"] for run in runs),
        "seconds": sum(run["seconds"] for run in runs),
        "peak_memory": max(run["peak_memory"] for run in runs),
    }


def _with_command(stop: KeyboardInterrupt, folder: Path) -> Interrupted:
    told = str(stop) or "interrupted"
    command = f"gnnlib train --resume --out {shlex.quote(str(folder))}"
    return Interrupted(f"{told}; resume with: {command}", getattr(stop, "signum", signal.SIGINT))
