"""Why a PyG layer must run its own code: what somebody watches, explains, traces or has replaced."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.parameter import UninitializedParameter


class StockError(NotImplementedError):
    """Raised on the fast path when PyG's own code has to run instead; the message is the reason."""


#: The hooks of ``MessagePassing``; a fast layer never makes the calls that they wait for.
_HOOKS = tuple(
    f"_{step}_forward_{when}"
    for step in ("propagate", "message", "aggregate", "message_and_aggregate", "edge_update")
    for when in ("pre_hooks", "hooks")
)
#: Steps of message passing that a class or an instance may replace.
STEPS = ("message", "aggregate", "message_and_aggregate", "update", "edge_update", "explain_message")


def why_stock(layer: nn.Module) -> str | None:
    """What about the process or about a message-passing layer keeps it on PyG's path, or None."""
    return outside() or explained(layer) or watched(layer)


def outside() -> str | None:
    """What is going on around the call that the core's kernels cannot take part in."""
    if torch._C._get_tracing_state() is not None:
        return "torch.jit.trace records torch's own ops only"
    if torch.compiler.is_exporting():
        return "an exported program keeps to torch's own ops, so that it runs without gnnlib"
    if torch.compiler.is_compiling():
        return None
    if torch._C._are_functorch_transforms_active():
        return "a torch.func transform is running"
    if forward_ad._current_level >= 0:  # torch has no public question for it
        return "forward-mode differentiation is running"
    return None


def explained(layer: Any) -> str | None:
    """Whether an explainer is at work."""
    return "an explainer is at work (explain=True)" if layer._explain else None


def watched(layer: Any) -> str | None:
    """Hooks on the steps of message passing, or steps that were replaced on this instance."""
    own = layer.__dict__
    for name in _HOOKS:
        if own[name]:
            return f"a hook waits for {name[1:].partition('_forward')[0]}"
    for name in STEPS:
        if name in own:
            return f"{name} was replaced on this layer"
    if "propagate" in own:  # PyG itself puts one of its own two there
        found = getattr(own["propagate"], "__func__", None)
        cls = layer.__class__
        if found is not cls.__dict__.get("propagate") and found not in (
            getattr(cls, "_jinja_propagate", None),
            getattr(cls, "_orig_propagate", None),
        ):
            return "propagate was replaced on this layer"
    return None


def hooked(module: nn.Module) -> bool:
    """Whether someone watches or replaces the calls of ``module``, so that they must be made."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in module.__dict__
    )


def not_plain(name: str, module: Any, plain: tuple[type, ...]) -> str | None:
    """Why the weights of the map ``module`` may not be used without calling it, or None."""
    if type(module) not in plain:
        return f"{name} is a {type(module).__name__}, not a plain linear map"
    if isinstance(module.weight, UninitializedParameter):
        return f"the width of {name} comes from this first call"
    return f"{name} has hooks" if hooked(module) else None


def check_tensor(name: str, x: Any) -> None:
    """Refuse tensors that the kernels cannot read."""
    if isinstance(x, Tensor):
        if x.layout is not torch.strided:
            raise StockError(f"{name} is a sparse tensor")
        if x.device.type == "meta":
            raise StockError(f"{name} has no data (meta device)")


def plain_edges(edge_index: Any) -> None:
    """Refuse a matrix, where PyG does things of its own with its values."""
    if not isinstance(edge_index, Tensor) or edge_index.layout is not torch.strided:
        raise StockError("PyG does something of its own with a matrix here")
