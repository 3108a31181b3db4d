"""Pooling that keeps the nodes with the largest scores: TopK and SAG."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gnnlib.nn.act import activation
from gnnlib.nn.conv.graphconv import GraphConv
from gnnlib.nn.init import reset
from gnnlib.nn.pool.base import Pooling
from gnnlib.nn.pool.connect import filter_edges
from gnnlib.nn.pool.outputs import ConnectOutput, PoolingOutput, SelectOutput
from gnnlib.sparse import segment_softmax
from gnnlib.sparse.sets import as_sets

_SLACK = 1e-9  # 0.55 * 20 is 11.000000000000002: a product this close above a whole number counts as it


def top_nodes(score: Tensor, batch: Tensor, ratio: float) -> Tensor:
    r"""The :math:`\lceil \mathrm{ratio} \cdot n \rceil` best nodes of each graph, best first.

    A whole number is the count itself. Of equal scores the node with the lower number comes first.
    """
    order = score.detach().argsort(descending=True, stable=True)
    order = order[batch[order].argsort(stable=True)]
    graph = batch[order]
    count = graph.bincount()
    place = torch.arange(graph.shape[0], device=graph.device) - (count.cumsum(0) - count)[graph]
    if isinstance(ratio, int):
        wanted = count.new_full(count.shape, ratio)
    else:
        wanted = (ratio * count.double() - _SLACK).ceil().clamp(min=1).long()
    return order[place < wanted[graph]]


class ScoreSelect(nn.Module):
    """Chooses nodes by a projection of their features, or by scores as they are.

    Args:
        in_channels: width of the features.
        ratio: share of the nodes of a graph, or their number.
        min_score: threshold of the softmax over a graph, in place of ``ratio``.
        act: of the projection.
        learn: learn the projection; otherwise it is the number 1 under the name that PyG gives it, and a
            loaded one keeps its sign.

    Shapes: x ``[N, in]``, batch ``[N]`` -> :class:`SelectOutput` with K entries.
    """

    weight: Tensor

    def __init__(
        self,
        in_channels: int,
        ratio: float | None,
        min_score: float | None,
        act: str | Callable[[Tensor], Tensor],
        *,
        learn: bool,
    ) -> None:
        super().__init__()
        if ratio is None and min_score is None:
            raise ValueError("TopKPooling: neither ratio nor min_score came; pass one of them")
        if min_score is None and not (
            ratio is not None and ratio > 0 and (isinstance(ratio, int) or ratio <= 1)
        ):
            raise ValueError(
                f"TopKPooling: ratio={ratio}; pass a share of the nodes, above 0 and at most 1.0, or a whole "
                "number of nodes, 1 or more"
            )
        self.in_channels = in_channels
        self.ratio = ratio
        self.min_score = min_score
        self.act = activation(act)
        value = torch.empty(1, in_channels)
        if learn:
            self.weight = nn.Parameter(value)
        else:
            self.register_buffer("weight", value)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw a new projection."""
        if isinstance(self.weight, nn.Parameter):
            bound = self.in_channels**-0.5
            nn.init.uniform_(self.weight, -bound, bound)
        else:
            nn.init.ones_(self.weight)

    def forward(self, x: Tensor, batch: Tensor) -> SelectOutput:
        """Score and choose."""
        score = x @ self.weight[0].to(x.dtype)
        if self.min_score is None:
            norm = self.weight.norm().clamp(min=torch.finfo(x.dtype).tiny)  # 0 / 0 of PyG is 0 here
            score = score / norm.to(x.dtype)
            score = score if self.act is None else self.act(score)
            assert self.ratio is not None
            chosen = top_nodes(score, batch, self.ratio)
        else:
            chosen, score = self._above(score, batch)
        clusters = torch.arange(chosen.shape[0], device=x.device)
        return SelectOutput(chosen, x.shape[0], clusters, chosen.shape[0], score[chosen])

    def _above(self, score: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes past the threshold, and the best ones of a graph that has none; with the softmax."""
        assert self.min_score is not None
        sets = as_sets(score, batch)
        by_set = segment_softmax(sets.take(score), sets.indptr)
        nodes = sets.adj.indices.long()
        soft = by_set if sets.in_order else torch.zeros_like(by_set).index_copy(0, nodes, by_set)
        fixed = soft.detach()
        best = fixed.new_zeros(sets.num_sets).scatter_reduce(0, batch, fixed, "amax", include_self=False)
        bound = (best - 1e-7).clamp(max=self.min_score)
        return (fixed > bound[batch]).nonzero()[:, 0], soft


class ScoredPooling(Pooling):
    """What TopK and SAG share: features times scores, and the edges between the nodes that are kept."""

    order = ("x", "edge_index", "edge_attr", "batch", "perm", "score")
    select: ScoreSelect

    def __init__(
        self,
        in_channels: int,
        ratio: float | None,
        min_score: float | None,
        multiplier: float,
        nonlinearity: str | Callable[[Tensor], Tensor],
        *,
        learn: bool,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.ratio = ratio
        self.min_score = min_score
        self.multiplier = multiplier
        width = in_channels if learn else 1
        self.select = ScoreSelect(width, ratio, min_score, nonlinearity, learn=learn)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in self.children():
            reset(part)

    def reduce(self, x: Tensor, so: SelectOutput) -> Tensor:
        """Rows of the chosen nodes times their scores and the multiplier: ``[N, F]`` -> ``[K, F]``."""
        assert so.weight is not None
        out = x.index_select(0, so.node_index) * so.weight[:, None].to(x.dtype)
        return out if self.multiplier == 1 else self.multiplier * out

    def connect(
        self,
        so: SelectOutput,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> ConnectOutput:
        """The edges between chosen nodes, with their values."""
        graph = None if batch is None else batch[so.node_index]
        return ConnectOutput(*filter_edges(so, edge_index, edge_attr), graph)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        attn: Tensor | None = None,
    ) -> PoolingOutput:
        """Keep the best nodes of each graph.

        Args:
            x: node features.
            edge_index: sources and targets.
            edge_attr: a value or a row for each edge; those of the edges that are kept come back.
            batch: graph of each node; all are one graph if None.
            attn: features that are scored in place of x.
        """
        return self._coarse(x, edge_index, edge_attr, batch, attn)

    def _coarse(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None,
        batch: Tensor | None,
        attn: Tensor | None,
    ) -> PoolingOutput:
        if attn is None:
            return self.coarsen(x, edge_index, edge_weight, batch)
        x, batch = self._door(x, edge_index, edge_weight, batch)
        so = self.assign(attn[:, None] if attn.dim() == 1 else attn, edge_index, edge_weight, batch)
        return self._made(x, so, edge_index, edge_weight, batch)

    def __repr__(self) -> str:
        kept = f"ratio={self.ratio}" if self.min_score is None else f"min_score={self.min_score}"
        return f"{self._who}({self._shown}{self.in_channels}, {kept}, multiplier={self.multiplier})"

    _shown = ""


class TopKPooling(ScoredPooling):
    r"""The nodes with the largest projections on a learned vector p, their features times the score.

    .. math:: y = \sigma\big(X p / \lVert p \rVert\big), \quad i = \mathrm{top}_k(y), \quad
        X' = (X \odot y)_i, \quad A' = A_{i, i}, \quad k = \lceil \mathrm{ratio} \cdot n \rceil

    Gao and Ji, Graph U-Nets, ICML 2019; Cangea et al., Towards Sparse Hierarchical Graph Classifiers,
    2018. With ``min_score`` the scores are the softmax of X p over a graph, and the nodes above
    it are kept, or the best ones where none is.

    Of equal scores the node with the lower number is kept, on every device; PyG sorts without a rule. A ratio
    of 1.0 keeps all nodes (one node in PyG) and p = 0 gives scores of 0 (NaN in PyG). Otherwise the results
    are PyG's.

    Args:
        in_channels: width of x.
        ratio: share of the nodes of a graph that are kept, in (0, 1.0], or, as a whole number, how many.
        min_score: threshold in [0, 1], in place of ``ratio``.
        multiplier: factor of the features that are kept.
        nonlinearity: :math:`\sigma`, the name of a class of ``torch.nn`` or a function.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_attr ``[E, ...]``, batch ``[N]`` ->
        :class:`PoolingOutput` that unpacks into x, edge_index, edge_attr, batch, perm, score.
    Cost: O(N log N + E) time, O(N + E) memory.
    Raises: ValueError for a ratio outside its range, or inputs that do not fit each other.
    """

    def __init__(
        self,
        in_channels: int,
        ratio: float | None = 0.5,
        min_score: float | None = None,
        multiplier: float = 1.0,
        nonlinearity: str | Callable[[Tensor], Tensor] = "tanh",
    ) -> None:
        super().__init__(in_channels, ratio, min_score, multiplier, nonlinearity, learn=True)

    def assign(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None, batch: Tensor
    ) -> SelectOutput:
        """Score and choose nodes."""
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f"{self._who}: x has {x.shape[1]} features but in_channels={self.in_channels}; pass "
                f"{self.in_channels} features"
            )
        so: SelectOutput = self.select(x, batch)
        return so


class SAGPooling(ScoredPooling):
    r"""The nodes with the largest scores of a graph convolution, their features times the score.

    .. math:: y = \sigma(\mathrm{GNN}(X, A)), \quad i = \mathrm{top}_k(y), \quad X' = (X \odot y)_i, \quad
        A' = A_{i, i}

    Lee et al., Self-Attention Graph Pooling, ICML 2019, where the GNN is a GCN.

    PyG multiplies the scores by the sign of a number that is drawn once and never learned, so that a trained
    layer may start by keeping the worst nodes. Here the number is 1; it stays in the ``state_dict`` under
    PyG's key, and a checkpoint of PyG brings its own. Ties and a ratio of 1.0 as in :class:`TopKPooling`.

    Args:
        in_channels: width of x.
        ratio: share of the nodes of a graph that are kept, in (0, 1.0], or, as a whole number, how many.
        GNN: class of the convolution, called with ``(in_channels, 1, **kwargs)``.
        min_score: threshold in [0, 1] of the softmax over a graph, in place of ``ratio``.
        multiplier: factor of the features that are kept.
        nonlinearity: :math:`\sigma`, the name of a class of ``torch.nn`` or a function.
        **kwargs: arguments of the convolution.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_attr ``[E, ...]``, batch ``[N]`` ->
        :class:`PoolingOutput` that unpacks into x, edge_index, edge_attr, batch, perm, score.
    Cost: the convolution with one output, then O(N log N + E) time; O(N + E) memory.
    Raises: ValueError for a ratio outside its range, or inputs that do not fit each other.
    """

    def __init__(
        self,
        in_channels: int,
        ratio: float | None = 0.5,
        GNN: Callable[..., nn.Module] = GraphConv,
        min_score: float | None = None,
        multiplier: float = 1.0,
        nonlinearity: str | Callable[[Tensor], Tensor] = "tanh",
        **kwargs: Any,
    ) -> None:
        super().__init__(in_channels, ratio, min_score, multiplier, nonlinearity, learn=False)
        self.gnn = GNN(in_channels, 1, **kwargs)
        self._shown = f"{type(self.gnn).__name__}, "

    def assign(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None, batch: Tensor
    ) -> SelectOutput:
        """Score and choose nodes; as in PyG the convolution sees no edge values."""
        so: SelectOutput = self.select(self.gnn(x, edge_index), batch)
        return so
