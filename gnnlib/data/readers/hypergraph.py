"""Hypergraphs with labelled nodes, one npz file each."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch_geometric.data.hypergraph_data import HyperGraphData

from gnnlib.data.card import Card
from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.readers import Source
from gnnlib.data.splits import Split, shared_split


def read(source: Source) -> Parts:
    """Open ``hyperedge_index [2, nnz], y [N]`` and features ``x [N, F]``, or a CSR of them in ``x_*`` arrays.

    Options of the card: ``feature_noise`` and ``feature_dim`` make features of labels and Gaussian noise
    where the source has none. ``splits`` seeded ones with the shares ``train`` and ``val``, or, without, the
    file's own ``train_masks [S, N]``, whose remaining nodes are the test.
    """
    (path,) = source.files.files.values()
    card = source.card
    with np.load(path, allow_pickle=False) as content:
        arrays = {key: content[key] for key in content.files}
    index = torch.from_numpy(arrays["hyperedge_index"].astype(np.int64))
    y = arrays["y"].astype(np.int64)
    data = HyperGraphData(x=_features(card, arrays, y), edge_index=index, y=torch.from_numpy(y))
    data.num_hyperedges = int(index[1].max()) + 1
    splits, names = _splits(card, arrays, len(y))
    return Parts(Graphs([data], card.name), splits, names)


def _features(card: Card, arrays: dict[str, np.ndarray[Any, Any]], y: np.ndarray[Any, Any]) -> torch.Tensor:
    if "x" in arrays:
        return torch.from_numpy(arrays["x"].astype(np.float32))
    if "x_data" in arrays:
        x = np.zeros(tuple(arrays["x_shape"]), dtype=np.float32)
        rows = np.repeat(np.arange(len(x)), np.diff(arrays["x_indptr"]))
        x[rows, arrays["x_indices"]] = arrays["x_data"]
        return torch.from_numpy(x)
    noise, width = float(card.options["feature_noise"]), int(card.options["feature_dim"])
    made = np.random.RandomState(0).normal(
        0.0, noise, (len(y), width)
    )  # a frozen stream: the same everywhere
    made[np.arange(len(y)), y] += 1.0
    return torch.from_numpy(made.astype(np.float32))


def _splits(card: Card, arrays: dict[str, np.ndarray[Any, Any]], count: int) -> tuple[list[Split], list[str]]:
    options = card.options
    if "splits" in options:
        made = [
            shared_split(count, float(options["train"]), float(options["val"]), seed)
            for seed in range(int(options["splits"]))
        ]
        return made, [f"seed-{k}" for k in range(len(made))]
    masks = torch.from_numpy(arrays["train_masks"].astype(bool))
    nothing = torch.empty(0, dtype=torch.int64)
    found = [Split(mask.nonzero().view(-1), nothing, (~mask).nonzero().view(-1)) for mask in masks]
    return found, [f"mask-{k}" for k in range(len(found))]
