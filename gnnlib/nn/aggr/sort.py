"""Sort pooling."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.nn.aggr.base import Aggregation
from gnnlib.nn.check import check_whole
from gnnlib.sparse.sets import Sets


class SortAggregation(Aggregation):
    r"""The k elements with the largest last feature, in that order, one after the other.

    .. math:: r = x_{(1)} \,\Vert\, \dots \,\Vert\, x_{(k)}, \qquad x_{(1), F} \ge x_{(2), F} \ge \dots

    Zhang et al., An End-to-End Deep Learning Architecture for Graph Classification, AAAI 2018,
    with ties in the order of the index as in PyG, not by earlier features as in the paper. Places past the
    elements of a set are 0. PyG marks them by a number below the smallest of the batch and clears what
    equals it; where that number rounds to the smallest value (from 2^24 on in float32) the values go too.

    Args:
        k: number of elements to keep.

    Shapes: x ``[N, F]`` -> ``[R, k F]``.
    Cost: two sorts of N numbers.
    Raises: ValueError for k below 1, or elements that are not vectors.
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        check_whole(self._who, k=k)
        self.k = k

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Sort and cut x ``[N, F]`` -> ``[R, k F]``."""
        rows = sets.take(self._matrix(x))
        by_value = rows[:, -1].detach().argsort(descending=True, stable=True)
        order = by_value[sets.adj.rows[by_value].argsort(stable=True)]  # slots by set, then by value
        place, _ = sets.places(self.k)  # [R, k]
        none = place.new_full((1,), rows.shape[0])
        rows = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])
        chosen = torch.cat([order, none]).index_select(0, place.reshape(-1))
        return rows.index_select(0, chosen).reshape(sets.num_sets, self.k * x.shape[1])

    def __repr__(self) -> str:
        return f"SortAggregation(k={self.k})"
