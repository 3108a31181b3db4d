"""Embedding recipes from end to end: run, broken off, resumed, recorded, tabulated, told what is wrong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnnlib import train
from gnnlib.data import load
from gnnlib.embed import DeepWalk, classify_nodes
from gnnlib.recipes import Paper, Recipe, embedding, read_recipe, render_table, reproduce

OPTIONS = {"dim": 8, "num_walks": 3, "walk_length": 10, "window": 3}
TINY = Recipe(
    name="tiny",
    title="DeepWalk on the karate club",
    dataset="karate",
    model="deepwalk",
    split="halves",
    seeds=2,
    train={},
    model_options=OPTIONS,
    paper=Paper("micro_f1@50", 0.9, "nobody", "https://example.org", "recalled", "recalled"),
    low=0.0,
    high=1.0,
    task="embedding",
    evaluate={"protocol": "labels", "fractions": [0.5], "shuffles": 3, "C": 1.0},
)


def places(tmp_path: Path) -> dict[str, Any]:
    return {"out": tmp_path / "results", "runs": tmp_path / "runs", "device": "cpu"}


def measured(metric: str, **changes: Any) -> Recipe:
    return dataclasses.replace(TINY, paper=dataclasses.replace(TINY.paper, metric=metric), **changes)


def test_a_recipe_runs_and_is_recorded(tmp_path: Path) -> None:
    result = reproduce(TINY, **places(tmp_path))
    assert json.loads((tmp_path / "results" / "tiny.json").read_text()) == result
    data = load("karate").dataset[0]
    expected = []
    for seed in (0, 1):
        rows = DeepWalk(**OPTIONS, seed=seed).fit_transform(data)
        found = classify_nodes(rows, data.y.numpy(), fractions=[0.5], shuffles=3, seed=seed)[0.5]
        expected.append(found["micro_f1"])
        assert result["runs"][seed]["scores"]["macro_f1@50"] == found["macro_f1"]
    assert [run["metrics"]["test"] for run in result["runs"]] == expected
    assert result["mean"] == pytest.approx(np.mean(expected))
    assert result["runs"][0]["columns"] == 8
    assert result["config"]["evaluate"] == dict(TINY.evaluate)
    assert str(tmp_path) not in json.dumps(result)
    text = render_table(tmp_path / "results").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| `tiny`"))
    assert "micro F1, 50 % labelled" in row
    assert "(2 seeds)" in row


def test_an_interrupted_recipe_does_not_embed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reproduce(TINY, **places(tmp_path / "a"))

    def stop(found: Any, loaded: Any, seed: int, *, fractions: Any, shuffles: Any, C: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(embedding, "PROTOCOLS", {**embedding.PROTOCOLS, "labels": stop})
        with pytest.raises(
            train.Interrupted, match="tiny was interrupted; the same gnnlib reproduce command"
        ):
            reproduce(TINY, **places(tmp_path / "b"))
    assert not (tmp_path / "b" / "results" / "tiny.json").exists()
    fitted: list[int] = []
    embed = DeepWalk._embed

    def counted(self: DeepWalk, graph: Any) -> Any:
        fitted.append(self.seed)
        return embed(self, graph)

    monkeypatch.setattr(DeepWalk, "_embed", counted)
    resumed = reproduce(TINY, **places(tmp_path / "b"))
    assert fitted == [1]
    assert [r["scores"] for r in resumed["runs"]] == [r["scores"] for r in whole["runs"]]
    assert reproduce(TINY, **places(tmp_path / "b")) == resumed
    assert fitted == [1]


def test_a_fixed_split_chooses_the_penalty_by_validation(tmp_path: Path) -> None:
    recipe = measured("accuracy", seeds=1, evaluate={"protocol": "split", "Cs": [0.1, 10.0]})
    result = reproduce(recipe, **places(tmp_path))
    assert 0.3 < result["mean"] <= 1
    assert result["validation"]["n"] == 1
    assert result["runs"][0]["scores"]["C"] in (0.1, 10.0)


def test_distances_are_better_when_lower(tmp_path: Path) -> None:
    recipe = measured(
        "average_distortion", seeds=1, model="sarkar", model_options={"tau": 4.0}, high=9.0,
        evaluate={"protocol": "distances"},
    )  # fmt: skip
    result = reproduce(recipe, **places(tmp_path))
    assert result["higher_is_better"] is False
    assert result["met"] is True
    assert {"average_distortion", "worst_distortion", "map", "skipped"} == set(result["runs"][0]["scores"])
    assert (
        reproduce(dataclasses.replace(recipe, name="missed", high=1e-9), **places(tmp_path))["met"] is False
    )


def test_the_fingerprint_follows_the_evaluation() -> None:
    assert dataclasses.replace(TINY, seeds=5).fingerprint == TINY.fingerprint
    other = dataclasses.replace(TINY, evaluate={**TINY.evaluate, "C": 2.0})
    assert other.fingerprint != TINY.fingerprint


TEXT = """
title = "t"
task = "embedding"
dataset = "karate"
model = "deepwalk"
split = "s"
seeds = 1
differences = []
[evaluate]
protocol = "labels"
fractions = [0.5]
shuffles = 1
C = 1.0
[model_options]
dim = 8
[paper]
metric = "micro_f1@50"
value = 0.5
source = "s"
url = "https://example.org"
trust = "recalled"
settings = "code"
[expected]
low = 0.0
high = 1.0
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"embedding"', '"embeding"', "task 'embeding' is unknown; did you mean 'embedding'"),
        ('"labels"', '"lables"', r"\[evaluate\]: protocol 'lables' is unknown; did you mean 'labels'"),
        ("C = 1.0", "cost = 1.0", r"\[evaluate\]: key 'cost' is unknown"),
        ("C = 1.0", "", r"\[evaluate\]: 'C' is missing; a recipe states all options"),
        ("dim = 8", "dims = 8", "parameter of deepwalk 'dims' is unknown; did you mean 'dim'"),
        ('"deepwalk"', '"deepwalks"', "embedding method 'deepwalks' is unknown; did you mean 'deepwalk'"),
        ("micro_f1@50", "micro_f1@5", "metric 'micro_f1@5' is unknown; did you mean 'micro_f1@50'"),
    ],
)
def test_a_bad_recipe_is_told_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(ValueError, match=message):
        reproduce(read_recipe(path), **places(tmp_path))


def test_a_method_without_a_device_refuses_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace("deepwalk", "sarkar").replace("dim = 8", "tau = 1.0"))
    with pytest.raises(ValueError, match="sarkar: device=cuda, but this method runs on the cpu alone"):
        read_recipe(path).estimator(device="cuda")
