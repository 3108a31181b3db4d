"""Recall, precision and NDCG of the first K of a ranking, the mean over its users."""

from __future__ import annotations

import numpy as np

__all__ = ["at_k", "first_hits", "MEASURES"]

MEASURES = ("ndcg", "precision", "recall")


def at_k(measure: str, hits: np.ndarray, relevant: np.ndarray, k: int) -> float:
    r"""A measure of the first k places, averaged over the users who have a relevant item.

    With r items in the first k that are relevant, of R that are: recall is r / R, precision r / k, and NDCG
    the sum of :math:`1 / \log_2(p + 1)` over the places p of hits, divided by what the first
    min(k, R) places give.

    Args:
        measure: one of :data:`MEASURES`.
        hits: whether the item in each place is relevant, ``[n, K]`` with K at least k, or all items there
            are.
        relevant: R of each user, ``[n]``.
        k: places that count.

    Raises:
        ValueError: when no user has a relevant item.
    """
    some = relevant > 0
    if not some.any():
        raise ValueError("no user has a relevant item, so it is undefined")
    hits, relevant = hits[some, :k].astype(np.float64), relevant[some]
    if measure == "recall":
        return float((hits.sum(1) / relevant).mean())
    if measure == "precision":
        return float((hits.sum(1) / k).mean())
    discount = 1 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[0.0], discount.cumsum()])[np.minimum(relevant, k)]
    return float(((hits * discount[: hits.shape[1]]).sum(1) / best).mean())


def first_hits(label: np.ndarray, score: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits in the first k places of each row, and its relevant items; a NaN label is no candidate.

    Of equal scores the item with the lower number comes first.

    Shapes: label ``[n, M]`` of 0, 1 and NaN, score ``[n, M]`` -> ``[n, min(k, M)]`` and ``[n]``.
    """
    if label.ndim != 2 or label.shape != score.shape:
        raise ValueError(
            f"labels of shape {list(label.shape)} and scores of shape {list(score.shape)} came; pass a row a "
            "user and a column an item"
        )
    candidate = ~np.isnan(label.astype(np.float64))
    order = np.argsort(np.where(candidate, -score, np.inf), axis=1, kind="stable")[:, :k]
    relevant = candidate & (label > 0.5)
    return np.take_along_axis(relevant, order, axis=1), relevant.sum(1)
