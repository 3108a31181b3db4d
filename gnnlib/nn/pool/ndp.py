"""Node decimation: one side of a large cut is kept, and Kron reduction joins it."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.nn.pool.base import Pooling
from gnnlib.nn.pool.outputs import ConnectOutput, PoolingOutput, SelectOutput
from gnnlib.sparse import as_csr
from gnnlib.sparse.components import components
from gnnlib.sparse.graphs import GraphCache, Graphs
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.random import stream, unit

_ZERO = 1e-8  # of an eigenvector of length 1: rounding, where the true entry is 0


class NDPPooling(Pooling):
    r"""Keeps the nodes on one side of a cut by the last eigenvector, joined by the Schur complement.

    .. math:: V_+ = \{\, i : v_i \ge 0 \,\}, \quad
        (I - D^{-1/2} A D^{-1/2})\, v = \lambda_{\max} v, \qquad
        L' = L_{++} - L_{+-}\, L_{--}^{-1}\, L_{-+}, \quad A' = -\mathrm{offdiag}(L')

    Bianchi et al., Hierarchical Representation Learning in Graph Neural Networks with Node Decimation
    Pooling, TNNLS 2022. Entries of A' up to ``threshold`` are dropped. Where the cut has less than half of
    the weight of all edges a random one takes its place; a graph without edges keeps all nodes. The sign of v
    makes its largest entry positive; of a repeated eigenvalue v is any vector, so there the result may depend
    on the numbers of the nodes, as does the random cut. Nodes that are left out lose their features, and a
    component that the random cut leaves out altogether is gone.

    Args:
        threshold: largest weight that is dropped.
        seed: of the random cuts; the same for a graph alone and in any batch.

    Shapes: x ``[N, F]``, edge_index ``[2, E]`` (both directions of an edge; of two weights that differ the
        mean counts), edge_weight ``[E]`` of numbers above 0 or None, batch ``[N]`` -> :class:`PoolingOutput`
        with x ``[K, F]``, every edge with a weight. Loops do not count. Gradients reach the weights.
    Cost: O(n^3) time and O(n^2) memory for a graph of n nodes, one graph after the other; the cut of a graph
        without weights is kept by its content. Meant for many small graphs.
    Raises: ValueError for a negative threshold, edge weights that are no numbers, or inputs that do not fit
        each other.
    """

    def __init__(self, threshold: float = 1e-2, *, seed: int = 0) -> None:
        super().__init__()
        if not threshold >= 0:
            raise ValueError(f"NDPPooling: threshold={threshold}; pass 0 or more")
        self.threshold, self.seed = threshold, seed
        self._known = GraphCache()

    def assign(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None, batch: Tensor
    ) -> SelectOutput:
        """Cut each graph; no gradient reaches the weights."""
        graphs = Graphs.of(edge_index, x.shape[0], batch)
        if edge_weight is None:
            kept = self._known.rows(graphs, lambda some: self._cut(some, None))
        else:
            kept = self._cut(graphs, _numbers(edge_weight).detach().cpu()[graphs.edge])
        nodes = graphs.node[kept].to(x.device)
        return SelectOutput(nodes, x.shape[0], torch.arange(nodes.numel(), device=x.device), nodes.numel())

    def connect(
        self,
        so: SelectOutput,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> ConnectOutput:
        """Edges among the nodes that are kept, by Kron reduction."""
        n, device = so.num_nodes, edge_index.device
        graphs = Graphs.of(edge_index, n, batch)
        weight = torch.ones(edge_index.shape[1]) if edge_attr is None else _numbers(edge_attr).cpu()
        dtype, weight = weight.dtype, weight[graphs.edge].to(accumulate_dtype(weight.dtype))
        place = torch.full((n,), -1).index_copy(0, so.node_index.cpu(), so.cluster_index.cpu())[graphs.node]
        component = components(as_csr(graphs.edge_index, n))
        reached = torch.zeros(n, dtype=torch.bool).index_fill(0, component[place >= 0], True)[component]
        ends, values = [torch.empty(2, 0, dtype=torch.int64)], [weight[:0]]
        for first, last, a in _matrices(graphs, weight):
            own = place[first:last]
            rest = (own < 0) & reached[first:last]  # without the rest L_-- could not be inverted
            reduced = kron_reduction(a, own >= 0, rest)
            reduced = (reduced + reduced.t()) / 2  # rounding must not drop one direction only
            strong = (reduced > self.threshold).fill_diagonal_(False)
            row, col = strong.nonzero().t()
            number = own[own >= 0]
            ends.append(torch.stack([number[col], number[row]]))
            values.append(reduced[row, col])
        graph = None if batch is None else so.reduce_batch(batch)
        return ConnectOutput(torch.cat(ends, 1).to(device), torch.cat(values).to(device, dtype), graph)

    def _made(
        self, x: Tensor, so: SelectOutput, edge_index: Tensor, edge_weight: Tensor | None, batch: Tensor
    ) -> PoolingOutput:
        """Reduce and connect; without weights each edge is a 1 of the kind of x."""
        weight = x.new_ones(edge_index.shape[1]) if edge_weight is None else edge_weight
        return super()._made(x, so, edge_index, weight, batch)

    def _cut(self, graphs: Graphs, weight: Tensor | None) -> Tensor:
        """Which nodes are kept, bool ``[N]``, nodes as in ``graphs``."""
        kept = torch.ones(graphs.num_nodes, dtype=torch.bool)
        weight = torch.ones(graphs.edge.numel()) if weight is None else weight
        for first, last, a in _matrices(graphs, weight.double()):
            if not bool(a.any()):
                continue
            side = _largest(a) >= -_ZERO
            if cut_share(a, side) < 0.5:
                side = unit(stream(self.seed, torch.arange(last - first))) < 0.5
                side[0] |= ~side.any()
            kept[first:last] = side
        return kept

    def __repr__(self) -> str:
        return f"NDPPooling(threshold={self.threshold})"


def kron_reduction(a: Tensor, kept: Tensor, rest: Tensor | None = None) -> Tensor:
    r"""The weights among kept nodes that leave the resistance between any two of them as it was.

    .. math:: A' = -\mathrm{offdiag}(L_{++} - L_{+-} L_{--}^{-1} L_{-+}), \qquad L = \mathrm{diag}(A 1) - A

    Args:
        a: symmetric weights without loops.
        kept: the nodes + that stay.
        rest: the nodes - that are eliminated, each joined to a kept one by some way; all others when omitted.

    Shapes: a ``[n, n]``, kept and rest bool ``[n]`` -> ``[k, k]`` with a diagonal of 0.
    """
    rest = ~kept if rest is None else rest
    laplacian = torch.diag(a.sum(1)) - a
    through = torch.linalg.solve(laplacian[rest][:, rest], laplacian[rest][:, kept])
    reduced = laplacian[kept][:, kept] - laplacian[kept][:, rest] @ through
    out: Tensor = torch.diag(reduced.diagonal()) - reduced
    return out


def cut_share(a: Tensor, side: Tensor) -> float:
    """The share of the weight of all edges that runs between the two sides: ``[n, n]``, bool ``[n]``."""
    return float(2 * a[side][:, ~side].sum() / a.sum())


def _largest(a: Tensor) -> Tensor:
    """The eigenvector of the largest eigenvalue of the normalised Laplacian, its largest entry positive."""
    degree = a.sum(1)
    scale = torch.where(degree > 0, degree.clamp(min=torch.finfo(a.dtype).tiny).rsqrt(), 0)
    normalised = torch.eye(a.shape[0], dtype=a.dtype) - scale[:, None] * a * scale
    v: Tensor = torch.linalg.eigh(normalised).eigenvectors[:, -1]
    return v * v[v.abs().argmax()].sign()


def _matrices(graphs: Graphs, weight: Tensor) -> list[tuple[int, int, Tensor]]:
    """First and last node of each graph that has any, and its symmetric weights without loops."""
    found, ptr, edge_ptr = [], graphs.ptr.tolist(), graphs.edge_ptr.tolist()
    for g in range(graphs.num_graphs):
        n, own = ptr[g + 1] - ptr[g], slice(edge_ptr[g], edge_ptr[g + 1])
        if n:
            source, target = graphs.edge_index[:, own] - ptr[g]
            value = torch.where(source == target, 0, weight[own])
            a = value.new_zeros(n, n).index_put((target, source), value, accumulate=True)
            found.append((ptr[g], ptr[g + 1], (a + a.t()) / 2))
    return found


def _numbers(weight: Tensor) -> Tensor:
    """A number for each edge."""
    if weight.dim() == 2 and weight.shape[1] == 1:
        weight = weight[:, 0]
    if weight.dim() != 1:
        raise ValueError(
            f"NDPPooling: edge weights have shape {list(weight.shape)}; pass one number for each edge"
        )
    return weight
