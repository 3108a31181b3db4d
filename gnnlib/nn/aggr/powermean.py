"""Power mean aggregation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gnnlib.nn.aggr.base import Aggregation
from gnnlib.nn.aggr.reduce import reduce_sets
from gnnlib.nn.aggr.softmax import check_channels
from gnnlib.sparse import segment_reduce
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.segment_reduce import expand_rows
from gnnlib.sparse.sets import Sets

_NEAR_ZERO = 1e-2  # a learned |p| below it takes the series, whose next term is of order p^3


class PowerMeanAggregation(Aggregation):
    r"""Power mean of the elements, feature by feature.

    .. math:: r = \Big(\frac{1}{n} \sum_i x_i^p\Big)^{1/p}

    Li et al., DeeperGCN: All You Need to Train Deeper GCNs, 2020. The geometric mean at p = 0, the largest
    element for p to infinity, the smallest for p to minus infinity. Elements are clamped to
    ``[clamp_min, clamp_max]`` first, except that a fixed p of 1 is the plain mean, as in PyG.

    Computed from logarithms less their largest, so that no power overflows. PyG clamps the mean of the
    powers to ``[clamp_min, clamp_max]`` once more, which breaks the equation where that mean is outside (two
    elements of 50 have the power mean 10 at p = 2), and gives ``clamp_min ** (1 / p)`` for an empty set; the
    results are equal everywhere else.

    Args:
        p: initial power.
        learn: learn p.
        channels: width of x for a p of each feature, with ``learn``; 1 for one p.
        clamp_min: smallest element, above 0; None (or 0 and less) takes powers as they are, for example the
            root mean square of signed elements at p = 2. Where an element is 0 and the slope of its power or
            of the root is infinite, the gradient is 0.
        clamp_max: largest element; None for no bound.

    Shapes: x ``[..., N, F]`` -> ``[..., R, F]``. An empty set gives 0.
    Cost: O(N F) time and a few arrays of N x F; three more reductions with ``learn``.
    Raises: ValueError for ``channels`` that is not 1 without ``learn`` or not the width of x, or p = 0
        without a ``clamp_min`` above 0.
    """

    def __init__(
        self,
        p: float = 1.0,
        learn: bool = False,
        channels: int = 1,
        clamp_min: float | None = 1e-4,
        clamp_max: float | None = 100.0,
    ) -> None:
        super().__init__()
        if channels != 1 and not learn:
            raise ValueError(
                f"PowerMeanAggregation: channels={channels} came without learn=True; a fixed p is one number"
            )
        if p == 0 and (clamp_min is None or clamp_min <= 0):
            raise ValueError(
                f"PowerMeanAggregation: p=0 came with clamp_min={clamp_min}; the geometric mean is one of "
                "elements above 0, so pass clamp_min above 0"
            )
        self.initial_p = p
        self.learn = learn
        self.channels = channels
        self.clamp_min = clamp_min
        self.clamp_max = clamp_max
        self.p: float | nn.Parameter = nn.Parameter(torch.empty(channels)) if learn else p
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set p back."""
        if isinstance(self.p, nn.Parameter):
            nn.init.constant_(self.p, self.initial_p)

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Average the powers of x ``[N, ..., F]`` -> ``[R, ..., F]``."""
        check_channels(self._who, self.channels, x)
        if isinstance(self.p, float | int) and self.p == 1:
            return reduce_sets(sets, x, ["mean"])[0]
        rows = sets.take(x).to(accumulate_dtype(x.dtype))
        if self.clamp_min is not None or self.clamp_max is not None:
            rows = rows.clamp(self.clamp_min, self.clamp_max)
        filled = (sets.count > 0).reshape(-1, *[1] * (x.dim() - 1))
        if self.clamp_min is None or self.clamp_min <= 0:
            out = self._of_powers(rows, sets)
        else:
            out = self._of_logs(rows.log(), sets).exp()
        return torch.where(filled, out, 0).to(x.dtype)

    def _of_powers(self, rows: Tensor, sets: Sets) -> Tensor:
        """The power mean of elements of any sign ``[E, ...]`` -> ``[R, ...]``; 0 for an empty set."""
        if isinstance(self.p, Tensor):
            p: Tensor | float = self.p.to(rows.dtype)
            of_zero: Tensor | float = torch.where(self.p < 0, torch.inf, 0).to(rows.dtype)
        else:
            p, of_zero = self.p, torch.inf if self.p < 0 else 0.0
        steep = (rows == 0) & (p < 1)
        powers = torch.where(steep, of_zero, torch.where(steep, 1, rows) ** p)
        mean = segment_reduce(powers, sets.indptr, "mean")
        gone = (mean == of_zero) | (sets.count == 0).reshape(-1, *[1] * (rows.dim() - 1))
        return torch.where(gone, 0, torch.where(gone, 1, mean) ** (1 / p))

    def _of_logs(self, log: Tensor, sets: Sets) -> Tensor:
        """Logarithm of the power mean of elements with these logarithms ``[E, ...]`` -> ``[R, ...]``."""
        if not isinstance(self.p, Tensor):
            mean_of = _log_power_mean_near_zero if abs(self.p) < _NEAR_ZERO else log_power_mean
            return mean_of(log, self.p, sets)
        p = self.p.to(log.dtype)
        small = p.abs() < _NEAR_ZERO
        far = log_power_mean(log, torch.where(small, 1, p), sets)
        mean = segment_reduce(log, sets.indptr, "mean")
        away = log - expand_sets(sets, mean)
        second = segment_reduce(away**2, sets.indptr, "mean")
        third = segment_reduce(away**3, sets.indptr, "mean")
        near = mean + p * second / 2 + p**2 * third / 6  # cumulants of the logarithm
        return torch.where(small, near, far)

    def __repr__(self) -> str:
        return f"PowerMeanAggregation(learn={self.learn})"


def log_power_mean(log: Tensor, p: Tensor | float, sets: Sets) -> Tensor:
    """Logarithm of the power mean (p not 0) of elements with these, ``[E, ...]`` -> ``[R, ...]``."""
    scaled = p * log
    top = segment_reduce(scaled.detach(), sets.indptr, "max")
    mean = segment_reduce((scaled - expand_sets(sets, top)).exp(), sets.indptr, "mean")
    empty = (sets.count == 0).reshape(-1, *[1] * (log.dim() - 1))
    return (torch.where(empty, 1, mean).log() + top) / p


def _log_power_mean_near_zero(log: Tensor, p: float, sets: Sets) -> Tensor:
    """The same for a small p, 0 too, without the logarithm of what is nearly 1."""
    mean = segment_reduce(log, sets.indptr, "mean")
    if p == 0:
        return mean
    away = segment_reduce((p * (log - expand_sets(sets, mean))).expm1(), sets.indptr, "mean")
    return mean + away.log1p() / p


def expand_sets(sets: Sets, x: Tensor) -> Tensor:
    """Each set's row for all its slots: ``[R, ...]`` -> ``[E, ...]``."""
    flat = x.reshape(x.shape[0], math.prod(x.shape[1:]))
    return expand_rows(sets.indptr, flat, sets.adj.num_edges).reshape(sets.adj.num_edges, *x.shape[1:])
