"""Metrics: one number that says how good scores are, for numpy arrays and tensors alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from gnnlib.data.ranking import MEASURES, at_k, first_hits
from gnnlib.names import choose

__all__ = ["get_metric", "Metric", "metric_names"]

Kind = Literal["multiclass", "multilabel", "binary", "regression", "ranking"]
Array: TypeAlias = np.ndarray | torch.Tensor
Measure: TypeAlias = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Metric:
    """A metric of a dataset.

    Args:
        name: what it is called.
        higher_is_better: which direction is good.
        kind: what the labels are, and so which loss fits: ``"multiclass"`` (labels ``[n]``, scores
            ``[n, C]``), ``"binary"`` (labels ``[n]`` of 0 and 1, scores ``[n]`` or ``[n, 1]``),
            ``"multilabel"`` (labels and scores ``[n, T]``, NaN where a label is missing),
            ``"regression"`` (labels and scores ``[n]`` or ``[n, T]``) or ``"ranking"`` (labels ``[n]``, 1 for
            an edge and 0 for none, scores ``[n]``; for ndcg@K, precision@K and recall@K both ``[n, M]``, a
            row a user and a column an item, NaN for an item that is no candidate).
        fn: computes it from two numpy arrays or tensors.

    Shapes: ``metric(y_true, y_score) -> float``, the same as ``metric.fn``, with the shapes of its kind.
    Raises: ValueError when shapes disagree, a score is not finite, or the metric is undefined.
    """

    name: str
    higher_is_better: bool
    kind: Kind
    fn: Callable[[Any, Any], float]

    def __call__(self, y_true: Array, y_score: Array) -> float:
        return self.fn(y_true, y_score)

    def best(self, values: Iterable[float]) -> float:
        """Return the best of some values of this metric."""
        return max(values) if self.higher_is_better else min(values)


def checked(name: str, fn: Measure) -> Callable[[Any, Any], float]:
    """Return ``fn`` for arrays and tensors alike, with its arguments checked."""

    def measure(y_true: Any, y_score: Any) -> float:
        true, score = to_numpy(y_true), to_numpy(y_score)
        if len(true) != len(score):
            raise ValueError(
                f"{name}: {len(true)} labels but {len(score)} scores; pass one row of scores a label"
            )
        if len(true) == 0:
            raise ValueError(f"{name}: no labels came; it is undefined for nothing")
        if wrong := int((~np.isfinite(score.reshape(len(score), -1))).any(axis=1).sum()):
            raise ValueError(
                f"{name}: {wrong} of {len(score)} score rows hold NaN or infinity; check the model"
            )
        try:
            return float(fn(true, score))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    return measure


def to_numpy(values: Any) -> np.ndarray:
    """Return a numpy array of a tensor on any device, an array or a list; half precision widens."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
        return np.asarray(values.numpy())
    return np.asarray(values)


def metric_names() -> list[str]:
    """Return the names that :func:`get_metric` takes; ``hits@K`` and others stand for any K."""
    return sorted([*_METRICS, "hits@K", *(f"{m}@K" for m in MEASURES)])


def get_metric(name: str, kind: Kind | None = None) -> Metric:
    """Return a metric by name: accuracy, auc, average_precision, f1, hits@20, mae, mrr, rmse, roc_auc, ...

    Args:
        name: one of :func:`metric_names`.
        kind: another kind of labels than the metric's usual one.

    Raises:
        ValueError: when the name is unknown; the message names the nearest.
    """
    if name.startswith("hits@"):
        k = name.removeprefix("hits@")
        if not k.isdigit() or int(k) == 0:
            raise ValueError(f"metric '{name}': K must be a positive whole number, as in hits@20")
        return Metric(name, True, "ranking", checked(name, lambda true, score: hits(true, score, int(k))))
    measure, at, place = name.partition("@")
    if at and measure in MEASURES:
        if not place.isdigit() or int(place) == 0:
            raise ValueError(f"metric '{name}': K must be a positive whole number, as in {measure}@20")
        return Metric(
            name,
            True,
            "ranking",
            checked(
                name, lambda true, score: at_k(measure, *first_hits(true, score, int(place)), int(place))
            ),
        )
    name = choose("metric", name, metric_names())
    higher, usual, fn = _METRICS[name]
    return Metric(name, higher, kind or usual, checked(name, fn))


def binary_score(score: np.ndarray) -> np.ndarray:
    """Return one score an item from ``[n]``, ``[n, 1]`` or two class scores ``[n, 2]``."""
    if score.ndim == 2 and score.shape[1] == 2:
        return np.asarray(score[:, 1] - score[:, 0])
    if score.ndim == 2 and score.shape[1] == 1:
        return score[:, 0]
    if score.ndim == 1:
        return score
    raise ValueError(f"scores of shape {list(score.shape)} came for two classes; pass [n], [n, 1] or [n, 2]")


def predicted_class(score: np.ndarray) -> np.ndarray:
    """Return the class numbers ``[n]`` of class scores ``[n, C]``, or ``[n]`` class numbers unchanged."""
    if score.ndim == 2 and score.shape[1] > 1:
        return np.asarray(score.argmax(axis=1))
    if np.issubdtype(score.dtype, np.floating):
        raise ValueError(
            f"scores of shape {list(score.shape)} came where class scores [n, C] or whole class numbers [n] "
            f"were expected; pass the logits of every class"
        )
    return score.reshape(-1)


def _accuracy(true: np.ndarray, score: np.ndarray) -> float:
    return float(np.mean(predicted_class(score) == true.reshape(-1)))


def _bitwise_accuracy(true: np.ndarray, score: np.ndarray) -> float:
    """Share of the known labels (not NaN) that a probability above one half, or not above it, tells."""
    if true.shape != score.shape:
        raise ValueError(f"labels of shape {list(true.shape)} but scores of shape {list(score.shape)}")
    known = ~np.isnan(true.astype(np.float64))
    if not known.any():
        raise ValueError("every label is missing (NaN), so it is undefined; pass some")
    return float(np.mean((score[known] > 0.5) == (true[known] > 0.5)))


def _f1(true: np.ndarray, score: np.ndarray) -> float:
    """Macro F1: the mean over classes of the harmonic mean of precision and recall."""
    from sklearn.metrics import f1_score

    return float(f1_score(true.reshape(-1), predicted_class(score), average="macro"))


def _per_task(measure: Measure) -> Measure:
    """Mean over the label columns that hold both classes; missing labels (NaN) are left out."""

    def mean(true: np.ndarray, score: np.ndarray) -> float:
        if true.ndim == 1 or true.shape[1] == 1:
            true, score = true.reshape(-1, 1), binary_score(score).reshape(-1, 1)
        if true.shape != score.shape:
            raise ValueError(f"labels of shape {list(true.shape)} but scores of shape {list(score.shape)}")
        values = []
        for labels, scores in zip(true.T, score.T, strict=True):
            known = ~np.isnan(labels.astype(np.float64))
            if len(np.unique(labels[known])) == 2:
                values.append(measure(labels[known], scores[known]))
        if not values:
            raise ValueError("the labels hold one class only, so it is undefined; pass both classes")
        return float(np.mean(values))

    return mean


def _roc_auc(true: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(true, score))


def _average_precision(true: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(true, score))


def _errors(true: np.ndarray, score: np.ndarray) -> np.ndarray:
    true, score = (a.reshape(len(a), -1).astype(np.float64) for a in (true, score))
    if true.shape != score.shape:
        raise ValueError(f"labels of shape {list(true.shape)} but predictions of shape {list(score.shape)}")
    if np.isnan(true).all():
        raise ValueError("every label is missing (NaN), so it is undefined; pass some")
    return np.asarray((true - score)[~np.isnan(true)])


def _mae(true: np.ndarray, score: np.ndarray) -> float:
    return float(np.abs(_errors(true, score)).mean())


def _mape(true: np.ndarray, score: np.ndarray) -> float:
    """Mean of |error| / |label| over the labels that are known and not 0."""
    error = _errors(true, score)
    label = np.abs(true.reshape(len(true), -1).astype(np.float64))
    label = label[~np.isnan(label)]
    if not label.any():
        raise ValueError("every label is 0, so no relative error is defined")
    return float((np.abs(error)[label > 0] / label[label > 0]).mean())


def _log10_mse(true: np.ndarray, score: np.ndarray) -> float:
    """Mean over targets of log10 of the mean squared error, as the PNA multitask set is judged."""
    true, score = (a.reshape(len(a), -1).astype(np.float64) for a in (true, score))
    if true.shape != score.shape:
        raise ValueError(f"labels of shape {list(true.shape)} but predictions of shape {list(score.shape)}")
    return float(np.log10(np.maximum(((true - score) ** 2).mean(axis=0), 1e-30)).mean())


def _rmse(true: np.ndarray, score: np.ndarray) -> float:
    return float(np.sqrt((_errors(true, score) ** 2).mean()))


def hits(true: np.ndarray, score: np.ndarray, k: int) -> float:
    """Return the share of true pairs that score above the k-th best false pair."""
    positives, negatives = _pairs(true, score)
    if len(negatives) < k:
        return 1.0  # fewer false pairs than k: every true pair is among the first
    return float(np.mean(positives > np.partition(negatives, -k)[-k]))


def _pairs(true: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scores of true and of false pairs, each ``[*]``."""
    if true.size != score.size:
        raise ValueError(f"labels of shape {list(true.shape)} but scores of shape {list(score.shape)}")
    true, score = true.reshape(-1), score.reshape(-1)
    if not (true == 1).any():
        raise ValueError("no pair is true (label 1), so it is undefined; pass some that are")
    return score[true == 1], score[true == 0]


def _mrr(true: np.ndarray, score: np.ndarray) -> float:
    """Mean of 1/rank of each true pair among all false pairs; a tie takes the mean of its ranks."""
    positives, negatives = _pairs(true, score)
    negatives = np.sort(negatives)
    above = len(negatives) - np.searchsorted(negatives, positives, side="right")
    equal_or_above = len(negatives) - np.searchsorted(negatives, positives, side="left")
    return float(np.mean(1.0 / (1.0 + (above + equal_or_above) / 2)))


def filtered_mrr(true: np.ndarray, score: np.ndarray) -> float:
    """Mean over groups of the mean of 1/rank of each true answer among the wrong answers to its question.

    A group is a graph, a question one of its true pairs, and its answers the pairs with the same first node:
    the true one (label 1) and the wrong ones (label 0). Known true pairs beside the one asked for are neither
    and must be left out, which is what "filtered" says. A tie takes the mean of its ranks.

    Shapes: true ``[n, 3]`` of a group, a question's number over all groups, and the label; score ``[n]``.
    """
    if true.ndim != 2 or true.shape[1] != 3:
        raise ValueError(f"labels of shape {list(true.shape)} came; pass [n, 3]: group, question and label")
    group, question, label = (true[:, k].astype(np.int64) for k in range(3))
    score = score.reshape(-1)
    count = int(question.max()) + 1
    asked = np.bincount(question[label == 1], minlength=count)
    if (np.bincount(question, minlength=count) > 0)[asked != 1].any():
        raise ValueError("a question has no true answer or several; pass exactly one with label 1")
    right, owner = np.zeros(count), np.zeros(count, dtype=np.int64)
    right[question[label == 1]] = score[label == 1]
    owner[question] = group
    wrong = label == 0
    above, level = score[wrong] > right[question[wrong]], score[wrong] == right[question[wrong]]
    rank = 1 + np.bincount(question[wrong], above + level / 2, minlength=count)
    groups = owner[asked == 1]
    total = np.bincount(groups, 1 / rank[asked == 1])
    return float((total[np.unique(groups)] / np.bincount(groups)[np.unique(groups)]).mean())


_METRICS: dict[str, tuple[bool, Kind, Measure]] = {
    "accuracy": (True, "multiclass", _accuracy),
    "auc": (True, "ranking", _per_task(_roc_auc)),
    "average_precision": (True, "multilabel", _per_task(_average_precision)),
    "bitwise_accuracy": (True, "multilabel", _bitwise_accuracy),
    "filtered_mrr": (True, "ranking", filtered_mrr),
    "f1": (True, "multiclass", _f1),
    "log10_mse": (False, "regression", _log10_mse),
    "mae": (False, "regression", _mae),
    "mape": (False, "regression", _mape),
    "mrr": (True, "ranking", _mrr),
    "rmse": (False, "regression", _rmse),
    "roc_auc": (True, "binary", _per_task(_roc_auc)),
}
