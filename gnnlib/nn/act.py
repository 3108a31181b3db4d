"""Activations by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Activation: TypeAlias = str | Callable[[Tensor], Tensor] | None


def activation(act: Activation, **kwargs: Any) -> Callable[[Tensor], Tensor] | None:
    """The activation that ``act`` names: a class of ``torch.nn`` whatever its case and underscores, or "abs".

    A callable or None is returned as it is. ``kwargs`` go to the class.

    Raises: ValueError for a name that torch.nn does not have.
    """
    if not isinstance(act, str):
        return act
    if act == "abs":
        return torch.abs
    key = act.lower().replace("_", "").replace("-", "")
    key = "silu" if key == "swish" else key
    for name, cls in vars(nn.modules.activation).items():
        if name.lower() == key and isinstance(cls, type) and issubclass(cls, nn.Module):
            made: Callable[[Tensor], Tensor] = cls(**kwargs)
            return made
    raise ValueError(
        f"activation {act!r} is unknown; name a class of torch.nn such as 'relu', 'elu' or 'leaky_relu', "
        "or pass a function"
    )
