"""Paths of bounded length in a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from gnnlib.names import choose
from gnnlib.sparse.convert import Adj, as_csr
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.common_neighbors import sorted_rows
from gnnlib.sparse.ops.enumerate_paths.request import FAR, Request
from gnnlib.sparse.registry import dispatch

__all__ = ["enumerate_paths", "PathKind", "PathQuery", "Paths"]

PathKind: TypeAlias = Literal["shortest", "all_shortest", "simple"]
_KINDS: tuple[PathKind, ...] = ("shortest", "all_shortest", "simple")

#: Node numbers that a result may hold unless the caller says otherwise, 2 GiB at most.
LIMIT = 1 << 28


@dataclass(frozen=True)
class Paths:
    """Paths of a graph by their length: those of k edges are row k - 1 of each tuple.

    Args:
        nodes: the nodes of each path from its far end to its centre, the order in which messages travel.
            Paths are sorted by their centre.
        indptr: offsets of the paths over their centres.
        distance: steps from each node of a path to its centre in the graph, which may be fewer than along
            the path; None where they were not asked for.

    Shapes: P_k paths of k edges; nodes ``[P_k, k + 1]``, indptr int64 ``[N + 1]``, distance uint8
        ``[P_k, k + 1]``.
    """

    nodes: tuple[Tensor, ...]
    indptr: tuple[Tensor, ...]
    distance: tuple[Tensor, ...] | None = None

    @property
    def num_paths(self) -> int:
        """Number of paths of any length."""
        return sum(paths.shape[0] for paths in self.nodes)

    def to(self, device: torch.device | str) -> Paths:
        """The same paths on a device."""
        nodes, indptr = (tuple(t.to(device) for t in part) for part in (self.nodes, self.indptr))
        return Paths(
            nodes, indptr, None if self.distance is None else tuple(t.to(device) for t in self.distance)
        )

    def take(self, start: Tensor, count: Tensor) -> Paths:
        """The paths of some graphs of a batch, whose nodes are numbered anew, one graph after another.

        Args:
            start: first node of each graph, in the order wanted.
            count: number of its nodes.

        Shapes: start and count ``[B]``. No path may leave its graph.
        """
        owner = torch.repeat_interleave(count)
        fresh = count.cumsum(0) - count
        kept = torch.arange(owner.shape[0], device=start.device) + (start - fresh)[owner]  # old numbers
        shift = fresh - start
        nodes, indptr, distance = [], [], []
        for k, offset in enumerate(self.indptr):
            lo, size = offset[start], offset[start + count] - offset[start]
            graph = torch.repeat_interleave(size)
            rows = torch.arange(graph.shape[0], device=start.device) + (lo - (size.cumsum(0) - size))[graph]
            moved = self.nodes[k].index_select(0, rows)
            nodes.append(moved + shift[graph].to(moved.dtype)[:, None])
            indptr.append(torch.cat([offset[:1], offset.diff()[kept].cumsum(0)]))
            if self.distance is not None:
                distance.append(self.distance[k].index_select(0, rows))
        return Paths(tuple(nodes), tuple(indptr), None if self.distance is None else tuple(distance))

    def edges(self, adj: Adj) -> tuple[Tensor, ...]:
        """The caller's edge of each step of each path; of parallel edges the first.

        Args:
            adj: the graph that was searched.

        Shapes: -> int64 ``[P_k, k]`` for each length.
        Raises: ValueError when a step of a path is no edge of the graph.
        """
        csr = as_csr(adj)
        key, order = csr.derive("edge keys", _edge_keys)
        found = []
        for paths in self.nodes:
            wanted = paths[:, 1:].long() * csr.num_cols + paths[:, :-1]
            place = torch.searchsorted(key, wanted)
            if wanted.numel() and not (
                key.numel() and torch.equal(key[place.clamp(max=key.shape[0] - 1)], wanted)
            ):
                raise ValueError(
                    "Paths: a step of a path is no edge of adj; pass the graph that was searched"
                )
            found.append(order[place])
        return tuple(found)


def _edge_keys(adj: CSR) -> tuple[Tensor, Tensor]:
    """Keys ``target * C + source`` in order, and the caller's edge of each."""
    key = adj.rows * adj.num_cols + adj.indices
    key, slot = key.sort(stable=True)
    return key, slot if adj.perm is None else adj.perm[slot]


def enumerate_paths(
    adj: Adj,
    length: int,
    kind: PathKind = "shortest",
    *,
    max_per_node: int | None = None,
    seed: int = 0,
    limit: int = LIMIT,
    distance: bool = False,
) -> Paths:
    r"""List the paths of up to K edges that end at each node.

    .. math:: \mathcal{P}^k_v = \{\, (p_k, \dots, p_1, p_0 = v) : p_{i + 1} \to p_i,\ p_i \ne p_j \,\}

    and of these all (``"simple"``), those with no shorter way between their ends (``"all_shortest"``), or
    one of the latter for each pair of ends (``"shortest"``): the first by the numbers of its nodes, read
    from the end with the smaller number, so in an undirected graph both directions are the same path.
    Michel et al., Path Neural Networks, ICML 2023, Sec. 3.

    Args:
        adj: the graph, in any form that :func:`as_csr` takes. Loops are on no path and parallel edges are
            one.
        length: K, the most edges of a path, 1 to 254.
        kind: which paths.
        max_per_node: at most so many paths of each length end at a node; of more, a random choice, each set
            equally likely.
        seed: of that choice.
        limit: the most node numbers that the result may hold, counted before any memory is taken.
        distance: also give the distances to the centre.

    Shapes: adj ``[N, N]`` -> :class:`Paths`. The same for any number of threads. No gradient; not for
        compiled code, which takes the result as an input.
    Cost: one breadth-first search of depth K a node, or twice the time to walk all paths, whose number can
        grow as degree^K; memory is that of the result.
    Raises: ValueError for a graph that is not square, a length or option out of range, or more paths than
        the limit (the message counts them).
    """
    csr = as_csr(adj)
    if csr.num_rows != csr.num_cols:
        raise ValueError(
            f"enumerate_paths: adj is {csr.num_rows} x {csr.num_cols}; pass a graph whose sources "
            "and targets are the same nodes"
        )
    if not 1 <= length < FAR:
        raise ValueError(f"enumerate_paths: length={length}; pass 1 to {FAR - 1} edges")
    if max_per_node is not None and max_per_node < 1:
        raise ValueError(f"enumerate_paths: max_per_node={max_per_node}; pass 1 or more, or None for all")
    request = Request(choose("kind of path", kind, _KINDS), length, max_per_node, seed, limit, distance)
    offset, nodes, steps = dispatch("enumerate_paths", *sorted_rows(csr).arrays, request)
    sizes = [int(p) * (k + 2) for k, p in enumerate(offset[:, -1])]

    def by_length(values: Tensor) -> tuple[Tensor, ...]:
        return tuple(part.view(-1, k + 2) for k, part in enumerate(torch.split(values, sizes)))

    return Paths(by_length(nodes), offset.unbind(0), None if steps is None else by_length(steps))


class PathQuery(NamedTuple):
    """Which paths of a graph are wanted; a CSR keeps the answer to each query.

    Args:
        length, kind, distance, max_per_node, seed: as :func:`enumerate_paths` takes them.
    """

    length: int
    kind: PathKind = "shortest"
    distance: bool = False
    max_per_node: int | None = None
    seed: int = 0

    def of(self, adj: CSR) -> Paths:
        """The paths of a graph, found once and kept with it.

        Raises: what :func:`enumerate_paths` raises.
        """
        return adj.derive(self, self._found)

    def keep(self, adj: CSR, paths: Paths) -> None:
        """Give a graph the paths that are known already, such as those of a batch cut from its dataset."""
        adj.derive(self, lambda _: paths)

    def _found(self, adj: CSR) -> Paths:
        return enumerate_paths(
            adj,
            self.length,
            self.kind,
            max_per_node=self.max_per_node,
            seed=self.seed,
            distance=self.distance,
        )
