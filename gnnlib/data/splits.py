"""Splits of nodes, graphs and links into training, validation and test parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "fold_splits",
    "link_split",
    "LinkSplit",
    "mask_splits",
    "shared_split",
    "Split",
    "stratified_split",
]


@dataclass(frozen=True)
class Split:
    """Which nodes or graphs are for training, validation and test.

    Args:
        train, val, test: their numbers, int64 ``[n]`` each.
    """

    train: Tensor
    val: Tensor
    test: Tensor


@dataclass(frozen=True)
class LinkSplit:
    """Which node pairs are for training, validation and test.

    Args:
        train_edges: known edges, each pair once, int64 ``[2, P]``.
        val_pos, val_neg: edges and non-edges for validation, int64 ``[2, P]``.
        test_pos, test_neg: edges and non-edges for the test, int64 ``[2, P]``.

    For a hypergraph a pair is an incidence: row 0 a node, row 1 a hyperedge.
    """

    train_edges: Tensor
    val_pos: Tensor
    val_neg: Tensor
    test_pos: Tensor
    test_neg: Tensor


def _random(seed: int) -> np.random.RandomState:
    # RandomState is frozen: numpy promises the same stream in every version, default_rng does not,
    # and a seeded split must stay the same split.
    return np.random.RandomState(seed)


def mask_splits(train: Tensor, val: Tensor, test: Tensor) -> list[Split]:
    """Turn boolean masks ``[N]`` or ``[N, S]`` into S splits."""
    columns = [mask.reshape(mask.size(0), -1).bool().t() for mask in (train, val, test)]
    return [Split(*(column.nonzero().view(-1) for column in parts)) for parts in zip(*columns, strict=True)]


def shared_split(count: int, train: float, val: float, seed: int) -> Split:
    """Draw a share of the items for training and one for validation, rounded down; the rest is the test."""
    order = _random(seed).permutation(count)
    a, b = int(train * count), int(train * count) + int(val * count)
    return _sorted_split(order[:a], order[a:b], order[b:])


def stratified_split(y: np.ndarray, train_per_class: int, num_val: int, seed: int) -> Split:
    """Draw ``train_per_class`` items of each class for training; of the rest ``num_val`` for validation.

    The validation part keeps the class proportions as well as whole numbers allow.
    """
    random = _random(seed)
    order = random.permutation(len(y))
    train = np.concatenate([order[y[order] == label][:train_per_class] for label in np.unique(y)])
    rest = order[~np.isin(order, train)]
    # the k-th item of a class takes position (k + 1/2) / (size of the class): sorting by it interleaves
    # the classes in proportion
    position = np.empty(len(rest))
    for label in np.unique(y[rest]):
        members = np.flatnonzero(y[rest] == label)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    rest = rest[np.argsort(position, kind="stable")]
    return _sorted_split(train, rest[:num_val], rest[num_val:])


def fold_splits(y: np.ndarray, num_folds: int = 10, seed: int = 0) -> list[Split]:
    """Cut items into folds; split k tests on fold k, validates on fold k + 1 and trains on the others.

    Folds are stratified by class for integer ``y`` ``[n]`` and plain for real ``y``.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    kind = KFold if np.issubdtype(y.dtype, np.floating) else StratifiedKFold
    folder = kind(num_folds, shuffle=True, random_state=seed)
    folds = [test for _, test in folder.split(np.zeros(len(y)), y)]
    splits = []
    for k in range(num_folds):
        rest = [folds[j] for j in range(num_folds) if j not in (k, (k + 1) % num_folds)]
        splits.append(_sorted_split(np.concatenate(rest), folds[(k + 1) % num_folds], folds[k]))
    return splits


def link_split(
    pairs: Tensor,
    size: tuple[int, int],
    val: float,
    test: float,
    seed: int,
    *,
    undirected: bool = True,
    returned: float = 0.0,
) -> LinkSplit:
    """Hold out a share of the edges, and draw as many non-edges beside each part.

    Non-edges are uniform among all pairs that are no edge, differ from each other and join two
    different nodes (Kipf & Welling, Variational Graph Auto-Encoders, 2016, use this protocol with
    5 % for validation and 10 % for the test). Wang et al., Neural Common Neighbor with Completion for Link
    Prediction, 2024, draw 20 % for each and return half of the validation edges to training, but none of the
    non-edges.

    Args:
        pairs: the edges, each once, int64 ``[2, P]``.
        size: how many values each row of ``pairs`` may take.
        val, test: shares of the edges.
        seed: of the draw.
        undirected: the pair (a, b) is the pair (b, a), and (a, a) is none.
        returned: share of the validation edges, in [0, 1), that are for training after all, rounded up.

    Raises:
        ValueError: when there are too few non-edges.
    """
    random = _random(seed)
    edges = pairs.numpy()
    count = edges.shape[1]
    num_val, num_test = int(count * val), int(count * test)
    order = random.permutation(count)
    negatives = _non_edges(edges, size, num_val + num_test, random, undirected)
    kept = int(num_val * (1 - returned))
    train = edges[:, np.sort(np.concatenate([order[kept:num_val], order[num_val + num_test :]]))]
    val_pos, test_pos = edges[:, order[:kept]], edges[:, order[num_val : num_val + num_test]]
    parts = (train, val_pos, negatives[:, :num_val], test_pos, negatives[:, num_val:])
    return LinkSplit(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))


def _non_edges(
    edges: np.ndarray, size: tuple[int, int], count: int, random: np.random.RandomState, undirected: bool
) -> np.ndarray:
    rows, cols = size
    a, b = (np.minimum(*edges), np.maximum(*edges)) if undirected else edges
    taken = np.unique(a * cols + b)
    pairs_in_all = rows * (rows - 1) // 2 if undirected else rows * cols
    if pairs_in_all - len(taken) < count:
        raise ValueError(
            f"link_split: {count} non-edges are wanted but only {pairs_in_all - len(taken)} exist"
        )
    drawn = np.empty(0, dtype=np.int64)
    while len(drawn) < count:
        a = random.randint(0, rows, 2 * count + 16)
        b = random.randint(0, cols, 2 * count + 16)
        if undirected:
            a, b = np.minimum(a, b), np.maximum(a, b)
        key = (a * cols + b)[(a < b) if undirected else slice(None)]
        drawn = np.concatenate([drawn, key[~np.isin(key, taken)]])
        drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]  # first occurrences, in order
    return np.stack([drawn[:count] // cols, drawn[:count] % cols])


def _sorted_split(*parts: np.ndarray) -> Split:
    return Split(*(torch.from_numpy(np.sort(part).astype(np.int64)) for part in parts))
