"""Diffusion convolution: random walks along and against the edges, with a matrix for each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Conv
from gnnlib.nn.conv.directed_norm import degrees, power_of
from gnnlib.nn.conv.hops import narrower
from gnnlib.nn.init import zeros
from gnnlib.nn.linear import Linear
from gnnlib.nn.temporal.series import fold, unfold
from gnnlib.sparse import CSR, propagate, spmm


@dataclass(frozen=True)
class Walk:
    """One step of a random walk: each node takes the weighted mean of the nodes it may go to.

    Shapes: adj ``[N, N]`` with E edges, weight ``[E]`` or None, scale ``[N]``; h ``[N, B, F]`` -> the same.
    """

    adj: CSR
    weight: Tensor | None
    scale: Tensor

    def __call__(self, h: Tensor) -> Tensor:
        """One step."""
        return spmm(self.adj, h.flatten(1), self.weight, row_scale=self.scale).view_as(h)

    def hops(self, h: Tensor, steps: int) -> Tensor:
        """All steps from the 0-th on, ``[steps + 1, N, B, F]``."""
        every = propagate(self.adj, h.flatten(1), steps, weight=self.weight, row_scale=self.scale, every=True)
        return every.view(steps + 1, *h.shape)


@dataclass(frozen=True)
class DenseWalk:
    """A step over a dense matrix ``[N, N]``."""

    matrix: Tensor

    def __call__(self, h: Tensor) -> Tensor:
        """One step."""
        return (self.matrix.to(h.dtype) @ h.flatten(1)).view_as(h)

    def hops(self, h: Tensor, steps: int) -> Tensor:
        """All steps from the 0-th on, ``[steps + 1, N, B, F]``."""
        every = [h]
        for _ in range(steps):
            every.append(self(every[-1]))
        return torch.stack(every)


Walks: TypeAlias = Sequence["Walk | DenseWalk"]


class DiffusionConv(Conv):
    r"""Diffusion of node features along and against the edges.

    .. math:: X' = X \Theta_0 + \sum_{k=1}^{K-1} \left( (D_O^{-1} W)^k X \Theta_{k,1}
        + (D_I^{-1} W^T)^k X \Theta_{k,2} + A_{adp}^k X \Theta_{k,3} \right) + b

    Here W is the weight of the edge from row to column, and :math:`D_O`, :math:`D_I` are the weights that
    leave and that enter a node. Li et al., Diffusion Convolutional Recurrent Neural Network, ICLR 2018; the
    third walk is that of Wu et al., Graph WaveNet for Deep Spatial-Temporal Graph Modeling, IJCAI 2019. Both
    directions share the matrix of k = 0, whose walk is the identity in each. The authors of DCRNN run a
    Chebyshev recurrence over the walks in their code; here are the powers of the paper.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        K: number of terms of each walk, the identity included, at least 1.
        adaptive: take a third, dense walk in ``forward``, see :func:`adaptive_adjacency`.
        bias: learn b.

    Shapes: x ``[*, N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight
        ``[E]``, at least 0, adaptive ``[N, N]`` -> ``[*, N, out]``. A node without edges in a direction gets
        0 from it.
    Cost: 2 (K - 1) SpMMs of ``N x (B F)``, B all that stands before the nodes and F the narrower side of the
        maps; a dense product of ``N^2 B F`` for each adaptive step.
    Raises: ValueError for K under 1, for x, edge_index and edge_weight that do not fit, or for an adaptive
        matrix that is missing, unasked for or of the wrong size.
    """

    takes_edge_weight = True

    def __init__(
        self, in_channels: int, out_channels: int, K: int, *, adaptive: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        if K < 1:
            raise ValueError(f"DiffusionConv: K={K} leaves no term; pass 1 or more")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.K = K
        self.adaptive = adaptive
        terms = 1 + (3 if adaptive else 2) * (K - 1)
        self.lins = nn.ModuleList(
            Linear(in_channels, out_channels, bias=False, weight_initializer="glorot") for _ in range(terms)
        )
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        super().reset_parameters()
        for lin in self._maps():
            lin.reset_parameters()
        zeros(self.bias)

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        edge_weight: Tensor | None = None,
        adaptive: Tensor | None = None,
    ) -> Tensor:
        """Filter x ``[*, N, in]`` over the graph -> ``[*, N, out]``."""
        h = fold(x, "DiffusionConv")
        return unfold(self.filter(h, self.walks(h, edge_index, edge_weight, adaptive)), x.shape[:-2])

    def walks(
        self, h: Tensor, edge_index: Adj, edge_weight: Tensor | None, adaptive: Tensor | None = None
    ) -> Walks:
        """The walks of a graph, for as many calls of :meth:`filter` as there are steps in time.

        Shapes: h ``[N, ...]``, for its size and precision.
        """
        if (adaptive is None) == self.adaptive:
            raise ValueError(
                "DiffusionConv: "
                + (
                    "adaptive=True but no matrix came; pass adaptive_adjacency(source, target)"
                    if self.adaptive
                    else "a matrix came but adaptive=False; build the layer with adaptive=True"
                )
            )
        adj = self._graph(edge_index, h, h)
        both: list[Walk | DenseWalk] = [*random_walks(adj, self._edge_weight(adj, edge_weight, h), h)]
        if adaptive is None:
            return both
        if adaptive.shape != (h.shape[0], h.shape[0]):
            raise ValueError(
                f"DiffusionConv: the adaptive matrix has shape {list(adaptive.shape)} but x has {h.shape[0]} "
                f"nodes; pass [{h.shape[0]}, {h.shape[0]}]"
            )
        return [*both, DenseWalk(adaptive)]

    def filter(self, h: Tensor, walks: Walks) -> Tensor:
        """The convolution over walks that are there already.

        Shapes: h ``[N, B, in]`` -> ``[N, B, out]``.
        """
        first, *rest = self._maps()
        narrow = narrower([first, *rest], h, "sum")
        out: Tensor = first(h)
        for i, walk in enumerate(walks if self.K > 1 else ()):
            maps = rest[i * (self.K - 1) : (i + 1) * (self.K - 1)]
            if narrow:  # Horner: the walk runs on what the maps made
                term = maps[-1](h)
                for lin in maps[-2::-1]:
                    term = lin(h) + walk(term)
                out = out + walk(term)
            else:
                hops = walk.hops(h, self.K - 1)
                for k, lin in enumerate(maps, 1):
                    out = out + lin(hops[k])
        return out if self.bias is None else out + self.bias

    def _maps(self) -> Iterator[Linear]:
        for lin in self.lins:
            assert isinstance(lin, Linear)
            yield lin

    def __repr__(self) -> str:
        third = ", adaptive=True" if self.adaptive else ""
        return f"DiffusionConv({self.in_channels}, {self.out_channels}, K={self.K}{third})"


def random_walks(adj: CSR, weight: Tensor | None, x: Tensor) -> tuple[Walk, Walk]:
    """The walks :math:`D_O^{-1} W` along and :math:`D_I^{-1} W^T` against the edges of ``adj``, row = target.

    Kept on ``adj`` for plain edges; a node without edges in a direction has a row of zeros.

    Shapes: weight ``[E]`` in the caller's order, x for the precision of the scales.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    back = adj.transposed
    if weight is None:
        entering, leaving = adj.derive(
            ("random_walks", dtype),
            lambda a: tuple(power_of(d, -1.0) for d in degrees(a, None, dtype)),
        )
        return Walk(back, None, leaving), Walk(adj, None, entering)
    entering, leaving = (power_of(d, -1.0) for d in degrees(adj, weight, dtype))
    return (
        Walk(back.slot_order, back.to_slots(weight), leaving),
        Walk(adj.slot_order, adj.to_slots(weight), entering),
    )


def adaptive_adjacency(source: Tensor, target: Tensor) -> Tensor:
    r"""A graph that is learned from two embeddings of its nodes.

    .. math:: A_{adp} = \operatorname{softmax}(\operatorname{ReLU}(E_1 E_2^T))

    over each row. Wu et al., Graph WaveNet for Deep Spatial-Temporal Graph Modeling, IJCAI 2019.

    Shapes: source and target ``[N, d]`` -> ``[N, N]``, dense.
    Raises: ValueError when the embeddings differ in shape.
    """
    if source.shape != target.shape or source.dim() != 2:
        raise ValueError(
            f"adaptive_adjacency: embeddings {list(source.shape)} and {list(target.shape)} came; pass two of "
            "the same shape [N, d]"
        )
    return (source @ target.t()).relu().softmax(dim=1)
