"""Dropout of sparse input features: the same distribution as torch's, by another stream."""

from __future__ import annotations

import pytest
import torch

from gnnlib.sparse.dropout import dropout, feature_dropout


def sparse_features(rows: int = 600, density: float = 0.02) -> torch.Tensor:
    x = torch.rand(rows, 400) + 0.5
    return x * (torch.rand(rows, 400) < density)


def test_zeros_stay_and_the_rest_is_dropped_or_scaled() -> None:
    x = sparse_features()
    out = feature_dropout(x, 0.6, training=True)
    assert out.shape == x.shape
    assert not out[x == 0].any()
    kept = out != 0
    torch.testing.assert_close(out[kept], x[kept] / 0.4)
    share = float(kept.sum()) / float((x != 0).sum())
    assert share == pytest.approx(0.4, abs=0.04)  # 4,800 draws: three deviations are 0.02


def test_the_mean_over_draws_is_the_input() -> None:
    x = sparse_features()
    mean = sum(feature_dropout(x, 0.5, training=True) for _ in range(300)) / 300
    assert float((mean - x).abs().max()) < 0.5
    assert float(mean.sum() / x.sum()) == pytest.approx(1, abs=0.01)


def test_seed_and_call_decide_the_draw() -> None:
    x = sparse_features()
    torch.manual_seed(3)
    first, second = (feature_dropout(x, 0.5, training=True) for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(feature_dropout(x, 0.5, training=True), first)
    assert not torch.equal(first, second)


def test_features_changed_in_place_are_seen() -> None:
    x = sparse_features()
    feature_dropout(x, 0.5, training=True)
    x.zero_()
    x[:, 7] = 2.0
    out = feature_dropout(x, 0.5, training=True)
    assert set(out[:, 7].tolist()) == {0.0, 4.0}
    assert not out[:, :7].any()


@pytest.mark.parametrize(
    "x",
    [
        torch.rand(8, 4),
        torch.rand(400, 400) + 0.1,
        sparse_features().requires_grad_(),
    ],
    ids=["small", "dense", "with gradient"],
)
def test_elsewhere_it_is_plain_dropout(x: torch.Tensor) -> None:
    torch.manual_seed(1)
    expected = dropout(x, 0.3)
    torch.manual_seed(1)
    assert torch.equal(feature_dropout(x, 0.3, training=True), expected)


def test_nothing_is_dropped_in_evaluation() -> None:
    x = sparse_features()
    assert feature_dropout(x, 0.5, training=False) is x
    assert torch.equal(feature_dropout(x, 0.0, training=True), x)


def test_columns_in_another_order_of_memory() -> None:
    x = sparse_features(rows=400).t()
    out = feature_dropout(x, 0.5, training=True)
    kept = out != 0
    torch.testing.assert_close(out[kept], x[kept] * 2)
