"""Initial values of parameters, with the distributions that PyG's layers draw from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter


def glorot(weight: Tensor | None) -> None:
    """Fill the last two dimensions uniformly in ±sqrt(6 / (fan_in + fan_out)); None is left alone."""
    if weight is None or isinstance(weight, UninitializedParameter):
        return
    bound = math.sqrt(6.0 / (weight.size(-2) + weight.size(-1)))
    with torch.no_grad():
        weight.uniform_(-bound, bound)


def zeros(value: Tensor | None) -> None:
    """Fill with zeros; None is left alone."""
    if value is not None:
        nn.init.zeros_(value)


def reset(module: Any) -> None:
    """Give a module, or each of its parts that can, fresh parameters."""
    if isinstance(module, nn.MultiheadAttention):  # its own method leaves the output map as it is
        module.out_proj.reset_parameters()
        module._reset_parameters()
        return
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()
        return
    children: Iterable[nn.Module] = module.children() if hasattr(module, "children") else ()
    for child in children:
        reset(child)
