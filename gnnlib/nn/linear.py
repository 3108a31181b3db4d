"""A linear map that can learn its input width from the first call."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from gnnlib.nn.init import glorot, zeros


class Linear(nn.Module):
    r"""Linear map of the last dimension.

    .. math:: x' = W x + b

    Args:
        in_channels: width of the input; -1 takes it from the first call.
        out_channels: width of the output.
        bias: learn b.
        weight_initializer: ``"glorot"``, or None for the uniform ±1/sqrt(in) of :class:`torch.nn.Linear`.
        bias_initializer: ``"zeros"``, or None for uniform ±1/sqrt(in).

    Shapes: ``[*, in]`` -> ``[*, out]``.
    Cost: one dense product.
    Raises: ValueError when the input has another width.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        weight_initializer: Literal["glorot"] | None = None,
        bias_initializer: Literal["zeros"] | None = None,
    ) -> None:
        super().__init__()
        if weight_initializer not in (None, "glorot") or bias_initializer not in (None, "zeros"):
            raise ValueError(
                f"Linear: weight_initializer={weight_initializer!r}, bias_initializer={bias_initializer!r}; "
                "choose 'glorot' or None, and 'zeros' or None"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.weight_initializer = weight_initializer
        self.bias_initializer = bias_initializer
        self.weight: nn.Parameter | UninitializedParameter = (
            nn.Parameter(torch.empty(out_channels, in_channels))
            if in_channels > 0
            else UninitializedParameter()
        )
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    @property
    def uninitialized(self) -> bool:
        """Whether the input width is still to come."""
        return isinstance(self.weight, UninitializedParameter)

    @property
    def hooked(self) -> bool:
        """Whether someone watches or alters the calls, so that they cannot be replaced by a product."""
        return bool(self._forward_hooks or self._forward_pre_hooks or self._backward_hooks)

    def reset_parameters(self) -> None:
        """Draw new parameters; nothing to do before the width is known."""
        if self.in_channels <= 0:
            return
        bound = 1.0 / math.sqrt(self.in_channels)
        if self.weight_initializer == "glorot":
            glorot(self.weight)
        else:
            nn.init.uniform_(self.weight, -bound, bound)
        if self.bias_initializer == "zeros":
            zeros(self.bias)
        elif self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map x ``[*, in]`` -> ``[*, out]``."""
        self.expect(x.size(-1))
        return F.linear(x, self.weight, self.bias)

    def expect(self, in_channels: int) -> None:
        """Take ``in_channels`` as the input width if none is known, else check it."""
        if isinstance(self.weight, UninitializedParameter):
            with torch.no_grad():
                self.in_channels = in_channels
                self.weight.materialize((self.out_channels, in_channels))
                self.reset_parameters()
        elif in_channels != self.in_channels:
            raise ValueError(
                f"Linear: the input has {in_channels} features but in_channels={self.in_channels}; "
                f"pass {self.in_channels} features or build the layer with in_channels={in_channels}"
            )

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        # A parameter without a shape cannot be detached: it is saved as it is, as PyG does.
        for name, value in (("weight", self.weight), ("bias", self.bias)):
            if value is not None:
                as_is = keep_vars or isinstance(value, UninitializedParameter)
                destination[prefix + name] = value if as_is else value.detach()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        weight = state_dict.get(prefix + "weight")
        if isinstance(weight, UninitializedParameter):
            self.in_channels = -1
            self.weight = UninitializedParameter()
        elif weight is not None and isinstance(self.weight, UninitializedParameter):
            self.in_channels = weight.size(-1)
            self.weight.materialize((self.out_channels, self.in_channels))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """What ``print`` shows between the brackets."""
        return f"{self.in_channels}, {self.out_channels}, bias={self.bias is not None}"
