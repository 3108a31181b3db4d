"""Metrics by hand-worked values, for arrays and tensors, with clear complaints."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gnnlib.data import get_metric, metric_names
from gnnlib.data.metrics import Metric

LOGITS = [[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.5, 0.2, 0.1], [0.0, 1.0, 4.0]]


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
def test_arrays_tensors_and_lists(kind: type) -> None:
    assert get_metric("accuracy")(kind([0, 1, 1, 2]), kind(LOGITS)) == 0.75
    assert get_metric("accuracy").fn(kind([0, 1, 1, 2]), kind(LOGITS)) == 0.75


def test_accuracy_takes_class_numbers_and_columns() -> None:
    accuracy = get_metric("accuracy")
    assert accuracy(torch.tensor([[0], [1], [1]]), torch.tensor([0, 1, 0])) == pytest.approx(2 / 3)
    assert accuracy(torch.tensor([0, 1]), torch.randn(2, 3, requires_grad=True)) in (0.0, 0.5, 1.0)
    with pytest.raises(ValueError, match=r"accuracy: scores of shape \[2\] came where class scores"):
        accuracy([0, 1], [0.3, 0.9])


def test_macro_f1() -> None:
    # class 0: p 1/2 r 1 -> 2/3; class 1: p 1 r 1/2 -> 2/3; class 2: 1
    assert get_metric("f1")([0, 1, 1, 2], LOGITS) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_roc_auc(shape: tuple[int, ...]) -> None:
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    assert get_metric("roc_auc")(labels.reshape(shape), scores.reshape(shape)) == 0.75
    assert get_metric("roc_auc")(labels, np.stack([-scores, scores], axis=1)) == 0.75
    assert get_metric("auc")(labels, scores) == 0.75


def test_missing_labels_and_empty_tasks_are_left_out() -> None:
    labels = np.array([[0, 1, 1], [0, np.nan, 1], [1, 0, 1], [1, 1, 1]])
    scores = np.array([[0.1, 0.9, 0], [0.4, 0.0, 0], [0.35, 0.5, 0], [0.8, 0.6, 0]])
    assert get_metric("roc_auc", "multilabel")(labels, scores) == pytest.approx((0.75 + 1.0) / 2)
    # ranking 0.8+ 0.4- 0.35+ 0.1-: precision 1 and 2/3
    assert get_metric("average_precision")(labels[:, :1], scores[:, :1]) == pytest.approx((1 + 2 / 3) / 2)


def test_errors_of_regression() -> None:
    assert get_metric("mae")([[1.0], [2.0]], [[2.0], [0.0]]) == 1.5
    assert get_metric("rmse")([1.0, 2.0], [[2.0], [0.0]]) == pytest.approx(math.sqrt(2.5))
    assert get_metric("mae")([1.0, math.nan], [2.0, 0.0]) == 1.0
    assert not get_metric("rmse").higher_is_better
    assert get_metric("rmse").best([3.0, 1.0]) == 1.0
    assert get_metric("auc").best([0.3, 0.5]) == 0.5


def test_rankings() -> None:
    labels, scores = [1, 1, 1, 0, 0, 0], [0.9, 0.5, 0.1, 0.8, 0.4, 0.2]
    assert get_metric("hits@1")(labels, scores) == pytest.approx(1 / 3)
    assert get_metric("hits@2")(labels, scores) == pytest.approx(2 / 3)
    assert get_metric("hits@9")(labels, scores) == 1.0
    assert get_metric("mrr")(labels, scores) == pytest.approx((1 + 1 / 2 + 1 / 4) / 3)
    assert get_metric("mrr")([1, 0, 0], [0.5, 0.5, 0.1]) == pytest.approx(1 / 1.5)  # a tie: rank 1 or 2
    assert get_metric("hits@1")([1, 0], [0.5, 0.5]) == 0.0  # a tie is no hit


def test_half_precision_widens() -> None:
    assert get_metric("accuracy")(torch.tensor([1]), torch.tensor([[0.0, 1.0]], dtype=torch.bfloat16)) == 1.0


@pytest.mark.parametrize("name", [name for name in metric_names() if not name.endswith("@K")])
def test_scores_must_be_finite_and_as_many_as_labels(name: str) -> None:
    metric = get_metric(name)
    assert isinstance(metric, Metric)
    labels = np.array([0, 1, 1])
    with pytest.raises(ValueError, match=f"{name}: 1 of 3 score rows hold NaN or infinity; check the model"):
        metric(labels, np.array([[0.0, 1.0], [np.nan, 1.0], [1.0, 2.0]]))
    with pytest.raises(ValueError, match=f"{name}: 3 labels but 2 scores"):
        metric(labels, np.zeros((2, 2)))
    with pytest.raises(ValueError, match=f"{name}: no labels came"):
        metric(labels[:0], np.zeros((0, 2)))


def test_undefined_and_unknown() -> None:
    with pytest.raises(ValueError, match="roc_auc: the labels hold one class only"):
        get_metric("roc_auc")([1, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="metric 'acuracy' is unknown; did you mean 'accuracy'"):
        get_metric("acuracy")
    for bad in ("hits@", "hits@0", "hits@x"):
        with pytest.raises(ValueError, match="K must be a positive whole number"):
            get_metric(bad)
    with pytest.raises(ValueError, match=r"rmse: labels of shape \[2, 1\] but predictions of shape \[2, 3\]"):
        get_metric("rmse")([1.0, 2.0], np.zeros((2, 3)))


@pytest.mark.parametrize("name", ["hits@1", "hits@9", "mrr"])
def test_without_a_true_pair_a_ranking_has_no_score(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: no pair is true \(label 1\), so it is undefined"):
        get_metric(name)([0, 0], [0.5, 0.6])
    with pytest.raises(ValueError, match=r"labels of shape \[2\] but scores of shape \[2, 2\]"):
        get_metric(name)([0, 1], np.zeros((2, 2)))


@pytest.mark.parametrize("name", ["mae", "rmse", "mape", "bitwise_accuracy"])
def test_without_a_label_there_is_no_score(name: str) -> None:
    with pytest.raises(ValueError, match="every label is missing"):
        get_metric(name)(np.full((2, 1), np.nan), np.ones((2, 1)))


def test_filtered_mrr() -> None:
    # graph 0: ranks 1 and 2.5 (one above, one level); graph 7: rank 2
    true = [[0, 0, 1], [0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 1, 0], [7, 2, 0], [7, 2, 1]]
    score = [0.9, 0.1, 0.8, 0.5, 0.5, 2.0, 1.0]
    expected = ((1 + 1 / 2.5) / 2 + 1 / 2) / 2
    assert get_metric("filtered_mrr")(true, score) == pytest.approx(expected)
    assert get_metric("filtered_mrr")(torch.tensor(true), torch.tensor(score)) == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"filtered_mrr: labels of shape \[2\] came; pass \[n, 3\]"):
        get_metric("filtered_mrr")([0, 1], [0.5, 0.1])
    with pytest.raises(ValueError, match="no true answer or several"):
        get_metric("filtered_mrr")([[0, 0, 0], [0, 0, 0]], [0.5, 0.1])
