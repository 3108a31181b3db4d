"""The combinatorial construction: trees in hyperbolic space, with as many bits as they need."""

from __future__ import annotations

import functools
import math
import numbers
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnnlib.embed.base import NodeEmbedding
from gnnlib.embed.hyperbolic import Floats, hop_distances
from gnnlib.names import choose
from gnnlib.sparse import CSR

__all__ = ["SarkarEmbedding"]

#: Directions that a node with more neighbours than dimensions chooses from.
POOL = 1000
#: Steps in which they are then pushed apart.
STEPS = 100
#: Beyond this logarithm arcosh(1 + x) and log(2 x) are one number in float64.
FAR = 40.0


class SarkarEmbedding(NodeEmbedding):
    r"""The combinatorial construction: a tree in hyperbolic space, with as many bits as it takes.

    A node's neighbours stand around it in directions that are well apart, at hyperbolic distance tau w, w
    being the weight of the edge, its length (1 without weights); distances in the tree are those in the space
    over tau, up to a factor that falls to 1 as tau grows. Sala, De Sa, Gu and Ré, Representation Tradeoffs
    for Hyperbolic Embeddings, ICML 2018, Alg. 1 in the plane, and its extension to r dimensions: there the
    directions are words of the simplex code where they are at most r, else points of the sphere that are
    chosen one after the other, each as far from the others as it can be. A graph that is no tree is
    embedded as its breadth-first tree, by steps whatever the weights.

    Args:
        epsilon: the largest distortion that tau is chosen for, 1 + epsilon, above 0.
        dim: r, at least 2. More dimensions leave neighbours wider apart, so tau and the bits fall.
        tau: length of an edge of weight 1, above 0; when None from epsilon, the smallest weight and the
            smallest angle between neighbours.
        precision_bits: bits of the arithmetic; when None as many as the depth asks for.
        root: ``"center"``, a node from which the fewest steps reach all others, or the number of a node.

    Shapes: a connected graph of N nodes -> ``embedding_`` float32 ``[N, dim]`` in the ball. Points near its
        edge round to it: ``distances_`` float64 ``[N, N]`` are those of the exact points, in units of the
        space, and ``direction_`` ``[N, dim]`` with ``radius_`` ``[N]``, the distance from the origin, say
        where they are. ``scale_`` is tau, ``bits_`` the bits.
    Cost: O(N dim) operations for the points and O(N^2 dim) for the distances, on numbers of ``bits_`` bits.
    Raises: ValueError for a graph that is not connected, a weight of 0 or another one in the other direction,
        a root that is no node, a parameter out of range, or too few bits.
    """

    distances_: Floats
    radius_: Floats
    direction_: Floats
    scale_: float
    bits_: int

    def __init__(
        self,
        epsilon: float = 0.1,
        *,
        dim: int = 2,
        tau: float | None = None,
        precision_bits: int | None = None,
        root: int | Literal["center"] = "center",
    ) -> None:
        self.epsilon = epsilon
        self.dim = dim
        self.tau = tau
        self.precision_bits = precision_bits
        self.root = root

    def _embed(self, graph: CSR) -> Tensor:
        import mpmath

        self._whole(dim=2, **({} if self.precision_bits is None else {"precision_bits": 1}))
        self._above_0("epsilon", *(() if self.tau is None else ("tau",)))
        hops = hop_distances(graph)
        if not len(hops):
            raise ValueError("SarkarEmbedding: the graph has no nodes; it needs one, its root")
        if not np.isfinite(hops).all():
            raise ValueError("SarkarEmbedding: the graph is not connected; embed each component by itself")
        root = self._root(hops)
        parent = _tree(hops, root)
        length = _lengths(graph, parent, root)
        children: list[list[int]] = [[] for _ in range(len(hops))]
        for node, above in enumerate(parent):
            if node != root:
                children[above].append(node)
        shortest = float(np.delete(length, root).min(initial=np.inf))
        tau = self._tau(children, root) / (shortest if math.isfinite(shortest) else 1.0)
        self.scale_ = tau if self.tau is None else float(self.tau)
        reach = self.scale_ * float(_depths(length, parent, hops[root]).max())
        # a ball coordinate at distance r is 2 e^-r from the edge, and two of them meet in a distance
        needed = 64 + int(4 * reach / math.log(2))
        self.bits_ = needed if self.precision_bits is None else int(self.precision_bits)
        with mpmath.workprec(self.bits_):
            points = _place(children, parent, root, self.scale_ * length, self.dim)
            fixed = [[int(mpmath.nint(mpmath.ldexp(c, self.bits_))) for c in point] for point in points]
            ball = np.array([[float(c) for c in point] for point in points])
        self.distances_, self.radius_ = _all_distances(fixed, self.bits_)
        length = np.linalg.norm(ball, axis=1, keepdims=True)
        self.direction_ = np.divide(ball, length, out=np.zeros_like(ball), where=length > 0)
        return torch.from_numpy(ball)

    def _root(self, hops: Floats) -> int:
        if isinstance(self.root, str):
            choose("SarkarEmbedding: root", self.root, ("center",))
            return int(hops.max(1).argmin())
        if not isinstance(self.root, numbers.Integral) or not 0 <= self.root < len(hops):
            raise ValueError(
                f"SarkarEmbedding: root={self.root}; expected 'center' or a node, 0 to {len(hops) - 1}"
            )
        return int(self.root)

    def _tau(self, children: list[list[int]], root: int) -> float:
        """(1 + eps) / eps times -2 log tan(beta / 2), beta being 1 / 2.4 of the smallest angle."""
        counts = {len(c) + (node != root) for node, c in enumerate(children)}
        angle = min(smallest_angle(count, self.dim) for count in counts)
        return (1 + self.epsilon) / self.epsilon * -2 * math.log(math.tan(angle / 4.8))


@functools.lru_cache(maxsize=256)
def directions(count: int, dim: int) -> Floats:
    """So many unit vectors that are well apart, the same ones every time.

    Shapes: -> ``[count, dim]``.
    """
    if dim == 2:
        angle = 2 * np.pi * np.arange(count) / max(count, 1)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    if count <= dim:
        return _simplex_code(count, dim)
    pool = np.random.RandomState(0).randn(max(POOL, 4 * count), dim)
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    chosen = [0]
    nearest = pool @ pool[0]
    while len(chosen) < count:
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, pool @ pool[chosen[-1]])
    return _spread(pool[chosen])


def _spread(x: Floats) -> Floats:
    """Points of the sphere, each pushed away from the others for a while, mostly from the nearest."""
    best, angle = x, float((x @ x.T - 2 * np.eye(len(x))).max())
    for step in np.geomspace(0.3, 0.003, STEPS):
        away = x[:, None] - x[None]
        near = (away**2).sum(2) + np.eye(len(x))
        push = (away / near[..., None] * (near.min() / near[..., None]) ** 3).sum(1)
        x = x + step * push / max(float(np.linalg.norm(push, axis=1).max()), 1e-300) * np.sqrt(near.min())
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        now = float((x @ x.T - 2 * np.eye(len(x))).max())
        if now < angle:
            best, angle = x, now
    return best


def _simplex_code(count: int, dim: int) -> Floats:
    """Vertices of the hypercube: word i is bits(i) G mod 2, G having all non-zero columns of z bits.

    Two words of the whole length 2^z - 1 differ in 2^(z - 1) places. It is repeated or cut to ``dim``.
    """
    bits = max(count - 1, 1).bit_length()
    row = (np.arange(count)[:, None] >> np.arange(bits)) & 1
    column = (np.arange(1, 2**bits)[None] >> np.arange(bits)[:, None]) & 1
    word = (row @ column) % 2
    place = np.arange(dim) % word.shape[1]
    found: Floats = (1.0 - 2.0 * word[:, place]) / math.sqrt(dim)
    return found


def smallest_angle(count: int, dim: int) -> float:
    """Between two of so many directions; half a turn for fewer than two."""
    if count < 2:
        return math.pi
    if dim == 2:
        return 2 * math.pi / count
    apart = directions(count, dim) @ directions(count, dim).T
    np.fill_diagonal(apart, -1)
    return math.acos(min(1.0, max(-1.0, float(apart.max()))))


def _tree(hops: Floats, root: int) -> NDArray[np.int64]:
    """The parent of each node in a breadth-first tree: its first neighbour that is nearer to the root."""
    depth = hops[root]
    found: NDArray[np.int64] = ((hops == 1) & (depth[None] == depth[:, None] - 1)).argmax(1)
    return found


def _lengths(graph: CSR, parent: NDArray[np.int64], root: int) -> Floats:
    """The length of the edge from each node to its parent; 0 of the root."""
    if graph.value is None:
        return np.where(np.arange(len(parent)) == root, 0.0, 1.0)
    n = graph.num_rows
    a, b = graph.rows.numpy(), graph.indices.long().numpy()
    key, group = np.unique(np.minimum(a, b) * n + np.maximum(a, b), return_inverse=True)
    weight = graph.to_slots(graph.value.detach()).double().numpy()
    low, high = np.full(len(key), np.inf), np.zeros(len(key))
    np.minimum.at(low, group, weight)
    np.maximum.at(high, group, weight)
    if (low != high).any() or not (low > 0).all():
        raise ValueError(
            "SarkarEmbedding: an edge's weight is its length, so it must be above 0 and the same in both "
            "directions; drop edge_weight for a length of 1"
        )
    node = np.arange(n)
    found: Floats = low[
        np.searchsorted(key, np.minimum(node, parent) * n + np.maximum(node, parent)).clip(max=len(key) - 1)
    ]
    found[root] = 0.0
    return found


def _depths(length: Floats, parent: NDArray[np.int64], hops: Floats) -> Floats:
    """The distance of each node from the root along the tree."""
    depth = np.zeros(len(parent))
    for node in hops.argsort(kind="stable")[1:]:
        depth[node] = depth[parent[node]] + length[node]
    return depth


def _swap(mu: Any, x: Any) -> Any:
    """The inversion that takes mu to 0 and 0 to mu, an isometry of the ball and its own inverse.

    It is a + (|a|^2 - 1) (x - a) / |x - a|^2 with a = mu / |mu|^2.
    """
    a = mu / (mu @ mu)
    away = x - a
    return a + (a @ a - 1) / (away @ away) * away


def _around(count: int, dim: int, first: Floats) -> Floats:
    """Directions of so many neighbours, turned by a reflection so that the first points as asked."""
    found = directions(count, dim)
    across = found[0] - first
    size = float(across @ across)
    return found if size < 1e-30 else found - 2 / size * np.outer(found @ across, across)


def _place(
    children: list[list[int]], parent: NDArray[np.int64], root: int, length: Floats, dim: int
) -> list[NDArray[Any]]:
    import mpmath

    points: list[Any] = [None] * len(children)
    points[root] = np.array([mpmath.mpf(0)] * dim)
    queue = [root]
    for node in queue:
        here, count = points[node], len(children[node])
        if node == root:
            ways = directions(count, dim) if count else np.empty((0, dim))
        else:
            above = np.array([float(c) for c in _unit(_swap(here, points[int(parent[node])]))])
            ways = _around(count + 1, dim, above)[1:]
        for child, way in zip(children[node], ways, strict=True):
            radius = mpmath.tanh(mpmath.mpf(float(length[child])) / 2)
            at = _unit(np.array([mpmath.mpf(float(c)) for c in way])) * radius
            points[child] = at if node == root else _swap(here, at)
            if points[child] @ points[child] >= 1:
                raise ValueError(
                    f"SarkarEmbedding: {mpmath.mp.prec} bits do not keep a deep node apart from the edge of "
                    "the ball; raise precision_bits, or leave it out for as many as are needed"
                )
        queue += children[node]
    return points


def _unit(x: Any) -> Any:
    import mpmath

    return x / mpmath.sqrt(x @ x)


def _all_distances(fixed: list[list[int]], bits: int) -> tuple[Floats, Floats]:
    """All distances, and those from the origin, of points whose coordinates are whole multiples of 2^-bits.

    Sums of squares are exact whole numbers; only their logarithms are float64.
    """
    n, one = len(fixed), 1 << (2 * bits)
    square = [sum(c * c for c in point) for point in fixed]
    inside = [math.log2(one - s) - 2 * bits for s in square]
    found, radius = np.zeros((n, n)), np.zeros(n)
    for i, point in enumerate(fixed):
        radius[i] = _arcosh(square[i], bits, 1.0 - inside[i])
        for j in range(i):
            apart = sum((a - b) * (a - b) for a, b in zip(point, fixed[j], strict=True))
            found[i, j] = found[j, i] = _arcosh(apart, bits, 1.0 - inside[i] - inside[j])
    return found, radius


def _arcosh(square: int, bits: int, power: float) -> float:
    """arcosh(1 + x) of x = 2^power square / 4^bits, of small and of very large x."""
    if square == 0:
        return 0.0
    log = math.log(2) * (power + math.log2(square) - 2 * bits)
    return log + math.log(2) if log > FAR else 2 * math.asinh(math.exp(0.5 * log) / math.sqrt(2))
