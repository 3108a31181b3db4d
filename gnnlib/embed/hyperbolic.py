"""Hyperbolic embeddings: trees by construction with as many bits as they need, points from distances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnnlib.embed.base import NodeEmbedding
from gnnlib.embed.graph import as_graph
from gnnlib.sparse import CSR

__all__ = ["distortion", "HyperbolicMDS", "poincare_distance", "SarkarEmbedding"]

Floats = NDArray[np.float64]
#: Distance from the origin up to which a ball coordinate keeps a bit in float64.
REACH = 36.0


def hop_distances(graph: Any, num_nodes: int | None = None) -> Floats:
    """Shortest path lengths between all nodes, infinite between components.

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
    inside = 1 - (points**2).sum(1)
    apart = ((points[:, None] - points[None]) ** 2).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.arccosh(1 + 2 * apart / (inside[:, None] * inside))
    return found


def distortion(distances: Floats, wanted: Floats, scale: float = 1.0) -> Mapping[str, float]:
    """How far embedded distances are from those of the graph.

    The average is that of |d / scale - d_G| / d_G over ordered pairs of nodes; the worst case is the
    largest ratio
    of d and d_G times the largest of the inverse ratio, at least 1 and free of scale. MAP: for each node,
    the precision
    at the rank of each of its neighbours (nodes at the smallest wanted distance 1) among all nodes by
    embedded distance.
    Sala, De Sa, Gu and Ré, ICML 2018, Sec. 2.

    Args:
        distances: embedded, ``[N, N]``.
        wanted: those of the graph, infinite between components.
        scale: by which the embedded ones are divided.

    Returns: ``average``, ``worst``, ``map``, and ``skipped``, the pairs without a finite distance.
    """
    n = len(wanted)
    pairs = ~np.eye(n, dtype=bool)
    good = pairs & np.isfinite(wanted) & np.isfinite(distances) & (distances > 0)
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
        "map": float(np.mean(precisions)),
        "skipped": float(pairs.sum() - good.sum()),
    }


class SarkarEmbedding(NodeEmbedding):
    r"""The combinatorial construction: a tree in the hyperbolic plane, with as many bits as it takes.

    A node's children stand at even angles around it, at hyperbolic distance tau; distances in the tree are
    those
    in the plane over tau, up to a factor that falls to 1 as tau grows. Sala, De Sa, Gu and Ré,
    Representation Tradeoffs
    for Hyperbolic Embeddings, ICML 2018, Alg. 1. A graph that is no tree is embedded as its breadth-first
    tree.

    Args:
        epsilon: the largest distortion that tau is chosen for, 1 + epsilon, above 0.
        tau: length of an edge; from epsilon when None.
        precision_bits: bits of the arithmetic; when None as many as the depth asks for.
        root: ``"center"``, a node of the smallest depth, or the number of a node.

    Shapes: a connected graph of N nodes -> ``embedding_`` float32 ``[N, 2]`` in the ball (points near its
    edge round to
        it: use ``distances_``), ``distances_`` float64 ``[N, N]`` in units of the plane, ``tau_`` and
        ``bits_``.
    Cost: O(N) operations for the points and O(N^2) for the distances, on numbers of ``bits_`` bits.
    Raises: ValueError for a graph that is not connected, or too few bits.
    """

    distances_: Floats
    scale_: float
    tau_: float
    bits_: int

    def __init__(
        self,
        epsilon: float = 0.1,
        *,
        tau: float | None = None,
        precision_bits: int | None = None,
        root: int | Literal["center"] = "center",
    ) -> None:
        self.epsilon = epsilon
        self.tau = tau
        self.precision_bits = precision_bits
        self.root = root

    def _embed(self, graph: CSR) -> Tensor:
        import mpmath

        hops = hop_distances(graph)
        if not np.isfinite(hops).all():
            raise ValueError("SarkarEmbedding: the graph is not connected; embed each component by itself")
        root = int(hops.max(1).argmin()) if self.root == "center" else int(self.root)
        parent = _tree(hops, root)
        children: list[list[int]] = [[] for _ in range(len(hops))]
        for node, above in enumerate(parent):
            if node != root:
                children[above].append(node)
        most = max(len(c) + (node != root) for node, c in enumerate(children))
        beta = math.pi / (1.2 * max(most, 2))
        spread = -2 * math.log(math.tan(beta / 2))
        self.tau_ = (1 + self.epsilon) / self.epsilon * spread if self.tau is None else float(self.tau)
        self.scale_ = self.tau_
        reach = self.tau_ * hops[root].max()
        # a ball coordinate at distance r is 2 e^-r from the edge, and two of them meet in a distance
        needed = 64 + int(4 * reach / math.log(2))
        self.bits_ = needed if self.precision_bits is None else int(self.precision_bits)
        with mpmath.workprec(self.bits_):
            points = _place(children, parent, root, self.tau_)
            self.distances_ = _all_distances(points)
        ball = np.array([[float(z.real), float(z.imag)] for z in points])
        return torch.from_numpy(ball)


def _tree(hops: Floats, root: int) -> NDArray[np.int64]:
    """The parent of each node in a breadth-first tree: its first neighbour that is nearer to the root."""
    depth = hops[root]
    found: NDArray[np.int64] = ((hops == 1) & (depth[None] == depth[:, None] - 1)).argmax(1)
    return found


def _swap(a: Any, z: Any) -> Any:
    """The isometry of the disc that takes a to 0 and 0 to a, applied to z; its own inverse."""
    return (a - z) / (1 - a.conjugate() * z)


def _place(children: list[list[int]], parent: NDArray[np.int64], root: int, tau: float) -> list[Any]:
    import mpmath

    radius = mpmath.tanh(mpmath.mpf(tau) / 2)
    points: list[Any] = [mpmath.mpc(0)] * len(children)
    queue = [root]
    for node in queue:
        count = len(children[node])
        if node == root:
            start, around = mpmath.mpf(0), max(count, 1)
        else:
            start, around = mpmath.arg(_swap(points[node], points[int(parent[node])])), count + 1
        for j, child in enumerate(children[node], 1):
            at = mpmath.expjpi(start / mpmath.pi + mpmath.mpf(2 * j) / around) * radius
            points[child] = at if node == root else _swap(points[node], at)
            if abs(points[child]) >= 1:
                raise ValueError(
                    f"SarkarEmbedding: {mpmath.mp.prec} bits do not keep a deep node apart from the edge "
                    f"of the "
                    "disc; raise precision_bits, or leave it out for as many as are needed"
                )
        queue += children[node]
    return points


def _all_distances(points: list[Any]) -> Floats:
    import mpmath

    n = len(points)
    found = np.zeros((n, n))
    inside = [1 - abs(z) ** 2 for z in points]
    for i in range(n):
        for j in range(i):
            x = 2 * abs(points[i] - points[j]) ** 2 / (inside[i] * inside[j])
            # arcosh(1 + x) without cancellation for small x
            found[i, j] = found[j, i] = float(2 * mpmath.asinh(mpmath.sqrt(x / 2)))
    return found


class HyperbolicMDS(NodeEmbedding):
    r"""h-MDS: points of hyperbolic space from their distances, exactly where there are such points.

    .. math:: \cosh D = x_0 x_0^\top - X X^\top, \qquad \hat X = U_r \Lambda_r^{1/2}

    with the r largest positive eigenvalues of -cosh D. Sala, De Sa, Gu and Ré, ICML 2018, Sec. 4.2.

    Args:
        dim: r.
        scale: tau, by which the distances are multiplied before.

    Shapes: a connected graph of N nodes, or with :meth:`fit_distances` distances ``[N, N]`` ->
    ``embedding_`` float32
        ``[N, dim]`` in the Poincaré ball, ``hyperboloid_`` float64 ``[N, dim]`` and ``distances_``, those
        embedded.
    Cost: O(N^3) time, O(N^2) memory.
    Raises: ValueError for infinite distances, or a scale for which cosh loses float64's digits.
    """

    hyperboloid_: Floats
    distances_: Floats
    scale_: float

    def __init__(self, dim: int = 10, *, scale: float = 1.0) -> None:
        self.dim = dim
        self.scale = scale

    def _embed(self, graph: CSR) -> Tensor:
        return torch.from_numpy(self._recover(hop_distances(graph)))

    def fit_distances(self, distances: Floats) -> HyperbolicMDS:
        """Embed points whose distances are known."""
        self.embedding_ = self._recover(np.asarray(distances, dtype=np.float64)).astype(np.float32)
        self.n_features_in_ = len(self.embedding_)
        self.isolated_ = np.zeros(len(self.embedding_), bool)
        return self

    def _recover(self, distances: Floats) -> Floats:
        from scipy.linalg import eigh

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
