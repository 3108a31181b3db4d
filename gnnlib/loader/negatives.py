"""Node pairs that are no edges, drawn exactly: each draw is the rank of a free pair, so none is rejected."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse import as_csr
from gnnlib.sparse.convert import Adj
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.common_neighbors import sorted_rows

DRAWS = 1 << 62  # a draw below this, modulo a row's free places, is uniform to N / 2^62


def uniform_negatives(
    adj: Adj, count: int, generator: torch.Generator, *, replace: bool = True, bipartite: bool = False
) -> Tensor:
    """Draw pairs (u, v) uniformly from those that are neither an edge from u to v nor a node with itself.

    Args:
        adj: the graph; give it both directions of each edge where direction has no meaning.
        count: how many pairs, exactly.
        generator: on the CPU; it fixes the pairs.
        replace: whether a pair may come twice.
        bipartite: sources and targets are two sets, so that pairs of equal numbers are drawn too.

    Shapes: adj ``[N, N]``, or ``[targets, sources]`` -> ``[2, count]``.
    Cost: the free places are counted once for a graph; then O(count log E), and without replacement a few
        times that, or O(N^2) memory when more than half of all free pairs are asked for.
    Raises: ValueError when the graph leaves too few pairs, or is neither square nor ``bipartite``.
    """
    taken = _taken("uniform_negatives", adj, bipartite)
    ends = (taken.num_cols - taken.degree.long()).cumsum(0)
    free = int(ends[-1]) if ends.numel() else 0
    if count < 0 or (count > free if not replace else count > 0 and free == 0):
        raise ValueError(
            f"uniform_negatives: count is {count} but {free} pairs are no edges; ask for fewer"
            + ("" if replace else ", or draw with replace=True")
        )
    rank = (_drawn if replace else _distinct)(free, count, generator).to(ends.device)
    row = torch.searchsorted(ends, rank, right=True)
    before = torch.cat([ends.new_zeros(1), ends])[row]
    return torch.stack([row, _nth_free(taken, row, rank - before)])


def structured_negatives(
    adj: Adj,
    pairs: Tensor,
    generator: torch.Generator,
    per_source: int = 1,
    *,
    bipartite: bool = False,
) -> Tensor:
    """Replace the second node of each pair (u, v) by nodes that u has no edge to, u left out.

    Args:
        adj: the graph; give it both directions of each edge where direction has no meaning.
        pairs: the positive pairs.
        generator: on the CPU; it fixes the nodes.
        per_source: how many nodes k for each pair, drawn uniformly with replacement.
        bipartite: sources and targets are two sets, so that u may also get the target of its own number.

    Shapes: adj ``[N, N]``, or ``[targets, sources]``, pairs ``[2, P]`` -> ``[P, k]``, the new second nodes.
    Cost: the free places are counted once for a graph; then O(P k log E).
    Raises: ValueError when a node of the pairs has edges to all others, for wrong shapes, or nodes outside
        the graph.
    """
    taken = _taken("structured_negatives", adj, bipartite)
    if pairs.dim() != 2 or pairs.shape[0] != 2:
        raise ValueError(f"structured_negatives: pairs has shape {list(pairs.shape)}; expected [2, P]")
    row = pairs[0].long()
    if row.numel() and (int(row.min()) < 0 or int(row.max()) >= taken.num_rows):
        raise ValueError(
            f"structured_negatives: pairs names nodes {int(row.min())} to {int(row.max())} but the graph has "
            f"{taken.num_rows} nodes; give it all its nodes, for example with as_csr(edge_index, num_nodes)"
        )
    free = (taken.num_cols - taken.degree.long())[row]
    if bool((free == 0).any()):
        raise ValueError(
            f"structured_negatives: node {int(row[free == 0][0])} has edges to all others; leave it out"
        )
    draw = torch.randint(DRAWS, (row.numel(), per_source), generator=generator).to(row.device)
    rank = draw % free.unsqueeze(1)
    return _nth_free(taken, row.repeat_interleave(per_source), rank.flatten()).view(-1, per_source)


def _taken(who: str, adj: Adj, bipartite: bool) -> CSR:
    csr = as_csr(adj)
    if bipartite:
        return csr.derive("targets", lambda a: sorted_rows(a.transposed))
    if csr.num_rows != csr.num_cols:
        raise ValueError(f"{who}: the graph is {csr.num_rows} x {csr.num_cols}; expected a square one")
    return csr.derive("taken", _targets_and_self)


def _targets_and_self(adj: CSR) -> CSR:
    """A row for each source: its targets and itself, sorted, each once."""
    return sorted_rows(adj.transposed.add_self_loops())


def _nth_free(taken: CSR, row: Tensor, rank: Tensor) -> Tensor:
    """The column of that rank among those that are not in the row.

    Before the k-th entry a of a row, a - k columns are free; so the column is the rank plus the number of
    entries with a - k <= rank.
    """
    start, width = taken.indptr, taken.num_cols + 1
    keys = taken.derive("free_before", _free_before)
    return rank + torch.searchsorted(keys, row * width + rank, right=True) - start[row]


def _free_before(taken: CSR) -> Tensor:
    """Of each entry, how many columns before it are free, behind its row: sorted."""
    row = taken.rows
    place = torch.arange(row.numel(), device=row.device) - taken.indptr[row]
    return row * (taken.num_cols + 1) + taken.indices.long() - place


def _drawn(free: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(max(free, 1), (count,), generator=generator)


def _distinct(free: int, count: int, generator: torch.Generator) -> Tensor:
    """Distinct ranks in random order: the first ones of a sequence of draws, or of a permutation."""
    if 2 * count > free:
        return torch.randperm(free, generator=generator)[:count]
    found = torch.empty(0, dtype=torch.int64)
    while found.numel() < count:
        found = torch.cat([found, _drawn(free, count, generator)])
        value, group = torch.unique(found, return_inverse=True)
        first = torch.full_like(value, found.numel())
        first.scatter_reduce_(0, group, torch.arange(found.numel()), "amin")
        found = found[first.sort().values]
    return found[:count]
