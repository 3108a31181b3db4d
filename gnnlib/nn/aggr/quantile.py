"""Quantiles and the median."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from gnnlib.nn.aggr.base import Aggregation
from gnnlib.sparse.sets import Sets

Interpolation = Literal["linear", "lower", "higher", "nearest", "midpoint"]
_INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")


class QuantileAggregation(Aggregation):
    r"""Quantiles of the elements, feature by feature.

    .. math:: r = f\big(x_{(\lfloor s \rfloor)},\, x_{(\lceil s \rceil)}\big), \qquad s = q\,(n - 1)

    with x sorted and numbered from 0. The place s is computed within the set. PyG adds to it, in float32, the
    place of the set in the batch, so that what comes before rounds the fraction and turns the choice of
    ``"nearest"`` between two elements; and an empty first set is an IndexError there.

    Args:
        q: one quantile in [0, 1] or several. The constructor's are used; a checkpoint holds them as ``q``.
        interpolation: f: ``"lower"``, ``"higher"``, ``"midpoint"``, ``"linear"`` in the fraction of s, or
            ``"nearest"``, which takes the even one of two equally near places.
        fill_value: the result of an empty set.

    Shapes: x ``[..., N, F]`` -> ``[..., R, F]``, or ``[..., R, Q F]`` for Q quantiles, one after the other.
        The gradient goes to the one or two elements that the result is made of, of equal ones to the first.
        NaN counts as the largest value.
    Cost: two sorts of N F values.
    Raises: ValueError for q outside [0, 1], no q, or an unknown interpolation.
    """

    q: Tensor

    def __init__(
        self, q: float | Sequence[float], interpolation: Interpolation = "linear", fill_value: float = 0.0
    ) -> None:
        super().__init__()
        quantiles = [float(v) for v in q] if isinstance(q, Sequence) else [float(q)]
        if not quantiles or not all(0 <= v <= 1 for v in quantiles):
            raise ValueError(f"{self._who}: q={q}; pass one quantile in [0, 1] or several")
        if interpolation not in _INTERPOLATIONS:
            raise ValueError(
                f"{self._who}: interpolation={interpolation!r} is unknown; choose one of "
                f"{', '.join(_INTERPOLATIONS)}"
            )
        self.quantiles = quantiles
        self.register_buffer("q", torch.tensor(quantiles).view(-1, 1))
        self.interpolation = interpolation
        self.fill_value = fill_value

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,
    ) -> Tensor:
        """The quantiles of each set; arguments as in :class:`Aggregation`."""
        rows, sets, dim = self._door(x, index, ptr, dim_size, dim, max_num_elements)
        out = self._quantiles(rows, sets)
        if len(out) == 1:
            return out[0].movedim(0, dim).contiguous()
        if dim == x.dim() - 1:
            return torch.stack([v.movedim(0, dim) for v in out], dim=-1)
        return torch.cat([v.movedim(0, dim) for v in out], dim=dim + 1)

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """The quantiles of x ``[N, F]`` -> ``[R, Q F]``."""
        return torch.cat(self._quantiles(x, sets), dim=-1)

    def _quantiles(self, x: Tensor, sets: Sets) -> list[Tensor]:
        rows = sets.take(x)
        order = _order(sets, rows.detach())
        # One more row, the value of an empty set.
        rows = torch.cat([rows, rows.new_full((1, *rows.shape[1:]), self.fill_value)])
        order = torch.cat([order, order.new_full((1, *order.shape[1:]), sets.adj.num_edges)])
        return [self._one(rows, order, sets, q) for q in self.quantiles]

    def _one(self, rows: Tensor, order: Tensor, sets: Sets, q: float) -> Tensor:
        place = q * (sets.count - 1).clamp(min=0).double()  # [R], within the set
        whole = place.round()
        # 0.29 * 100 is 28.999... : a place that is whole up to rounding is whole.
        place = torch.where((place - whole).abs() <= 1e-12 * (whole + 1), whole, place)
        if self.interpolation == "nearest":
            return self._at(rows, order, sets, whole)
        if self.interpolation == "lower":
            return self._at(rows, order, sets, place.floor())
        if self.interpolation == "higher":
            return self._at(rows, order, sets, place.ceil())
        low, high = (self._at(rows, order, sets, v) for v in (place.floor(), place.ceil()))
        if self.interpolation == "midpoint":
            return 0.5 * low + 0.5 * high
        fraction = place.frac().to(rows.dtype).reshape(-1, *[1] * (rows.dim() - 1))
        return low + (high - low) * fraction

    @staticmethod
    def _at(rows: Tensor, order: Tensor, sets: Sets, place: Tensor) -> Tensor:
        slot = torch.where(sets.count > 0, sets.indptr[:-1] + place.long(), sets.adj.num_edges)
        return rows.gather(0, order.index_select(0, slot))

    def __repr__(self) -> str:
        q = self.quantiles[0] if len(self.quantiles) == 1 else self.quantiles
        return f"{self._who}(q={q})"


class MedianAggregation(QuantileAggregation):
    r"""Median of the elements, feature by feature; of an even number, the lower one of the two in the middle.

    .. math:: r = x_{(\lfloor (n - 1) / 2 \rfloor)}

    Args:
        fill_value: the result of an empty set.

    Shapes: x ``[..., N, F]`` -> ``[..., R, F]``.
    Cost: two sorts of N F values.
    """

    def __init__(self, fill_value: float = 0.0) -> None:
        super().__init__(0.5, "lower", fill_value)

    def __repr__(self) -> str:
        return "MedianAggregation()"


def _order(sets: Sets, rows: Tensor) -> Tensor:
    """The slots of each set by value, feature by feature: ``[E, ...]`` -> int64 of that shape."""
    by_value = rows.argsort(dim=0, stable=True)
    return by_value.gather(0, sets.adj.rows[by_value].argsort(dim=0, stable=True))
