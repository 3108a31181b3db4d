"""Backward passes whose gradients fill only the first rows, and models held still while they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gnnlib.sparse.hops import rows_in_use

__all__ = ["frozen", "sparing"]


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and parameters without gradients, and all of it back at the end."""
    modes = [(module, module.training) for module in model.modules()]
    asked = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.eval()
    for parameter, _ in asked:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, wanted in asked:
            parameter.requires_grad_(wanted)


class sparing(TorchFunctionMode):  # noqa: N801 - used as a context manager, like torch.no_grad
    """Linear maps whose backward multiplies only the rows up to the last one that is not 0.

    With nodes in the order of their distance, the gradient of an output h layers below it fills the rows of h
    hops, a third of a planar ball on average over layers. The result has the same bits as the whole product
    wherever a row does not depend on the number of rows, and the zeros are exact.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace linear maps of matrices on a CPU; leave all else as it is."""
        if func is F.linear and not kwargs and len(args) in (2, 3):
            x, weight = args[0], args[1]
            plain = x.dim() == 2 and x.device.type == "cpu" and x.requires_grad and not weight.requires_grad
            if plain and torch.is_grad_enabled():
                bias = args[2] if len(args) == 3 else None
                return _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (weight,), (grad,) = ctx.saved_tensors, grads
        used = rows_in_use(grad)
        out = grad.new_zeros(grad.size(0), weight.size(1))
        torch.mm(grad[:used], weight, out=out[:used])
        return out, None, None
