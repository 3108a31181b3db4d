"""The recipes that come with gnnlib, and what the reader says of a bad one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gnnlib import data, models
from gnnlib.recipes import Recipe, names, read_recipe

FIRST = {
    "appnp-cora",
    "gae-cora",
    "gat-cora",
    "gcn-citeseer",
    "gcn-cora",
    "gcn-molbace",
    "gin-mutag",
    "sgc-citeseer",
    "sgc-cora",
}
OWN_DECODER = ("ncn", "ncnc")


def test_the_first_recipes_are_there() -> None:
    assert set(names()) >= FIRST
    assert names() == sorted(names())


TRAINED = [name for name in names() if read_recipe(name).task == "train"]
EMBEDDED = [name for name in names() if name not in TRAINED]


@pytest.mark.parametrize("name", names())
def test_every_recipe_says_what_it_is_held_to(name: str) -> None:
    recipe = read_recipe(name)
    assert data.find_card(recipe.dataset).name.startswith(tuple(data.names()))  # or a size of a generated one
    assert recipe.paper.url.startswith("https://")
    assert recipe.low < recipe.high
    assert all(text.endswith(".") for text in recipe.differences)


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_embedding_recipe_states_all_parameters(name: str) -> None:
    recipe = read_recipe(name)
    estimator = recipe.estimator(seed=5, device="cpu")  # refuses what the method does not know
    run = {"seed", "device"}
    # None cannot be written in toml: leaving such a parameter out says None
    known = {key for key, value in estimator.get_params().items() if value is not None}
    assert set(recipe.model_options) >= known - run
    assert not set(recipe.model_options) & run
    assert getattr(estimator, "seed", 5) == 5
    recipe.protocol()  # refuses what the protocol does not know, or lacks


@pytest.mark.parametrize("name", TRAINED)
def test_every_training_recipe_is_valid(name: str) -> None:
    recipe = read_recipe(name)
    config = recipe.config()  # refuses what the training does not know
    assert len(config.seed_list) == recipe.seeds
    task = data.find_card(recipe.dataset).task
    assert task in models.tasks(recipe.model)
    metric = data.find_card(recipe.dataset).metric
    assert recipe.paper.metric == metric or metric == "ogb"  # the evaluator knows its name


@pytest.mark.parametrize("name", TRAINED)
def test_every_hyper_parameter_of_the_model_is_written_down(name: str) -> None:
    recipe = read_recipe(name)
    fields = dataclasses.fields(models.config_class(recipe.model))
    # None cannot be written in toml: leaving such a field out says None
    stated = {field.name for field in fields if field.default is not None} - _without_effect(recipe)
    assert stated <= set(recipe.model_options)
    assert set(recipe.model_options) <= {field.name for field in fields}


@pytest.mark.parametrize("name", [f"{model}-peptides-func" for model in ("gatedgcn", "gine", "residual-gcn")])
def test_the_benchmark_allows_half_a_million_parameters(name: str) -> None:
    features = pytest.importorskip("ogb.utils.features", reason="ogb is not installed")
    recipe = read_recipe(name)
    sizes = {"encoder": "atom", "feature_sizes": features.get_atom_feature_dims()}
    if models.takes_edges(recipe.model):
        sizes |= {"edge_channels": 3, "edge_feature_sizes": features.get_bond_feature_dims()}
    options = models.config_class(recipe.model)(**recipe.model_options)
    model = models.build(recipe.model, "graph", 9, 10, options, **sizes)
    assert 400_000 < sum(p.numel() for p in model.parameters()) <= 500_000


def _without_effect(recipe: Recipe) -> set[str]:
    """Options that a model of this task does not look at."""
    if models.config_class(recipe.model) is models.HeuristicConfig:
        return {field.name for field in dataclasses.fields(models.HeuristicConfig)}
    task = data.find_card(recipe.dataset).task
    unused = {"readout"} if task != "graph" else set()
    unused |= {"decoder"} if task not in ("link", "incidence") or recipe.model in OWN_DECODER else set()
    return unused | ({"hidden_channels", "act"} if recipe.model == "sgc" and task == "node" else set())


def test_the_fingerprint_follows_what_decides_a_run() -> None:
    recipe = read_recipe("gcn-cora")
    assert recipe.fingerprint == read_recipe("gcn-cora").fingerprint
    assert dataclasses.replace(recipe, seeds=3, title="other").fingerprint == recipe.fingerprint
    changed = dataclasses.replace(recipe, train={**recipe.train, "lr": 0.02})
    assert changed.fingerprint != recipe.fingerprint


GOOD = """
title = "t"
dataset = "karate"
model = "gcn"
split = "s"
seeds = 2
differences = []
[train]
epochs = 5
lr = 0.01
weight_decay = 0.0
weight_decay_scope = "all"
optimizer = "adam"
lr_schedule = "none"
normalize_features = false
monitor = "metric"
select = "best"
[model_options]
hidden_channels = 4
[paper]
metric = "accuracy"
value = 0.5
source = "s"
url = "https://example.org"
trust = "recalled"
settings = "code"
[expected]
low = 0.0
high = 1.0
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recipe_of_ones_own_is_read_from_its_path(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, GOOD))
    assert recipe.name == "mine"
    assert recipe.config(seeds=1).model_options["hidden_channels"] == 4
    assert read_recipe(str(tmp_path / "mine.toml")) == recipe


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "t"', "", r"mine.toml: 'title' is missing; add it as a text"),
        ("seeds = 2", 'seeds = "2"', r"seeds='2' is of kind str; expected a whole number"),
        ("seeds = 2", "seeds = 0", r"seeds=0, expected 1 or more"),
        ("seeds = 2", "seeds = true", r"seeds=True is of kind bool"),
        ("low = 0.0", "low = 2.0", r"expected.low=2.0 is above expected.high=1.0"),
        (
            'trust = "recalled"',
            'trust = "recaled"',
            r"trust mark 'recaled' is unknown; did you mean 'recalled'",
        ),
        ('split = "s"', 'split = "s"\nsplitt = 1', r"key 'splitt' is unknown; did you mean 'split'"),
        ("lr = 0.01\n", "", r"\[train\]: 'lr' is missing; a recipe states it"),
        ("lr = 0.01", 'lr = 0.01\ndevice = "cpu"', r"'device' is no setting of a recipe"),
        ("low = 0.0", "low = ", r"no valid toml"),
    ],
)
def test_a_bad_recipe_is_told_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ValueError, match=message):
        read_recipe(written(tmp_path, GOOD.replace(old, new, 1)))


def test_an_unknown_option_is_named_with_its_neighbour(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, GOOD.replace("hidden_channels", "hidden_chanels")))
    with pytest.raises(ValueError, match="hidden_channels"):
        recipe.config()


def test_an_unknown_recipe_is_named_with_its_neighbour(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"recipe 'gcn-croa' is unknown; did you mean 'gcn-cora'"):
        read_recipe("gcn-croa")
    with pytest.raises(FileNotFoundError, match="is no file"):
        read_recipe(tmp_path / "none.toml")
