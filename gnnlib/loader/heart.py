"""Hard negative pairs for evaluation: those that heuristics take for edges."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gnnlib.sparse import as_csr, spmm
from gnnlib.sparse.convert import Adj
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.pagerank import pagerank, simple

BLOCK = 64  # corrupted ends at once; a block holds some arrays [BLOCK, N]


def heart_negatives(
    adj: Adj,
    positives: Tensor,
    generator: torch.Generator,
    *,
    x: Tensor | None = None,
    count: int = 500,
    combine: Literal["min", "mean"] = "min",
    exclude: Adj | None = None,
    common: Literal["ra", "cn"] = "ra",
    alpha: float = 0.15,
    tol: float = 1e-7,
) -> Tensor:
    r"""Corrupt each end of each positive pair by the nodes that heuristics rank highest for the other end.

    For the end that stays, all other nodes are ranked by each of: common neighbours, each by the inverse of
    its degree (or counted); personalised PageRank from the end that stays; cosine of the features. The best
    has rank 1; nodes without a score share the rank after the last. Ranks are combined, and half of ``count``
    nodes with the best ones taken, of equal ones those with a score first, then by the generator.

    Li et al., Evaluating Graph Neural Networks for Link Prediction: Current Pitfalls and New Benchmarking,
    NeurIPS Datasets and Benchmarks 2023 (HeaRT), as their code ranks. They find PageRank by pushes that stop
    at a tolerance and so leave distant nodes without a score; here it is exact, and what lies below the
    tolerance times the node's degree counts as no score.

    Args:
        adj: the graph of the training edges, both directions of each.
        positives: pairs (u, v).
        generator: on the CPU; it fixes the nodes.
        x: features; None: no cosine.
        count: how many negatives for each pair, even: the first half are pairs (u, ·), the others (·, v).
        combine: how ranks are combined.
        exclude: edges that are no negatives, both directions of each; None: those of ``adj``. The positive
            pair itself never is one, nor is a node with itself.
        common: weight of a common neighbour, ``"ra"``: the inverse of its degree, ``"cn"``: 1.
        alpha: probability of a restart, in (0, 1).
        tol: of PageRank, in (0, 1).

    Shapes: adj ``[N, N]``, positives ``[2, P]``, x ``[N, F]`` -> ``[2, P, count]``.
    Cost: O(V E ln(1 / tol) / alpha) for V distinct ends, and O(P N log N); memory of some arrays [64, N].
    Raises: ValueError for a count that is not positive and even, an unknown word, shapes that do not fit, or
        a pair whose end leaves fewer than half of ``count`` nodes.
    """
    graph = simple(_square(adj, "adj", None))
    _check(graph, positives, x, count, combine, common, alpha, tol)
    n, pairs = graph.num_rows, positives.long()
    known = graph if exclude is None else simple(_square(exclude, "exclude", n))
    similar = None if x is None else torch.nn.functional.normalize(x.float(), dim=1)
    stays = torch.cat([pairs[0], pairs[1]])
    goes = torch.cat([pairs[1], pairs[0]])
    chosen = torch.empty(stays.numel(), count // 2, dtype=torch.int64, device=pairs.device)
    for sides in torch.split(stays.argsort(stable=True), BLOCK) if stays.numel() else ():
        nodes, place = torch.unique(stays[sides], return_inverse=True)
        unit = torch.zeros(n, nodes.numel(), device=pairs.device)
        unit[nodes, torch.arange(nodes.numel(), device=pairs.device)] = 1
        scores = _scores(graph, unit, nodes, similar, common, alpha, tol)
        taken = (spmm(known, unit) > 0).t()[place]
        taken.scatter_(1, torch.stack([stays[sides], goes[sides]], dim=1), True)
        chosen[sides] = _chosen([s.t()[place] for s in scores], taken, count // 2, combine, generator)
    first, second = chosen[: pairs.size(1)], chosen[pairs.size(1) :]
    fixed = pairs.unsqueeze(2).expand(-1, -1, count // 2)
    return torch.cat([torch.stack([fixed[0], first]), torch.stack([second, fixed[1]])], dim=2)


def _scores(
    graph: CSR, unit: Tensor, nodes: Tensor, similar: Tensor | None, common: str, alpha: float, tol: float
) -> list[Tensor]:
    """Scores of all nodes for some, ``[N, V]`` each; 0 is none."""
    degree = graph.degree.to(unit.dtype).unsqueeze(1)
    weight = 1 / degree.clamp(min=1) if common == "ra" else torch.ones_like(degree)
    visits = pagerank(graph, unit.double(), alpha, tol)
    scores = [
        spmm(graph, weight * spmm(graph, unit)),
        visits.masked_fill(visits <= tol * degree.clamp(min=1), 0),
    ]
    if similar is not None:
        scores.append((similar @ similar[nodes].t()).clamp(min=0))
    return scores


def _chosen(
    scores: list[Tensor], taken: Tensor, count: int, combine: str, generator: torch.Generator
) -> Tensor:
    """The nodes of the best combined ranks, ``[B, N]`` -> ``[B, count]``."""
    if int((~taken).sum(1).min()) < count:
        raise ValueError(
            f"heart_negatives: only {int((~taken).sum(1).min())} nodes are left for an end of a pair but "
            f"{count} are wanted; pass a smaller count, or exclude fewer edges"
        )
    ranks = torch.stack([_ranks(s.masked_fill(taken, 0)) for s in scores])
    rank = ranks.amin(0) if combine == "min" else ranks.mean(0)
    scored = torch.stack([s > 0 for s in scores]).any(0)
    # sorted by the last key first: chance, then scored nodes, then rank, and never a known one
    order = torch.rand(taken.shape, generator=generator, dtype=torch.float64).to(taken.device).argsort(1)
    for key in (~scored, rank, taken):
        order = order.gather(1, key.gather(1, order).argsort(dim=1, stable=True))
    return order[:, :count]


def _ranks(score: Tensor) -> Tensor:
    """Rank 1 for the best positive score of a row; equal ones share the last of their ranks, 0 comes after.

    The ranks of all are shifted so that equal best scores have rank 1, as the authors' code has it.
    """
    ordered = score.sort(dim=1).values
    below = torch.searchsorted(ordered, score.contiguous())
    best = torch.searchsorted(ordered, ordered[:, -1:].contiguous())
    rank = best - below + 1
    zero = score <= 0
    last = rank.masked_fill(zero, 0).amax(1, keepdim=True)
    return torch.where(zero, last + 1, rank).double()


def _square(adj: Adj, name: str, size: int | None) -> CSR:
    csr = as_csr(adj) if size is None else as_csr(adj, size)
    if csr.num_rows != csr.num_cols:
        raise ValueError(f"heart_negatives: {name} is {csr.num_rows} x {csr.num_cols}; expected a square one")
    return csr


def _check(
    graph: CSR,
    positives: Tensor,
    x: Tensor | None,
    count: int,
    combine: str,
    common: str,
    alpha: float,
    tol: float,
) -> None:
    if positives.dim() != 2 or positives.shape[0] != 2:
        raise ValueError(f"heart_negatives: positives has shape {list(positives.shape)}; expected [2, P]")
    if positives.numel() and (int(positives.min()) < 0 or int(positives.max()) >= graph.num_rows):
        raise ValueError(
            f"heart_negatives: positives names nodes {int(positives.min())} to {int(positives.max())} but "
            f"the graph has {graph.num_rows}; give it all its nodes, for example with as_csr(edge_index, "
            "num_nodes)"
        )
    if x is not None and (x.dim() != 2 or x.size(0) != graph.num_rows):
        raise ValueError(
            f"heart_negatives: x has shape {list(x.shape)} but the graph has {graph.num_rows} nodes"
        )
    if count < 2 or count % 2:
        raise ValueError(f"heart_negatives: count is {count}; pass an even number, half for each end")
    for name, value, words in (("combine", combine, ("min", "mean")), ("common", common, ("ra", "cn"))):
        if value not in words:
            raise ValueError(f"heart_negatives: {name}={value!r} is unknown; choose {' or '.join(words)}")
    if not (0 < alpha < 1 and 0 < tol < 1):
        raise ValueError(f"heart_negatives: alpha is {alpha} and tol {tol}; expected both in (0, 1)")
