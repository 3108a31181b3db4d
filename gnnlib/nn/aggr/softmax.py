"""Softmax aggregation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnlib.nn.aggr.base import Aggregation
from gnnlib.sparse import segment_reduce, segment_softmax
from gnnlib.sparse.sets import Sets


class SoftmaxAggregation(Aggregation):
    r"""Sum of the elements weighted by the softmax of their own values, feature by feature.

    .. math:: r = \sum_i \frac{\exp(t\, x_i)}{\sum_j \exp(t\, x_j)}\, x_i

    Li et al., DeeperGCN: All You Need to Train Deeper GCNs, 2020. Between the mean (t = 0), the largest (t to
    infinity) and the smallest element (t to minus infinity).

    Args:
        t: initial inverse temperature.
        learn: learn t.
        semi_grad: the weights get no gradient; not with ``learn``.
        channels: width of x for a t of each feature, with ``learn``; 1 for one t.

    Shapes: x ``[..., N, F]`` -> ``[..., R, F]``. An empty set gives 0.
    Cost: O(N F) time; the weights and the products, N x F each, are kept for the backward.
    Raises: ValueError for ``learn`` with ``semi_grad``, or ``channels`` that is not 1 without ``learn`` or
        not the width of x.
    """

    def __init__(
        self, t: float = 1.0, learn: bool = False, semi_grad: bool = False, channels: int = 1
    ) -> None:
        super().__init__()
        if learn and semi_grad:
            raise ValueError(
                "SoftmaxAggregation: semi_grad=True cuts the gradient that learn=True needs; pass one of them"
            )
        if channels != 1 and not learn:
            raise ValueError(
                f"SoftmaxAggregation: channels={channels} came without learn=True; a fixed t is one number"
            )
        self.initial_t = t
        self.learn = learn
        self.semi_grad = semi_grad
        self.channels = channels
        self.t: float | nn.Parameter = nn.Parameter(torch.empty(channels)) if learn else t
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set t back."""
        if isinstance(self.t, nn.Parameter):
            nn.init.constant_(self.t, self.initial_t)

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Weigh and sum x ``[N, ..., F]`` -> ``[R, ..., F]``."""
        check_channels(self._who, self.channels, x)
        rows = sets.take(x)
        score = rows if isinstance(self.t, float | int) and self.t == 1 else rows * self.t
        alpha = segment_softmax(score.detach() if self.semi_grad else score, sets.indptr)
        return segment_reduce(rows * alpha, sets.indptr)

    def __repr__(self) -> str:
        return f"SoftmaxAggregation(learn={self.learn})"


def check_channels(who: str, channels: int, x: Tensor) -> None:
    """Refuse features of another width than that of a parameter for each."""
    if channels != 1 and x.shape[-1] != channels:
        raise ValueError(
            f"{who}: x has {x.shape[-1]} features but channels={channels}; pass {channels} features or build "
            f"it with channels={x.shape[-1]}"
        )
