"""Nodes that no messages can tell apart, as one node: the same codes from a smaller graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnlib.sparse.colours import ColourHash, colour_of_rows, refine

__all__ = ["merge_nodes", "Merged"]


@dataclass(frozen=True)
class Merged:
    """A graph with a node for each class of nodes that are alike, or two.

    Args:
        node_class: the class of each node; codes of the nodes are ``codes[node_class]``.
        nodes: a node of each class, and for the copies of some classes, which come last, the same again;
            features of the merged graph are ``x[nodes]``.
        edges: the edges that go to those nodes; features of its edges are ``edge_attr[edges]``.
        edge_index: these edges between classes, in the order of their targets.

    Shapes: node_class ``[N]``, nodes ``[C]``, edges ``[M]``, edge_index ``[2, M]``; int64.
    """

    node_class: Tensor
    nodes: Tensor
    edges: Tensor
    edge_index: Tensor


def merge_nodes(edge_index: Tensor, x: Tensor, edge_attr: Tensor | None = None) -> Merged:
    r"""Merge the nodes that every message-passing network gives the same codes.

    Colours are refined until they are stable: :math:`c'_v = \mathrm{hash}(c_v, \{\!\{ (c_u, e_{uv}) :
    u \to v \}\!\})`, from those of the features. Nodes of one colour become one node, which keeps the
    in-edges of one of them: as many, from the same classes. Self-loops stay what they are; where nodes of one
    class are neighbours, it has a copy, and their edges run between the two. A network whose layers take
    in-edges alone (``source_to_target``, so that degrees are in-degrees) has the codes of all nodes, by
    ``codes[node_class]``, and the same gradients for the same loss. It is not for layers that see more:
    out-edges, all nodes at once, the statistics of a batch. Bollen, Steegmans, Van den Bussche and
    Vansummeren, Learning Graph Neural Networks using Exact Compression, 2023; Sourek, Zelezny and Kuzelka,
    Lossless Compression of Structured Convolutional Models via Lifting, ICLR 2021.

    Args:
        edge_index: edges from source to target.
        x: features of nodes, whose rows are alike when all their bits are.
        edge_attr: features or weights of edges, in the same way.

    Shapes: edge_index ``[2, E]``, x ``[N]`` or ``[N, F]``, edge_attr ``[E]`` or ``[E, D]``.
    Cost: a sort of N numbers and a sum over E edges for each round, until no class splits. Nodes that are not
        alike are merged with a chance of about 2^-80 a pair.

    Raises:
        ValueError: when edge_attr has not one row for each edge.
    """
    if edge_attr is not None and edge_attr.shape[0] != edge_index.shape[1]:
        raise ValueError(
            f"merge_nodes: edge_attr has {edge_attr.shape[0]} rows but there are {edge_index.shape[1]} "
            "edges; pass one row for each edge"
        )
    source, target = edge_index
    loop = source == target
    edge_colour = loop.long() if edge_attr is None else 2 * colour_of_rows(edge_attr) + loop
    node_class = refine(source, target, colour_of_rows(x), ColourHash(0), edge_colour=edge_colour)
    count = int(node_class.max()) + 1 if node_class.numel() else 0
    number = torch.arange(node_class.numel(), device=node_class.device)
    nodes = number.new_zeros(count).scatter_reduce_(0, node_class, number, "amin", include_self=False)
    kept = torch.zeros_like(node_class, dtype=torch.bool)
    kept[nodes] = True
    edges = kept[target].nonzero().view(-1)
    edges = edges[node_class[target[edges]].argsort(stable=True)]
    start, end = node_class[source[edges]], node_class[target[edges]]
    inside = (start == end) & ~loop[edges]
    copied = torch.unique(end[inside])
    copy = torch.full_like(nodes, -1)
    copy[copied] = count + torch.arange(copied.numel(), device=copy.device)
    again = (copy[end] >= 0).nonzero().view(-1)  # the edges that go to a copy as well
    to_copy = copy[end[again]]
    from_copy = torch.where(loop[edges[again]], to_copy, start[again])
    return Merged(
        node_class,
        torch.cat([nodes, nodes[copied]]),
        torch.cat([edges, edges[again]]),
        torch.stack(
            [torch.cat([torch.where(inside, copy[end], start), from_copy]), torch.cat([end, to_copy])]
        ),
    )
