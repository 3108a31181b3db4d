"""NaN and infinity, caught early and named."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["check_input", "check_rows", "culprit", "finite_parameters"]


def check_rows(name: str, x: Tensor, num_nodes: int, dataset: str) -> None:
    """Refuse a feature matrix whose rows do not match the graph.

    Raises: ValueError with both counts.
    """
    if x.dim() != 2 or x.size(0) != num_nodes:
        raise ValueError(
            f"{dataset}: {name} has shape {list(x.shape)} but the graph has {num_nodes} nodes; "
            "pass one row of features for each node"
        )


def check_input(name: str, value: Tensor | None, dataset: str) -> None:
    """Refuse an input tensor that holds NaN or infinity.

    Raises: ValueError naming the tensor and the first bad place.
    """
    if value is None or not value.is_floating_point() or value.numel() == 0:
        return
    good = torch.isfinite(value)
    if bool(good.all()):
        return
    bad = (~good).nonzero()
    place = ", ".join(str(int(i)) for i in bad[0])
    what = "NaN" if bool(value[tuple(bad[0])].isnan()) else "infinity"
    rows = torch.unique(bad[:, 0]).numel()
    raise ValueError(
        f"{dataset}: {name} holds {what} at [{place}] ({bad.size(0)} bad values in {rows} rows of "
        f"{value.size(0)}); replace or drop them before training"
    )


def finite_parameters(model: nn.Module) -> bool:
    """Whether every parameter is finite, in one pass and one read of the device."""
    parameters = [p.detach() for p in model.parameters() if p.numel() > 0]
    if not parameters:
        return True
    norm = torch.nn.utils.get_total_norm(parameters)
    return bool(torch.isfinite(norm)) or _first_bad(model.named_parameters()) is None


def _first_bad(tensors: Iterable[tuple[str, Tensor | None]]) -> tuple[str, str] | None:
    for name, value in tensors:
        if value is not None and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            return name, "NaN" if bool(value.isnan().any()) else "infinity"
    return None


def culprit(model: nn.Module, loss: Callable[[], Any]) -> str:
    """Name the tensor that broke training: a parameter, a buffer, a module's output, a gradient, or the loss.

    Args:
        model: the model as it is now.
        loss: computes the loss of the failing batch again.
    """
    if found := _first_bad(model.named_parameters()):
        gradient = _first_bad([(found[0], model.get_parameter(found[0]).grad)])
        return f"parameter {found[0]!r} holds {found[1]}" + (", and so does its gradient" if gradient else "")
    if found := _first_bad(model.named_buffers()):
        return f"buffer {found[0]!r} holds {found[1]}"
    outputs: list[tuple[str, str]] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and (bad := _first_bad([(name, output)])):
                outputs.append(bad)

        return hook

    handles = [m.register_forward_hook(watch(name)) for name, m in model.named_modules() if name]
    try:
        with torch.no_grad():
            loss()
    finally:
        for handle in handles:
            handle.remove()
    if outputs:
        return f"the output of module {outputs[0][0]!r} holds {outputs[0][1]}"
    if found := _first_bad((name, p.grad) for name, p in model.named_parameters()):
        return f"the gradient of {found[0]!r} holds {found[1]}"
    return "the loss itself, computed from finite model outputs, is not finite"
