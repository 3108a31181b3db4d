"""Attentional aggregation of deep feature sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from gnnlib.nn.aggr.base import Aggregation
from gnnlib.nn.init import reset
from gnnlib.sparse import segment_reduce, segment_softmax
from gnnlib.sparse.sets import Sets


class AttSetsAggregation(Aggregation):
    r"""Sum of the elements weighted, feature by feature, by the softmax of a linear map of them.

    .. math:: r = \sum_i x_i \odot \operatorname{softmax}_i(W x_i)

    Yang et al., Robust Attentional Aggregation of Deep Feature Sets for Multi-view 3D Reconstruction, IJCV
    2020. It is :class:`AttentionalAggregation` with a score for each feature and no map of the
    elements. A set of one element gives that element; W = 0 gives the mean. :class:`FASetPhases` trains it as
    the paper does.

    Args:
        channels: width of x.

    Shapes: x ``[..., N, channels]`` -> ``[..., R, channels]``. An empty set gives 0.
    Cost: one map of N rows; the weights and the products, N x F each, are kept for the backward.
    Raises: ValueError for x of another width.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.lin = nn.Linear(channels, channels, bias=False)

    def reset_parameters(self) -> None:
        """Draw a new map."""
        reset(self.lin)

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Score, weigh and sum x ``[N, ..., channels]`` -> ``[R, ..., channels]``."""
        if x.shape[-1] != self.channels:
            raise ValueError(
                f"{self._who}: x has {x.shape[-1]} features but channels={self.channels}; pass "
                f"{self.channels} features"
            )
        return segment_reduce(
            sets.take(x) * segment_softmax(sets.take(self.lin(x)), sets.indptr), sets.indptr
        )

    def __repr__(self) -> str:
        return f"{self._who}({self.channels})"


class FASetPhases:
    """The two phases in which AttSets are trained, so that the encoder does not learn the size of sets.

    Yang et al., IJCV 2020 (FASet): in a base step every set has one element, whose attention is
    the identity, and all but the attention learns; in an attention step sets have several elements and the
    attention alone learns.

    Args:
        base: parameters of the networks before and after the aggregation.
        attention: parameters of the aggregation.

    Shapes: none.
    """

    def __init__(self, base: Iterable[nn.Parameter], attention: Iterable[nn.Parameter]) -> None:
        self.base_parameters = list(base)
        self.attention_parameters = list(attention)

    @contextmanager
    def base(self) -> Iterator[None]:
        """A step on sets of one element: the attention gets no gradient."""
        with _frozen(self.attention_parameters):
            yield

    @contextmanager
    def attention(self) -> Iterator[None]:
        """A step on sets of several elements: only the attention gets gradients."""
        with _frozen(self.base_parameters):
            yield


@contextmanager
def _frozen(parameters: list[nn.Parameter]) -> Iterator[None]:
    before = [p.requires_grad for p in parameters]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p, needed in zip(parameters, before, strict=True):
            p.requires_grad_(needed)
