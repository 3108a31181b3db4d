"""Sum, mean, largest, smallest, product, variance and standard deviation."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.nn.aggr.base import Aggregation, multiply
from gnnlib.nn.aggr.reduce import reduce_sets
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.sets import Sets

_SMALLEST_VAR = 1e-5  # below it PyG's standard deviation, and its gradient, are 0


class Reduction(Aggregation):
    """An aggregation that the core computes without a copy of the elements."""

    reads_in_place = True
    reduction: str

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Reduce x ``[N, ...]`` -> ``[R, ...]``."""
        return self.finish(x, sets, reduce_sets(sets, x, [self.reduction])[0])

    def finish(self, x: Tensor, sets: Sets, out: Tensor) -> Tensor:
        """The aggregation from its reduction, which somebody may have taken along with others."""
        return out


class SumAggregation(Reduction):
    r"""Sum of the elements.

    .. math:: r = \sum_i x_i

    Shapes: x ``[..., N, F]`` -> ``[..., R, F]``. An empty set gives 0.
    Cost: O(N F), memory of the result.
    """

    reduction = "sum"


class MeanAggregation(Reduction):
    r"""Mean of the elements.

    .. math:: r = \frac{1}{n} \sum_i x_i

    Shapes: x ``[..., N, F]`` -> ``[..., R, F]``. An empty set gives 0.
    Cost: O(N F), memory of the result.
    """

    reduction = "mean"


class MaxAggregation(Reduction):
    r"""Largest value of each feature.

    .. math:: r = \max_i x_i

    Shapes: x ``[..., N, F]`` -> ``[..., R, F]``. An empty set gives 0. Of equal elements the first gets the
        whole gradient, on every device; in PyG that depends on the device and on what is installed.
    Cost: O(N F), memory of the result and of an index of its size.
    """

    reduction = "max"


class MinAggregation(Reduction):
    r"""Smallest value of each feature.

    .. math:: r = \min_i x_i

    Shapes: x ``[..., N, F]`` -> ``[..., R, F]``. An empty set gives 0. Of equal elements the first gets the
        whole gradient, on every device; in PyG that depends on the device and on what is installed.
    Cost: O(N F), memory of the result and of an index of its size.
    """

    reduction = "min"


class MulAggregation(Aggregation):
    r"""Product of the elements.

    .. math:: r = \prod_i x_i

    Shapes: x ``[..., N, F]`` -> ``[..., R, F]``. An empty set gives 1. The gradient is right where elements
        are 0. Short types are multiplied in float32.
    Cost: O(N F), and a copy of the elements where the index is not sorted.
    """

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Multiply x ``[N, ...]`` -> ``[R, ...]``."""
        return multiply(sets, x)


class VarAggregation(Reduction):
    r"""Variance of the elements, divided by their number.

    .. math:: r = \frac{1}{n} \sum_i (x_i - \mu)^2, \qquad \mu = \frac{1}{n} \sum_i x_i

    The squares are taken about an element of the set. PyG's difference of mean squares is the same number in
    exact arithmetic, but loses it where the mean is large (1000 and 1000.001 give 0) and can turn negative.

    Args:
        semi_grad: no gradient through the mean of the squares.

    Shapes: x ``[..., N, F]`` -> ``[..., R, F]``. An empty set gives 0.
    Cost: O(N F), memory of the result.
    """

    reduction = "var"

    def __init__(self, semi_grad: bool = False) -> None:
        super().__init__()
        self.semi_grad = semi_grad

    def finish(self, x: Tensor, sets: Sets, out: Tensor) -> Tensor:
        """With ``semi_grad`` the gradient is that of minus the squared mean."""
        if not self.semi_grad:
            return out
        (mean,) = reduce_sets(sets, x, ["mean"])
        square = mean * mean
        return out.detach() + (square.detach() - square)


class StdAggregation(VarAggregation):
    r"""Standard deviation of the elements.

    .. math:: r = \sqrt{\tfrac{1}{n} \sum_i (x_i - \mu)^2}

    As in PyG a variance up to 1e-5 counts as none: the result and its gradient are 0. For the variance see
    :class:`VarAggregation`.

    Args:
        semi_grad: no gradient through the mean of the squares.

    Shapes: x ``[..., N, F]`` -> ``[..., R, F]``. An empty set gives 0.
    Cost: O(N F), memory of the result.
    """

    def finish(self, x: Tensor, sets: Sets, out: Tensor) -> Tensor:
        """The root of the variance."""
        var = VarAggregation.finish(self, x, sets, out)
        wide = var.to(accumulate_dtype(var.dtype))
        none = wide <= _SMALLEST_VAR
        return torch.where(none, 0, torch.where(none, 1, wide).sqrt()).to(var.dtype)
