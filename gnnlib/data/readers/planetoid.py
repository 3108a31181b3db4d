"""Cora, CiteSeer and PubMed: PyG's reader, the public split, and the geom-gcn masks where on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch_geometric.datasets import Planetoid

from gnnlib.data.loaded import AnySplit, Parts
from gnnlib.data.readers import Source
from gnnlib.data.splits import mask_splits
from gnnlib.data.stage import staged


def read(source: Source) -> Parts:
    """Open a Planetoid dataset; its raw files are pickles whose checksums have been held against the card."""
    name = str(source.card.options["class_name"])
    assert all(source.card.is_checked(file) for file in source.card.files if file.pickled)
    dataset = staged(source.card, source.files, source.digests, name, lambda root: Planetoid(str(root), name))
    data = dataset[0]
    splits: list[AnySplit] = [*mask_splits(data.train_mask, data.val_mask, data.test_mask)]
    masks = [path for key, path in sorted(source.files.files.items()) if key.endswith(".npz")]
    expected = sum(file.path.endswith(".npz") for file in source.card.files)
    if len(masks) == expected:
        splits += [split for path in masks for split in _mask_file(path)]
    names = ["public", *(f"geom-gcn-{k}" for k in range(len(splits) - 1))]
    return Parts(dataset, splits, names)


def _mask_file(path: Path) -> list[AnySplit]:
    with np.load(path, allow_pickle=False) as content:
        masks = [torch.from_numpy(content[f"{part}_mask"]).bool() for part in ("train", "val", "test")]
    return [*mask_splits(*masks)]
