"""City-like road networks: planar, connected, of any size, with the eccentricity labels of City-Networks.

Liang et al., Towards Quantifying Long-Range Interactions in Graph Machine Learning, 2025, Sec. 3.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnlib.sparse import as_csr
from gnnlib.sparse.hops import ball_eccentricity

__all__ = ["city_network", "quantile_classes"]

_JUNCTIONS = 0.75  # of the nodes; the others are bends of roads
_ROADS = 1.55  # roads for each junction: with bends a mean degree of 2.8, as Los Angeles
_USES, _KINDS = 8, 3
_SPEEDS = np.array([30.0, 50.0, 80.0])  # km/h by kind of road


def city_network(num_nodes: int, *, seed: int = 0, radius: int = 16, classes: int = 10) -> Data:
    """A planar road network with coordinates, lengths and eccentricity classes.

    Junctions are drawn with a density that falls off from a few centres. Roads are edges of their Delaunay
    triangulation: a spanning tree of the short ones, and more, the shorter the likelier; so none cross. Bends
    cut roads into pieces in proportion to their lengths.

    Args:
        num_nodes: from 100 to some millions.
        seed: of everything random.
        radius: hops of the ball in which eccentricity is measured, at least 1.
        classes: quantiles of the eccentricity, of ``num_nodes // classes + 1`` nodes each as published, so
            that the last is smaller: of few nodes much smaller, and of very few there are fewer classes.

    Returns: ``x`` ``[N, 16]`` (place 2, streets 1, land use 8, mean length, speed and kinds of the incident
        roads 5; scaled to mean 0 and deviation 1 but for the one-hot columns), ``edge_index`` in both
        directions, ``edge_length`` ``[E]`` and ``pos`` ``[N, 2]`` in metres, ``eccentricity``, ``y`` ``[N]``.

    Raises:
        ValueError: for fewer than 100 nodes, a radius or a number of classes below 1.
    """
    for name, value, least in (("num_nodes", num_nodes, 100), ("radius", radius, 1), ("classes", classes, 1)):
        if value < least:
            raise ValueError(f"city_network: {name}={value}; pass {least} or more")
    random = np.random.RandomState(seed)
    junctions = int(_JUNCTIONS * num_nodes)
    place = _places(junctions, random)
    roads = _roads(place, random)
    kind = np.asarray(random.choice(_KINDS, size=roads.shape[1], p=[0.7, 0.22, 0.08]))
    place, pairs, road = _bent(place, roads, num_nodes - junctions, random)
    length = np.linalg.norm(place[pairs[0]] - place[pairs[1]], axis=1)
    order = np.lexsort((np.r_[pairs[1], pairs[0]], np.r_[pairs[0], pairs[1]]))
    edge_index = torch.from_numpy(np.stack([np.r_[pairs[0], pairs[1]], np.r_[pairs[1], pairs[0]]])[:, order])
    lengths = np.concatenate([length, length])[order]
    both = torch.from_numpy(lengths).float()
    data = Data(edge_index=edge_index, edge_length=both, pos=torch.from_numpy(place).float())
    data.num_nodes = num_nodes
    piece = kind[np.concatenate([road, road])[order]]
    adj = as_csr(edge_index, (num_nodes, num_nodes))
    data.eccentricity = ball_eccentricity(adj, both, radius)
    data.y = quantile_classes(data.eccentricity, classes)
    data.x = _features(place, edge_index.numpy(), lengths, piece, random)
    return data


def quantile_classes(values: Tensor, classes: int) -> Tensor:
    """Cut nodes, sorted by value, into runs of ``n // classes + 1``; of equal ones the lower number first.

    The last run is what is left, as published: of 10 classes, 200 nodes make nine of 21 and one of 11, and 20
    nodes make 7 in all.
    """
    order = values.argsort(stable=True)
    y = torch.empty(values.numel(), dtype=torch.int64)
    y[order] = torch.arange(values.numel()) // (values.numel() // classes + 1)
    return y


def _places(count: int, random: np.random.RandomState) -> np.ndarray:
    """Points in metres, about 90 m apart in the centres and farther outside."""
    side = 90.0 * count**0.5
    centres = random.rand(5, 2) * side * 0.6 + side * 0.2
    share = random.multinomial(count, [0.4, 0.2, 0.1, 0.05, 0.05, 0.2])
    spread = side * np.array([0.16, 0.1, 0.08, 0.08, 0.08])
    parts = [
        c + s * random.standard_normal((k, 2)) for c, s, k in zip(centres, spread, share[:5], strict=True)
    ]
    return np.concatenate([*parts, random.rand(share[5], 2) * side])


def _roads(place: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial import Delaunay

    corner = Delaunay(place).simplices
    pairs = np.concatenate([corner[:, [0, 1]], corner[:, [1, 2]], corner[:, [0, 2]]])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0).astype(np.int64)
    length = np.linalg.norm(place[pairs[:, 0]] - place[pairs[:, 1]], axis=1)
    weight = length * (0.5 + random.rand(length.size))
    n = place.shape[0]
    tree = minimum_spanning_tree(
        coo_matrix((weight, (pairs[:, 0], pairs[:, 1])), shape=(n, n)).tocsr()
    ).tocoo()
    in_tree = np.isin(
        pairs[:, 0] * n + pairs[:, 1],
        np.minimum(tree.row, tree.col).astype(np.int64) * n + np.maximum(tree.row, tree.col),
    )
    more = max(0, int(_ROADS * n) - int(in_tree.sum()))
    weight[in_tree] = np.inf
    keep = in_tree.copy()
    keep[np.argsort(weight, kind="stable")[:more]] = True
    return np.ascontiguousarray(pairs[keep].T)


def _bent(
    place: np.ndarray, roads: np.ndarray, bends: int, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, pieces ``[2, m]`` and the road of each piece, after cutting roads at ``bends`` points."""
    length = np.linalg.norm(place[roads[0]] - place[roads[1]], axis=1)
    cuts = random.multinomial(bends, length / length.sum())
    road_of_bend = np.repeat(np.arange(length.size), cuts)
    first = np.cumsum(cuts) - cuts
    rank = np.arange(bends) - first[road_of_bend]
    share = ((rank + 1) / (cuts[road_of_bend] + 1))[:, None]
    points = place[roads[0, road_of_bend]] * (1 - share) + place[roads[1, road_of_bend]] * share
    pieces = cuts + 1
    road = np.repeat(np.arange(length.size), pieces)
    step = np.arange(road.size) - (np.cumsum(pieces) - pieces)[road]
    bend = place.shape[0] + first[road] + step  # the bend at the far end of a piece, if it has one
    start = np.where(step == 0, roads[0, road], bend - 1)
    stop = np.where(step == cuts[road], roads[1, road], bend)
    return np.concatenate([place, points]), np.stack([start, stop]), road


def _features(
    place: np.ndarray, ends: np.ndarray, length: np.ndarray, kind: np.ndarray, random: np.random.RandomState
) -> Tensor:
    n = place.shape[0]
    degree = np.bincount(ends[1], minlength=n)
    site = place[random.randint(n, size=max(_USES, n // 500))]
    use = random.randint(_USES, size=site.shape[0])[_nearest(place, site)]
    road = np.stack([length, _SPEEDS[kind], *np.eye(_KINDS)[kind].T])
    mean = np.stack([np.bincount(ends[1], weights=column, minlength=n) for column in road]) / np.maximum(
        degree, 1
    )
    numbers = np.concatenate([place.T, degree[None], mean])
    spread = numbers.std(axis=1, keepdims=True)
    numbers = (numbers - numbers.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    return torch.from_numpy(
        np.concatenate([numbers[:3].T, np.eye(_USES)[use], numbers[3:].T], axis=1)
    ).float()


def _nearest(place: np.ndarray, site: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(site).query(place)[1])
