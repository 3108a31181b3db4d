"""Running an embedding recipe: the estimator once a seed, and how good its rows are by a protocol."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnlib.files import atomic_write, make_dir, write_json
from gnnlib.names import choose
from gnnlib.recipes.recipe import Recipe

if TYPE_CHECKING:
    from gnnlib.train import Progress, Result

__all__ = ["PROTOCOLS", "run_embedding"]

#: Scores of which less is better.
_LOWER = ("average_distortion", "worst_distortion")
_METRICS, _ARRAYS = "metrics.json", "embedding.npz"
Arrays = Mapping[str, Any]


def _labels(
    found: Arrays, loaded: Any, seed: int, *, fractions: Sequence[float], shuffles: int, C: float
) -> Mapping[str, float]:
    """``micro_f1@50`` and ``macro_f1@50`` by the percentage of labelled nodes, means over the shuffles."""
    from gnnlib.embed import classify_nodes

    y = loaded.dataset[0].y.numpy()
    rows = found["embedding"]
    by_share = classify_nodes(rows, y, fractions=fractions, shuffles=shuffles, C=C, seed=seed)
    return {
        f"{kind}_f1@{100 * share:g}{end}": scores[f"{kind}_f1{end}"]
        for share, scores in by_share.items()
        for kind in ("micro", "macro")
        for end in ("", "_std")
    }


def _split(found: Arrays, loaded: Any, seed: int, *, Cs: Sequence[float]) -> Mapping[str, float]:
    """``accuracy`` on the test part of the dataset's split, C being that of the best validation accuracy."""
    from gnnlib.embed import classify_split

    return classify_split(found["embedding"], loaded.dataset[0].y.numpy(), loaded.split, Cs=Cs)


def _distances(found: Arrays, loaded: Any, seed: int) -> Mapping[str, float]:
    """``average_distortion``, ``worst_distortion`` and ``map`` of embedded distances over their scale."""
    from gnnlib.embed import distortion
    from gnnlib.embed.hyperbolic import hop_distances

    scores = distortion(found["distances"], hop_distances(loaded.dataset[0]), float(found["scale"]))
    names = {"average": "average_distortion", "worst": "worst_distortion"}
    return {names.get(name, name): value for name, value in scores.items()}


#: What ``[evaluate]`` may ask for; the options of each are its keyword arguments.
PROTOCOLS: Mapping[str, Callable[..., Mapping[str, float]]] = {
    "distances": _distances,
    "labels": _labels,
    "split": _split,
}


@dataclasses.dataclass(frozen=True)
class _Metric:
    name: str
    higher_is_better: bool
    kind: str = "ranking"


def run_embedding(
    recipe: Recipe,
    seeds: Sequence[int],
    folder: Path,
    *,
    device: str = "auto",
    root: str | None = None,
    progress: Progress | None = None,
) -> Result:
    """Embed and evaluate once for each seed; what ``folder`` holds already is not computed again.

    A seed's folder gets ``embedding.npz`` when the rows are there and ``metrics.json`` when they are judged.

    Raises: ValueError for a method, parameter, protocol or option that does not exist.
    """
    import torch

    from gnnlib import data, train
    from gnnlib.train import files
    from gnnlib.train.result import Result, environment, now, peak_memory, summarise

    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    metric = _Metric(recipe.paper.metric, recipe.paper.metric not in _LOWER)
    protocol, options = recipe.protocol()
    loaded = data.load(recipe.dataset, root)
    runs: list[dict[str, Any]] = []
    with progress or train.Progress() as shown:
        shown.begin(f"{loaded.name} embedded by {recipe.model}: {len(seeds)} runs", len(seeds), 1, metric)
        for seed in seeds:
            place = folder / f"seed-{seed}"
            if not (place / _METRICS).exists():
                found = _embed(recipe, loaded, seed, str(where), make_dir(place), shown)
                begin = time.monotonic()
                scores = dict(PROTOCOLS[protocol](found, loaded, seed, **options))
                test = scores[choose(f"recipe {recipe.name}: metric", metric.name, sorted(scores))]
                metrics = {"test": test} | ({"val": scores.pop("val")} if "val" in scores else {})
                record: dict[str, Any] = {
                    "dir": place.name,
                    "seed": seed,
                    "split": None,
                    "fold": None,
                    "metrics": metrics,
                    "scores": scores,
                    "columns": int(found["embedding"].shape[1]),
                    "seconds": float(found["seconds"]) + time.monotonic() - begin,
                    "peak_memory": peak_memory(where),
                    "finished": now(),
                }
                write_json(place / _METRICS, record)
                shown.note(f"{place.name}: {metric.name} {test:.4f} after {record['seconds']:.1f} s")
            runs.append(files.read_json(place / _METRICS))
    content = {
        "config": {
            "dataset": loaded.name,
            "model": recipe.model,
            "model_options": dict(recipe.model_options),
            "evaluate": dict(recipe.evaluate),
            "seeds": list(seeds),
        },
        "metric": dataclasses.asdict(metric),
        "model": {"name": recipe.model, "parameters": None},
        "runs": runs,
        "summary": summarise(runs),
        **environment(),
        "device": str(where),
        "finished": max(run["finished"] for run in runs),
        "peak_memory": max(run["peak_memory"] for run in runs),
    }
    return Result(folder, content)


def _embed(recipe: Recipe, loaded: Any, seed: int, device: str, place: Path, shown: Progress) -> Arrays:
    """The rows of one seed, from its file where there is one."""
    path = place / _ARRAYS
    if path.exists():
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    estimator = recipe.estimator(seed=seed, device=device)
    begin = time.monotonic()
    embedding = estimator.fit_transform(loaded.dataset[0])
    seconds = time.monotonic() - begin
    arrays: dict[str, Any] = {"embedding": embedding, "seconds": np.float64(seconds)}
    if hasattr(estimator, "distances_"):
        arrays |= {"distances": estimator.distances_, "scale": np.float64(estimator.scale_)}
    with atomic_write(path) as file:
        np.savez(file, **arrays)
    shown.note(f"{place.name}: {embedding.shape[0]} rows of {embedding.shape[1]} columns in {seconds:.1f} s")
    return arrays
