r"""The generalisation gap while a model is trained: loss on unseen items less loss on the training items.

The quantity that Tang and Liu, Towards Understanding the Generalization of Graph Neural Networks, ICML 2023,
bound for transductive learning, as a run recorded it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["GapCurve", "generalisation_gap"]


@dataclass(frozen=True)
class GapCurve:
    """The gap at each epoch that was evaluated.

    Args:
        epoch: counted from 1.
        train: training loss of that epoch, with dropout as in training.
        held_out: validation loss after it.
        best_epoch: the epoch whose weights were selected.
    """

    epoch: Sequence[int]
    train: Sequence[float]
    held_out: Sequence[float]
    best_epoch: int

    @property
    def gap(self) -> list[float]:
        """Held-out less training loss at each epoch."""
        return [b - a for a, b in zip(self.train, self.held_out, strict=True)]

    @property
    def at_best(self) -> float | None:
        """The gap at the selected epoch; None where it was not evaluated."""
        found = dict(zip(self.epoch, self.gap, strict=True))
        return found.get(self.best_epoch)

    @property
    def last(self) -> float | None:
        """The gap at the last evaluated epoch."""
        return self.gap[-1] if self.epoch else None


def generalisation_gap(history: Mapping[str, Any]) -> GapCurve:
    """Read the gap from the curves of a run, as its ``history.json`` holds them.

    Raises:
        ValueError: when curves are missing.
    """
    if lacks := [name for name in ("epoch", "loss", "val_loss", "best_epoch") if name not in history]:
        raise ValueError(f"generalisation_gap: the history has no {lacks[0]!r}; pass what history.json holds")
    rows = [
        (int(e), float(a), float(b))
        for e, a, b in zip(history["epoch"], history["loss"], history["val_loss"], strict=True)
        if a is not None and b is not None
    ]
    epoch, train, held_out = ([row[k] for row in rows] for k in range(3))
    return GapCurve(epoch, train, held_out, int(history["best_epoch"]))  # type: ignore[arg-type]
