"""The parts of the report by hand: numbers in words, axes, curves, counts, components."""

from __future__ import annotations

import numpy as np
import pytest

from gnnlib.train.report.curves import mean_curve
from gnnlib.train.report.outcome import confusion_counts
from gnnlib.train.report.picture import principal_components
from gnnlib.train.report.plot import axis
from gnnlib.train.report.words import duration, is_percent, memory, metric_title, number, plain, score


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (0.8149, "accuracy", "81.5"),
        (0.9124, "auc", "0.912"),
        (1.23456, "rmse", "1.235"),
        (0.6666, "hits@20", "66.7"),
        (None, "accuracy", "\N{EN DASH}"),
        (float("nan"), "auc", "\N{EN DASH}"),
    ],
)
def test_scores_are_written_as_the_field_does(value: float | None, metric: str, text: str) -> None:
    assert score(value, metric) == text


def test_numbers_times_sizes() -> None:
    assert [number(v) for v in (0, 1, 0.5, 1234.5678, 1e-5, -2.0, None)] == [
        "0",
        "1",
        "0.5",
        "1235",
        "1e\N{MINUS SIGN}05",
        "\N{MINUS SIGN}2",
        "\N{EN DASH}",
    ]
    assert [duration(v) for v in (0.123, 1.9, 59.4, 61, 7500, None)] == [
        "0.12 s",
        "1.9 s",
        "59 s",
        "1 min 1 s",
        "2 h 5 min",
        "\N{EN DASH}",
    ]
    assert memory(512 * 2**20) == "512 MiB"
    assert memory(3 * 2**30) == "3.00 GiB"
    assert plain([0, 1, None]) == "0, 1, \N{EN DASH}"
    assert plain(5e-4) == "0.0005"
    assert metric_title("rocauc") == "ROC-AUC"
    assert metric_title("hits@20") == "Hits@20"
    assert is_percent("accuracy")
    assert not is_percent("rmse")


def test_axes_have_round_ticks_that_cover_the_values() -> None:
    y = axis(0.13, 1.97)
    assert (y.low, y.high) == (0.0, 2.0)
    assert y.labels == ("0.0", "0.5", "1.0", "1.5", "2.0")
    percent = axis(0.2, 0.83, percent=True)
    assert percent.labels == ("20", "40", "60", "80", "100")
    flat = axis(3.0, 3.0)
    assert flat.low < 3.0 < flat.high
    tight = axis(1, 7, tight=True)
    assert (tight.low, tight.high) == (1, 7)
    np.testing.assert_allclose(tight.place(np.array([1.0, 4.0, 7.0])), [0, 0.5, 1])


def test_the_mean_curve_ends_where_fewer_than_half_of_the_runs_go_on() -> None:
    runs = [
        (np.array([1.0, 2.0, 3.0, 4.0]), np.array([4.0, 3.0, 2.0, 1.0])),
        (np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 0.0])),
        (np.array([1.0, 3.0]), np.array([0.0, 1.0])),
    ]
    epochs, values = mean_curve(runs)
    assert epochs.tolist() == [1, 2, 3]
    np.testing.assert_allclose(values, [2, 2, 1])


def test_confusion_counts_by_hand() -> None:
    counts = confusion_counts(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


def test_principal_components_find_a_line() -> None:
    t = np.linspace(-1, 1, 50)
    plane, share = principal_components(np.outer(t, [3.0, 4.0, 0.0]))
    np.testing.assert_allclose(np.abs(plane[:, 0]), np.abs(5 * t), atol=1e-9)
    np.testing.assert_allclose(share, [1, 0], atol=1e-9)
    plane, share = principal_components(np.ones((4, 1)))
    assert plane.shape == (4, 2)
    assert share.tolist() == [0, 0]
