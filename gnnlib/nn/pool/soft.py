"""Pooling by a dense assignment of each graph's nodes to K clusters: DiffPool, MinCut and DMoN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.check import check_share
from gnnlib.nn.init import reset
from gnnlib.nn.mlp import MLP
from gnnlib.nn.pool.base import Pooling
from gnnlib.nn.pool.connect import coalesce
from gnnlib.nn.pool.grouped import gram
from gnnlib.nn.pool.outputs import PoolingOutput, SoftSelectOutput
from gnnlib.sparse import as_csr, scatter, spmm
from gnnlib.sparse.dropout import dropout
from gnnlib.sparse.sets import as_sets

_EPS = 1e-15  # PyG's, where it decides nothing but what 0 / 0 is


class SoftPooling(Pooling):
    """What the dense assignments share.

    The matrix products run over edges and nodes, never over pairs of nodes, and nothing is padded to the
    largest graph. A loss is the mean over the graphs that have nodes.
    """

    def __init__(
        self,
        channels: int | Sequence[int],
        k: int,
        dropout: float = 0.0,
        *,
        GNN: Callable[..., nn.Module] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if k < 1:
            raise ValueError(f"{self._who}: k={k}; pass a number of clusters, 1 or more")
        check_share(self._who, dropout=dropout)
        widths = [channels] if isinstance(channels, int) else list(channels)
        self.in_channels = widths[0]
        self.k = k
        self.dropout = dropout
        self.mlp: nn.Module | None = None
        self.gnn: nn.Module | None = None
        if GNN is None:
            self.mlp = MLP([*widths, k], act=None, norm=None)
        elif len(widths) > 1:
            raise ValueError(f"{self._who}: channels={widths} with a GNN; pass the width of x alone")
        else:
            self.gnn = GNN(widths[0], k, **kwargs)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in self.children():
            reset(part)

    def logits(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Scores of each node for the clusters, ``[N, K]``."""
        out: Tensor = self.mlp(x) if self.mlp is not None else self.gnn(x, edge_index)  # type: ignore[misc]
        return dropout(out, self.dropout, self.training)

    def coarsen(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        batch_size: int | None = None,
    ) -> PoolingOutput:
        """Select, reduce and connect; arguments as in :class:`Pooling`."""
        x, graphs = self._door(x, edge_index, edge_weight, batch)
        sets = as_sets(x, graphs, None, 1 if batch is None else batch_size, self._who)
        so = SoftSelectOutput(self.logits(x, edge_index).softmax(dim=-1), sets)
        out = _between(so, edge_index, edge_weight)  # [B, K, K]
        weight, loss = self._connect(so, out, edge_index, edge_weight)
        index, value = _edges(weight, loops=self.keeps_loops)
        return PoolingOutput(self._reduce(x, so), index, value, so.reduce_batch(), so, loss)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        batch_size: int | None = None,
    ) -> PoolingOutput:
        """Coarsen the graphs.

        Args:
            x: node features.
            edge_index: sources and targets.
            edge_weight: of each edge; 1 for all if None.
            batch: graph of each node; all are one graph if None.
            batch_size: number of graphs B; the largest entry of ``batch`` plus one when omitted.
        """
        return self.coarsen(x, edge_index, edge_weight, batch, batch_size)

    keeps_loops = False  # whether the coarse graph has an edge from a cluster to itself

    def _reduce(self, x: Tensor, so: SoftSelectOutput) -> Tensor:
        return so.reduce(x)

    def _connect(
        self, so: SoftSelectOutput, out: Tensor, edge_index: Tensor, edge_weight: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Weights among the clusters ``[B, K, K]``, from those of the product, and the losses."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{self._who}({self.in_channels}, num_clusters={self.k})"


class DiffPool(SoftPooling):
    r"""A learned assignment S of nodes to K clusters, held to linked nodes and to one cluster each.

    .. math:: X' = S^\top X, \quad A' = S^\top A\, S, \quad
        L_{\mathrm{link}} = \frac{\lVert A - S S^\top \rVert_F}{n^2}, \quad
        L_{\mathrm{ent}} = -\frac{1}{n} \sum_{i, k} S_{ik} \log S_{ik}

    Ying et al., Hierarchical Graph Representation Learning with Differentiable Pooling, NeurIPS 2018. The
    norm is :math:`\lVert A \rVert^2 - 2 \sum_{ij} A_{ij} \langle S_i, S_j \rangle + \lVert S^\top S
    \rVert^2`, which needs no matrix of n x n. PyG's ``dense_diff_pool`` gives the same for one graph; over a
    batch its link loss is one norm of all graphs, and its entropy counts padding, so that both change with
    what else is in the batch.

    Args:
        channels: width of x, or widths of an MLP that makes the scores.
        k: number of clusters K of a graph.
        dropout: probability in [0, 1] of dropping a score in training.
        GNN: class of a convolution that makes the scores in place of the MLP, called with ``(channels, k,
            **kwargs)``.
        **kwargs: arguments of the convolution.

    Shapes: x ``[N, F]``, edge_index ``[2, E]``, edge_weight ``[E]`` or None, batch ``[N]`` ->
        :class:`PoolingOutput` with x ``[B K, F]``, B K^2 edges, and the losses ``link`` and ``entropy``.
    Cost: O(E K + N K (F + K)) time, O(N (F + K) + B K^2) memory.
    Raises: ValueError for k below 1 or options outside their range, or inputs that do not fit each other.
    """

    keeps_loops = True

    def _connect(
        self, so: SoftSelectOutput, out: Tensor, edge_index: Tensor, edge_weight: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        count = so.sets.count
        square = _entries_squared(so, edge_index, edge_weight) - 2 * _trace(out)
        square = square + gram(so.s, so.s, so.sets).square().sum((1, 2))
        link = _root(square) / count.clamp(min=1).to(out.dtype).square()
        entropy = gram(-so.s * (so.s + _EPS).log(), so.s.new_ones(so.num_nodes, 1), so.sets).sum((1, 2))
        entropy = entropy / count.clamp(min=1)
        return out, {"link": _mean(link, count > 0), "entropy": _mean(entropy, count > 0)}


class MinCutPooling(SoftPooling):
    r"""A learned assignment S of nodes to K clusters that cuts few edges and is balanced.

    .. math:: L_{\mathrm{cut}} = -\frac{\operatorname{Tr}(S^\top A S)}{\operatorname{Tr}(S^\top D S)}, \qquad
        L_{\mathrm{ortho}} = \left\lVert \frac{S^\top S}{\lVert S^\top S \rVert_F} - \frac{I_K}{\sqrt K}
        \right\rVert_F

    .. math:: X' = S^\top X, \quad A' = \hat D^{-1/2} \hat A \hat D^{-1/2}, \quad
        \hat A = S^\top A S - \operatorname{diag}(S^\top A S)

    Bianchi et al., Spectral Clustering with Graph Neural Networks for Graph Pooling, ICML 2020; the paper
    gives it the normalised adjacency as A. PyG's ``dense_mincut_pool`` gives the same, graph by graph. A
    graph without edges has a cut loss of 0 (NaN in PyG).

    Args:
        channels: width of x, or widths of an MLP that makes the scores.
        k: number of clusters K of a graph.
        dropout: probability in [0, 1] of dropping a score in training.
        temp: temperature of the softmax over the clusters.
        GNN: class of a convolution that makes the scores in place of the MLP, called with ``(channels, k,
            **kwargs)``.
        **kwargs: arguments of the convolution.

    Shapes: x ``[N, F]``, edge_index ``[2, E]``, edge_weight ``[E]`` or None, batch ``[N]`` ->
        :class:`PoolingOutput` with x ``[B K, F]``, B K (K - 1) edges, and the losses ``cut`` and ``ortho``.
    Cost: O(E K + N K (F + K)) time, O(N (F + K) + B K^2) memory.
    Raises: ValueError for k below 1 or options outside their range, or inputs that do not fit each other.
    """

    def __init__(
        self,
        channels: int | Sequence[int],
        k: int,
        dropout: float = 0.0,
        *,
        temp: float = 1.0,
        GNN: Callable[..., nn.Module] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(channels, k, dropout, GNN=GNN, **kwargs)
        if not temp > 0:
            raise ValueError(f"{self._who}: temp={temp}; pass a temperature above 0")
        self.temp = temp

    def logits(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Scores of each node for the clusters, ``[N, K]``."""
        return super().logits(x, edge_index) / self.temp

    def _connect(
        self, so: SoftSelectOutput, out: Tensor, edge_index: Tensor, edge_weight: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        degree = _out_degree(so, edge_index, edge_weight)
        volume = gram(so.s, degree[:, None] * so.s, so.sets)
        cut = -_over(_trace(out), _trace(volume))
        filled = so.sets.count > 0
        return _normalised(out), {"cut": _mean(cut, filled), "ortho": _mean(_ortho(so), filled)}


class DMoNPooling(SoftPooling):
    r"""A learned assignment S of nodes to K clusters of large modularity that does not collapse.

    .. math:: L_{\mathrm{spectral}} = -\frac{1}{2m} \operatorname{Tr}\Big(S^\top \Big(A - \frac{d
        d^\top}{2m}\Big) S\Big), \qquad L_{\mathrm{cluster}} = \frac{\sqrt K}{n} \Big\lVert \sum_i S_i
        \Big\rVert - 1

    .. math:: X' = \mathrm{selu}(S^\top X), \quad A' = \hat D^{-1/2} \hat A \hat D^{-1/2}, \quad
        \hat A = S^\top A S - \operatorname{diag}(S^\top A S)

    Tsitsulin et al., Graph Clustering with Graph Neural Networks, JMLR 2023, with the
    orthogonality loss of :class:`MinCutPooling` beside, as in PyG, whose layer has the same parameters and
    takes padded dense matrices. The term of d is the square of :math:`S^\top d`. A graph without edges has a
    spectral loss of 0 (NaN in PyG).

    Args:
        channels: width of x, or widths of an MLP that makes the scores.
        k: number of clusters K of a graph.
        dropout: probability in [0, 1] of dropping a score in training.
        GNN: class of a convolution that makes the scores in place of the MLP, called with ``(channels, k,
            **kwargs)``.
        **kwargs: arguments of the convolution.

    Shapes: x ``[N, F]``, edge_index ``[2, E]``, edge_weight ``[E]`` or None, batch ``[N]`` ->
        :class:`PoolingOutput` with x ``[B K, F]``, B K (K - 1) edges, and the losses ``spectral``, ``ortho``
        and ``cluster``.
    Cost: O(E K + N K (F + K)) time, O(N (F + K) + B K^2) memory.
    Raises: ValueError for k below 1 or options outside their range, or inputs that do not fit each other.
    """

    def _reduce(self, x: Tensor, so: SoftSelectOutput) -> Tensor:
        return F.selu(so.reduce(x))

    def _connect(
        self, so: SoftSelectOutput, out: Tensor, edge_index: Tensor, edge_weight: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        degree = _out_degree(so, edge_index, edge_weight)[:, None]
        both = gram(so.s, degree, so.sets).squeeze(-1)  # S^T d, [B, K]
        total = gram(degree, torch.ones_like(degree), so.sets)[:, 0, 0]  # 2 m, [B]
        spectral = -_over(_trace(out) - _over(both.square().sum(1), total), total)
        count = so.sets.count
        size = gram(so.s, so.s.new_ones(so.num_nodes, 1), so.sets).squeeze(-1)  # [B, K]
        cluster = _root(size.square().sum(1)) / count.clamp(min=1) * self.k**0.5 - 1
        loss = {"spectral": spectral, "ortho": _ortho(so), "cluster": cluster}
        return _normalised(out), {name: _mean(value, count > 0) for name, value in loss.items()}


def _between(so: SoftSelectOutput, edge_index: Tensor, edge_weight: Tensor | None) -> Tensor:
    """The product ``S.T A S`` of each graph with sources for rows, ``[B, K, K]``."""
    adj = as_csr(edge_index, so.num_nodes).transposed
    return gram(so.s, spmm(adj, so.s, edge_weight), so.sets)


def _out_degree(so: SoftSelectOutput, edge_index: Tensor, edge_weight: Tensor | None) -> Tensor:
    """Sum of the weights that leave each node, ``[N]``."""
    weight = so.s.new_ones(edge_index.shape[1]) if edge_weight is None else edge_weight
    return scatter(weight, edge_index[0], so.num_nodes)


def _entries_squared(so: SoftSelectOutput, edge_index: Tensor, edge_weight: Tensor | None) -> Tensor:
    """The squared Frobenius norm of each graph's adjacency, whose equal edges add up, ``[B]``."""
    weight = so.s.new_ones(edge_index.shape[1]) if edge_weight is None else edge_weight
    index, value = coalesce(edge_index, weight, so.num_nodes)
    assert value is not None
    graph = so.sets.of_elements()[index[0]]
    return scatter(value.square(), graph, so.sets.num_sets)


def _edges(weight: Tensor, *, loops: bool) -> tuple[Tensor, Tensor]:
    """All pairs of clusters of a graph as edges, and their weights: ``[B, K, K]`` -> ``[2, E]``, ``[E]``."""
    graphs, k = weight.shape[:2]
    place = torch.arange(k, device=weight.device)
    pairs = torch.cartesian_prod(place, place).t() if k > 1 else place.new_zeros(2, 1)
    flat = weight.reshape(graphs, -1)
    if not loops:
        kept = pairs[0] != pairs[1]
        pairs, flat = pairs[:, kept], flat[:, kept]
    start = k * torch.arange(graphs, device=weight.device)
    return (pairs[:, None] + start[:, None]).reshape(2, -1), flat.reshape(-1)


def _trace(m: Tensor) -> Tensor:
    return m.diagonal(dim1=1, dim2=2).sum(-1)


def _ortho(so: SoftSelectOutput) -> Tensor:
    square = gram(so.s, so.s, so.sets)
    norm = _root(square.square().sum((1, 2)))[:, None, None]
    eye = torch.eye(square.shape[1], dtype=square.dtype, device=square.device)
    return _root((_over(square, norm) - eye / square.shape[1] ** 0.5).square().sum((1, 2)))


def _normalised(weight: Tensor) -> Tensor:
    """Without its diagonal, and divided by the roots of the row sums on both sides."""
    weight = weight * (1 - torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device))
    scale = _root(weight.sum(2)) + _EPS
    return weight / scale[:, :, None] / scale[:, None]


def _root(x: Tensor) -> Tensor:
    """The square root, with 0 and a gradient of 0 where x is not above 0."""
    above = x > 0
    return torch.where(above, torch.where(above, x, 1).sqrt(), 0)


def _over(a: Tensor, b: Tensor) -> Tensor:
    """The quotient, 0 where b is 0."""
    zero = b == 0
    return torch.where(zero, 0, a / torch.where(zero, 1, b))


def _mean(loss: Tensor, filled: Tensor) -> Tensor:
    """The mean over the graphs that have nodes."""
    return torch.where(filled, loss, 0).sum() / filled.sum().clamp(min=1)
