"""How far nodes lie from each other, in hops and in lengths: searches that work on structure alone.

Rows of an adjacency list the sources of a target, so a search from v along rows finds the nodes that can
reach v, nearest first. On an undirected graph that is the same as reaching them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnlib.sparse.csr import CSR

__all__ = [
    "ball_eccentricity",
    "ball_edges",
    "Balls",
    "balls",
    "diameter_bound",
    "hop_distance",
    "hop_eccentricity",
    "pack_balls",
    "rows_in_use",
]


class Balls(NamedTuple):
    """The balls around S seeds, one after another, each with its nodes nearest first.

    Shapes: ptr int64 ``[S + 1]``, node and hop int64 ``[total]``.
    """

    ptr: Tensor
    node: Tensor
    hop: Tensor


def balls(adj: CSR, seeds: Tensor, radius: int) -> Balls:
    """The nodes from which each seed can be reached in at most ``radius`` hops.

    Shapes: adj ``[N, N]``, seeds ``[S]`` -> :class:`Balls`, on the CPU.
    Cost: the edges of all balls.
    Raises: ValueError for a bad radius, seeds out of range, or an adjacency that is not square.
    """
    arrays = _arrays("balls", adj)
    if radius < 0:
        raise ValueError(f"balls: radius={radius}; pass 0 or more hops")
    found = _native().balls(*arrays, _nodes("balls", adj, seeds), radius)
    return Balls(*(torch.from_numpy(a) for a in found))


def ball_edges(adj: CSR, found: Balls) -> tuple[Tensor, Tensor]:
    """The edges inside each ball: ends as places in ``found.node``, and the caller's edge of each.

    Shapes: -> edge_index ``[2, e]``, edge ``[e]``. Cost: the edges of all balls.
    """
    arrays = _arrays("ball_edges", adj)
    source, target, slot = _native().ball_edges(*arrays, found.ptr.numpy(), found.node.numpy())
    edge = torch.from_numpy(slot)
    perm = adj.perm
    return torch.from_numpy(_stack(source, target)), edge if perm is None else perm.cpu()[edge]


def rows_in_use(values: Tensor) -> int:
    """One more than the number of the last row that is not 0 throughout.

    Shapes: values ``[N, F]`` on the CPU. Cost: reads the rows of zeros at the end, and no others.
    """
    from gnnlib.sparse.native.launch import array

    return int(_native().last_row(array(values)))


def pack_balls(found: Balls, num_nodes: int) -> Tensor:
    """Group balls so that no two of a group share a node: the group of each, by first fit in their order.

    Shapes: -> int64 ``[S]``, groups 0, 1, ... Cost: groups x the nodes of the balls, at most.
    """
    group: Tensor = torch.from_numpy(_native().pack(found.ptr.numpy(), found.node.numpy(), num_nodes))
    return group


def hop_distance(adj: CSR, sources: Tensor, limit: int | None = None) -> Tensor:
    """Hops from each node to the nearest source, -1 where none is reached within ``limit``.

    Shapes: adj ``[N, N]``, sources ``[S]`` -> int64 ``[N]``, on the CPU. Cost: O(N + E).
    Raises: ValueError for sources out of range or an adjacency that is not square.
    """
    return _search(adj, sources, limit)[0]


def diameter_bound(adj: CSR, sweeps: int = 4) -> int:
    """A lower bound of the hop diameter of the component of the node with most edges, often the diameter.

    Each sweep starts at the farthest node of the last one; the first starts at the node of largest degree.

    Shapes: adj ``[N, N]`` -> a number; 0 without nodes. Cost: ``sweeps`` x O(N + E).
    """
    if adj.num_rows == 0:
        return 0
    start, best = adj.degree.argmax().reshape(1), 0
    for _ in range(sweeps):
        hops, last = _search(adj, start, None)
        best, start = max(best, int(hops.max())), torch.tensor([last])
    return best


def hop_eccentricity(adj: CSR) -> Tensor:
    """The hop distance of each node to the farthest one that it is joined with.

    Shapes: adj ``[N, N]`` -> int64 ``[N]``, on the CPU. Cost: the edges of its component for each node.
    """
    arrays = _arrays("hop_eccentricity", adj)
    out = torch.empty(adj.num_rows, dtype=torch.int64)
    _launcher("eccentricity")(_work(adj), *arrays, out.numpy(), _pieces(adj))
    return out


def ball_eccentricity(adj: CSR, length: Tensor, radius: int) -> Tensor:
    r"""The largest distance from each node inside the subgraph that its ball of ``radius`` hops induces.

    .. math:: \varepsilon_v = \max_{u \in B_k(v)} d_{G[B_k(v)]}(v, u)

    with d the length of the shortest path: the label of City-Networks (Liang et al., Towards Quantifying
    Long-Range Interactions, 2025, Sec. 3), for k = 16.

    Args:
        adj: the network; row v lists the nodes next to v.
        length: of each edge, at least 0, in the caller's order.
        radius: k, in hops.

    Shapes: adj ``[N, N]``, length ``[E]`` -> ``[N]`` of its dtype, on the CPU.
    Cost: about twice the edges of every ball; parallel over nodes.
    Raises: ValueError for negative lengths or another number of them.
    """
    arrays = _arrays("ball_eccentricity", adj)
    if length.shape != (adj.num_values,):
        raise ValueError(
            f"ball_eccentricity: length has shape {list(length.shape)} but the graph has {adj.num_values} "
            "edges; pass one length an edge"
        )
    if length.numel() and not bool((length >= 0).all()):
        raise ValueError("ball_eccentricity: some length is negative or NaN; pass lengths of at least 0")
    length = length if length.is_floating_point() else length.double()
    out = torch.empty(adj.num_rows, dtype=length.dtype)
    slots = adj.to_slots(length).contiguous().cpu().numpy()
    _launcher("ball_eccentricity")(_work(adj), *arrays, slots, radius, out.numpy(), _pieces(adj))
    return out


def _search(adj: CSR, sources: Tensor, limit: int | None) -> tuple[Tensor, int]:
    out = torch.empty(adj.num_rows, dtype=torch.int64)
    nodes = _nodes("hop_distance", adj, sources)
    last = _native().hop_distance(
        *_arrays("hop_distance", adj), nodes, -2 if limit is None else limit, out.numpy()
    )
    return out, int(last)


def _arrays(who: str, adj: CSR) -> tuple[Any, Any]:
    if adj.num_rows != adj.num_cols:
        raise ValueError(
            f"{who}: adj is {list(adj.shape)}; pass a square adjacency, one row and column a node"
        )
    indptr, indices = adj.arrays
    return indptr.cpu().numpy(), indices.cpu().numpy()


def _nodes(who: str, adj: CSR, nodes: Tensor) -> Any:
    if nodes.numel() and not 0 <= int(nodes.min()) <= int(nodes.max()) < adj.num_rows:
        raise ValueError(
            f"{who}: nodes from {int(nodes.min())} to {int(nodes.max())} came; the graph has {adj.num_rows}"
        )
    return nodes.reshape(-1).long().cpu().contiguous().numpy()


def _stack(a: Any, b: Any) -> Any:
    import numpy as np

    return np.stack([a, b])


def _native() -> Any:
    from gnnlib.sparse.native import hops  # numba, which importing the core must not load

    return hops


@cache
def _launcher(name: str) -> Any:
    from gnnlib.sparse.native.launch import Launcher

    return Launcher(getattr(_native(), name))


def _work(adj: CSR) -> int:
    return 64 * adj.num_edges


def _pieces(adj: CSR) -> int:
    """How many runs the nodes are cut into: each has arrays of N of its own, so no more than threads need."""
    return max(1, min(torch.get_num_threads() * 4, adj.num_rows // 64))
