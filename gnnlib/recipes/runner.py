"""Running a recipe, and the json that says what came out."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnnlib.files import make_dir, write_json
from gnnlib.recipes.embedding import run_embedding
from gnnlib.recipes.recipe import Recipe, read_recipe

if TYPE_CHECKING:
    from gnnlib.train import Progress, Result

__all__ = ["FORMAT", "reproduce"]

FORMAT = 1


def reproduce(
    recipe: Recipe,
    out: Path | str = "results",
    *,
    runs: Path | str = "runs/reproduce",
    seeds: int | None = None,
    device: str = "auto",
    root: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a recipe and write ``OUT/<recipe>.json``; what an interrupted run finished is not run again.

    Seeds that the json holds are kept as they are, each with the commit it ran at, even where their run
    directories are gone: only the others are trained.

    Args:
        recipe: from :func:`read_recipe`.
        out: folder of the results.
        runs: folder of the run directories, which hold checkpoints, curves and a report for each recipe.
        seeds: how many of the recipe's seeds; None: all.
        device: as in ``gnnlib.train.TrainConfig``.
        root: the data root.
        progress: hears of the runs.

    Shapes: none.
    Returns: the content of the json file.
    Raises: what ``gnnlib.train.run`` raises; OSError in a plain sentence when the results cannot be written.
    """
    from gnnlib import train

    if seeds is not None and seeds < 1:
        raise ValueError(f"reproduce: seeds={seeds}, expected 1 or more; leave it out for the recipe's own")
    folder = make_dir(out)  # a folder that cannot be written is told before the work, not after it
    path = folder / f"{recipe.name}.json"
    asked = recipe.seed_list(seeds)
    recorded = _read(path)
    if recorded.get("fingerprint") == recipe.fingerprint and recorded.get("seeds") == list(asked):
        return dict(recorded)
    # The folder's name holds all that decides the run but its seeds: other settings never mix with these,
    # and asking for more seeds later trains only those that are new.
    run_dir = _run_dir(recipe, runs)
    kept = _kept(recorded, recipe, asked, run_dir)
    missing = tuple(seed for seed in asked if seed not in {run["seed"] for run in kept})
    if not missing:
        content = _joined(recorded, kept, recipe, asked)
        write_json(path, content)
        return content
    try:
        if recipe.task == "embedding":
            result = run_embedding(recipe, missing, run_dir, device=device, root=root, progress=progress)
        else:
            start = None if recipe.start is None else _started_from(recipe, Path(runs))
            config = recipe.config(seeds=missing, device=device, root=root, out=str(run_dir), start=start)
            result = train.run(config, progress=progress, resume=run_dir.exists())
    except KeyboardInterrupt as stop:
        told = f"{recipe.name} was interrupted; the same gnnlib reproduce command goes on where it stopped"
        raise train.Interrupted(told, getattr(stop, "signum", signal.SIGINT)) from None
    content = record(recipe, result)
    if kept:
        content["peak_memory"] = max(content["peak_memory"] or 0, recorded.get("peak_memory") or 0) or None
        content = _joined(content, [*kept, *content["runs"]], recipe, asked)
    write_json(path, content)
    return content


def _run_dir(recipe: Recipe, runs: Path | str) -> Path:
    return Path(runs) / f"{recipe.name}-{recipe.fingerprint}"


def _started_from(recipe: Recipe, runs: Path) -> str:
    """The run directory whose weights a recipe starts from.

    Raises: FileNotFoundError when that recipe has not been run to its end here.
    """
    assert recipe.start is not None
    folder = _run_dir(read_recipe(recipe.start), runs)
    if not (folder / "result.json").is_file():
        raise FileNotFoundError(
            f"recipe {recipe.name} starts from the trained weights of recipe {recipe.start}, which are not "
            f"in {folder}; run gnnlib reproduce {recipe.start} --out results-new first, since what "
            "is recorded in results already is not trained again"
        )
    return str(folder)


def _kept(
    recorded: Mapping[str, Any], recipe: Recipe, asked: Sequence[int], run_dir: Path
) -> list[dict[str, Any]]:
    """Recorded runs of these settings that need no training: of asked seeds, without a directory here."""
    if recorded.get("fingerprint") != recipe.fingerprint:
        return []
    runs = [dict(run) for run in recorded["runs"]]
    here = {run["seed"] for run in runs if (run_dir / str(run["dir"])).exists()}
    commit = recorded.get("commit")
    return [
        {**run, "commit": run.get("commit", commit)}
        for run in runs
        if run["seed"] in asked and run["seed"] not in here
    ]


def _joined(
    content: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], recipe: Recipe, asked: Sequence[int]
) -> dict[str, Any]:
    """The record with these runs in place of its own, in the order of the seeds."""
    from gnnlib.train.result import summarise

    ordered = [
        {**run, "commit": run.get("commit", content["commit"])}
        for run in sorted(runs, key=lambda run: list(asked).index(run["seed"]))
    ]
    summary = summarise(ordered)
    test = summary["test"]
    return {
        **content,
        "mean": test["mean"],
        "std": test["std"],
        "n": test["n"],
        "seeds": list(asked),
        "met": _met(recipe, float(test["mean"]), content["higher_is_better"]),
        "validation": summary.get("val"),
        "seconds": sum(float(run["seconds"]) for run in ordered),
        "runs": ordered,
    }


def _met(recipe: Recipe, mean: float, higher_is_better: bool) -> bool:
    return mean >= recipe.low if higher_is_better else mean <= recipe.high


def record(recipe: Recipe, result: Result) -> dict[str, Any]:
    """What a finished run says about a recipe, as ``OUT/<recipe>.json`` holds it."""
    content = result.content
    summary = content["summary"]["test"]
    mean = float(summary["mean"])
    better = bool(content["metric"]["higher_is_better"])
    keep = {
        "train": ("dir", "seed", "split", "fold", "metrics", "best_epoch", "epochs", "seconds"),
        "embedding": ("dir", "seed", "split", "fold", "metrics", "scores", "columns", "seconds"),
    }[recipe.task]
    return {
        "format": FORMAT,
        "recipe": recipe.name,
        "fingerprint": recipe.fingerprint,
        "title": recipe.title,
        "dataset": recipe.dataset,
        "model": recipe.model,
        "split": recipe.split,
        "metric": content["metric"]["name"],
        "higher_is_better": better,
        "mean": mean,
        "std": float(summary["std"]),
        "n": int(summary["n"]),
        "seeds": list(content["config"]["seeds"]),
        "met": _met(recipe, mean, better),
        "expected": {"low": recipe.low, "high": recipe.high},
        "paper": {
            "metric": recipe.paper.metric,
            "value": recipe.paper.value,
            "std": recipe.paper.std,
            "source": recipe.paper.source,
            "url": recipe.paper.url,
            "trust": recipe.paper.trust,
            "settings": recipe.paper.settings,
        },
        "start": recipe.start,
        "differences": list(recipe.differences),
        "validation": content["summary"].get("val"),
        "parameters": content["model"]["parameters"],
        "seconds": sum(float(run["seconds"]) for run in content["runs"]),
        "peak_memory": content.get("peak_memory"),
        "versions": content["versions"],
        "platform": content.get("platform"),
        "cpu": content.get("cpu"),
        "device": content.get("device"),
        "threads": content.get("threads"),
        "commit": content.get("commit"),
        "finished": content.get("finished"),
        "config": _portable(content["config"]),
        "runs": [{key: run.get(key) for key in keep} for run in content["runs"]],
    }


def _portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without the places on this machine."""
    return {key: value for key, value in config.items() if key not in ("root", "out", "start")}


def _read(path: Path) -> Mapping[str, Any]:
    """What is recorded already; a file that cannot be read counts as nothing, and is written anew."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("format") == FORMAT else {}
