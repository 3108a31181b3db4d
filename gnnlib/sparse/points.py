"""Nearest points and points within a radius, and the graphs that they make.

Neighbours are searched for on the CPU, exactly but where said otherwise; the result is on the device of the
points.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["knn", "knn_graph", "radius", "radius_graph"]

Method: TypeAlias = Literal["auto", "tree", "brute", "approximate"]
Flow: TypeAlias = Literal["source_to_target", "target_to_source"]

#: Dimensions up to which a k-d tree is searched; beyond, it visits most points (3,000 normal points, k = 10,
#: one core of a busy EPYC Milan: in 4 dimensions 34 ms by tree and 253 by distances, in 8 229 and 257, in 16
#: 808 and 256).
TREE_DIMENSIONS = 8
#: Points of more dimensions from which ``auto`` gives up exactness.
MANY = 50_000
#: Distances held at once.
_BLOCK = 1 << 23


def knn(
    x: Tensor,
    y: Tensor,
    k: int,
    batch_x: Tensor | None = None,
    batch_y: Tensor | None = None,
    cosine: bool = False,
    num_workers: int = 1,
    batch_size: int | None = None,
    *,
    method: Method = "auto",
    seed: int = 0,
) -> Tensor:
    r"""Find the k points of x that are nearest to each point of y.

    Args:
        x: the points to find.
        y: the points to find them for.
        k: at least 1; where a set has fewer points, all are found.
        batch_x: the set of each point of x, ascending: neighbours are of the same set.
        batch_y: the set of each point of y, ascending.
        cosine: by angle, not by Euclidean distance.
        num_workers: threads of a tree search; -1 for all cores.
        batch_size: accepted for PyG's sake; sets need no count.
        method: ``tree``, ``brute`` (distances in blocks) or ``approximate`` (pynndescent's neighbour
            descent); ``auto`` takes a tree up to eight dimensions, else distances, and from 50,000 points
            of more dimensions in one set ``approximate``.
        seed: of ``approximate``.

    Shapes: x ``[N, F]``, y ``[M, F]`` -> int64 ``[2, E]``: a point of y over one of x, by y and then by
        distance. Which of several equally distant points comes first, or at all, is arbitrary. No
        gradient.
    Cost: M log N times a power of F by tree; M N F by distances, in blocks of 64 MB.
    Raises: ValueError for shapes that do not fit, k below 1, NaN, or sets in no order; NotImplementedError
        for ``approximate`` with several sets.
    """
    who = "knn"
    points, queries, (set_x, set_y) = _checked(who, x, y, batch_x, batch_y)
    if k < 1:
        raise ValueError(f"{who}: k={k}; at least 1 neighbour is needed")
    if cosine:
        points, queries = (F.normalize(t.double(), dim=-1) for t in (points, queries))
    if method == "auto":
        method = _suits(points, set_x)
    if method == "tree":
        place = _tree_nearest(points, queries, k, (set_x, set_y), num_workers=num_workers)
    elif method == "brute":
        place = _brute_nearest(points, queries, k, (set_x, set_y))
    elif method == "approximate":
        if set_x is not None:
            raise NotImplementedError(
                f"{who}: approximate neighbours of several sets are not offered; use 'tree'"
            )
        place = _approximate_nearest(points, queries, k, seed)
    else:
        raise ValueError(f"{who}: method is {method!r}; choose 'auto', 'tree', 'brute' or 'approximate'")
    return _listed(place).to(x.device)


def knn_graph(
    x: Tensor,
    k: int,
    batch: Tensor | None = None,
    loop: bool = False,
    flow: Flow = "source_to_target",
    cosine: bool = False,
    num_workers: int = 1,
    batch_size: int | None = None,
    *,
    method: Method = "auto",
    seed: int = 0,
) -> Tensor:
    """Join each point to the k that are nearest to it.

    Args:
        x: the points.
        k: neighbours of each.
        batch: the set of each point, ascending: edges are within sets.
        loop: count a point among its own neighbours; else it never is one.
        flow: ``source_to_target``: edges run from the neighbours to the point; or the other way.
        cosine: by angle, not by Euclidean distance.
        num_workers: threads of a tree search.
        batch_size: accepted for PyG's sake.
        method: as in :func:`knn`.
        seed: of ``approximate``.

    Shapes: x ``[N, F]`` -> edge_index ``[2, E]``; E = N k where every set has more than k points.
    Cost: as :func:`knn`.
    Raises: as :func:`knn`.
    """
    _check_flow("knn_graph", flow)
    if k < 1:
        raise ValueError(f"knn_graph: k={k}; at least 1 neighbour is needed")
    pairs = knn(
        x, x, k if loop else k + 1, batch, batch, cosine, num_workers, batch_size, method=method, seed=seed
    )
    return _graph(pairs, loop, k, flow)


def radius(
    x: Tensor,
    y: Tensor,
    r: float,
    batch_x: Tensor | None = None,
    batch_y: Tensor | None = None,
    max_num_neighbors: int | None = 32,
    num_workers: int = 1,
    batch_size: int | None = None,
) -> Tensor:
    """Find the points of x within distance r of each point of y, the nearest ones where there are too many.

    PyG's CPU kernel keeps whichever it meets first.

    Args:
        x: the points to find.
        y: the points to find them for.
        r: Euclidean distance, at least 0; a point at this very distance is found.
        batch_x: the set of each point of x, ascending: neighbours are of the same set.
        batch_y: the set of each point of y, ascending.
        max_num_neighbors: of each point of y; None for all.
        num_workers: threads; -1 for all cores.
        batch_size: accepted for PyG's sake.

    Shapes: x ``[N, F]``, y ``[M, F]`` -> int64 ``[2, E]``: a point of y over one of x, by y and then by
        distance.
    Cost: a k-d tree; with None, memory for all pairs that are found.
    Raises: ValueError for shapes that do not fit, a negative r, NaN, or sets in no order.
    """
    who = "radius"
    points, queries, sets = _checked(who, x, y, batch_x, batch_y)
    if not r >= 0:
        raise ValueError(f"{who}: r={r}; it is a distance, 0 or more")
    if max_num_neighbors is not None and max_num_neighbors < 1:
        raise ValueError(f"{who}: max_num_neighbors={max_num_neighbors}; at least 1, or None for all")
    if max_num_neighbors is None:
        return _tree_all(points, queries, r, sets).to(x.device)
    place = _tree_nearest(points, queries, max_num_neighbors, sets, within=r, num_workers=num_workers)
    return _listed(place).to(x.device)


def radius_graph(
    x: Tensor,
    r: float,
    batch: Tensor | None = None,
    loop: bool = False,
    max_num_neighbors: int | None = 32,
    flow: Flow = "source_to_target",
    num_workers: int = 1,
    batch_size: int | None = None,
) -> Tensor:
    """Join each point to those within a distance.

    Args:
        x: the points.
        r: Euclidean distance, at least 0.
        batch: the set of each point, ascending: edges are within sets.
        loop: count a point among its own neighbours; else it never is one.
        max_num_neighbors: of each point, the nearest; None for all.
        flow: ``source_to_target``: edges run from the neighbours to the point; or the other way.
        num_workers: threads.
        batch_size: accepted for PyG's sake.

    Shapes: x ``[N, F]`` -> edge_index ``[2, E]``.
    Cost: as :func:`radius`.
    Raises: as :func:`radius`.
    """
    _check_flow("radius_graph", flow)
    most = max_num_neighbors if loop or max_num_neighbors is None else max_num_neighbors + 1
    pairs = radius(x, x, r, batch, batch, most, num_workers)
    return _graph(pairs, loop, max_num_neighbors, flow)


def _check_flow(who: str, flow: str) -> None:
    if flow not in ("source_to_target", "target_to_source"):
        raise ValueError(f"{who}: flow is {flow!r}; choose 'source_to_target' or 'target_to_source'")


def _graph(pairs: Tensor, loop: bool, most: int | None, flow: str) -> Tensor:
    """An edge_index of (point, neighbour) pairs, at most so many of each point, and loops only if asked."""
    point, other = pairs
    if not loop:
        kept = point != other
        point, other = point[kept], other[kept]
        if most is not None:
            # Among equal points one may be missing from its own nearest: then one too many is left.
            first = torch.searchsorted(point, point)
            kept = torch.arange(point.numel(), device=point.device) - first < most
            point, other = point[kept], other[kept]
    return torch.stack([other, point] if flow == "source_to_target" else [point, other])


def _checked(
    who: str, x: Tensor, y: Tensor, batch_x: Tensor | None, batch_y: Tensor | None
) -> tuple[Tensor, Tensor, tuple[Tensor | None, Tensor | None]]:
    """Points as matrices on the CPU, and their sets, both or none."""
    matrices = []
    for name, t in (("x", x), ("y", y)):
        t = t.detach().cpu()
        t = t.view(-1, 1) if t.dim() == 1 else t
        if t.dim() != 2:
            raise ValueError(f"{who}: {name} has shape {list(t.shape)}; expected one row for each point")
        if not bool(torch.isfinite(t).all()):
            raise ValueError(
                f"{who}: {name} has values that are not finite; a distance to them means nothing"
            )
        matrices.append(t)
    points, queries = matrices
    if points.shape[1] != queries.shape[1]:
        raise ValueError(
            f"{who}: x has {points.shape[1]} columns and y {queries.shape[1]}; they must have as many"
        )
    if batch_x is None and batch_y is None:
        return points, queries, (None, None)
    sets = []
    for name, batch, t in (("x", batch_x, points), ("y", batch_y, queries)):
        batch = torch.zeros(len(t), dtype=torch.int64) if batch is None else batch.cpu()
        if batch.shape != (len(t),):
            raise ValueError(
                f"{who}: batch_{name} has shape {list(batch.shape)} for {len(t)} points; one each"
            )
        if bool((batch.diff() < 0).any()):
            raise ValueError(f"{who}: batch_{name} is not ascending; sort the points by their set")
        sets.append(batch)
    return points, queries, (sets[0], sets[1])


def _suits(points: Tensor, sets: Tensor | None) -> Method:
    if points.shape[1] <= TREE_DIMENSIONS:
        return "tree"
    return "approximate" if len(points) > MANY and sets is None else "brute"


def _listed(place: Tensor) -> Tensor:
    """The pairs of a table of places, -1 for none."""
    query, rank = (place >= 0).nonzero(as_tuple=True)
    return torch.stack([query, place[query, rank]])


# -- searches -----------------------------------------------------------------------------------------


def _apart(
    points: Tensor, queries: Tensor, sets: tuple[Tensor | None, Tensor | None], reach: float
) -> tuple[Any, Any]:
    """Coordinates in float64, with one more in which sets are farther apart than any two points of one."""
    a, b = points.double().numpy(), queries.double().numpy()
    if sets[0] is None or sets[1] is None:
        return a, b
    both = np.concatenate([a, b])
    size = float(np.linalg.norm(np.ptp(both, axis=0))) if len(both) else 0.0
    gap = 2 * max(size, reach) + 1
    return (np.column_stack([t, s.double().numpy() * gap]) for t, s in ((a, sets[0]), (b, sets[1])))  # type: ignore[return-value]


def _tree_nearest(
    points: Tensor,
    queries: Tensor,
    k: int,
    sets: tuple[Tensor | None, Tensor | None],
    *,
    within: float = np.inf,
    num_workers: int = 1,
) -> Tensor:
    from scipy.spatial import KDTree

    if len(points) == 0 or len(queries) == 0:
        return torch.full((len(queries), 0), -1, dtype=torch.int64)
    reach = within if np.isfinite(within) else 0.0
    a, b = _apart(points, queries, sets, reach)
    ranks = np.arange(1, min(k, len(points)) + 1)
    bound = np.nextafter(within, np.inf)  # scipy leaves out what is at the bound
    _, place = KDTree(a).query(b, ranks, distance_upper_bound=bound, workers=num_workers)
    found = torch.from_numpy(place.astype(np.int64))
    found[found == len(points)] = -1
    if sets[0] is not None and sets[1] is not None:
        found[sets[0][found.clamp(min=0)] != sets[1][:, None]] = -1
    return found


def _tree_all(points: Tensor, queries: Tensor, r: float, sets: tuple[Tensor | None, Tensor | None]) -> Tensor:
    from scipy.spatial import KDTree

    if len(points) == 0 or len(queries) == 0:
        return torch.empty(2, 0, dtype=torch.int64)
    a, b = _apart(points, queries, sets, r)
    found = KDTree(b).sparse_distance_matrix(KDTree(a), r, output_type="ndarray")
    order = np.lexsort((found["j"], found["v"], found["i"]))
    return torch.from_numpy(np.stack([found["i"][order], found["j"][order]]).astype(np.int64))


def _blocks(num_points: int, num_queries: int) -> Iterator[tuple[int, int]]:
    size = max(1, _BLOCK // max(num_points, 1))
    for lo in range(0, num_queries, size):
        yield lo, min(lo + size, num_queries)


def _brute_nearest(
    points: Tensor, queries: Tensor, k: int, sets: tuple[Tensor | None, Tensor | None]
) -> Tensor:
    x, y = points.double(), queries.double()
    out = torch.full((len(y), min(k, len(x))), -1, dtype=torch.int64)
    middle = x.mean(0) if len(x) else 0.0
    x, y = x - middle, y - middle  # smaller squares lose fewer digits
    square = (x * x).sum(1)
    for lo, hi in _blocks(len(x), len(y)):
        first, last = 0, len(x)
        if sets[0] is not None and sets[1] is not None:  # the sets of this block's queries only
            first = int(torch.searchsorted(sets[0], sets[1][lo]))
            last = int(torch.searchsorted(sets[0], sets[1][hi - 1], right=True))
        distance = torch.addmm(square[first:last], y[lo:hi], x[first:last].t(), alpha=-2)
        if sets[0] is not None and sets[1] is not None:
            distance.masked_fill_(sets[1][lo:hi, None] != sets[0][first:last], torch.inf)
        value, place = distance.topk(min(k, last - first), largest=False)
        out[lo:hi, : place.shape[1]] = (place + first).masked_fill_(value == torch.inf, -1)
    return out


def _approximate_nearest(points: Tensor, queries: Tensor, k: int, seed: int) -> Tensor:
    try:
        from pynndescent import NNDescent
    except ImportError:
        raise ImportError("'pynndescent' is not installed; run: pip install pynndescent") from None

    k = min(k, len(points))
    a, b = points.float().numpy(), queries.float().numpy()
    index = NNDescent(a, n_neighbors=max(k, 15), random_state=seed)
    if points is queries or (a.shape == b.shape and np.array_equal(a, b)):
        place = index.neighbor_graph[0][:, :k]
    else:
        place = index.query(b, k)[0]
    return torch.from_numpy(np.ascontiguousarray(place).astype(np.int64))
