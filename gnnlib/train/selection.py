"""Which epoch is best on validation, and when to stop waiting for a better one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gnnlib.train.config import TrainConfig

__all__ = ["Evaluation", "Selection"]


@dataclass(frozen=True)
class Evaluation:
    """A metric and a loss over one part of the data.

    Shapes: two numbers.
    """

    metric: float
    loss: float


class Selection:
    """Keeps the best validation result so far and counts the evaluations since.

    Args:
        config: ``monitor`` and ``patience`` are used.
        higher_is_better: the direction of the metric.

    Shapes: none.
    """

    def __init__(self, config: TrainConfig, higher_is_better: bool) -> None:
        self.monitor, self.patience = config.monitor, config.patience
        self.sign = 1.0 if higher_is_better else -1.0
        self.best_metric, self.best_loss = -math.inf, math.inf
        self.epoch = 0
        self.waited = 0

    def update(self, epoch: int, found: Evaluation) -> bool:
        """Take in an evaluation; return whether this epoch's weights are now the best."""
        metric = -math.inf if math.isnan(found.metric) else self.sign * found.metric
        if self.monitor == "both":
            at_least = metric >= self.best_metric, found.loss <= self.best_loss
            keep, improved = all(at_least), any(at_least)
            self.best_metric = max(self.best_metric, metric)
            self.best_loss = min(self.best_loss, found.loss)
        else:
            if self.monitor == "loss":
                keep = found.loss < self.best_loss
            else:
                better, tied = metric > self.best_metric, metric == self.best_metric
                keep = better or (tied and found.loss < self.best_loss)
            improved = keep
            if keep:
                self.best_metric, self.best_loss = metric, found.loss
        keep = keep or self.epoch == 0
        self.epoch = epoch if keep else self.epoch
        self.waited = 0 if improved else self.waited + 1
        return keep

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "best_metric": self.best_metric,
            "best_loss": self.best_loss,
            "epoch": self.epoch,
            "waited": self.waited,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state` gave."""
        self.best_metric, self.best_loss = state["best_metric"], state["best_loss"]
        self.epoch, self.waited = state["epoch"], state["waited"]
