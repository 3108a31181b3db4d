"""Base of the layers whose equation is a sum over neighbours and nothing else."""

from __future__ import annotations

from typing import Any

from gnnlib.nn.conv.base import Conv
from gnnlib.sparse.ops.spmm import Reduce


class SumConv(Conv):
    """A layer that filters with a matrix, so that ``aggr`` has one value.

    Args:
        aggr: ``"sum"``; the other options are those of :class:`Conv`.
    """

    def _reduction(self, aggr: Any) -> Reduce:
        if super()._reduction(aggr) != "sum":
            raise NotImplementedError(
                f"{self._who}: aggr={aggr!r} is not offered; the layer is a matrix product, leave aggr='sum'"
            )
        return "sum"
