"""Variance-preserving aggregation."""

from __future__ import annotations

from torch import Tensor

from gnnlib.nn.aggr.base import Aggregation, vectors
from gnnlib.nn.aggr.reduce import reduce_sets
from gnnlib.sparse.sets import Sets


class VariancePreservingAggregation(Aggregation):
    r"""Sum of the elements over the root of their number.

    .. math:: r = \frac{1}{\sqrt n} \sum_i x_i

    Schneckenreiter et al., GNN-VPA: A Variance-Preserving Aggregation Strategy for Graph Neural Networks,
    2024: independent elements of variance 1 give variance 1, whatever their number.

    Shapes: x ``[..., N, F]`` -> ``[..., R, F]``. An empty set gives 0.
    Cost: O(N F), memory of the result.
    """

    reads_in_place = True

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Sum x ``[N, ...]`` and scale -> ``[R, ...]``."""
        (total,) = reduce_sets(sets, x, ["sum"])
        return (total * vectors(sets.count, total).clamp(min=1).rsqrt()).to(x.dtype)
