"""A graph together with its reverse: the one structure of methods that make direction a value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.scatter import scatter


@dataclass(frozen=True)
class Symmetric:
    """The union of a square graph and its reverse, sorted and without duplicates.

    Args:
        adj: the union; its edge values are in slot order.
        forward: place in the union of each slot of the graph.
        backward: place of the reverse of each slot.

    Shapes: adj ``[N, N]`` with U slots; forward and backward ``[E]``.
    """

    adj: CSR
    forward: Tensor
    backward: Tensor

    def values(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Entries of the matrix of weights ``[E]`` in slot order, and of its transpose, on the union."""
        size = self.adj.num_edges
        return scatter(weight, self.forward, size), scatter(weight, self.backward, size)

    @property
    def reverse(self) -> Tensor:
        """The slot of the reverse of each slot of the union, ``[U]``."""
        return self.adj.transpose_perm


def symmetrized(adj: CSR) -> Symmetric:
    """The union of ``adj`` and its reverse, kept on ``adj``."""
    return adj.derive("symmetrized", _symmetrized)


def _symmetrized(adj: CSR) -> Symmetric:
    n, row, col = adj.num_rows, adj.rows, adj.indices.long()
    pairs = torch.cat([row * n + col, col * n + row])
    key, place = pairs.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    union = from_keys(key, n, adj.indices.dtype)
    return Symmetric(union, place[: adj.num_edges], place[adj.num_edges :])


def keys(adj: CSR) -> Tensor:
    """Row times columns plus column of each slot, int64 ``[E]``; sorted where rows are."""
    return adj.rows * adj.num_cols + adj.indices.long()


def from_keys(key: Tensor, num_nodes: int, index_dtype: torch.dtype) -> CSR:
    """The square CSR of sorted unique :func:`keys`."""
    n = max(num_nodes, 1)
    count = torch.bincount(key.div(n, rounding_mode="floor"), minlength=num_nodes)
    indptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    return CSR.trusted(indptr, (key % n).to(index_dtype), num_nodes)
