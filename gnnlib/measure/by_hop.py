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
        hops: ``"directed"`` along paths to the node, ``"undirected"`` along edges in either direction.
        apart: the share of each node's influence that comes from nodes which no path joins with it, and
            which is in no hop.

    Shapes: by_hop ``[S, H + 1]``, nodes and apart ``[S]``.
    """

    by_hop: Tensor
    nodes: Tensor
    num_nodes: int
    normalize: bool
    reach: int
    method: str
    hops: str
    apart: Tensor

    def __iter__(self) -> Iterator[Any]:
        return iter((self.curve, self.R))

    @property
    def curve(self) -> Tensor:
        """The mean of T_h over nodes, relative to hop :attr:`base` if ``normalize`` says so, ``[H + 1]``."""
        mean: Tensor = self.by_hop.mean(0)
        return mean / self._unit(mean)

    @property
    def base(self) -> int:
        """The hop that a normalised curve is relative to: 0, or the largest one if T_0 is 0 at every node."""
        mean = self.by_hop.mean(0)
        return int(mean.argmax()) if float(mean[0]) == 0 else 0

    @property
    def curve_error(self) -> Tensor:
        """Standard error of ``curve`` over the draw, ``[H + 1]``: 0 if all were measured, NaN for one."""
        t = self.by_hop
        if self.normalize:  # of a ratio of means, by its first-order expansion
            base = self.base
            t = (t - self.curve * t[:, base : base + 1]) / self._unit(t.mean(0))
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
        """A confidence interval of R over all nodes, from Student's t with S - 1 degrees of freedom.

        Raises: ValueError for a level outside (0, 1), or one measured node of several.
        """
        from scipy.special import stdtrit

        if not 0 < level < 1:
            raise ValueError(f"interval: level={level}; pass a number between 0 and 1, such as 0.95")
        count = self.nodes.numel()
        if count >= self.num_nodes:
            return self.R, self.R
        if count < 2:
            raise ValueError(
                f"interval: {count} of {self.num_nodes} nodes was measured, which says nothing of the "
                "spread; pass num_samples of 2 or more"
            )
        half = float(stdtrit(count - 1, 0.5 + level / 2)) * self.R_error
        return self.R - half, self.R + half

    @property
    def apart_share(self) -> float:
        """The mean of ``apart`` over nodes."""
        return float(self.apart.mean())

    def _unit(self, mean: Tensor) -> Tensor:
        """What the curve is divided by; 1 where nothing is felt at all."""
        unit = mean[self.base]
        return unit if self.normalize and float(unit) != 0 else torch.ones_like(unit)

    def _error(self, values: Tensor) -> Tensor:
        count = values.size(0)
        if count >= self.num_nodes:
            return torch.zeros(values.size(1), dtype=values.dtype)
        if count < 2:
            return torch.full((values.size(1),), float("nan"), dtype=values.dtype)
        left = 1 - count / self.num_nodes  # nodes are drawn without putting back
        spread: Tensor = values.std(0)
        return spread * float((left / count) ** 0.5)
