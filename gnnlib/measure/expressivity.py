"""What a method can tell apart: colours, in which every sum and network is an injective function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gnnlib.measure.families import Family
from gnnlib.sparse import as_csr, enumerate_paths
from gnnlib.sparse.colours import ColourHash, colour_of_codes, colour_of_rows, refine
from gnnlib.sparse.convert import Adj
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.enumerate_paths import PathKind

__all__ = ["count_classes", "distinguished", "path_classes", "Told", "wl_classes"]


def _started(adj: CSR, x: Tensor | None) -> Tensor:
    if x is None:
        return torch.zeros(adj.num_rows, dtype=torch.int64)
    return colour_of_rows(x)


def wl_classes(
    edge_index: Adj, batch: Tensor, rounds: int | None = None, x: Tensor | None = None, *, seed: int = 0
) -> Tensor:
    """Class of each graph under 1-WL colour refinement, which bounds GIN and every message-passing network.

    Args:
        edge_index: the graphs side by side.
        batch: the graph of each node, from 0.
        rounds: of refinement; None: until no colour splits.
        x: discrete node features that the first colours are made of; all alike when omitted.
        seed: of the numbers that stand for colours.

    Shapes: edge_index ``[2, E]``, batch ``[N]``, x ``[N]`` or ``[N, F]`` -> int64 ``[B]``, equal numbers for
        graphs that are not told apart.
    """
    numbers, adj = ColourHash(seed), as_csr(edge_index, batch.shape[0])
    colour = refine(adj.indices.long(), adj.rows.long(), _started(adj, x), numbers, rounds=rounds)
    return _graphs(numbers, colour, batch)


def path_classes(
    edge_index: Adj,
    batch: Tensor,
    length: int,
    kind: PathKind = "all_shortest",
    *,
    distance: bool = False,
    x: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    r"""Class of each graph under the refinement by paths that bounds a PathNN of K layers.

    .. math:: c^{(k)}_v = \mathrm{hash}\big(c^{(k-1)}_v,\ \{\!\{ (c^{(k-1)}_{p_k}, \dots, c^{(k-1)}_{p_0}) :
        p \in \mathcal{P}^k_v \}\!\}\big)

    Michel et al., Path Neural Networks, ICML 2023, Sec. 4.

    Args:
        edge_index: the graphs side by side.
        batch: the graph of each node, from 0.
        length: K, the most edges of a path.
        kind: as in :func:`enumerate_paths`.
        distance: each place of a path also tells its distance to the centre.
        x: discrete node features that the first colours are made of; all alike when omitted.
        seed: of the numbers that stand for colours.

    Shapes: edge_index ``[2, E]``, batch ``[N]``, x ``[N]`` or ``[N, F]`` -> int64 ``[B]``, equal numbers for
        graphs that are not told apart.
    Raises: what :func:`enumerate_paths` raises.
    """
    numbers, adj = ColourHash(seed), as_csr(edge_index, batch.shape[0])
    paths = enumerate_paths(adj, length, kind, distance=distance)
    colour = _started(adj, x)
    for k, nodes in enumerate(paths.nodes):
        columns = colour[nodes.long()]
        if paths.distance is not None:
            columns = torch.cat([columns, paths.distance[k].long()], 1)
        ending = numbers.of_sets(numbers.of_sequences(columns), nodes[:, -1].long(), batch.shape[0])
        colour = numbers.split(colour, ending)
    return _graphs(numbers, colour, batch)


#: Variant of PathNN -> the paths of the refinement that bounds it, and whether they tell their distances.
_BOUNDS: dict[str, tuple[PathKind, bool]] = {
    "SP+": ("all_shortest", False),
    "AP": ("simple", False),
    "AP + distance": ("simple", True),
}
#: Graphs and the features of their nodes -> a row of numbers for each graph.
Network = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Told:
    """How many of the graphs of a family a method tells apart; ``length`` is None where it has none."""

    family: str
    num_graphs: int
    method: str
    length: int | None
    classes: int


def distinguished(
    families: Mapping[str, Family | Sequence[Any]],
    lengths: Sequence[int] = (2, 3, 4),
    networks: Mapping[str, Network] | None = None,
) -> list[Told]:
    """How many graphs of each family 1-WL, paths of each kind and length, and networks tell apart.

    A refinement is what a network of its kind can do at best: 1-WL for message passing, SP+, AP and AP with
    distances for PathNN (Michel et al., ICML 2023). One shortest path of each pair is no such method, since
    which one it is depends on the numbers of the nodes.

    Args:
        families: name -> graphs, such as :func:`gnnlib.measure.counterexamples` or the dataset of
            ``gnnlib.data.load("sr25")``; no two of a family should be isomorphic.
        lengths: the most edges of a path.
        networks: name -> ``f(x, edge_index, batch)`` that gives a row for each graph ``[B, D]``; x is
            float64, ones ``[N, 1]`` where a family has no features. Draw its parameters at random, put it
            into evaluation mode and float64; it says what the network sees, not what it learns.

    Raises: what :func:`gnnlib.sparse.enumerate_paths` raises.
    """
    found = []
    for name, graphs in families.items():
        family = graphs if isinstance(graphs, Family) else Family.of(graphs)
        edge_index, batch, x = family

        def told(method: str, length: int | None, classes: int, f: Family = family, n: str = name) -> Told:
            return Told(n, f.num_graphs, method, length, classes)

        found.append(told("1-WL", None, _different(wl_classes(edge_index, batch, x=x))))
        for method, (kind, distance) in _BOUNDS.items():
            for k in lengths:
                classes = path_classes(edge_index, batch, k, kind, distance=distance, x=x)
                found.append(told(method, k, _different(classes)))
        features = torch.ones(batch.shape[0], 1) if x is None else x.view(x.shape[0], -1)
        for method, network in (networks or {}).items():
            with torch.no_grad():
                codes = network(features.double(), edge_index, batch)
            found.append(told(method, None, count_classes(codes)))
    return found


def _different(classes: Tensor) -> int:
    return int(torch.unique(classes).numel())


def _graphs(numbers: ColourHash, colour: Tensor, batch: Tensor) -> Tensor:
    """Classes of the multisets of colours."""
    return colour_of_codes(numbers.of_sets(colour, batch, int(batch.max()) + 1 if batch.numel() else 0))


def count_classes(codes: Tensor, tolerance: float = 1e-6) -> int:
    """How many of some graphs a network tells apart: classes of codes within a tolerance of each other.

    Args:
        codes: a row for each graph; take them in float64.
        tolerance: the largest difference of a feature, relative to the largest of all, that counts as none.

    Shapes: codes ``[B, F]`` -> a number from 1 to B.
    """
    scale = float(codes.abs().max()) if codes.numel() else 0.0
    near = (codes[:, None] - codes[None]).abs().amax(-1) <= tolerance * max(scale, 1e-300)
    return int(torch.unique(near.int().argmax(1)).numel())
