"""Maximal k-independent sets."""

from __future__ import annotations

from torch import Tensor

from gnnlib.sparse.autograd import define
from gnnlib.sparse.convert import Adj, as_csr
from gnnlib.sparse.registry import dispatch

__all__ = ["independent_set"]


def independent_set(adj: Adj, score: Tensor, k: int = 1) -> Tensor:
    r"""Choose nodes from the best to the worst, each that is more than k steps from those chosen before.

    Bacciu et al., Generalizing Downsampling from Regular Data to Graphs, AAAI 2023. Chosen nodes are more
    than k steps apart, and every node is within k steps of one. Edges are walked in both directions.

    Args:
        adj: the graph, in any form that :func:`as_csr` takes; values are not looked at.
        score: what is better; of equal scores the node with the lower number.
        k: number of steps, at least 0.

    Shapes: adj ``[N, N]``, score ``[N]`` -> int64 ``[N]``, the best chosen node within k steps of each node;
        that of a chosen node is itself. No gradient.
    Cost: a sort of N numbers, then the edges within k steps of each chosen node; O(E) for k = 1 and 2.
    Raises: ValueError for a graph with other targets than sources, a score of another length, or k below 0.
    """
    csr = as_csr(adj, num_rows=score.shape[0], num_cols=score.shape[0])
    if score.dim() != 1:
        raise ValueError(f"independent_set: score has shape {list(score.shape)}; pass one number a node, [N]")
    if k < 0:
        raise ValueError(f"independent_set: k={k} is negative; pass a number of steps, 0 or more")
    order = score.detach().argsort(descending=True, stable=True)
    centre: Tensor = _independent_set(*csr.arrays, *csr.transposed.arrays, order, k)
    return centre


def _forward(
    indptr: Tensor, indices: Tensor, indptr_t: Tensor, indices_t: Tensor, order: Tensor, k: int
) -> Tensor:
    out: Tensor = dispatch("independent_set", indptr, indices, indptr_t, indices_t, order, k)
    return out


def _fake(
    indptr: Tensor, indices: Tensor, indptr_t: Tensor, indices_t: Tensor, order: Tensor, k: int
) -> Tensor:
    return order.new_empty(order.shape[0])


_independent_set = define(
    "independent_set",
    "(Tensor indptr, Tensor indices, Tensor indptr_t, Tensor indices_t, Tensor order, SymInt k) -> Tensor",
    _forward,
    _fake,
)
