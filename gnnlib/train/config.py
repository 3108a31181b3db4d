"""What a training run is: one frozen dataclass, and how named options become one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gnnlib import names
from gnnlib.models import registry
from gnnlib.train.defaults import defaults
from gnnlib.train.losses import Loss
from gnnlib.train.options import fit, hints, parse

__all__ = ["configure", "from_json", "to_json", "TrainConfig", "training_options"]

Precision = Literal["32-true", "64-true", "16-mixed", "bf16-mixed", "bf16-true"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run; equal configs give equal bits on one machine.

    The values below are used as they stand; :func:`configure` starts from the defaults that suit a
    dataset and a model, as ``gnnlib train`` does.

    Args:
        dataset: a name from ``gnnlib.data.names()``.
        model: a name from ``gnnlib.models``.
        seeds: how many seeds (0, 1, ...), or the seeds themselves. A seed fixes the initial weights,
            dropout, the order of batches and the negative samples.
        split: which of the dataset's splits; None: the public one, or, where the dataset comes with
            several, seed k takes split k modulo their number.
        folds: cross validation: each of the first ``folds`` splits is one run for each seed.
        start: a run directory whose trained weights a run starts from, in place of random ones: those of the
            same seed and fold there, else of its best run. The model may be another one with the same
            parameters, and the dataset another one.
        freeze_encoder: leave the parameters of the model's encoder as they are and train what follows it.
        epochs: passes over the training items, at most; 0 evaluates the model as it is built.
        lr: learning rate, > 0.
        loss: ``standard``: cross-entropy, BCE or squared error, whatever fits the dataset's metric;
            ``absolute``: absolute error, for regression; ``balanced``: cross-entropy in which rare classes
            weigh more, for classes of nodes or graphs.
        head_lr: learning rate of the parameters that are not in the model's encoder; None: ``lr``.
        weight_decay: L2 penalty (decoupled for adamw), >= 0.
        weight_decay_scope: which parameters decay: ``all``, or ``first``, the first layer only.
        optimizer: ``adam``, ``adamw`` or ``sgd`` (with ``momentum``).
        momentum: of sgd.
        lr_schedule: ``none``; ``step``: times ``lr_gamma`` every ``lr_step`` epochs; ``cosine``: to 0 at
            the last epoch.
        lr_step: epochs.
        lr_gamma: factor, in (0, 1].
        grad_clip: largest global gradient norm, or None.
        batch_size: graphs, positive pairs or windows in a step; None: all at once. A node task on one
            graph takes the whole graph, unless there is a ``fanout``: then training nodes, 1,024 when None.
        fanout: of a node task on one graph: a step takes ``batch_size`` training nodes and so many sampled
            neighbours of each hop around them, -1 for all. Evaluation takes the whole graph.
        shuffle_block: of sets of graphs: graphs that follow one another in the data set stay together, in
            blocks of so many, and the blocks come in random order.
        merge_nodes: of labels of nodes of many graphs: nodes that messages cannot tell apart are computed
            once for a batch, see :func:`gnnlib.sparse.merge_nodes`. The scores are the same; batch norm and
            dropout see a merged node once. Models that see more than in-edges are refused.
        drop_last: of a link task: leave out the last batch of an epoch when it is smaller than the others.
        negatives: of a link task: ``uniform``, as many random non-edges as edges, drawn anew in each step;
            ``all``, every non-edge, edges (and each node with itself) weighing half of the loss, as in the
            published graph auto-encoder: inner products only, memory grows with the square of the nodes.
        remove_targets: of a link task: take the positive pairs of a batch, in both directions, out of the
            graph before messages pass over it; None: for models whose decoder looks at the graph.
        normalize_features: divide each node's features by their sum.
        patience: stop after this many evaluated epochs without a better validation result; None: never.
        monitor: what is better: the validation ``metric`` (a tie goes to the lower loss), the validation
            ``loss``, or ``both`` (either resets the patience; the weights are kept when both are at
            least as good).
        select: the weights that are tested: ``best`` by ``monitor``, or those of the ``last`` epoch.
        eval_every: epochs between evaluations.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: lightning-fabric's name, such as ``32-true`` or ``bf16-mixed``. Links and items are
            ranked without the shorter type of mixed precision, in which their scores would tie.
        checkpoint_seconds: time between resume points; one is also written at the end and on Ctrl-C.
        root: the data root; None: where ``gnnlib.data`` looks.
        out: the run directory; None: ``runs/<dataset>-<model>-<time>``.
        model_options: fields of the model's config dataclass.

    Shapes: none; it holds no tensor.
    Raises: ValueError naming the option, its value and what it takes.
    """

    dataset: str = "digits"
    model: str = "gcn"
    seeds: int | tuple[int, ...] = (0,)
    split: int | None = None
    folds: int | None = None
    start: str | None = None
    freeze_encoder: bool = False
    epochs: int = 200
    lr: float = 0.01
    loss: Loss = "standard"
    head_lr: float | None = None
    weight_decay: float = 0.0
    weight_decay_scope: Literal["all", "first"] = "all"
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    momentum: float = 0.9
    lr_schedule: Literal["none", "step", "cosine"] = "none"
    lr_step: int = 50
    lr_gamma: float = 0.5
    grad_clip: float | None = None
    batch_size: int | None = None
    fanout: tuple[int, ...] | None = None
    shuffle_block: int = 1
    merge_nodes: bool = False
    drop_last: bool = False
    negatives: Literal["uniform", "all"] = "uniform"
    remove_targets: bool | None = None
    normalize_features: bool = False
    patience: int | None = None
    monitor: Literal["metric", "loss", "both"] = "metric"
    select: Literal["best", "last"] = "best"
    eval_every: int = 1
    device: str = "auto"
    precision: Precision = "32-true"
    checkpoint_seconds: float = 30.0
    root: str | None = None
    out: str | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, annotation in hints(TrainConfig).items():
            object.__setattr__(self, name, fit(name, getattr(self, name), annotation))
        if isinstance(self.seeds, int):
            _require("seeds", self.seeds, self.seeds >= 1, "1 or more")
            object.__setattr__(self, "seeds", tuple(range(self.seeds)))
        _require("seeds", self.seeds, len(self.seed_list) > 0, "at least one seed")
        _require("seeds", self.seeds, len(set(self.seed_list)) == len(self.seed_list), "each seed once")
        _require("seeds", self.seeds, all(0 <= s < 2**32 for s in self.seed_list), "seeds from 0 to 2^32 - 1")
        _require("epochs", self.epochs, self.epochs >= 0, "0 or more")
        for name in ("eval_every", "lr_step", "batch_size", "patience", "folds", "shuffle_block"):
            value = getattr(self, name)
            _require(name, value, value is None or value >= 1, "1 or more")
        for name in ("lr", "head_lr", "lr_gamma", "grad_clip"):
            value = getattr(self, name)
            _require(name, value, value is None or 0 < value < float("inf"), "a number above 0")
        for name in ("weight_decay", "momentum", "checkpoint_seconds", "split"):
            value = getattr(self, name)
            _require(name, value, value is None or 0 <= value < float("inf"), "0 or more")
        _require("lr_gamma", self.lr_gamma, self.lr_gamma <= 1, "at most 1")
        if self.folds is not None and self.split is not None:
            raise ValueError("split and folds cannot both be given: folds runs through the splits; drop one")
        if self.fanout is not None:
            _require("fanout", self.fanout, len(self.fanout) > 0, "a number of neighbours for each hop")
            _require("fanout", self.fanout, all(k >= -1 for k in self.fanout), "neighbours of a hop, or -1")
        if self.negatives == "all" and self.batch_size is not None:
            raise ValueError("negatives=all takes every pair in each step; drop batch_size, or negatives")
        if self.negatives == "all" and self.remove_targets:
            raise ValueError("negatives=all takes every pair in each step; drop remove_targets, or negatives")
        model = names.choose("model", self.model, registry.names())
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "model_options", _model_values(model, self.model_options))

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, one after another."""
        assert not isinstance(self.seeds, int)
        return self.seeds

    def replace(self, **changes: Any) -> TrainConfig:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def _require(name: str, value: Any, holds: bool, wanted: str) -> None:
    if not holds:
        raise ValueError(f"option {name} is {value}; it takes {wanted}")


def _model_values(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The model's options, checked by its config dataclass, with every default filled in."""
    config_class = registry.config_class(model)
    offered = hints(config_class)
    given = {
        (known := names.choose("option", name, offered)): fit(known, value, offered[known])
        for name, value in options.items()
    }
    config = config_class(**given)
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.init}


def configure(dataset: str = "digits", model: str | None = None, **options: Any) -> TrainConfig:
    """Return the config that starts from the defaults of this dataset and model.

    Args:
        dataset: a dataset's name.
        model: a model's name; None: the one that suits the dataset.
        options: training fields and fields of the model's config, as values or as text
            (``lr="0.01"``); ``model.<name>`` is the model's where training has the name too.

    Shapes: none.
    Raises: ValueError for an unknown option (names the nearest) or a value of the wrong type.
    """
    chosen = defaults(dataset, model)
    model = names.choose("model", model or chosen.model, registry.names())
    training, offered = hints(TrainConfig), hints(registry.config_class(model))
    values: dict[str, Any] = dict(chosen.training)
    model_values = {name: value for name, value in chosen.options.items() if name in offered}
    model_values.update(options.pop("model_options", None) or {})
    for given, value in options.items():
        known = [name for name in training if name not in ("dataset", "model", "model_options")]
        name = names.choose(
            "option",
            given,
            [*known, *(n for n in offered if n not in training)]
            if not given.startswith("model.")
            else [f"model.{n}" for n in offered],
        )
        if name in training:
            values[name] = parse(name, value, training[name]) if isinstance(value, str) else value
        else:
            name = name.removeprefix("model.")
            model_values[name] = parse(name, value, offered[name]) if isinstance(value, str) else value
    return TrainConfig(dataset=dataset, model=model, **values, model_options=model_values)


def to_json(config: TrainConfig) -> dict[str, Any]:
    """Return the config as plain json values."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return {**values, "seeds": list(config.seed_list), "model_options": dict(config.model_options)}


#: Options that say what is trained, and on which machine, and not how.
_NOT_TRAINING = frozenset(
    {"dataset", "model", "model_options", "device", "checkpoint_seconds", "root", "out"}
)


def training_options(config: TrainConfig) -> dict[str, Any]:
    """Return how a model is trained as plain json values: everything that may change its result."""
    return {k: v for k, v in to_json(config).items() if k not in _NOT_TRAINING}


def from_json(values: Mapping[str, Any]) -> TrainConfig:
    """Return the config that :func:`to_json` wrote.

    Raises: ValueError when a field is unknown, as in a file of a newer gnnlib.
    """
    known = hints(TrainConfig)
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"config.json has the unknown fields {unknown}; was it written by a newer gnnlib?")
    return TrainConfig(**dict(values))
