"""Generalised mean aggregation with a learned power for each group of features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gnnlib.nn.aggr.base import Aggregation
from gnnlib.nn.aggr.powermean import expand_sets, log_power_mean
from gnnlib.sparse import segment_reduce
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.sets import Sets

_SMALLEST_P = 1e-2  # powers stay above it


class GGeMAggregation(Aggregation):
    r"""Power mean of the elements with one learned power for each group of features.

    .. math:: r_c = \Big(\frac1n \sum_i \max(x_{i,c}, \varepsilon)^{p_{g(c)}}\Big)^{1/p_{g(c)}}, \qquad
        p = \mathrm{softplus}(\rho) + 0.01

    Ko et al., Group Generalized Mean Pooling for Vision Transformer, 2022, where a group is the width of a
    head and p starts at 3. With one group it is GeM, with a group for each feature a power of each. The
    softplus, which keeps p above 0, is ours. Computed from logarithms less their largest: no power overflows.

    Args:
        channels: width of x.
        groups: number of groups of neighbouring features; divides ``channels``.
        p: initial power, above 0.01.
        learn: learn the powers.
        eps: smallest element, above 0.
        signed: take the power of the absolute value with the sign of the element, and of the mean likewise,
            so that elements below 0 count and have gradients.

    Shapes: x ``[..., N, channels]`` -> ``[..., R, channels]``. An empty set gives 0.
    Cost: O(N F) time and a few arrays of N x F.
    Raises: ValueError for groups that do not divide channels, p not above 0.01, eps not above 0, or x of
        another width.
    """

    def __init__(
        self,
        channels: int,
        groups: int = 1,
        p: float = 3.0,
        learn: bool = True,
        *,
        eps: float = 1e-6,
        signed: bool = False,
    ) -> None:
        super().__init__()
        if groups < 1 or channels % groups:
            raise ValueError(
                f"{self._who}: channels={channels} is not divisible by groups={groups}; choose a divisor"
            )
        self.channels = channels
        self._begin(groups, p, learn, eps, signed)

    def _begin(self, groups: int, p: float, learn: bool, eps: float, signed: bool) -> None:
        if p <= _SMALLEST_P or eps <= 0:
            raise ValueError(
                f"{self._who}: p={p}, eps={eps}; pass a power above {_SMALLEST_P} and a smallest "
                "element above 0"
            )
        self.groups = groups
        self.initial_p = p
        self.learn = learn
        self.eps = eps
        self.signed = signed
        self.rho = nn.Parameter(torch.empty(groups), requires_grad=learn)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the powers back."""
        above = self.initial_p - _SMALLEST_P
        nn.init.constant_(self.rho, above if above > 30 else math.log(math.expm1(above)))

    @property
    def p(self) -> Tensor:
        """The powers, ``[groups]``."""
        return nn.functional.softplus(self.rho) + _SMALLEST_P

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Average the powers of x ``[N, ..., F]`` -> ``[R, ..., F]``."""
        rows = sets.take(x).to(accumulate_dtype(x.dtype))
        p = self._power(x.shape[-1]).to(rows.dtype)
        filled = (sets.count > 0).reshape(-1, *[1] * (x.dim() - 1))
        out = self._signed(rows, p, sets) if self.signed else self._positive(rows, p, sets)
        return torch.where(filled, out, 0).to(x.dtype)

    def _power(self, width: int) -> Tensor:
        """The power of each feature."""
        if width != self.channels:
            raise ValueError(
                f"{self._who}: x has {width} features but channels={self.channels}; pass {self.channels} "
                "features"
            )
        return self.p.repeat_interleave(self.channels // self.groups)

    def _positive(self, rows: Tensor, p: Tensor, sets: Sets) -> Tensor:
        return log_power_mean(rows.clamp(min=self.eps).log(), p, sets).exp()

    def _signed(self, rows: Tensor, p: Tensor, sets: Sets) -> Tensor:
        size = rows.abs().clamp(min=self.eps)
        top = segment_reduce(size.detach(), sets.indptr, "max").clamp(min=self.eps)
        share = size / expand_sets(sets, top)
        mean = segment_reduce(rows.sign() * share**p, sets.indptr, "mean")
        return top * mean.sign() * mean.abs().clamp(min=self.eps).pow(1 / p)

    def __repr__(self) -> str:
        return f"{self._who}({self.channels}, groups={self.groups}, learn={self.learn})"


class GeMAggregation(GGeMAggregation):
    r"""Power mean of the elements with one learned power.

    .. math:: r = \Big(\frac1n \sum_i \max(x_i, \varepsilon)^p\Big)^{1/p}

    Radenovic et al., Fine-tuning CNN Image Retrieval with No Human Annotation, TPAMI 2019: the
    :class:`GGeMAggregation` of one group.

    Args:
        p: initial power, above 0.01.
        learn: learn the power.
        eps: smallest element, above 0.
        signed: as in :class:`GGeMAggregation`.

    Shapes: x ``[..., N, F]`` -> ``[..., R, F]``. An empty set gives 0.
    Cost: O(N F) time and a few arrays of N x F.
    Raises: ValueError for p not above 0.01 or eps not above 0.
    """

    def __init__(
        self, p: float = 3.0, learn: bool = True, *, eps: float = 1e-6, signed: bool = False
    ) -> None:
        Aggregation.__init__(self)
        self._begin(1, p, learn, eps, signed)

    def _power(self, width: int) -> Tensor:
        return self.p

    def __repr__(self) -> str:
        return f"{self._who}(learn={self.learn})"
