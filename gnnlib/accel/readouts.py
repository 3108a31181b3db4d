"""PyG's aggregations on the forward of ours, those that compute the same."""

from __future__ import annotations

from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor

from gnnlib.accel.aggregations import counterpart
from gnnlib.accel.gate import check_tensor, outside
from gnnlib.accel.view import View
from gnnlib.nn import aggr as ours


class Readout:
    """What aggregations share: no messages that anybody could watch."""

    def why_stock(self) -> str | None:
        """Only what goes on around the call."""
        return outside()

    def run(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Ours, as it is."""
        check_tensor("x", x)
        return self.ours.forward(self, x, *args, **kwargs)


class Sum(Readout, View, theirs=pyg.SumAggregation, ours=ours.SumAggregation):
    """SumAggregation."""


class Mean(Readout, View, theirs=pyg.MeanAggregation, ours=ours.MeanAggregation):
    """MeanAggregation."""


class Max(Readout, View, theirs=pyg.MaxAggregation, ours=ours.MaxAggregation):
    """MaxAggregation."""


class Min(Readout, View, theirs=pyg.MinAggregation, ours=ours.MinAggregation):
    """MinAggregation."""


class Var(Readout, View, theirs=pyg.VarAggregation, ours=ours.VarAggregation):
    """VarAggregation, in two passes where PyG takes the difference of two means."""


class Std(Readout, View, theirs=pyg.StdAggregation, ours=ours.StdAggregation):
    """StdAggregation."""

    @property
    def semi_grad(self) -> bool:
        """PyG keeps the option on the variance inside."""
        return bool(self._layer.var_aggr.semi_grad)


class Softmax(Readout, View, theirs=pyg.SoftmaxAggregation, ours=ours.SoftmaxAggregation):
    """SoftmaxAggregation."""


class Multi(Readout, View, theirs=pyg.MultiAggregation, ours=ours.MultiAggregation):
    """MultiAggregation, where it sets its parts side by side."""

    def why_stock(self) -> str | None:
        """Other ways to combine are PyG's affair."""
        if self._layer.mode != "cat":
            return f"mode={self._layer.mode!r}"
        return super().why_stock()

    def run(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Any:
        """Plain reductions share their sets; any other part is called by itself."""
        check_tensor("x", x)
        plain = counterpart(self._layer)
        if plain is not None:
            return plain(x, index, ptr, dim_size, dim)
        return torch.cat([part(x, index, ptr, dim_size, dim) for part in self._layer.aggrs], dim=-1)


READOUTS = (Sum, Mean, Max, Min, Var, Std, Softmax, Multi)
