"""The handwritten digits that ship with scikit-learn, as a nearest-neighbour graph."""

from __future__ import annotations

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.utils import to_undirected

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.readers import Source
from gnnlib.data.splits import stratified_split


def read(source: Source) -> Parts:
    """Build the graph: options ``neighbors``, ``train_per_class``, ``val``, ``splits``."""
    from sklearn.datasets import load_digits

    options = source.card.options
    images, labels = load_digits(return_X_y=True)
    edge_index = torch.from_numpy(nearest(images, int(options["neighbors"])))
    data = Data(
        x=torch.from_numpy(images / 16).float(),  # grey levels 0..16 -> 0..1
        edge_index=to_undirected(edge_index, num_nodes=len(labels)),
        y=torch.from_numpy(labels).long(),
    )
    splits = [
        stratified_split(labels, int(options["train_per_class"]), int(options["val"]), seed)
        for seed in range(int(options["splits"]))
    ]
    return Parts(Graphs([data], source.card.name), splits, [f"seed-{seed}" for seed in range(len(splits))])


def nearest(points: np.ndarray, k: int) -> np.ndarray:
    """Return ``[2, N k]``: each of N points with integer coordinates receives an edge from its k nearest.

    Squared distances of small whole numbers are exact in float64, and of equally near points the one
    with the smaller number comes first, so the graph is the same on every machine.
    """
    points = points.astype(np.float64)
    square = (points**2).sum(axis=1)
    distance = (square[:, None] + square[None, :] - 2 * points @ points.T).astype(np.int64)
    np.fill_diagonal(distance, np.iinfo(np.int64).max // (2 * len(points)))  # never its own neighbour
    rank = distance * len(points) + np.arange(len(points))  # distinct: distance first, then number
    near = np.sort(np.argpartition(rank, k, axis=1)[:, :k], axis=1)  # [N, k]
    return np.stack([near.reshape(-1), np.repeat(np.arange(len(points)), k)])
