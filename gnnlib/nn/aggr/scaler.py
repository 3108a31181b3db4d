"""Aggregations scaled by the size of the set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gnnlib.nn.aggr.base import Aggregation, is_aggregation, over, vectors
from gnnlib.nn.aggr.resolver import aggregation_resolver
from gnnlib.nn.init import reset
from gnnlib.sparse.sets import Sets

_SCALERS = ("identity", "amplification", "attenuation", "linear", "inverse_linear")


class DegreeScalerAggregation(Aggregation):
    r"""Aggregations scaled by functions of the size of the set, one after the other.

    .. math:: r = \big\Vert_s s(n)\, \operatorname{aggr} \{ x_i \}, \qquad
        s(n) \in \Big\{ 1,\; \tfrac{\log(n + 1)}{\delta},\; \tfrac{\delta}{\log(n + 1)},\;
        \tfrac{n}{\bar n},\; \tfrac{\bar n}{n} \Big\}

    Corso et al., Principal Neighbourhood Aggregation for Graph Nets, NeurIPS 2020; delta and
    the mean size are those of the training set. One scaler may be given by its name, and several as a
    list, whatever ``aggr`` is; PyG goes by the kind of ``aggr`` there, and reads the letters of a name.

    Args:
        aggr: a name, a module, or a list of them.
        scaler: one or more of ``"identity"``, ``"amplification"``, ``"attenuation"``, ``"linear"``,
            ``"inverse_linear"``, in the order of the formula. Divisions take an empty set for one of size 1.
        deg: histogram of the sizes in the training set, ``deg[n]`` sets of n elements.
        train_norm: learn delta and the mean size.
        aggr_kwargs: arguments of the aggregation if it is named; for a list, one dict for each.

    Shapes: x ``[..., N, F]`` -> ``[..., R, S F']`` for S scalers of an aggregation of width F'.
    Cost: that of the aggregation, and the result once more.
    Raises: ValueError for an unknown scaler or an empty histogram; TypeError for no aggregation.
    """

    reads_in_place = True
    avg_deg_lin: Tensor
    avg_deg_log: Tensor

    def __init__(
        self,
        aggr: str | Sequence[str | nn.Module] | nn.Module,
        scaler: str | Sequence[str],
        deg: Tensor,
        train_norm: bool = False,
        aggr_kwargs: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(aggr, str | nn.Module):
            self.aggr = aggregation_resolver(aggr, **(aggr_kwargs or {}))
        else:
            self.aggr = aggregation_resolver(aggr, aggr_kwargs)
        if not is_aggregation(self.aggr):
            raise TypeError(
                f"DegreeScalerAggregation: aggr is {type(aggr).__name__}; pass a name, a list or a module"
            )
        self.scaler = [scaler] if isinstance(scaler, str) else list(scaler)
        unknown = [s for s in self.scaler if s not in _SCALERS]
        if unknown or not self.scaler:
            raise ValueError(
                f"DegreeScalerAggregation: scaler={scaler!r}; choose one or more of {', '.join(_SCALERS)}"
            )
        histogram = deg.detach().to(torch.float64)
        total = float(histogram.sum())
        if not total > 0:
            raise ValueError("DegreeScalerAggregation: deg counts no set; pass the histogram of set sizes")
        size = torch.arange(deg.numel(), device=deg.device, dtype=torch.float64)
        self.initial_avg_deg_lin = float((size * histogram).sum()) / total
        self.initial_avg_deg_log = float(((size + 1).log() * histogram).sum()) / total
        for name in ("avg_deg_lin", "avg_deg_log"):
            if train_norm:
                self.register_parameter(name, nn.Parameter(torch.empty(1)))
            else:
                self.register_buffer(name, torch.empty(1))
        self._reset_norm()

    def _reset_norm(self) -> None:
        """Set delta and the mean size back to those of the histogram."""
        nn.init.constant_(self.avg_deg_lin, self.initial_avg_deg_lin)
        nn.init.constant_(self.avg_deg_log, self.initial_avg_deg_log)

    def reset_parameters(self) -> None:
        """Draw new parameters of the aggregation; set delta and the mean size back."""
        reset(self.aggr)
        self._reset_norm()

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Aggregate x ``[N, ..., F]`` and scale -> ``[R, ..., S F']``."""
        out = over(self.aggr, x, sets)
        count = vectors(sets.count, out)
        scaled = [
            out if s == "identity" else (out * self._scale(s, count)).to(out.dtype) for s in self.scaler
        ]
        return scaled[0] if len(scaled) == 1 else torch.cat(scaled, dim=-1)

    def _scale(self, scaler: str, count: Tensor) -> Tensor:
        if scaler == "amplification":
            return (count + 1).log() / self.avg_deg_log
        if scaler == "attenuation":
            return self.avg_deg_log / (count.clamp(min=1) + 1).log()
        if scaler == "linear":
            return count / self.avg_deg_lin
        return self.avg_deg_lin / count.clamp(min=1)

    def __repr__(self) -> str:
        return f"DegreeScalerAggregation({self.aggr}, scaler={self.scaler})"
