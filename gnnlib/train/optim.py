"""Optimisers, the parameters that decay, and learning rate schedules, as published settings need them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gnnlib.train.config import TrainConfig

__all__ = ["freeze_encoder", "make_optimizer", "make_schedule"]

ENCODER = "encoder."  # where the models of gnnlib keep it


def make_optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of the config, over the model's parameters.

    Raises: ValueError when the model has no parameters, or none in an encoder where ``head_lr`` is given.
    """
    groups = _groups(config, model)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    return torch.optim.Adam(groups, lr=config.lr)


def freeze_encoder(model: nn.Module, name: str) -> None:
    """Ask for no gradient of the encoder's parameters.

    Raises: ValueError when there is nothing to freeze, or nothing else to train.
    """
    inside = [p for key, p in model.named_parameters() if key.startswith(ENCODER)]
    if not inside or len(inside) == sum(1 for _ in model.parameters()):
        raise ValueError(
            f"freeze_encoder: model {name!r} has no parameters "
            + ("outside its encoder to train" if inside else "in an encoder")
            + "; leave freeze_encoder out"
        )
    for p in inside:
        p.requires_grad_(False)


def _groups(config: TrainConfig, model: nn.Module) -> list[dict[str, Any]]:
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not named:
        raise ValueError(f"model {config.model!r} has no parameters to train; choose another model")
    if config.head_lr is not None and not any(n.startswith(ENCODER) for n, _ in model.named_parameters()):
        raise ValueError(
            f"head_lr={config.head_lr} is for what follows the encoder, but model {config.model!r} has no "
            "parameters in an encoder; use lr"
        )
    prefix = _first_layer(named[0][0]) if config.weight_decay_scope == "first" else ""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, p in named:
        lr = config.lr if config.head_lr is None or name.startswith(ENCODER) else config.head_lr
        groups.setdefault((lr, name.startswith(prefix)), []).append(p)
    return [
        {"params": params, "lr": lr, "weight_decay": config.weight_decay if decays else 0.0}
        for (lr, decays), params in groups.items()
    ]


def _first_layer(parameter: str) -> str:
    """The name prefix of the layer that holds the first parameter: ``convs.0.`` of ``convs.0.lin.weight``."""
    parts = parameter.split(".")
    for depth, part in enumerate(parts[:-1]):
        if part.isdigit():
            return ".".join(parts[: depth + 1]) + "."
    return parts[0] + "." if len(parts) > 1 else parameter


def make_schedule(
    config: TrainConfig, optimizer: torch.optim.Optimizer
) -> torch.optim.lr_scheduler.LRScheduler | None:
    """The learning rate schedule, stepped once an epoch; None for a constant rate."""
    if config.lr_schedule == "step":
        return torch.optim.lr_scheduler.StepLR(optimizer, config.lr_step, config.lr_gamma)
    if config.lr_schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)
    return None
