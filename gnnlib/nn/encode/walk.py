"""Random-walk encodings: how likely a walk is to be back after t steps."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.nn.encode.base import PlaceEncoding, checked, rows_of
from gnnlib.sparse import as_csr, spmm
from gnnlib.sparse.graphs import Graphs

_BLOCK = 64  # starts that walk at once in each graph; more memory, fewer passes


def random_walk_encoding(
    edge_index: Tensor, num_nodes: int, steps: int, batch: Tensor | None = None
) -> Tensor:
    r"""The probability that a random walk from a node is back at it after each number of steps.

    .. math:: p_{i, t} = \big((D^{-1} A)^t\big)_{ii}, \qquad t = 1, \dots, T

    Dwivedi et al., Graph Neural Networks with Learnable Structural and Positional Representations, ICLR 2022.

    Args:
        edge_index: the edges; parallel ones count as often as they come. A row without any is 0.
        num_nodes: N.
        steps: the largest number of steps T, 1 or more.
        batch: the graph of each node; None for one graph.

    Shapes: edge_index ``[2, E]``, batch ``[N]`` -> float64 ``[N, T]``.
    Cost: O(T E n) for graphs of n nodes, by sparse products of all graphs at once, with 64 N numbers of
        memory.
    Raises: ValueError for fewer than one step, or a batch that does not fit.
    """
    checked("random_walk_encoding", "steps", steps)
    graphs = rows_of(edge_index, num_nodes, batch)
    return graphs.in_callers_order(_walks(graphs, steps, torch.float64)).to(edge_index.device)


class RandomWalkPE(PlaceEncoding):
    r"""Adds to the nodes their :func:`random_walk_encoding`, mapped to the width of x.

    .. math:: x'_i = x_i + \mathrm{ReLU}\big(\mathrm{BN}(W p_i + b)\big)

    Args:
        channels: width of x.
        steps: the largest number of steps T.

    Shapes: x ``[N, channels]``, edge_index ``[2, E]``, batch ``[N]`` -> ``[N, channels]``.
    Cost: that of the walks once for each graph, kept by its content; then a dense product.
    Raises: ValueError for fewer than one step, or x of another width.
    """

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__(channels, checked("RandomWalkPE", "steps", steps))
        self.steps = steps

    def numbers(self, graphs: Graphs) -> Tensor:
        """The probabilities of return, ``[N, steps]``."""
        return _walks(graphs, self.steps, torch.promote_types(self.lin.weight.dtype, torch.float32))

    def __repr__(self) -> str:
        return f"RandomWalkPE({self.channels}, steps={self.steps})"


def _walks(graphs: Graphs, steps: int, dtype: torch.dtype) -> Tensor:
    out = torch.zeros(graphs.num_nodes, steps, dtype=dtype)
    largest = int(graphs.size.max()) if graphs.num_graphs else 0
    for first in range(0, largest, _BLOCK):  # columns: starts of these numbers, in every graph that has them
        some = graphs.take((graphs.size > first).nonzero()[:, 0].tolist())
        adj = as_csr(some.edge_index, some.num_nodes)
        starts = ((some.local >= first) & (some.local < first + _BLOCK)).nonzero()[:, 0]
        column = some.local[starts] - first
        x = torch.zeros(some.num_nodes, min(_BLOCK, largest - first), dtype=dtype)
        x[starts, column] = 1
        for t in range(steps):
            x = spmm(adj, x, None, "mean")
            out[some.node[starts], t] = x[starts, column]
    return out
