"""TreeNeighborsMatch: the root must fetch, through a bottleneck, the value of the leaf with its key.

Alon and Yahav, On the Bottleneck of Graph Neural Networks and its Practical Implications, ICLR 2021.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch_geometric.data import Data

__all__ = ["tree_neighbors_match"]


def tree_neighbors_match(
    depth: int, *, seed: int = 0, max_permutations: int = 1000, cap: int = 32_000
) -> list[Data]:
    """Complete binary trees whose leaves carry keys and values, the root a key; the label is its value.

    Edges run from child to parent and from each node to itself. ``x`` holds a key and a value for each node:
    ``(k, 0)`` at the root, ``(i, pi(i))`` at leaf i = 1 .. 2^depth, ``(0, 0)`` between. ``mask`` is the root.
    As in the authors' code there are ``min(max_permutations, l!, cap // l)`` distinct permutations of the
    l leaves (the last bound from depth 4 on), each with every key.

    Args:
        depth: from 1 to 12; the root must look so many hops far.
        seed: of the permutations.
        max_permutations: at most so many permutations.
        cap: at most so many graphs for depth 4 and more.

    Returns: graphs with ``x`` int64 ``[2^(depth+1) - 1, 2]``, ``edge_index``, ``y`` and ``mask`` ``[n]``.

    Raises:
        ValueError: for a depth outside 1 .. 12.
    """
    if not 1 <= depth <= 12:
        raise ValueError(f"tree_neighbors_match: depth={depth}; pass 1 to 12")
    leaves, size = 2**depth, 2 ** (depth + 1) - 1
    count = min(max_permutations, math.factorial(leaves))
    if depth > 3:
        count = max(1, min(count, cap // leaves))
    values = _permutations(leaves, count, seed)  # [P, l]
    node = np.arange(1, size)
    every = np.arange(size)
    edge_index = torch.from_numpy(np.stack([np.r_[node, every], np.r_[(node - 1) // 2, every]]))
    x = torch.zeros(count, leaves, size, 2, dtype=torch.int64)
    first = leaves - 1  # the leaves come last in the order by levels
    x[:, :, first:, 0] = torch.arange(1, leaves + 1)
    x[:, :, first:, 1] = torch.from_numpy(values)[:, None]
    x[:, :, 0, 0] = torch.arange(1, leaves + 1)
    mask = torch.zeros(size, dtype=torch.bool)
    mask[0] = True
    y = torch.zeros(count, leaves, size, dtype=torch.int64)
    y[:, :, 0] = torch.from_numpy(values)
    return [
        Data(x=features, edge_index=edge_index, y=label, mask=mask)
        for features, label in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True)
    ]


def _permutations(size: int, count: int, seed: int) -> np.ndarray:
    """Distinct permutations of ``1 .. size``; all of them, in order, where so many are wanted."""
    random = np.random.RandomState(seed)
    found: dict[bytes, np.ndarray] = {}
    while len(found) < count:
        drawn = random.permutation(size) + 1
        found.setdefault(drawn.tobytes(), drawn)
    return np.stack(list(found.values())).astype(np.int64)
