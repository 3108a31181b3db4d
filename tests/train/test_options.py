"""Options: text becomes values by the field's type, wrong ones are refused with what they take."""

from __future__ import annotations

from typing import Literal

import pytest

from gnnlib.data.card import TASKS
from gnnlib.train import TrainConfig, configure
from gnnlib.train.config import from_json, to_json
from gnnlib.train.defaults import ROWS, defaults
from gnnlib.train.options import fit, parse


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("3", int, 3),
        ("1e3", int, 1000),
        ("0.5", float, 0.5),
        ("5e-4", float, 5e-4),
        ("true", bool, True),
        ("off", bool, False),
        ("none", int | None, None),
        ("7", int | None, 7),
        ("step", Literal["none", "step"], "step"),
        ("0,5, 7", tuple[int, ...], (0, 5, 7)),
        ("4", int | tuple[int, ...], 4),
        ("4,5", int | tuple[int, ...], (4, 5)),
        ("none", str | None, None),
        ("a b", str, "a b"),
    ],
)
def test_text_is_typed_by_the_field(text: str, annotation: object, value: object) -> None:
    assert parse("x", text, annotation) == value
    assert type(parse("x", text, annotation)) is type(value)


@pytest.mark.parametrize(
    ("text", "annotation", "message"),
    [
        ("ten", int, r"option x='ten' is not understood; it takes a whole number"),
        ("1.5", int, r"a whole number"),
        ("maybe", bool, r"true or false"),
        ("adamm", Literal["adam", "sgd"], r"option x='adamm' is not understood; it takes adam, sgd"),
        ("a", float | None, r"a number or none"),
    ],
)
def test_wrong_text_says_what_the_option_takes(text: str, annotation: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse("x", text, annotation)


def test_values_fit_or_are_refused() -> None:
    assert fit("x", 3.0, int) == 3
    assert fit("x", 3, float) == 3.0
    assert fit("x", [1, 2], tuple[int, ...]) == (1, 2)
    with pytest.raises(ValueError, match="option x is True; it takes a whole number"):
        fit("x", True, int)
    with pytest.raises(TypeError, match="it takes a number"):
        fit("x", [1.0], float)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.0}, "option lr is 0.0; it takes a number above 0"),
        ({"lr": float("nan")}, "option lr is nan"),
        ({"epochs": -1}, "option epochs is -1; it takes 0 or more"),
        ({"epochs": 2.5}, "option epochs is 2.5; it takes a whole number"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0; it takes 0 or more"),
        ({"lr_gamma": 2.0}, "lr_gamma is 2.0; it takes at most 1"),
        ({"optimizer": "lbfgs"}, "option optimizer is 'lbfgs'; it takes adam, adamw, sgd"),
        ({"seeds": 0}, "seeds is 0; it takes 1 or more"),
        ({"seeds": (1, 1)}, "each seed once"),
        ({"seeds": ()}, "at least one seed"),
        ({"split": 1, "folds": 2}, "split and folds cannot both be given"),
        ({"model": "gcnn"}, "model 'gcnn' is unknown; did you mean 'gcn'"),
        ({"model_options": {"hiden_channels": 8}}, "did you mean 'hidden_channels'"),
        (
            {"model_options": {"hidden_channels": "wide"}},
            "option hidden_channels is 'wide'; it takes a whole",
        ),
    ],
)
def test_a_bad_config_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**changes)  # type: ignore[arg-type]


def test_configure_takes_training_and_model_options() -> None:
    config = configure("cora", "gcn", lr="0.05", hidden_channels="8", seeds="2", patience="none")
    assert (config.lr, config.model_options["hidden_channels"], config.seeds) == (0.05, 8, (0, 1))
    assert config.patience is None
    assert config.normalize_features  # from the table
    assert configure("cora", "gcn", **{"model.hidden_channels": 4}).model_options["hidden_channels"] == 4


def test_configure_names_the_nearest_option() -> None:
    with pytest.raises(ValueError, match="option 'weight_deca' is unknown; did you mean 'weight_decay'"):
        configure("digits", "gcn", weight_deca="1")
    with pytest.raises(
        ValueError, match="option 'hidden_chanels' is unknown; did you mean 'hidden_channels'"
    ):
        configure("digits", "gcn", hidden_chanels="1")
    with pytest.raises(ValueError, match="dataset 'croa' is unknown; did you mean 'cora'"):
        configure("croa")


def test_every_default_of_the_table_is_valid() -> None:
    for row in ROWS:
        for dataset in row.datasets:
            if any(c in dataset for c in "*?:") or dataset in TASKS:
                continue
            for model in row.models:
                chosen = None if model == "*" else model
                config = configure(dataset, chosen)
                for name, value in defaults(dataset, chosen).options.items():
                    assert config.model_options[name] == value


def test_a_config_survives_json() -> None:
    import json

    config = configure("texas", "gcn", seeds="3,5", grad_clip=1)
    assert from_json(json.loads(json.dumps(to_json(config)))) == config
    with pytest.raises(ValueError, match=r"unknown fields \['speed'\]"):
        from_json({"dataset": "cora", "speed": 3})
