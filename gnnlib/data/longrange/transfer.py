"""Transfer: a node must learn the class that stands at the far end of a ring, a path or a tree.

Bodnar et al., Weisfeiler and Lehman Go Cellular, NeurIPS 2021, Sec. 5 (ring); Di Giovanni et al., On
Over-Squashing in Message Passing Neural Networks, ICML 2023, Sec. 4 (crossed ring, clique and path).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import coalesce

from gnnlib.names import choose

__all__ = ["SHAPES", "transfer", "transfer_graph"]


class Shape(NamedTuple):
    """A graph with a source and a target: undirected edges, as published with repetitions."""

    num_nodes: int
    pairs: np.ndarray
    source: int


def _ring(size: int) -> Shape:
    node = np.arange(size)
    return Shape(size, np.stack([node, (node + 1) % size]), size // 2)


def _crossed_ring(size: int) -> Shape:
    ring = _ring(size).pairs
    near = np.arange(size // 2)
    cross = [np.stack([near, other]) for other in (size - 1 - near, size + 1 - near)]
    pairs = np.concatenate([ring, *cross], axis=1)
    return Shape(size, pairs[:, (pairs[1] < size) & (pairs[0] != pairs[1])], size // 2)


def _clique_path(size: int) -> Shape:
    half = size // 2
    clique = np.stack(np.triu_indices(half, 1))
    path = np.stack([np.arange(half - 1, size - 1), np.arange(half, size)])
    return Shape(size, np.concatenate([clique, clique[::-1], path], axis=1), size - 1)


def _tree(depth: int) -> Shape:
    size = 2 ** (depth + 1) - 1
    node = np.arange(1, size)
    return Shape(size, np.stack([node, (node - 1) // 2]), size - 1)


SHAPES: dict[str, Callable[[int], Shape]] = {
    "clique-path": _clique_path,
    "crossed-ring": _crossed_ring,
    "ring": _ring,
    "tree": _tree,
}


def transfer_graph(shape: str, size: int, *, compat: bool = False) -> tuple[Tensor, int, int]:
    """Edges in both directions, the number of nodes and the source of a transfer graph; the target is node 0.

    Args:
        shape: ``ring``, ``crossed-ring``, ``clique-path`` (half of the nodes each) or ``tree`` (binary).
        size: nodes, at least 4; for a tree its depth, at least 1.
        compat: keep the repeated edges that the published generators emit.

    Raises:
        ValueError: for an unknown shape or too small a size.
    """
    shape = choose("shape", shape, SHAPES)
    least = 1 if shape == "tree" else 4
    if size < least:
        raise ValueError(f"transfer: size={size} of a {shape}; pass {least} or more")
    made = SHAPES[shape](size)
    pairs = torch.from_numpy(np.ascontiguousarray(made.pairs)).long()
    edge_index = torch.cat([pairs, pairs.flip(0)], dim=1)
    return (edge_index if compat else coalesce(edge_index)), made.num_nodes, made.source


def transfer(
    shape: str, size: int, count: int, *, classes: int = 5, compat: bool = False, offset: int = 0
) -> list[Data]:
    """Graphs in which node 0 must tell the class that the source carries, classes in turn.

    Features are ones, but zeros at the target (node 0) and the one-hot class at the source.

    Args:
        shape, size, compat: as in :func:`transfer_graph`.
        count: how many graphs; their classes go round, so they are balanced.
        classes: how many classes.
        offset: class of the first graph.

    Returns: graphs with ``x`` ``[n, classes]``, ``edge_index``, ``y`` and ``mask`` ``[n]``.

    Raises:
        ValueError: for an unknown shape, too small a size, a negative count or no class.
    """
    if count < 0 or classes < 1:
        raise ValueError(f"transfer: count={count}, classes={classes}; pass 0 or more, and 1 or more")
    edge_index, num_nodes, source = transfer_graph(shape, size, compat=compat)
    mask = torch.zeros(num_nodes, dtype=torch.bool)
    mask[0] = True
    graphs = []
    for k in range(count):
        label = (k + offset) % classes
        x = torch.ones(num_nodes, classes)
        x[0] = 0
        x[source] = torch.nn.functional.one_hot(torch.tensor(label), classes).float()
        y = torch.zeros(num_nodes, dtype=torch.int64)
        y[0] = label
        graphs.append(Data(x=x, edge_index=edge_index, y=y, mask=mask))
    return graphs
