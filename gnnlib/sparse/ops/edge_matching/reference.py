"""Greedy matching in plain torch: rounds in which each edge that is the best at both of its ends is taken."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.registry import kernel


@kernel("edge_matching", "reference")
def edge_matching(source: Tensor, target: Tensor, order: Tensor, num_nodes: int) -> Tensor:
    taken = source.new_full((num_nodes,), -1)
    num_edges = order.shape[0]
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(num_edges, device=order.device))
    edge = torch.arange(num_edges, device=order.device)
    while edge.numel():
        ends = torch.stack([source[edge], target[edge]])
        best = rank.new_full((num_nodes,), num_edges)
        best.scatter_reduce_(0, ends.reshape(-1), rank[edge].repeat(2), "amin")
        won = (best[ends] == rank[edge]).all(dim=0)
        taken[ends[:, won].reshape(-1)] = edge[won].repeat(2)
        edge = edge[(taken[ends] < 0).all(dim=0)]
    return taken
