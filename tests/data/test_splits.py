"""Splits: disjoint, in proportion, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gnnlib.data.splits import LinkSplit, Split, fold_splits, link_split, mask_splits, stratified_split


def whole(split: Split, count: int) -> bool:
    """Every item is in exactly one part."""
    return torch.cat([split.train, split.val, split.test]).sort().values.equal(torch.arange(count))


def test_masks_of_one_and_of_several_splits() -> None:
    train, val, test = torch.tensor([[1, 0], [0, 1], [0, 0], [0, 0]]), torch.zeros(4, 2), torch.ones(4, 2)
    first, second = mask_splits(train, val, test)
    assert first.train.tolist() == [0]
    assert second.train.tolist() == [1]
    (only,) = mask_splits(train[:, 0].bool(), val[:, 0].bool(), test[:, 0].bool())
    assert only.train.tolist() == [0]
    assert only.val.numel() == 0
    assert only.test.dtype == torch.int64


def test_stratified_split() -> None:
    y = np.repeat([0, 1, 2], [50, 100, 150])
    split = stratified_split(y, train_per_class=10, num_val=54, seed=3)
    assert whole(split, 300)
    assert np.bincount(y[split.train]).tolist() == [10, 10, 10]
    assert np.bincount(y[split.val]).tolist() == [8, 18, 28]  # 54 in proportion 40 : 90 : 140
    again, other = (stratified_split(y, 10, 54, seed) for seed in (3, 4))
    assert again.train.equal(split.train)
    assert not other.train.equal(split.train)


def test_seeded_splits_never_change() -> None:
    """The stream of RandomState is frozen, so these very numbers hold on every machine and version."""
    split = stratified_split(np.arange(12) % 2, train_per_class=2, num_val=4, seed=0)
    assert split.train.tolist() == [1, 4, 6, 11]


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_folds(kind: str) -> None:
    y = np.arange(60) % 3 if kind == "classes" else np.linspace(0, 1, 60)
    splits = fold_splits(y)
    assert len(splits) == 10
    assert all(whole(split, 60) for split in splits)
    assert torch.cat([split.test for split in splits]).sort().values.equal(torch.arange(60))
    assert all(a.val.equal(b.test) for a, b in zip(splits, splits[1:] + splits[:1], strict=True))
    if kind == "classes":
        assert all(np.bincount(y[split.test]).tolist() == [2, 2, 2] for split in splits)
    assert splits[0].test.equal(fold_splits(y)[0].test)


def keys(pairs: torch.Tensor, cols: int) -> set[int]:
    return set((pairs[0] * cols + pairs[1]).tolist())


def positives(split: LinkSplit) -> list[torch.Tensor]:
    return [split.train_edges, split.val_pos, split.test_pos]


def test_link_split_of_an_undirected_graph() -> None:
    full = torch.combinations(torch.arange(30)).t()
    pairs = full[:, torch.randperm(full.size(1))[:200]]
    split = link_split(pairs, (30, 30), 0.05, 0.1, seed=1)
    assert [part.size(1) for part in positives(split)] == [170, 10, 20]
    assert (split.val_neg.size(1), split.test_neg.size(1)) == (10, 20)
    edges = [keys(part, 30) for part in positives(split)]
    assert set.union(*edges) == keys(pairs, 30)
    assert sum(map(len, edges)) == 200
    negatives = keys(split.val_neg, 30) | keys(split.test_neg, 30)
    assert len(negatives) == 30
    assert not negatives & keys(pairs, 30)
    assert bool((split.val_neg[0] < split.val_neg[1]).all())
    assert link_split(pairs, (30, 30), 0.05, 0.1, seed=1).val_neg.equal(split.val_neg)
    assert not link_split(pairs, (30, 30), 0.05, 0.1, seed=2).val_neg.equal(split.val_neg)


def test_link_split_of_incidences() -> None:
    pairs = torch.stack([torch.arange(40) % 8, torch.arange(40) // 8])
    split = link_split(pairs, (8, 20), 0.25, 0.25, seed=0, undirected=False)
    negatives = keys(split.val_neg, 20) | keys(split.test_neg, 20)
    assert len(negatives) == 20
    assert not negatives & keys(pairs, 20)
    assert int(split.test_neg[1].max()) < 20


def test_every_non_edge_can_be_drawn() -> None:
    full = torch.combinations(torch.arange(6)).t()  # 15 pairs
    split = link_split(full[:, :12], (6, 6), 0.0, 0.25, seed=0)
    assert keys(split.test_neg, 6) == keys(full[:, 12:], 6)
    with pytest.raises(ValueError, match="6 non-edges are wanted but only 3 exist"):
        link_split(full[:, :12], (6, 6), 0.25, 0.25, seed=0)


def test_half_of_the_validation_edges_may_go_back_to_training() -> None:
    full = torch.combinations(torch.arange(40)).t()
    pairs = full[:, torch.randperm(full.size(1))[:203]]
    split = link_split(pairs, (40, 40), 0.2, 0.2, seed=1, returned=0.5)
    assert [part.size(1) for part in positives(split)] == [143, 20, 40]  # 70, 10 and 20 %
    assert (split.val_neg.size(1), split.test_neg.size(1)) == (40, 40)
    edges = [keys(part, 40) for part in positives(split)]
    assert set.union(*edges) == keys(pairs, 40)
    assert sum(map(len, edges)) == 203
    negatives = keys(split.val_neg, 40) | keys(split.test_neg, 40)
    assert len(negatives) == 80
    assert not negatives & keys(pairs, 40)
    plain = link_split(pairs, (40, 40), 0.2, 0.2, seed=1)
    assert plain.test_pos.equal(split.test_pos)
    assert plain.val_neg.equal(split.val_neg)
    assert keys(split.val_pos, 40) < keys(plain.val_pos, 40)
