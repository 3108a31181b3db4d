"""Hyperbolic space: distances in the ball, how well they keep those of a graph, points from distances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnnlib.embed.base import NodeEmbedding
from gnnlib.embed.graph import as_graph
from gnnlib.sparse import CSR

__all__ = ["distortion", "HyperbolicMDS", "poincare_distance"]

Floats = NDArray[np.float64]
#: Distance from the origin up to which a ball coordinate keeps a bit in float64.
REACH = 36.0


def hop_distances(graph: Any, num_nodes: int | None = None) -> Floats:
    """Steps of the shortest paths between all nodes whatever the weights, infinite between components.

    Shapes: -> float64 ``[N, N]``.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import shortest_path

    csr = as_graph(graph, num_nodes)
    arrays = np.ones(csr.num_edges), csr.indices.numpy(), csr.indptr.numpy()
    found: Floats = shortest_path(csr_matrix(arrays, shape=csr.shape), directed=False, unweighted=True)
    return found


def poincare_distance(points: Floats) -> Floats:
    r"""Distances between points of the Poincaré ball, all to all.

    .. math:: d(u, v) = \operatorname{arcosh}\Big(1 + 2 \frac{|u - v|^2}{(1 - |u|^2)(1 - |v|^2)}\Big)

    Shapes: ``[N, D]`` -> ``[N, N]``.
    """
    from scipy.spatial.distance import cdist

    inside = 1 - (points**2).sum(1)
    apart = cdist(points, points, "sqeuclidean")
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.arccosh(1 + 2 * apart / (inside[:, None] * inside))
    return found


def distortion(distances: Floats, wanted: Floats, scale: float = 1.0) -> Mapping[str, float]:
    """How far embedded distances are from those of the graph.

    The average is that of |d / scale - d_G| / d_G over ordered pairs of nodes; the worst case is the
    largest ratio of d and d_G times the largest of the inverse ratio, at least 1 and free of scale. MAP:
    for each node, the precision at the rank of each of its neighbours (nodes at the smallest wanted
    distance 1) among all nodes by embedded distance. Sala, De Sa, Gu and Ré, ICML 2018, Sec. 2.

    Args:
        distances: embedded, ``[N, N]``.
        wanted: those of the graph, infinite between components.
        scale: by which the embedded ones are divided.

    Returns: ``average``, ``worst``, ``map`` (NaN where no two nodes are neighbours), and ``skipped``, the
        pairs without a finite distance.
    Raises: ValueError for shapes that differ, a scale that is not above 0, or no pair with a finite distance.
    """
    n = len(wanted)
    if np.shape(distances) != np.shape(wanted) or np.shape(wanted) != (n, n):
        raise ValueError(
            f"distortion: distances have shape {list(np.shape(distances))}, wanted {list(np.shape(wanted))}; "
            "expected [N, N] both"
        )
    if not 0 < scale < np.inf:
        raise ValueError(f"distortion: scale={scale}; expected a finite number above 0")
    pairs = ~np.eye(n, dtype=bool)
    good = pairs & np.isfinite(wanted) & np.isfinite(distances) & (distances > 0)
    if not good.any():
        raise ValueError(
            "distortion: no pair of nodes has finite distances above 0, so there is none to measure"
        )
    ratio = distances[good] / scale / wanted[good]
    precisions = []
    for node in range(n):
        neighbours = np.flatnonzero((wanted[node] == 1) & pairs[node])
        if neighbours.size:
            others = np.sort(distances[node][pairs[node]])
            near = distances[node][neighbours]
            rank = np.searchsorted(others, near, side="right")
            hits = np.searchsorted(np.sort(near), near, side="right")
            precisions.append(float((hits / rank).mean()))
    return {
        "average": float(np.abs(ratio - 1).mean()),
        "worst": float(ratio.max() / ratio.min()),
        "map": float(np.mean(precisions)) if precisions else float("nan"),
        "skipped": float(pairs.sum() - good.sum()),
    }


class HyperbolicMDS(NodeEmbedding):
    r"""h-MDS: points of hyperbolic space from their distances, exactly where there are such points.

    .. math:: \cosh D = x_0 x_0^\top - X X^\top, \qquad \hat X = U_r \Lambda_r^{1/2}

    with the r largest positive eigenvalues of -cosh D. Sala, De Sa, Gu and Ré, ICML 2018, Sec. 4.2.

    Args:
        dim: r.
        scale: tau, above 0, by which the distances are multiplied before.

    Shapes: a connected graph of N nodes, whose distances are steps (weights do not count), or with
        :meth:`fit_distances` distances ``[N, N]`` -> ``embedding_`` float32 ``[N, dim]`` in the Poincaré
        ball, ``hyperboloid_`` float64 ``[N, dim]`` and ``distances_``, those embedded.
    Cost: O(N^3) time, O(N^2) memory.
    Raises: ValueError for no nodes, infinite distances, or a scale for which cosh loses float64's digits.
    """

    hyperboloid_: Floats
    distances_: Floats
    scale_: float

    def __init__(self, dim: int = 10, *, scale: float = 1.0) -> None:
        self.dim = dim
        self.scale = scale

    def _embed(self, graph: CSR) -> Tensor:
        self._check()
        return torch.from_numpy(self._recover(hop_distances(graph)))

    def fit_distances(self, distances: Floats) -> HyperbolicMDS:
        """Embed points whose distances are known.

        Raises: ValueError for distances that are no square matrix, not symmetric, negative, or not 0 from a
            point to itself.
        """
        self._check()
        given = np.asarray(distances, dtype=np.float64)
        if given.ndim != 2 or given.shape[0] != given.shape[1]:
            raise ValueError(f"HyperbolicMDS: the distances have shape {list(given.shape)}; expected [N, N]")
        if not np.allclose(given, given.T) or np.diagonal(given).any() or not (given >= 0).all():
            raise ValueError(
                "HyperbolicMDS: these are no distances; expected a symmetric matrix of numbers of 0 or more, "
                "with 0 from each point to itself"
            )
        self.embedding_ = self._recover(given).astype(np.float32)
        self.n_features_in_ = len(self.embedding_)
        self.isolated_ = np.zeros(len(self.embedding_), bool)
        return self

    def _check(self) -> None:
        self._whole(dim=1)
        self._above_0("scale")

    def _recover(self, distances: Floats) -> Floats:
        from scipy.linalg import eigh

        if not len(distances):
            raise ValueError("HyperbolicMDS: there are no nodes; pass one or more")
        largest = self.scale * float(distances.max())
        if not largest <= REACH / 2:
            raise ValueError(
                f"HyperbolicMDS: the largest scaled distance is {largest:g}; beyond {REACH / 2:g} cosh "
                f"has no digits "
                "left for the rest: choose a smaller scale, and connected graphs"
            )
        n = len(distances)
        rank = min(self.dim, n)
        values, vectors = eigh(-np.cosh(self.scale * distances), subset_by_index=(n - rank, n - 1))
        x = np.zeros((n, self.dim))
        x[:, :rank] = (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1]
        self.hyperboloid_, self.scale_ = x, float(self.scale)
        time = np.sqrt(1 + (x**2).sum(1))
        product = np.maximum(time[:, None] * time - x @ x.T, 1)
        self.distances_ = np.arccosh(product)
        np.fill_diagonal(self.distances_, 0)
        ball: Floats = x / (1 + time[:, None])
        return ball
