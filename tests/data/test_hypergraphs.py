"""The reader of hypergraphs, on files written here and on the benchmark's own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data.hypergraph_data import HyperGraphData

from gnnlib.data import load, names
from gnnlib.data.card import Card, CardFile
from gnnlib.data.splits import shared_split


def write(root: Path, **arrays: Any) -> tuple[CardFile, ...]:
    folder = root / "hypergraph"
    folder.mkdir()
    index = np.array([[0, 1, 2, 2, 3, 0], [0, 0, 0, 1, 1, 3]], dtype=np.int32)
    np.savez(folder / "toy.npz", **{"hyperedge_index": index, "y": np.arange(8) % 3, **arrays})
    digest = hashlib.sha256((folder / "toy.npz").read_bytes()).hexdigest()
    return (CardFile("toy.npz", digest),)


def card(files: tuple[CardFile, ...], **options: Any) -> Card:
    return Card(
        "toy", "toy", "hypergraph", "hypergraph", "here", "none", "some", "accuracy",
        folder="hypergraph", files=files, options=options,
    )  # fmt: skip


def test_dense_features_and_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNLIB_CACHE", str(tmp_path / "cache"))
    x = np.random.RandomState(0).rand(8, 3).astype(np.float32)
    loaded = load(card(write(tmp_path, x=x), splits=2, train=0.5, val=0.25), tmp_path, split=1)
    data = loaded.dataset[0]
    assert isinstance(data, HyperGraphData)
    assert (data.num_nodes, data.num_hyperedges, loaded.num_outputs) == (8, 4, 3)
    assert torch.equal(data.x, torch.from_numpy(x))
    assert data.edge_index.dtype == torch.int64
    parts = [loaded.split.train, loaded.split.val, loaded.split.test]
    assert [p.numel() for p in parts] == [4, 2, 2]
    assert torch.cat(parts).sort().values.tolist() == list(range(8))
    assert loaded.split_names == ["seed-0", "seed-1"]


def test_sparse_features_and_published_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNLIB_CACHE", str(tmp_path / "cache"))
    masks = np.zeros((2, 8), dtype=bool)
    masks[0, [1, 4]] = masks[1, [0, 7]] = True
    sparse = {"x_data": np.array([2.0, 3.0], dtype=np.float32), "x_indices": np.array([1, 0]),
              "x_indptr": np.array([0, 1, 1, 2, 2, 2, 2, 2, 2]), "x_shape": np.array([8, 2])}  # fmt: skip
    loaded = load(card(write(tmp_path, train_masks=masks, **sparse)), tmp_path)
    x = loaded.dataset[0].x
    assert x[0].tolist() == [0, 2]
    assert x[2].tolist() == [3, 0]
    assert int((x != 0).sum()) == 2
    assert loaded.split.train.tolist() == [1, 4]
    assert loaded.split.val.numel() == 0
    assert loaded.split.test.tolist() == [0, 2, 3, 5, 6, 7]


def test_features_made_of_labels_and_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNLIB_CACHE", str(tmp_path / "cache"))
    y = np.arange(3000) % 3
    files = write(tmp_path, y=y)
    made = load(
        card(files, splits=1, train=0.5, val=0.25, feature_noise=0.5, feature_dim=5), tmp_path
    ).dataset[0].x  # fmt: skip
    assert made.shape == (3000, 5)
    for label in range(3):
        mean = made[torch.from_numpy(y == label)].mean(0)
        assert torch.allclose(mean, torch.eye(5)[label], atol=0.08)
    assert float((made - torch.eye(5)[torch.from_numpy(y)]).std()) == pytest.approx(0.5, rel=0.03)


def test_shares_are_rounded_down() -> None:
    split = shared_split(103, 0.5, 0.25, 3)
    assert [p.numel() for p in (split.train, split.val, split.test)] == [51, 25, 27]
    assert torch.equal(split.train, shared_split(103, 0.5, 0.25, 3).train)
    assert not torch.equal(split.train, shared_split(103, 0.5, 0.25, 4).train)


@pytest.mark.parametrize("name", [n for n in names("hypergraph") if n != "walmart-trips"])
def test_the_benchmark(name: str, data_root: Path) -> None:
    """The counts of the card are held against the files by load itself."""
    loaded = load(name, data_root, split=9)
    assert len(loaded.splits) == 10
    assert loaded.task == "hypergraph"
    parts = torch.cat([loaded.split.train, loaded.split.val, loaded.split.test])
    assert parts.sort().values.equal(torch.arange(loaded.dataset[0].num_nodes))


def test_isolated_nodes_are_there(data_root: Path) -> None:
    for name, isolated in (
        ("cocitation-cora", 1274),
        ("cocitation-citeseer", 1854),
        ("coauthorship-cora", 320),
    ):
        data = load(name, data_root).dataset[0]
        assert data.num_nodes - data.edge_index[0].unique().numel() == isolated
