"""Readouts: one vector for each graph of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse import scatter


def global_add_pool(x: Tensor, batch: Tensor | None, size: int | None = None) -> Tensor:
    r"""Sum the node features of each graph.

    .. math:: r_b = \sum_{i:\, \mathrm{batch}_i = b} x_i

    Args:
        x: node features.
        batch: graph of each node; None when all nodes belong to one graph.
        size: number of graphs B; the largest entry of ``batch`` plus one when omitted.

    Shapes: x ``[N, F]``, batch ``[N]`` -> ``[B, F]``. A graph without nodes gives 0.
    Cost: O(N F).
    Raises: ValueError when batch and x have different lengths.
    """
    return _pool(x, batch, size, "sum")


def global_mean_pool(x: Tensor, batch: Tensor | None, size: int | None = None) -> Tensor:
    r"""Average the node features of each graph.

    .. math:: r_b = \frac{1}{N_b} \sum_{i:\, \mathrm{batch}_i = b} x_i

    Args:
        x: node features.
        batch: graph of each node; None when all nodes belong to one graph.
        size: number of graphs B; the largest entry of ``batch`` plus one when omitted.

    Shapes: x ``[N, F]``, batch ``[N]`` -> ``[B, F]``. A graph without nodes gives 0.
    Cost: O(N F).
    Raises: ValueError when batch and x have different lengths.
    """
    return _pool(x, batch, size, "mean")


def global_max_pool(x: Tensor, batch: Tensor | None, size: int | None = None) -> Tensor:
    r"""Take the largest value of each node feature in each graph.

    .. math:: r_b = \max_{i:\, \mathrm{batch}_i = b} x_i

    Args:
        x: node features.
        batch: graph of each node; None when all nodes belong to one graph.
        size: number of graphs B; the largest entry of ``batch`` plus one when omitted.

    Shapes: x ``[N, F]``, batch ``[N]`` -> ``[B, F]``. A graph without nodes gives 0.
    Cost: O(N F).
    Raises: ValueError when batch and x have different lengths.
    """
    return _pool(x, batch, size, "max")


def _pool(x: Tensor, batch: Tensor | None, size: int | None, reduce: str) -> Tensor:
    dim = -1 if x.dim() == 1 else -2
    if batch is not None:
        return scatter(x, batch, size, reduce, dim)
    one_graph = torch.zeros(x.size(dim), dtype=torch.int64, device=x.device)
    out = scatter(x, one_graph, 1, reduce, dim)
    return out if x.dim() <= 2 else out.squeeze(dim)  # PyG keeps the dimension up to two only
