"""Messages that a layer gathers and scatters edge by edge, recognised as the sparse products they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnlib.sparse import CSR, as_csr
from gnnlib.sparse.ops.spmm import Product

__all__ = ["Gathered", "Message"]


class Message(NamedTuple):
    """A sparse product, the nodes of autograd's graph inside it, and where its gradient goes."""

    product: Product
    inner: list[Any]
    slot: tuple[Any, int]


class Gathered:
    """Finds ``index_select``, a product with a constant of each edge, ``scatter_add``: PyG's layers.

    Layers that make their edges anew have equal ones; each pair of ends is kept once.
    """

    def __init__(self, num_nodes: int) -> None:
        self.num_nodes = num_nodes
        self.known: list[tuple[Tensor, Tensor, CSR]] = []

    def __call__(self, node: Any) -> Message | None:
        """The product that ends in this node, or None."""
        if node.name() != "ScatterAddBackward0" or node._saved_dim != 0:
            return None
        if node.next_functions[0][0] is not None:  # what it adds to is no constant
            return None
        target = node._saved_index
        if target.dim() != 2 or not (target.size(1) == 1 or target.stride(1) == 0):
            return None
        below, inner, weight = node.next_functions[1][0], [], None
        if below is not None and below.name() == "MulBackward0":
            weight = _constant(below, target.size(0))
            if weight is None:
                return None
            inner.append(below)
            below = next(to for to, _ in below.next_functions if to is not None)
        if below is None or below.name() != "IndexSelectBackward0" or len(below._saved_self_sym_sizes) != 2:
            return None
        if below._saved_dim not in (0, 2**64 - 2) or below._saved_self_sym_sizes[0] != self.num_nodes:
            return None
        adj = self._adjacency(below._saved_index, target[:, 0])
        slots = None if weight is None else adj.to_slots(weight)[:, None]
        return Message(Product(*adj.arrays, slots, None, None), [*inner, below], below.next_functions[0])

    def _adjacency(self, source: Tensor, target: Tensor) -> CSR:
        for known_source, known_target, adj in self.known:
            if torch.equal(source, known_source) and torch.equal(target, known_target):
                return adj
        adj = as_csr(torch.stack([source, target]), (self.num_nodes, self.num_nodes))
        self.known.append((source, target, adj))
        return adj


def _constant(node: Any, num_edges: int) -> Tensor | None:
    """The number of each edge that messages are multiplied with, ``[E]``, where that is all the node does."""
    wanted = [k for k, (to, _) in enumerate(node.next_functions) if to is not None]
    if len(wanted) != 1:
        return None
    factor = node._saved_other if wanted[0] == 0 else node._saved_self
    return factor.detach().reshape(-1) if factor.shape == (num_edges, 1) else None
