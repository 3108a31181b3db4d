"""Run directories in the format of gnnlib.train.files, filled with plausible made-up numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PARTS = {"train": 140, "val": 200, "test": 400}


def write_run_dir(
    path: Path,
    kind: str = "multiclass",
    *,
    runs: int = 5,
    classes: int = 7,
    epochs: int = 120,
    task: str = "node",
    metric: str | None = None,
    names: list[str] | None = None,
    title: str = "Cora",
) -> Path:
    rng = np.random.default_rng(0)
    metric = (
        metric
        or {
            "multiclass": "accuracy",
            "binary": "rocauc",
            "multilabel": "ap",
            "regression": "rmse",
            "ranking": "auc",
        }[kind]
    )
    records = []
    for seed in range(runs):
        folder = path / f"seed-{seed}"
        folder.mkdir(parents=True)
        history = _history(rng, epochs + int(rng.integers(-20, 20)) * (epochs > 40))
        _json(folder / "history.json", history)
        np.savez(folder / "predictions.npz", **_predictions(rng, kind, classes))
        records.append(_record(rng, seed, history))
        _json(folder / "metrics.json", records[-1])
    tests = np.array([r["metrics"]["test"] for r in records])
    vals = np.array([r["metrics"]["val"] for r in records])
    outputs = classes if kind == "multiclass" else 1
    config = {
        "dataset": "cora",
        "model": "gcn",
        "seeds": list(range(runs)),
        "epochs": epochs,
        "lr": 0.01,
        "weight_decay": 5e-4,
        "patience": None,
        "split": None,
        "device": "cpu",
        "precision": "32-true",
        "normalize_features": True,
        "model_options": {"hidden_channels": 16, "num_layers": 2, "dropout": 0.5},
    }
    _json(path / "config.json", config)
    _json(
        path / "result.json",
        {
            "format": 1,
            "config": config,
            "dataset": {
                "name": "cora",
                "task": task,
                "num_features": 1433,
                "num_outputs": outputs,
                "counts": PARTS,
                "title": title,
                "licence": "MIT",
                "source": "https://example.org/cora",
                "class_names": names,
            },
            "metric": {"name": metric, "higher_is_better": kind != "regression", "kind": kind},
            "model": {"name": "gcn", "parameters": 23063, "text": "GCN(\n  (conv): GCNConv(1433, 16)\n)"},
            "runs": records,
            "summary": {"val": _summary(vals), "test": _summary(tests)},
            "best_run": f"seed-{int(vals.argmax())}",
            "versions": {"gnnlib": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "numpy": "2.3.0"},
            "platform": "Linux-6.1-x86_64",
            "device": "cpu",
            "precision": "32-true",
            "threads": 2,
            "commit": "0123abc",
            "started": "2025-01-31T12:00:00+00:00",
            "finished": "2025-01-31T12:00:21+00:00",
            "seconds": 21.3,
            "peak_memory": 512_000_000,
        },
    )
    return path


def _history(rng: np.random.Generator, epochs: int) -> dict[str, Any]:
    t = np.arange(1, epochs + 1)
    loss = 1.95 * np.exp(-t / 25) + 0.15 + rng.normal(0, 0.04, epochs)
    val_loss = 1.2 * np.exp(-t / 30) + 0.75 + rng.normal(0, 0.015, epochs)
    val = 0.8 - 0.6 * np.exp(-t / 12) + rng.normal(0, 0.006, epochs)
    best = int(np.argmax(val))
    return {
        "epoch": t.tolist(),
        "loss": loss.tolist(),
        "val_loss": [*val_loss.tolist()[:-1], None],
        "val": [*val.tolist()[:-1], None],
        "lr": [0.01] * epochs,
        "seconds": (0.01 * t).tolist(),
        "best_epoch": best + 1,
    }


def _record(rng: np.random.Generator, seed: int, history: dict[str, Any]) -> dict[str, Any]:
    at = history["best_epoch"] - 1
    return {
        "dir": f"seed-{seed}",
        "seed": seed,
        "split": 0,
        "fold": None,
        "metrics": {"train": 0.99, "val": history["val"][at], "test": 0.81 + float(rng.normal(0, 0.005))},
        "losses": {"train": history["loss"][at], "val": history["val_loss"][at]},
        "best_epoch": at + 1,
        "epochs": len(history["epoch"]),
        "stopped": "patience" if seed % 2 else "epochs",
        "seconds": 1.9 + seed / 10,
        "seconds_per_epoch": 0.0095,
        "peak_memory": 512_000_000,
        "parameters": 23063,
    }


def _predictions(rng: np.random.Generator, kind: str, classes: int) -> dict[str, Any]:
    centres = 2.2 * rng.normal(size=(classes, 16))
    label = rng.integers(0, classes, 900)
    arrays: dict[str, Any] = {
        "embedding": (centres[label] + rng.normal(size=(900, 16))).astype(np.float32),
        "embedding_index": np.arange(900),
        "embedding_label": label if kind in ("multiclass", "binary") else np.full(900, -1),
        "embedding_part": np.zeros(900, dtype=np.int8),
    }
    for part in ("val", "test"):
        count = PARTS[part]
        arrays[f"{part}_index"] = np.arange(count)
        if kind == "multiclass":
            y = rng.integers(0, classes, count)
            logits = rng.normal(size=(count, classes)) + 3.2 * np.eye(classes)[y]
            score = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        elif kind == "regression":
            y = rng.normal(size=(count, 1))
            score = y + 0.4 * rng.normal(size=(count, 1))
        else:
            y = rng.integers(0, 2, (count, 4) if kind == "multilabel" else count)
            score = y + 0.6 * rng.normal(size=y.shape)
            if kind != "ranking":
                score = 1 / (1 + np.exp(3 - 6 * score))
        arrays[f"{part}_label"] = y if y.dtype == np.int64 and y.ndim == 1 else y.astype(np.float32)
        arrays[f"{part}_score"] = score.astype(np.float32)
    return arrays


def _summary(values: np.ndarray[Any, Any]) -> dict[str, float]:
    std = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return {"mean": float(values.mean()), "std": std, "n": int(values.size)}


def _json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
