"""What is known of a model's influence by hop: the mean curve, the range, and how sure they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["InfluenceByHop"]


@dataclass(frozen=True)
class InfluenceByHop:
    """Influence by hop of some nodes, and what it says of all nodes.

    ``T, R = influence(...)`` unpacks the mean curve and the range.

    Args:
        by_hop: T_h(v) of each measured node.
        nodes: which nodes these are.
        num_nodes: N, the nodes that they were drawn from.
        normalize: whether ``curve`` is divided by its first value.
        reach: hops that the model looks.
        method: how it was computed.

    Shapes: by_hop ``[S, H + 1]``, nodes ``[S]``.
    """

    by_hop: Tensor
    nodes: Tensor
    num_nodes: int
    normalize: bool
    reach: int
    method: str

    def __iter__(self) -> Iterator[Any]:
        return iter((self.curve, self.R))

    @property
    def curve(self) -> Tensor:
        """The mean of T_h over nodes, divided by that of T_0 where ``normalize`` says so, ``[H + 1]``."""
        mean: Tensor = self.by_hop.mean(0)
        return mean / mean[0] if self.normalize else mean

    @property
    def curve_error(self) -> Tensor:
        """Standard error of ``curve`` over the draw of nodes, ``[H + 1]``; 0 when all were measured."""
        t = self.by_hop
        if self.normalize:  # of a ratio of means, by its first-order expansion
            t = (t - self.curve * t[:, :1]) / t[:, 0].mean()
        return self._error(t)

    @property
    def ranges(self) -> Tensor:
        """The mean hop of each node's influence, ``[S]``; 0 for a node that nothing influences."""
        total = self.by_hop.sum(1)
        hops = torch.arange(self.by_hop.size(1), dtype=total.dtype)
        return torch.where(total > 0, self.by_hop @ hops / torch.where(total > 0, total, 1), 0)

    @property
    def R(self) -> float:  # noqa: N802 - the paper's symbol
        """The influence-weighted range, in hops."""
        return float(self.ranges.mean())

    @property
    def R_error(self) -> float:  # noqa: N802
        """Standard error of R over the draw of nodes."""
        return float(self._error(self.ranges[:, None]))

    @property
    def without(self) -> int:
        """How many of the nodes nothing influences."""
        return int((self.by_hop.sum(1) == 0).sum())

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """A confidence interval of R over all nodes, from the normal limit.

        Raises: ValueError for a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"interval: level={level}; pass a number between 0 and 1, such as 0.95")
        half = float(torch.special.ndtri(torch.tensor(0.5 + level / 2, dtype=torch.float64))) * self.R_error
        return self.R - half, self.R + half

    def _error(self, values: Tensor) -> Tensor:
        spread: Tensor = values.std(0)
        count = values.size(0)
        if count >= self.num_nodes:
            return torch.zeros(values.size(1), dtype=values.dtype)
        if count < 2:
            return torch.full((values.size(1),), float("nan"), dtype=values.dtype)
        left = 1 - count / self.num_nodes  # nodes are drawn without putting back
        return spread * float((left / count) ** 0.5)
