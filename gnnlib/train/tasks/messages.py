"""The graph that the messages of a link task pass over, and what must not be in it."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.data.splits import LinkSplit
from gnnlib.sparse import CSR
from gnnlib.sparse.ops.build import index_dtype
from gnnlib.sparse.symmetric import from_keys

__all__ = ["check_no_leak", "MessageGraph", "pair_keys"]


def pair_keys(pairs: Tensor, num_nodes: int) -> Tensor:
    """One number a pair, ``first * num_nodes + second``: ``[2, P]`` -> ``[P]``."""
    return pairs[0] * num_nodes + pairs[1]


class MessageGraph:
    """Edges in both directions, each once, from which the targets of a batch can be taken out.

    Args:
        edge_index: the edges, in one direction or in both.
        num_nodes: N.

    Shapes: edge_index ``[2, E]``; known, the sorted keys of the U edges, ``[U]``.
    Cost: one sort; then O(U) without sorting for each graph that lacks some edges.
    """

    def __init__(self, edge_index: Tensor, num_nodes: int) -> None:
        self.num_nodes = num_nodes
        both_ways = torch.cat([edge_index, edge_index.flip(0)], dim=1)
        self.known = torch.unique(pair_keys(both_ways, num_nodes))
        self.adj = self._csr(self.known)

    def without(self, pairs: Tensor) -> CSR:
        """The graph less these pairs ``[2, P]``, in both directions; those that are no edges do nothing."""
        if not self.known.numel():
            return self.adj
        kept = torch.ones_like(self.known, dtype=torch.bool)
        for ends in (pairs, pairs.flip(0)):
            key = pair_keys(ends, self.num_nodes)
            place = torch.searchsorted(self.known, key).clamp(max=self.known.numel() - 1)
            kept[place[self.known[place] == key]] = False
        return self._csr(self.known[kept])

    def _csr(self, key: Tensor) -> CSR:
        return from_keys(key, self.num_nodes, index_dtype(self.num_nodes))


def check_no_leak(dataset: str, messages: MessageGraph, split: LinkSplit) -> None:
    """Refuse a graph that shows the model an edge it is validated or tested on.

    A held-out pair that is a training edge too is none: it is in ogbl-collab where authors meet again.

    Raises: ValueError naming the part, how many edges and the first of them.
    """
    num_nodes, device = messages.num_nodes, messages.known.device
    trained = MessageGraph(split.train_edges.to(device), num_nodes).known
    for part, pairs in (("validation", split.val_pos), ("test", split.test_pos)):
        key = pair_keys(pairs.to(device), num_nodes)
        leaked = (torch.isin(key, messages.known) & ~torch.isin(key, trained)).nonzero().view(-1)
        if leaked.numel():
            u, v = pairs[:, int(leaked[0])].tolist()
            raise ValueError(
                f"{dataset}: {leaked.numel()} {part} edges are in the graph that messages pass over, the "
                f"first between {u} and {v}, and the model would see what it is asked; let the graph hold "
                "the training edges only"
            )
