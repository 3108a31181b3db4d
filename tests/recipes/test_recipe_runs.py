"""A tiny recipe from end to end: run, broken off, resumed, recorded, tabulated."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gnnlib import train
from gnnlib.recipes import Paper, Recipe, read_recipe, recipe, render_table, reproduce, runner

TINY = Recipe(
    name="tiny",
    title="GCN on the karate club | a test",
    dataset="karate",
    model="gcn",
    split="seeded split",
    seeds=3,
    train={"epochs": 6, "lr": 0.05, "weight_decay": 5e-4},
    model_options={"hidden_channels": 4},
    paper=Paper("accuracy", 0.9, "nobody", "https://example.org", "recalled", "recalled", std=0.01),
    low=0.0,
    high=1.0,
    differences=("It is tiny.",),
)


class Break(train.Progress):
    """Raises Ctrl-C once so many runs have ended."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.ended: list[str] = []

    def run_end(self, name: str, epochs: int, metrics: dict[str, Any], seconds: float) -> None:
        self.ended.append(name)
        if len(self.ended) == self.after:
            raise KeyboardInterrupt


def places(tmp_path: Path) -> dict[str, Any]:
    return {"out": tmp_path / "results", "runs": tmp_path / "runs", "device": "cpu"}


def numbers(result: dict[str, Any]) -> list[Any]:
    return [(run["seed"], run["metrics"], run["best_epoch"]) for run in result["runs"]]


def test_a_recipe_runs_and_is_recorded(tmp_path: Path) -> None:
    result = reproduce(TINY, **places(tmp_path))
    stored = json.loads((tmp_path / "results" / "tiny.json").read_text())
    assert stored == result
    assert result["n"] == 3
    assert result["seeds"] == [0, 1, 2]
    assert result["met"] is True
    tests = [run["metrics"]["test"] for run in result["runs"]]
    assert result["mean"] == pytest.approx(sum(tests) / 3)
    for key in ("versions", "seconds", "peak_memory", "commit", "fingerprint", "device", "threads"):
        assert key in result
    assert str(tmp_path) not in json.dumps(result)


def test_a_recorded_recipe_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = reproduce(TINY, **places(tmp_path))
    monkeypatch.setattr(train, "run", lambda *_, **__: pytest.fail("it was run again"))
    assert reproduce(TINY, **places(tmp_path)) == first


def test_an_interrupted_recipe_goes_on_to_the_unbroken_result(tmp_path: Path) -> None:
    unbroken = reproduce(TINY, **places(tmp_path / "a"))
    with pytest.raises(train.Interrupted, match="tiny was interrupted; the same gnnlib reproduce command"):
        reproduce(TINY, **places(tmp_path / "b"), progress=Break(after=2))
    assert not (tmp_path / "b" / "results" / "tiny.json").exists()
    watch = Break(after=99)
    resumed = reproduce(TINY, **places(tmp_path / "b"), progress=watch)
    assert watch.ended == ["seed-2"]
    assert numbers(resumed) == numbers(unbroken)


def test_more_seeds_train_only_the_new_ones(tmp_path: Path) -> None:
    two = reproduce(TINY, **places(tmp_path), seeds=2)
    watch = Break(after=99)
    three = reproduce(TINY, **places(tmp_path), progress=watch)
    assert watch.ended == ["seed-2"]
    assert numbers(three)[:2] == numbers(two)
    assert numbers(reproduce(TINY, **places(tmp_path), seeds=1)) == numbers(two)[:1]


def test_recorded_seeds_outlive_their_run_directories(tmp_path: Path) -> None:
    whole = reproduce(TINY, **places(tmp_path / "a"))
    two = reproduce(TINY, **places(tmp_path / "b"), seeds=2)
    shutil.rmtree(tmp_path / "b" / "runs")
    stored = tmp_path / "b" / "results" / "tiny.json"
    stored.write_text(json.dumps({**two, "commit": "before"}))
    watch = Break(after=99)
    three = reproduce(TINY, **places(tmp_path / "b"), progress=watch)
    assert watch.ended == ["seed-2"]
    assert numbers(three) == numbers(whole)
    for key in ("mean", "std", "n", "seeds", "met", "validation", "parameters"):
        assert three[key] == whole[key], key
    assert three["seconds"] == pytest.approx(sum(run["seconds"] for run in three["runs"]))
    assert [run["commit"] for run in three["runs"]] == ["before", "before", three["commit"]]
    assert json.loads(stored.read_text()) == three
    four = reproduce(dataclasses.replace(TINY, seeds=4), **places(tmp_path / "b"), progress=watch)
    assert watch.ended == ["seed-2", "seed-3"]
    assert numbers(four)[:3] == numbers(whole)
    shutil.rmtree(tmp_path / "b" / "runs")
    assert numbers(reproduce(TINY, **places(tmp_path / "b"), seeds=1)) == numbers(whole)[:1]
    assert not (tmp_path / "b" / "runs").exists()


def test_a_changed_recipe_starts_afresh(tmp_path: Path) -> None:
    first = reproduce(TINY, **places(tmp_path), seeds=1)
    other = dataclasses.replace(TINY, train={**TINY.train, "epochs": 4})
    second = reproduce(other, **places(tmp_path), seeds=1)
    assert second["fingerprint"] != first["fingerprint"]
    assert second["runs"][0]["epochs"] == 4


def test_a_missed_bar_is_said(tmp_path: Path) -> None:
    result = reproduce(dataclasses.replace(TINY, low=1.01, high=2.0), **places(tmp_path), seeds=1)
    assert result["met"] is False
    assert "**not met**" in render_table(tmp_path / "results").read_text()


@pytest.mark.parametrize(("mean", "said"), [(0.895, 0), (0.909, 0), (0.8899, 1), (0.93, 1)])
def test_more_than_a_deviation_from_the_paper_is_said(tmp_path: Path, mean: float, said: int) -> None:
    reproduce(TINY, **places(tmp_path), seeds=1)
    file = tmp_path / "results" / "tiny.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "mean": mean}))
    assert render_table(tmp_path / "results").read_text().count("of its deviations") == said


def test_seeds_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reproduce: seeds=0, expected 1 or more"):
        reproduce(TINY, **places(tmp_path), seeds=0)


def test_the_table_comes_from_the_json_alone(tmp_path: Path) -> None:
    reproduce(TINY, **places(tmp_path))
    result = json.loads((tmp_path / "results" / "tiny.json").read_text())
    result.update(recipe="another", mean=0.81549, std=0.00251, dataset="cora")
    (tmp_path / "results" / "another.json").write_text(json.dumps(result))
    path = render_table(tmp_path / "results")
    assert path == tmp_path / "RESULTS.md"
    text = path.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row.split("|")[1].strip() for row in rows] == ["`another`", "`tiny`"]
    assert "**81.5 ± 0.3** (3 seeds)" in rows[0]
    assert "90.0 ± 1.0 [recalled]" in rows[0]
    assert all(row.count("|") == rows[0].count("|") for row in rows)
    assert "- It is tiny." in text
    assert "recalled from the paper" in text
    assert text.count("Ours is 8.5 below it, 8.5 of its deviations.") == 1
    assert render_table(tmp_path / "results").read_text() == text


def test_the_table_refuses_what_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no result; run gnnlib reproduce --all first"):
        render_table(tmp_path)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad.json is not valid json .* delete it and run the recipe again"):
        render_table(tmp_path)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ValueError, match=r"bad.json is no result of a recipe"):
        render_table(tmp_path)


@pytest.mark.slow
def test_a_real_recipe_reaches_its_bar_with_one_seed(data_root: Path, tmp_path: Path) -> None:
    recipe = read_recipe("sgc-cora")
    result = reproduce(recipe, **places(tmp_path), seeds=1, root=str(data_root))
    assert result["met"], result["mean"]


def test_seeds_may_begin_elsewhere(tmp_path: Path) -> None:
    """A fresh draw: other seeds than those a setting was chosen on, recorded as what they are."""
    fresh = dataclasses.replace(TINY, seeds=2, first_seed=10)
    assert reproduce(fresh, **places(tmp_path))["seeds"] == [10, 11]
    assert reproduce(TINY, **places(tmp_path))["seeds"] == [0, 1, 2]  # not taken for the recorded ones


def test_a_recipe_starts_from_the_weights_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = dataclasses.replace(TINY, name="later", start="tiny", train={**TINY.train, "epochs": 0})
    for module in (runner, recipe):
        monkeypatch.setattr(module, "read_recipe", lambda name: {"tiny": TINY}[name])
    assert later.fingerprint != dataclasses.replace(later, start=None).fingerprint
    with pytest.raises(
        FileNotFoundError, match=r"later starts from .* of recipe tiny.*gnnlib reproduce tiny"
    ):
        reproduce(later, **places(tmp_path))
    first = reproduce(TINY, **places(tmp_path))
    second = reproduce(later, **places(tmp_path))
    assert [run["metrics"] for run in second["runs"]] == [run["metrics"] for run in first["runs"]]
    assert second["start"] == "tiny"
    assert str(tmp_path) not in json.dumps(second)
