"""Pooling around a maximal k-independent set."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gnnlib.nn.check import check_choice
from gnnlib.nn.pool.base import Pooling
from gnnlib.nn.pool.outputs import SelectOutput
from gnnlib.sparse import as_csr, independent_set, spmm
from gnnlib.sparse.ops.spmm import Reduce

Score = Literal["constant", "linear"]
Heuristic = Literal["greedy", "w-greedy"]


class KMISPooling(Pooling):
    r"""Clusters around nodes that are more than k steps apart, each of the others with the best one near it.

    .. math:: i \in S \iff s_i = \max \{\, s_j : \mathrm{dist}(i, j) \le k,\ j \text{ not covered} \,\},
        \qquad x'_c = \sum_{i \in c} s_i\, x_i

    Bacciu, Conte and Landolfi, Generalizing Downsampling from Regular Data to Graphs, AAAI 2023. How many
    clusters there are follows from the graph; every node is within k steps of its centre, and a connected
    graph stays connected. With constant scores there are no parameters, and every node has its full weight in
    one cluster.

    Args:
        in_channels: width of x, for learned scores.
        k: number of steps, at least 0 (0: every node is its own cluster).
        score: ``"constant"``, or ``"linear"``: the logistic function of a linear map, times which the
            features go.
        heuristic: what is ranked: ``"greedy"``, the score over the number of nodes within k steps (walks
            counted, :math:`(A + I)^k 1`), which makes sets large; ``"w-greedy"``, over their scores
            :math:`(A + I)^k s`; None, the score.
        aggr: how the features of a cluster are reduced, ``"sum"``, ``"mean"``, ``"max"``, ``"min"``; None
            keeps the centre's.

    Shapes: x ``[N, F]``, edge_index ``[2, E]``, edge_weight ``[E]`` or None, batch ``[N]`` ->
        :class:`PoolingOutput` with x ``[K, F]``. Clusters are in the order of their centres, graph by graph.
        Edge weights add up in the coarse graph and do not decide about clusters.
    Cost: O(k E + N log N) for small k, O(N F + E) memory.
    Raises: ValueError for k below 0, an unknown name, learned scores without ``in_channels``, or inputs that
        do not fit each other.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        k: int = 1,
        *,
        score: Score = "constant",
        heuristic: Heuristic | None = "greedy",
        aggr: Reduce | None = "sum",
    ) -> None:
        super().__init__()
        if k < 0:
            raise ValueError(f"KMISPooling: k={k} is negative; pass a number of steps, 0 or more")
        if score not in ("constant", "linear") or heuristic not in (None, "greedy", "w-greedy"):
            raise ValueError(
                f"KMISPooling: score={score!r}, heuristic={heuristic!r}; choose 'constant' or 'linear', and "
                "'greedy', 'w-greedy' or None"
            )
        if score == "linear" and in_channels is None:
            raise ValueError("KMISPooling: score='linear' needs the width of x; pass in_channels")
        check_choice("KMISPooling", ("sum", "mean", "max", "min", None), aggr=aggr)
        self.in_channels = in_channels
        self.k = k
        self.score = score
        self.heuristic = heuristic
        self.aggr = aggr
        self.lin = nn.Linear(in_channels, 1) if score == "linear" and in_channels is not None else None

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        if self.lin is not None:
            self.lin.reset_parameters()

    def assign(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None, batch: Tensor
    ) -> SelectOutput:
        """Score nodes, choose centres and give each node to one."""
        n = x.shape[0]
        if self.lin is not None and x.shape[1] != self.in_channels:
            raise ValueError(
                f"{self._who}: x has {x.shape[1]} features but in_channels={self.in_channels}; pass "
                f"{self.in_channels} features"
            )
        score = None if self.lin is None else self.lin(x).squeeze(-1).sigmoid()
        adj = as_csr(edge_index, n)
        centre = independent_set(adj, self._rank(adj, x, score), self.k)
        nodes = torch.arange(n, device=x.device)
        number = batch.argsort(stable=True)  # clusters go graph by graph
        centres = number[(centre == nodes)[number]]
        count = centres.shape[0]
        if self.aggr is None:  # a weight of 0 for the others, whose edges the cluster keeps
            score = torch.where(centre == nodes, x.new_ones(n) if score is None else score, 0)
        place = torch.zeros_like(centre).index_copy(0, centres, torch.arange(count, device=x.device))
        return SelectOutput(nodes, n, place[centre], count, score)

    def _rank(self, adj: object, x: Tensor, score: Tensor | None) -> Tensor:
        """What centres are the largest of, ``[N]``."""
        fixed = x.new_ones(x.shape[0]) if score is None else score.detach()
        if self.heuristic is None or self.k == 0:
            return fixed
        near = torch.ones_like(fixed) if self.heuristic == "greedy" else fixed
        for _ in range(self.k):
            near = near + spmm(adj, near[:, None]).squeeze(-1)
        return fixed / near

    def reduce(self, x: Tensor, so: SelectOutput) -> Tensor:
        """Features of the clusters: ``[N, F]`` -> ``[K, F]``."""
        return so.reduce(x, self.aggr or "sum")

    def __repr__(self) -> str:
        return f"{self._who}(k={self.k})"
