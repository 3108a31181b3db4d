"""Greedy matching of nodes along edges."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define
from gnnlib.sparse.convert import check_edge_index, check_numbers
from gnnlib.sparse.registry import dispatch

__all__ = ["edge_matching"]


def edge_matching(edge_index: Tensor, score: Tensor, num_nodes: int) -> Tensor:
    r"""Take edges from the best to the worst, each whose two ends no edge has taken before.

    Preis, Linear Time 1/2-Approximation Algorithm for Maximum Weighted Matching, STACS 1999: the edges that
    are the best at both of their ends may be taken together, which gives the same matching.

    Args:
        edge_index: the ends of each edge, in either order. A loop takes its node alone.
        score: what is better; of equal scores the edge that comes first.
        num_nodes: number of nodes N.

    Shapes: edge_index ``[2, E]``, score ``[E]`` -> int64 ``[N]``, the edge that took each node, or -1. No
        gradient.
    Cost: a sort of E numbers, then O(E).
    Raises: TypeError for edges that are no integers; ValueError for another shape, an end that is no node
        (on a CPU), or when there is not one score for each edge.
    """
    check_edge_index(edge_index, "edge_matching")
    if score.shape != edge_index.shape[1:]:
        raise ValueError(
            f"edge_matching: score has shape {list(score.shape)} but there are {edge_index.shape[1]} edges; "
            "pass one score for each"
        )
    order = score.detach().argsort(descending=True, stable=True)
    source, target = edge_index.to(torch.int64)
    taken: Tensor = _matching(source.contiguous(), target.contiguous(), order, num_nodes)
    return taken


def _forward(source: Tensor, target: Tensor, order: Tensor, num_nodes: int) -> Tensor:
    check_numbers("edge_matching: edge_index", source, num_nodes, "source node")
    check_numbers("edge_matching: edge_index", target, num_nodes, "target node")
    out: Tensor = dispatch("edge_matching", source, target, order, num_nodes)
    return out


def _fake(source: Tensor, target: Tensor, order: Tensor, num_nodes: int) -> Tensor:
    return order.new_empty(num_nodes)


_matching = define(
    "edge_matching",
    "(Tensor source, Tensor target, Tensor order, SymInt num_nodes) -> Tensor",
    _forward,
    _fake,
)
