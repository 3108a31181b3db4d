"""A recipe's toml file, read and checked.

::

    title = "GCN on Cora"
    dataset = "cora"                  # gnnlib.data.names()
    model = "gcn"                     # gnnlib.models.names()
    split = "the public split"        # in words; [train] holds split or folds where it is not the first
    seeds = 10                        # seeds 0 to 9; from another one on with first_seed = 10
    start = "..."                     # the recipe whose trained weights runs start from; absent: random ones
    differences = ["..."]             # what we do otherwise than the paper, a sentence each

    [train]                           # fields of gnnlib.train.TrainConfig
    [model_options]                   # fields of the model's config dataclass
    [paper]
    metric = "accuracy"               # as the dataset's evaluator names it
    value = 0.815                     # as the evaluator returns it: a fraction, not percent
    std = 0.005                       # where the paper gives one
    source = "Kipf and Welling, ICLR 2017, Table 2"
    url = "https://arxiv.org/abs/1609.02907"
    trust = "recalled"                # how the number was checked, see TRUST
    settings = "code"                 # how the hyper-parameters were checked, see TRUST
    [expected]                        # the mean over seeds of a correct run
    low = 0.81
    high = 0.83

A recipe of ``task = "embedding"`` names an embedding method (``gnnlib embed --help``) and its parameters, and
in place of ``[train]`` says how the rows are judged::

    [evaluate]
    protocol = "labels"               # a name of gnnlib.recipes.embedding.PROTOCOLS; the rest are its options
    fractions = [0.1, 0.5, 0.9]
    shuffles = 5
    C = 1.0
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnnlib.names import choose
from gnnlib.recipes.grid import Grid, read_grid

if TYPE_CHECKING:
    from gnnlib.embed import NodeEmbedding
    from gnnlib.train import TrainConfig

__all__ = ["grids", "names", "Paper", "read_recipe", "Recipe", "TRUST"]

TRUST: Mapping[str, str] = {
    "code": "read in the authors' code",
    "table": "read in the authors' own README, logs or leaderboard",
    "abstract": "read in the paper's abstract",
    "listing": "read in a third party's listing",
    "recalled": "recalled from the paper, not looked up again",
}

# Settings that no recipe may leave to a default, beside those that toml cannot write (None).
_STATED = (
    "epochs",
    "lr",
    "weight_decay",
    "weight_decay_scope",
    "optimizer",
    "lr_schedule",
    "normalize_features",
    "monitor",
    "select",
)
TASKS = ("train", "embedding")
_GRID = ".grid.toml"

# Settings of a machine or of a run, which are no part of a recipe.
_NOT_OURS = (
    "dataset",
    "model",
    "seeds",
    "start",
    "model_options",
    "device",
    "checkpoint_seconds",
    "root",
    "out",
)


@dataclass(frozen=True)
class Paper:
    """A published number.

    Args:
        metric: as the dataset's evaluator names it.
        value: as the evaluator returns it; a fraction for accuracy.
        std: the published deviation, or None.
        source: paper and table.
        url: where it is found.
        trust: how the number was checked, a key of ``TRUST``.
        settings: how the hyper-parameters were checked, a key of ``TRUST``.

    Shapes: none.
    """

    metric: str
    value: float
    source: str
    url: str
    trust: str
    settings: str
    std: float | None = None


@dataclass(frozen=True)
class Recipe:
    """A published result and all that is needed to repeat it.

    Args:
        name: the file's name without its ending.
        title, dataset, model, split, seeds, first_seed, differences: as in the file.
        train: fields of ``gnnlib.train.TrainConfig``; empty for an embedding.
        model_options: fields of the model's config dataclass, or parameters of the embedding method.
        paper: the published number.
        low, high: the range in which the mean over the seeds is expected; the recipe's bar is ``low``,
            or ``high`` where a lower metric is better.
        task: ``"train"`` or ``"embedding"``.
        start: the name of the recipe whose weights the runs start from, seed by seed; None: random ones.
        evaluate: of an embedding: ``protocol`` and its options.

    Shapes: none.
    """

    name: str
    title: str
    dataset: str
    model: str
    split: str
    seeds: int
    train: Mapping[str, Any]
    model_options: Mapping[str, Any]
    paper: Paper
    low: float
    high: float
    differences: tuple[str, ...] = field(default=())
    first_seed: int = 0
    task: str = "train"
    start: str | None = None
    evaluate: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of everything that decides a run, the seeds apart."""
        deciding = [self.dataset, self.model, dict(self.train), dict(self.model_options)]
        if self.task == "embedding":
            deciding.append(dict(self.evaluate))
        if self.start is not None:
            deciding.append(read_recipe(self.start).fingerprint)
        text = json.dumps(deciding, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def seed_list(self, count: int | None = None) -> tuple[int, ...]:
        """The seeds, or so many of them."""
        count = self.seeds if count is None else count
        return tuple(range(self.first_seed, self.first_seed + count))

    def config(self, **run: Any) -> TrainConfig:
        """The training run of this recipe.

        Args:
            run: settings of the run itself: ``seeds``, ``device``, ``root``, ``out``, and ``start``, the run
                directory of the recipe that it starts from.

        Raises: ValueError naming the option that the model or the training does not know.
        """
        from gnnlib.train import TrainConfig

        settings = {"seeds": self.seed_list(), **self.train, **run}
        return TrainConfig(
            dataset=self.dataset, model=self.model, model_options=dict(self.model_options), **settings
        )

    def estimator(self, **run: Any) -> NodeEmbedding:
        """The embedding method of this recipe.

        Args:
            run: ``seed`` and ``device``; a method without them has none to set.

        Raises: ValueError for an unknown method or parameter, or another device for a method without one.
        """
        from gnnlib.embed.methods import make_method

        return make_method(self.model, self.model_options, **run)

    def protocol(self) -> tuple[str, dict[str, Any]]:
        """How an embedding is judged, and the options of that.

        Raises: ValueError for an unknown protocol, an unknown option or one that is missing.
        """
        from gnnlib.recipes.embedding import PROTOCOLS

        where, options = f"recipe {self.name} [evaluate]", dict(self.evaluate)
        name = choose(f"{where}: protocol", str(options.pop("protocol", "(none)")), PROTOCOLS)
        wanted = [k for k, p in signature(PROTOCOLS[name]).parameters.items() if p.kind is p.KEYWORD_ONLY]
        for key in options:
            choose(f"{where}: key", key, wanted)
        for key in wanted:
            if key not in options:
                raise ValueError(f"{where}: '{key}' is missing; a recipe states all options of its protocol")
        return name, options


def names() -> list[str]:
    """The recipes that come with gnnlib, in alphabetical order."""
    single = [entry.name.removesuffix(".toml") for entry in _folder().iterdir() if _is_recipe(entry.name)]
    return sorted([*single, *(name for grid in grids().values() for name in grid.contents)])


@cache
def grids() -> Mapping[str, Grid]:
    """The grids of recipes that come with gnnlib, by name: see :mod:`gnnlib.recipes.grid`."""
    found = sorted(entry.name for entry in _folder().iterdir() if entry.name.endswith(_GRID))
    return {
        name.removesuffix(_GRID): read_grid(
            tomllib.loads((_folder() / name).read_text(encoding="utf-8")), f"grid {name}"
        )
        for name in found
    }


def read_recipe(name: str | Path) -> Recipe:
    """Read a recipe that comes with gnnlib, by name, or any other by the path of its toml file.

    Shapes: none.
    Raises: ValueError for an unknown name (names the nearest), a key that is unknown or missing, or a value
        of the wrong kind; FileNotFoundError for a path that leads nowhere.
    """
    if isinstance(name, Path) or name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise FileNotFoundError(
                f"recipe: {path} is no file; give a recipe's name or the path of its toml"
            )
        return _parse(path.stem, path.read_text(encoding="utf-8"), str(path))
    name = choose("recipe", name, names())
    for grid in grids().values():
        if name in grid.contents:
            return _made(name, grid.contents[name], name)
    return _parse(name, (_folder() / f"{name}.toml").read_text(encoding="utf-8"), name)


def _folder() -> Traversable:
    return files("gnnlib.recipes")


def _is_recipe(name: str) -> bool:
    return name.endswith(".toml") and not name.endswith(_GRID)


def _parse(name: str, text: str, where: str) -> Recipe:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"recipe {where}: it is no valid toml ({error}); correct the file") from error
    return _made(name, content, where)


def _made(name: str, content: Mapping[str, Any], where: str) -> Recipe:
    top = _Table(f"recipe {where}", content)
    task = choose("task", top.text("task"), TASKS) if "task" in top else "train"
    work, options = top.table("train" if task == "train" else "evaluate"), top.table("model_options")
    paper, expected = top.table("paper"), top.table("expected")
    recipe = Recipe(
        name=name,
        title=top.text("title"),
        dataset=top.text("dataset"),
        model=top.text("model"),
        split=top.text("split"),
        seeds=top.whole("seeds"),
        train=work.all(without=_NOT_OURS, stated=_STATED) if task == "train" else {},
        model_options=options.all(),
        paper=Paper(
            metric=paper.text("metric"),
            value=paper.number("value"),
            std=paper.number("std") if "std" in paper else None,
            source=paper.text("source"),
            url=paper.text("url"),
            trust=choose("trust mark", paper.text("trust"), TRUST),
            settings=choose("trust mark", paper.text("settings"), TRUST),
        ),
        low=expected.number("low"),
        high=expected.number("high"),
        differences=top.texts("differences"),
        first_seed=top.whole("first_seed") if "first_seed" in top else 0,
        task=task,
        start=choose("recipe to start from", top.text("start"), names()) if "start" in top else None,
        evaluate=work.all() if task == "embedding" else {},
    )
    for table in (top, paper, expected):
        table.finish()
    if recipe.seeds < 1:
        raise ValueError(f"recipe {where}: seeds={recipe.seeds}, expected 1 or more; correct the file")
    if not recipe.low <= recipe.high:
        raise ValueError(
            f"recipe {where}: expected.low={recipe.low} is above expected.high={recipe.high}; swap them"
        )
    return recipe


class _Table:
    """A toml table whose keys are taken one by one, each with its kind; none may be left over."""

    def __init__(self, where: str, content: Mapping[str, Any]) -> None:
        self.where = where
        self.content = dict(content)
        self.taken: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def take(self, key: str, kinds: type | tuple[type, ...], wanted: str) -> Any:
        self.taken.append(key)
        if key not in self.content:
            raise ValueError(f"{self.where}: '{key}' is missing; add it as {wanted}")
        value = self.content[key]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(
                f"{self.where}: {key}={value!r} is of kind {type(value).__name__}; expected {wanted}"
            )
        return value

    def text(self, key: str) -> str:
        return str(self.take(key, str, "a text"))

    def whole(self, key: str) -> int:
        return int(self.take(key, int, "a whole number"))

    def number(self, key: str) -> float:
        return float(self.take(key, (int, float), "a number"))

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(str(item) for item in self.take(key, list, "a list of texts"))

    def table(self, key: str) -> _Table:
        return _Table(f"{self.where} [{key}]", self.take(key, dict, "a table"))

    def all(self, without: tuple[str, ...] = (), stated: tuple[str, ...] = ()) -> dict[str, Any]:
        for key in without:
            if key in self.content:
                raise ValueError(
                    f"{self.where}: '{key}' is no setting of a recipe's training; "
                    "take it out, or write it at the top of the file"
                )
        for key in stated:
            if key not in self.content:
                raise ValueError(
                    f"{self.where}: '{key}' is missing; a recipe states it even where it is the default"
                )
        return dict(self.content)

    def finish(self) -> None:
        for key in self.content:
            if key not in self.taken:
                choose(f"{self.where}: key", key, self.taken)
