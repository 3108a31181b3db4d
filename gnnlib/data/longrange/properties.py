"""Small random graphs of many kinds, with labels that need the whole graph, such as distances.

Corso et al., Principal Neighbourhood Aggregation for Graph Nets, NeurIPS 2020, Sec. 4 and Appendix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnlib.names import choose
from gnnlib.sparse import as_csr
from gnnlib.sparse.hops import hop_distance, hop_eccentricity

__all__ = ["FAMILIES", "property_graphs"]

Random = np.random.RandomState
Pairs = np.ndarray  # undirected edges [2, m], each pair once


def _grid(n: int, random: Random) -> Pairs:
    rows = _divisor(n)
    node = np.arange(n).reshape(rows, n // rows)
    return _join(_line(node.T), _line(node))


def _caveman(n: int, random: Random) -> Pairs:
    caves = _divisor(n)
    a, b = np.triu_indices(n // caves, 1)
    start = np.arange(caves)[:, None] * (n // caves)
    return np.stack([(start + a).reshape(-1), (start + b).reshape(-1)])


def _erdos_renyi(n: int, random: Random) -> Pairs:
    a, b = np.triu_indices(n, 1)
    keep = random.rand(a.size) < random.rand()
    return np.stack([a[keep], b[keep]])


def _barabasi_albert(n: int, random: Random) -> Pairs:
    return _attached(n, int(random.rand() * (n - 1)) + 1, random)


def _tree(n: int, random: Random) -> Pairs:
    return _attached(n, 1, random)


def _attached(n: int, m: int, random: Random) -> Pairs:
    """Each node from the m-th on joins m earlier ones, drawn by degree: a tree with a power law for m = 1."""
    pairs: list[np.ndarray] = []
    ends = np.arange(m)
    for node in range(m, n):
        chosen = np.unique(ends) if len(np.unique(ends)) <= m else _distinct(ends, m, random)
        pairs.append(np.stack([np.full(chosen.size, node), chosen]))
        ends = np.concatenate([ends if node > m else ends[:0], chosen, np.full(chosen.size, node)])
    return np.concatenate(pairs, axis=1)


def _distinct(ends: np.ndarray, m: int, random: Random) -> np.ndarray:
    """m different values, drawn in proportion to how often they occur."""
    return np.asarray(ends[_first_of_each(random.permutation(ends.size), ends)][:m])


def _first_of_each(order: np.ndarray, ends: np.ndarray) -> np.ndarray:
    _, first = np.unique(ends[order], return_index=True)
    return np.asarray(order[np.sort(first)])


def _ladder(n: int, random: Random) -> Pairs:
    node = np.arange(n // 2 * 2).reshape(2, -1)
    pairs = _join(_line(node.T), node)
    return np.concatenate([pairs, [[0], [n - 1]]], axis=1) if n % 2 else pairs


def _path(n: int, random: Random) -> Pairs:
    return _line(np.arange(n)[:, None])


def _star(n: int, random: Random) -> Pairs:
    return np.stack([np.zeros(n - 1, dtype=np.int64), np.arange(1, n)])


def _caterpillar(n: int, random: Random) -> Pairs:
    backbone = random.randint(1, n)
    return _join(_path(backbone, random), _pendants(backbone, n, backbone, random))


def _lobster(n: int, random: Random) -> Pairs:
    backbone = random.randint(1, n)
    near = random.randint(backbone + 1, n + 1) if backbone + 1 <= n else n
    pairs = _join(_path(backbone, random), _pendants(backbone, near, backbone, random))
    return np.concatenate([pairs, _pendants(near, n, near, random, backbone)], axis=1)


def _pendants(first: int, last: int, below: int, random: Random, above: int = 0) -> Pairs:
    """Nodes ``first .. last - 1``, each joined with one of ``above .. below - 1``."""
    if last <= first:
        return np.zeros((2, 0), dtype=np.int64)
    low = above if below > above else 0
    return np.stack([random.randint(low, below, last - first), np.arange(first, last)])


def _line(nodes: np.ndarray) -> Pairs:
    return np.stack([nodes[:-1].reshape(-1), nodes[1:].reshape(-1)])


def _join(*parts: Pairs) -> Pairs:
    return np.concatenate(parts, axis=1)


def _divisor(n: int) -> int:
    """The largest divisor that is at most the square root."""
    return max(k for k in range(1, int(n**0.5) + 1) if n % k == 0)


#: Each family, and its share of the PNA set.
FAMILIES: dict[str, tuple[Callable[[int, Random], Pairs], float]] = {
    "barabasi-albert": (_barabasi_albert, 0.2),
    "caterpillar": (_caterpillar, 0.1),
    "caveman": (_caveman, 0.05),
    "erdos-renyi": (_erdos_renyi, 0.2),
    "grid": (_grid, 0.05),
    "ladder": (_ladder, 0.05),
    "line": (_path, 0.05),
    "lobster": (_lobster, 0.1),
    "star": (_star, 0.05),
    "tree": (_tree, 0.15),
}


def property_graphs(
    sizes: Sequence[int], seed: int, *, families: Sequence[str] | None = None, toggle: bool = True
) -> list[Data]:
    """Random graphs with a marked source and the properties of nodes and of the whole.

    ``x`` holds 1 at the source and a uniform number; ``y`` for each node its hops from the source (0 where
    there is no path), its eccentricity and the row of (D - A) applied to the uniform numbers; ``graph_y``
    whether the graph is connected, its diameter and its spectral radius, distances over joined pairs alone.

    Args:
        sizes: number of nodes of each graph, at least 4.
        seed: of everything random.
        families: which families are drawn, by their shares; None: all ten.
        toggle: drop a tenth of the edges and add as many; a graph with an isolated node is drawn again.

    Returns: graphs with ``x`` ``[n, 2]``, ``edge_index`` in both directions, ``y`` ``[n, 3]``, ``graph_y``
        ``[1, 3]``.

    Raises:
        ValueError: for an unknown family, or a size below 4.
    """
    names = sorted(FAMILIES) if families is None else [choose("family", f, FAMILIES) for f in families]
    if min(sizes, default=4) < 4:
        raise ValueError(f"property_graphs: a size of {min(sizes)} came; pass 4 nodes or more")
    share = np.array([FAMILIES[name][1] for name in names])
    random = Random(seed)
    graphs = []
    for n in sizes:
        while True:
            make = FAMILIES[names[random.choice(len(names), p=share / share.sum())]][0]
            pairs = np.unique(np.sort(make(n, random), axis=0), axis=1)
            pairs = _toggled(pairs, n, random) if toggle else pairs
            if np.unique(pairs).size == n:
                break
        x = np.zeros((n, 2), dtype=np.float32)
        x[random.randint(n), 0] = 1
        x[:, 1] = random.rand(n)
        ends = torch.from_numpy(np.concatenate([pairs, pairs[::-1]], axis=1))
        graphs.append(Data(x=torch.from_numpy(x), edge_index=ends))
    return _labelled(graphs)


def _toggled(pairs: Pairs, n: int, random: Random) -> Pairs:
    """A tenth of the edges away and about as many new; of dense graphs, a tenth of the non-edges in."""
    a, b = np.triu_indices(n, 1)
    present = np.zeros((n, n), dtype=bool)
    present[pairs[0], pairs[1]] = True
    edge = present[a, b]
    e, r = int(edge.sum()), int((~edge).sum())
    out, into = (0.1, 0.1 * e / max(r, 1)) if e <= r else (0.1 * r / e, 0.1)
    flip = random.rand(a.size) < np.where(edge, out, into)
    keep = edge ^ flip
    return np.stack([a[keep], b[keep]])


def _labelled(graphs: list[Data]) -> list[Data]:
    if not graphs:
        return graphs
    union = Batch.from_data_list(graphs)
    n = int(union.num_nodes)
    adj = as_csr(union.edge_index, (n, n))
    start = hop_distance(adj, union.x[:, 0].nonzero().view(-1))
    ecc = hop_eccentricity(adj)
    number = union.x[:, 1].double()
    laplacian = adj.degree.double() * number
    laplacian = laplacian.index_add(0, union.edge_index[1], -number[union.edge_index[0]])
    y = torch.stack([start.clamp(min=0).double(), ecc.double(), laplacian], dim=1).float()
    joined = torch.ones(len(graphs)).scatter_reduce_(0, union.batch, (start >= 0).float(), "amin")
    diameter = torch.zeros(len(graphs)).scatter_reduce_(0, union.batch, ecc.float(), "amax")
    whole = torch.stack([joined, diameter, _spectral_radius(graphs)], dim=1)
    for graph, part, row in zip(graphs, torch.split(y, [g.x.size(0) for g in graphs]), whole, strict=True):
        graph.y, graph.graph_y = part.clone(), row[None].clone()
    return graphs


def _spectral_radius(graphs: list[Data]) -> Tensor:
    """The largest absolute eigenvalue of each adjacency matrix, graphs of one size together."""
    size = np.array([g.x.size(0) for g in graphs])
    out = np.zeros(len(graphs))
    for n in np.unique(size):
        members = np.flatnonzero(size == n)
        stack = np.zeros((members.size, n, n))
        for k, g in enumerate(members):
            source, target = graphs[g].edge_index.numpy()
            stack[k, target, source] = 1
        out[members] = np.abs(np.linalg.eigvalsh(stack)).max(axis=1)
    return torch.from_numpy(out).float()
