"""Weakly connected components, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.csr import CSR


def components(adj: CSR) -> Tensor:
    """The component of each node of a square graph, directions ignored: its lowest node, kept on ``adj``.

    Every node takes the lowest number among itself and its neighbours, and then the number of that number,
    until nothing changes; the second step halves paths, so that long ones end in logarithmic rounds.

    Shapes: adj ``[N, N]`` -> int64 ``[N]``.
    """
    return adj.derive("components", _components)


def _components(adj: CSR) -> Tensor:
    row, col = adj.rows, adj.indices.long()
    label = torch.arange(adj.num_rows, device=adj.device)
    while True:
        low = torch.minimum(label[row], label[col])
        new = label.clone()
        for end in (row, col, label[row], label[col]):  # also at the roots, which joins whole trees
            new.scatter_reduce_(0, end, low, "amin")
        new = new[new]
        if torch.equal(new, label):
            return label
        label = new
