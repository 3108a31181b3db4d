"""What is minimised and what is scored, for each kind of metric.

Targets: ``multiclass`` int64 ``[P]``; ``binary`` and ``multilabel`` 0, 1 or NaN where missing, ``[P]`` or
``[P, C]``; ``regression`` numbers or NaN, ``[P]`` or ``[P, C]``; ``ranking`` 0 or 1, ``[P]``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["check_loss", "Loss", "loss_of", "scores_of", "targets_of"]

Loss = Literal["standard", "absolute", "balanced"]
#: The kinds of metric that each loss is for; the standard one is for all.
KINDS = {"absolute": "regression", "balanced": "multiclass"}


def check_loss(loss: str, kind: str, dataset: str) -> None:
    """Raise ValueError when a loss does not fit what the dataset asks for."""
    if loss in KINDS and kind != KINDS[loss]:
        raise ValueError(
            f"option loss is {loss}, which is for {KINDS[loss]} targets, but those of {dataset} are {kind}; "
            "leave loss out"
        )


def targets_of(kind: str, y: Tensor) -> Tensor:
    """Labels in the shape and dtype that the loss takes."""
    if kind == "multiclass":
        return y.reshape(-1).long()
    y = y.float()
    return y.squeeze(-1) if y.dim() == 2 and y.size(1) == 1 else y


def loss_of(kind: str, logits: Tensor, target: Tensor, loss: str = "standard") -> Tensor:
    """The mean loss over the known targets: cross-entropy, BCE, or squared error.

    ``absolute`` takes absolute errors in place of squared ones; ``balanced`` weighs each class of the
    cross-entropy by the share that the other classes have of these targets, and divides by the sum of the
    weights.

    Shapes: logits ``[P, C]`` (or ``[P]``), target as the module says -> a scalar. Without a known target
        the loss is 0, with zero gradients.
    """
    if kind == "multiclass":
        return F.cross_entropy(logits, target, _shares(logits, target) if loss == "balanced" else None)
    logits = _aligned(logits, target)
    known = ~target.isnan()
    if not bool(known.all()):
        logits, target = logits[known], target[known]
        if target.numel() == 0:
            return logits.sum() * 0.0
    if kind == "regression":
        return F.l1_loss(logits, target) if loss == "absolute" else F.mse_loss(logits, target)
    return F.binary_cross_entropy_with_logits(logits, target)


def scores_of(kind: str, logits: Tensor) -> Tensor:
    """What the metric and the predictions hold: probabilities, or the values themselves.

    Shapes: as logits; binary ``[P, 1]`` -> ``[P]``.
    """
    logits = logits.float()
    if kind == "multiclass":
        return torch.softmax(logits, dim=-1)
    if kind == "binary":
        return torch.sigmoid(logits.reshape(logits.size(0), -1).squeeze(-1))
    return torch.sigmoid(logits) if kind == "multilabel" else logits


def _shares(logits: Tensor, target: Tensor) -> Tensor:
    """For each class the share of the targets that have another one; 1 where there is one class only."""
    others = 1 - target.bincount(minlength=logits.size(1)) / max(target.numel(), 1)
    return torch.where(others > 0, others, torch.ones_like(others)).to(logits.dtype)


def _aligned(logits: Tensor, target: Tensor) -> Tensor:
    """Logits ``[P, 1]`` for targets ``[P]``, and the reverse, are the same thing."""
    if logits.shape != target.shape and logits.numel() == target.numel():
        return logits.reshape(target.shape)
    return logits
