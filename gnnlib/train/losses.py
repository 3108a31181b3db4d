"""What is minimised and what is scored, for each kind of metric.

Targets: ``multiclass`` int64 ``[P]``; ``binary`` and ``multilabel`` 0, 1 or NaN where missing, ``[P]`` or
``[P, C]``; ``regression`` numbers or NaN, ``[P]`` or ``[P, C]``; ``ranking`` 0 or 1, ``[P]``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["loss_of", "scores_of", "targets_of"]


def targets_of(kind: str, y: Tensor) -> Tensor:
    """Labels in the shape and dtype that the loss takes."""
    if kind == "multiclass":
        return y.reshape(-1).long()
    y = y.float()
    return y.squeeze(-1) if y.dim() == 2 and y.size(1) == 1 else y


def loss_of(kind: str, logits: Tensor, target: Tensor) -> Tensor:
    """The mean loss over the known targets: cross-entropy, BCE, or squared error.

    Shapes: logits ``[P, C]`` (or ``[P]``), target as the module says -> a scalar. Without a known target
    the loss is 0, with zero gradients.
    """
    if kind == "multiclass":
        return F.cross_entropy(logits, target)
    logits = _aligned(logits, target)
    known = ~target.isnan()
    if not bool(known.all()):
        logits, target = logits[known], target[known]
        if target.numel() == 0:
            return logits.sum() * 0.0
    if kind == "regression":
        return F.mse_loss(logits, target)
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


def _aligned(logits: Tensor, target: Tensor) -> Tensor:
    """Logits ``[P, 1]`` for targets ``[P]``, and the reverse, are the same thing."""
    if logits.shape != target.shape and logits.numel() == target.numel():
        return logits.reshape(target.shape)
    return logits
