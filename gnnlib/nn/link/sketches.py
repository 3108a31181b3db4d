"""Sketches of the balls around nodes, and the sizes of their intersections for node pairs.

A node's ball of radius k holds the nodes from which it can be reached in at most k steps, itself among them.
Sketches of unions are the minimum and the maximum of sketches, so a hop is one reduction over neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from gnnlib.nn.link.heuristics import pair_graph
from gnnlib.sparse import spmm
from gnnlib.sparse.convert import Adj
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.spmm import Reduce
from gnnlib.sparse.random import as_seed, draw, shift, stream
from gnnlib.sparse.symmetric import keys

BLOCK = 64  # numbers of a sketch that are propagated at once: two arrays [N, BLOCK]
CHUNK = 4096  # pairs whose sketches are compared at once


@dataclass(frozen=True)
class BallSketches:
    """What is kept of each node's balls of radius 0 to K.

    Args:
        graph: the structure without self-loops and duplicates.
        minhash: for each radius, the least hash value in the ball under each of P hash functions.
        registers: for each radius, the HyperLogLog registers of the ball.
        size: for each radius, the estimated number of nodes in the ball.

    Shapes: minhash float32 ``[N, P]``, registers uint8 ``[N, 2^p]``, size float32 ``[N]``, each K + 1 times.
    """

    graph: CSR
    minhash: tuple[Tensor, ...]
    registers: tuple[Tensor, ...]
    size: tuple[Tensor, ...]

    @property
    def hops(self) -> int:
        """The largest radius K."""
        return len(self.minhash) - 1

    def without_edge(self, pairs: Tensor) -> BallSketches:
        """The sketches of both ends of each pair in the graph that lacks an edge between them.

        Row p is the first end of pair p, row P + p the second. No sketch but those of the two ends is made
        anew, which is exact up to radius 2: a path of two steps that leaves an end by another edge does not
        meet the missing one unless it comes back to where it began.

        Shapes: pairs ``[2, P]`` -> sketches of 2 P rows, whose ``graph`` is empty.
        Cost: O(d (P + M)) for d the edges of all ends.
        Raises: NotImplementedError for more than 2 hops.
        """
        if self.hops > 2:
            raise NotImplementedError(
                f"BallSketches: hops={self.hops}; a pair's own edge can be left out of balls of radius 1 and "
                "2 only: take 2 hops, or make the sketches of a graph without the edge"
            )
        ends, other = torch.cat([pairs[0], pairs[1]]), torch.cat([pairs[1], pairs[0]])
        rows = _rows(self.graph, ends, other)
        leaves = rows.degree > 0

        def anew(levels: tuple[Tensor, ...], reduce: Reduce) -> list[Tensor]:
            join = torch.minimum if reduce == "min" else torch.maximum
            new = [levels[0].index_select(0, ends)]
            for level in levels[: self.hops]:
                near = join(new[-1], _reduced(rows, level, reduce))
                new.append(torch.where(leaves[:, None], near, new[-1]))
            return new

        nothing = CSR.trusted(torch.zeros_like(rows.indptr), rows.indices[:0], rows.num_rows)
        return _sized(nothing, anew(self.minhash, "min"), anew(self.registers, "max"))


def ball_sketches(
    adj: Adj, hops: int = 2, *, permutations: int = 128, precision: int = 8, seed: int = 0
) -> BallSketches:
    r"""MinHash and HyperLogLog sketches of the balls around every node.

    .. math:: m^{(k)}_v = \min_{u \in \Gamma_v \cup \{v\}} m^{(k-1)}_u, \qquad
        r^{(k)}_v = \max_{u \in \Gamma_v \cup \{v\}} r^{(k-1)}_u

    with :math:`m^{(0)}_v` P uniform numbers in (0, 1) and :math:`r^{(0)}_v` zeros but for one register, which
    :math:`2^p` values draw, and its geometric value. The numbers of a node follow from the seed and its own
    number alone. Broder, On the resemblance and containment of documents, 1997; Flajolet et al., HyperLogLog,
    2007; Chamberlain et al., Graph Neural Networks for Link Prediction with Subgraph Sketching, ICLR 2023.

    Args:
        adj: the graph; a node's neighbours are its sources.
        hops: K, at least 1.
        permutations: P, at least 1; the standard deviation of a Jaccard estimate is sqrt(J (1 - J) / P).
        precision: p from 4 to 16; the relative one of a size is about 1.04 / sqrt(2^p).
        seed: of the hash functions.

    Shapes: adj ``[N, N]`` -> :class:`BallSketches`, kept with the graph.
    Cost: O(K E (P + 2^p)) time, ``4 P + 2^p`` bytes a node and radius.
    Raises: ValueError for a graph that is not square, or a number out of its range.
    """
    if hops < 1 or permutations < 1 or not 4 <= precision <= 16:
        raise ValueError(
            f"ball_sketches: hops={hops}, permutations={permutations}, precision={precision}; pass at least "
            "1 hop and 1 permutation, and a precision from 4 to 16"
        )
    csr = pair_graph("ball_sketches", adj, torch.empty(2, 0, dtype=torch.int64))
    key = ("ball sketches", hops, permutations, precision, as_seed(seed))
    return csr.derive(key, lambda a: _sketched(a, hops, permutations, precision, as_seed(seed)))


def cardinality(registers: Tensor) -> Tensor:
    r"""Number of elements of a set from its HyperLogLog registers.

    .. math:: \hat n = \frac{m^2}{2 \ln 2} \Big( m\, \sigma(z / m) + \sum_{r_i > 0} 2^{-r_i} \Big)^{-1},
        \qquad \sigma(x) = x + \sum_{k \ge 1} x^{2^k} 2^{k-1}

    with m registers, z of them 0. Ertl, New cardinality estimation algorithms for HyperLogLog sketches, 2017,
    the improved raw estimator: small sets need no linear counting and no table of measured biases, which
    HyperLogLog++ has; the term for registers at their largest value is 0 here, where they have 64 - p bits.

    Shapes: integers ``[..., m]`` -> float32 ``[...]``; no element gives 0.
    """
    m = registers.size(-1)
    zeros = (registers == 0).sum(-1)
    rest = torch.exp2(-registers.float()).sum(-1) - zeros
    return m * m / (2 * math.log(2)) / (m * _sigma(m).to(rest.device)[zeros] + rest)


def intersection_features(sketches: BallSketches, pairs: Tensor, *, zero_one: bool = False) -> Tensor:
    r"""Estimated numbers of nodes at each pair of distances from the two ends of a pair.

    .. math:: A_{ij} = |N_i(u) \cap N_j(v)| - \sum_{a \le i,\, b \le j,\, (a, b) \ne (i, j)} A_{ab}, \qquad
        |N_i(u) \cap N_j(v)| \approx \hat J(m^{(i)}_u, m^{(j)}_v) \cdot
        \hat n\big(\max(r^{(i)}_u, r^{(j)}_v)\big)

    for i, j from 1 to K, then the nodes near to one end and not within K of the other,
    :math:`A_{0j} = |N_j(v)| - |N_{j-1}(v)| - \sum_{i \ge 1} A_{ij}` and :math:`A_{i0}` alike. N_k is the ball
    of radius k with its centre, and N_0 empty: :math:`A_{11}` counts both ends of an edge.

    The order is (1, 1); (2, 1), (1, 2), (2, 2); (3, 1), ...; then (0, 1), (1, 0), (0, 2), (2, 0), ...
    Chamberlain et al., ICLR 2023. Estimates may come out below 0.

    Args:
        sketches: of :func:`ball_sketches`.
        pairs: u in the first row and v in the second.
        zero_one: give (0, 1) and (1, 0), which tell whether u and v are linked; they are 0 otherwise.

    Shapes: pairs ``[2, P]`` -> ``[P, K (K + 2)]``.
    Cost: O(P K^2 (permutations + 2^p)).
    Raises: ValueError for pairs of a wrong shape.
    """
    if pairs.dim() != 2 or pairs.size(0) != 2:
        raise ValueError(
            f"intersection_features: pairs has shape {list(pairs.shape)}; expected [2, P], one pair a column"
        )
    chunks = [_counts(sketches, chunk) for chunk in torch.split(pairs, CHUNK, dim=1)]
    out = torch.cat(chunks)
    if not zero_one:
        out[:, sketches.hops**2 : sketches.hops**2 + 2] = 0
    return out


def unlinked_features(sketches: BallSketches, pairs: Tensor, *, zero_one: bool = False) -> Tensor:
    """What :func:`intersection_features` is for each pair in the graph without an edge between its ends.

    So a training pair looks the same whether its edge is in the graph or not.

    Shapes: pairs ``[2, P]`` -> ``[P, K (K + 2)]``.
    Raises: NotImplementedError for linked pairs with more than 2 hops.
    """
    out = intersection_features(sketches, pairs, zero_one=zero_one)
    linked = _linked(sketches.graph, pairs)
    if linked.numel():
        rows = torch.arange(linked.numel(), device=pairs.device)
        ends = torch.stack([rows, rows + rows.numel()])
        alone = sketches.without_edge(pairs[:, linked])
        out[linked] = intersection_features(alone, ends, zero_one=zero_one)
    return out


def _sketched(adj: CSR, hops: int, permutations: int, precision: int, seed: int) -> BallSketches:
    nodes = torch.arange(adj.num_rows, device=adj.device)
    looped = adj.add_self_loops()
    low: list[list[Tensor]] = [[] for _ in range(hops + 1)]
    start = stream(seed, 2 * nodes)
    for numbers in torch.split(torch.arange(permutations, device=adj.device), BLOCK):
        # All 53 bits count where the values are small, as minima are: float32 is relative.
        level = ((shift(draw(start[:, None], numbers), 11).double() + 0.5) * 2.0**-53).float()
        for k in range(hops + 1):
            low[k].append(level)
            level = spmm(looped, level, None, "min") if k < hops else level
    size = 1 << precision
    bits = draw(stream(seed, 2 * nodes + 1), 0)
    place, rest = bits & (size - 1), shift(bits, precision)
    # The number of the lowest bit that is set, from 1: a power of 2 has one bit, in its exponent.
    value = torch.where(rest == 0, 65 - precision, torch.frexp((rest & -rest).double()).exponent)
    registers = torch.zeros(adj.num_rows, size, dtype=torch.uint8, device=adj.device)
    registers[nodes, place] = value.to(torch.uint8)
    high = [registers]
    for _ in range(hops):
        high.append(_reduced(looped, high[-1], "max"))
    return _sized(adj, [torch.cat(blocks, dim=1) for blocks in low], high)


def _sized(graph: CSR, minhash: list[Tensor], registers: list[Tensor]) -> BallSketches:
    return BallSketches(graph, tuple(minhash), tuple(registers), tuple(cardinality(r) for r in registers))


def _reduced(adj: CSR, x: Tensor, reduce: Reduce) -> Tensor:
    """Extreme rows in x's dtype, whose values float32 holds exactly."""
    blocks = [spmm(adj, block.float(), None, reduce).to(x.dtype) for block in torch.split(x, BLOCK, dim=1)]
    return torch.cat(blocks, dim=1)


def _rows(graph: CSR, ends: Tensor, other: Tensor) -> CSR:
    """The neighbours of each end but one, ``[n, N]``."""
    degree = graph.degree.index_select(0, ends)
    row = torch.arange(ends.numel(), device=ends.device).repeat_interleave(degree)
    offset = torch.arange(row.numel(), device=ends.device) - (degree.cumsum(0) - degree)[row]
    column = graph.indices.index_select(0, graph.indptr[ends][row] + offset)
    kept = column != other[row]
    count = torch.bincount(row[kept], minlength=ends.numel())
    indptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    return CSR.trusted(indptr, column[kept], graph.num_cols)


def _linked(graph: CSR, pairs: Tensor) -> Tensor:
    """Places of the pairs with an edge in either direction."""
    known = graph.derive("keys", keys)
    if not known.numel():
        return pairs.new_empty(0)
    found = torch.zeros(pairs.size(1), dtype=torch.bool, device=pairs.device)
    for u, v in (pairs, pairs.flip(0)):
        key = u * graph.num_cols + v
        found |= known[torch.searchsorted(known, key).clamp(max=known.numel() - 1)] == key
    return found.nonzero().view(-1)


def _counts(sketches: BallSketches, pairs: Tensor) -> Tensor:
    hops = sketches.hops
    low, high, size = (
        [[level.index_select(0, nodes) for level in levels] for nodes in pairs]
        for levels in (sketches.minhash, sketches.registers, sketches.size)
    )
    both = torch.zeros(hops + 1, hops + 1, pairs.size(1), device=pairs.device)
    for i, j in _orders(hops):
        jaccard = (low[0][i] == low[1][j]).float().mean(1)
        both[i, j] = jaccard * cardinality(torch.maximum(high[0][i], high[1][j]))
    inner = both.diff(dim=0).diff(dim=1)  # A_ij for i, j from 1, since N_0 is empty here
    out = [inner[i - 1, j - 1] for i, j in _orders(hops)]
    for k in range(1, hops + 1):
        of_u, of_v = (ball[k] - (ball[k - 1] if k > 1 else 0) for ball in size)
        out += [of_v - inner[:, k - 1].sum(0), of_u - inner[k - 1].sum(0)]
    return torch.stack(out, dim=1)


def _orders(hops: int) -> Iterator[tuple[int, int]]:
    """(1, 1); (2, 1), (1, 2), (2, 2); ..."""
    for k in range(1, hops + 1):
        for j in range(1, k):
            yield k, j
            yield j, k
        yield k, k


@cache
def _sigma(m: int) -> Tensor:
    """sigma(z / m) for z from 0 to m, where it is infinite."""
    power = torch.arange(m + 1, dtype=torch.float64) / m
    total, scale = power.clone(), 1.0
    while scale < 2.0**40:  # by then the largest power below 1, at m = 2^16, has long vanished
        power = power.square()
        total, scale = total + scale * power, 2 * scale
    total[m] = math.inf
    return total.float()
