"""Which path each PyG layer of a model takes, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch_geometric.nn import Aggregation, MessagePassing

from gnnlib.accel.aggregations import stock_class
from gnnlib.accel.swap import WHY, Accelerated, fast_class, is_fast, why_custom


@dataclass(frozen=True)
class Layer:
    """One PyG layer of a model: its name there, its class, its path (``"core"`` or ``"PyG"``), and why."""

    name: str
    kind: str
    path: str
    why: str


def layers(model: nn.Module) -> Iterator[Layer]:
    """The PyG layers of ``model`` with the path of the last call, or of the next where none came yet.

    An aggregation inside a convolution is listed where the convolution runs PyG's code and it does not.
    """
    convs: dict[str, str] = {}
    for name, module in model.named_modules():
        if not isinstance(module, (MessagePassing, Aggregation)) and not is_fast(module):
            continue
        path, why = _path(module)
        if isinstance(module, MessagePassing):
            convs[f"{name}." if name else ""] = path
        elif any(name.startswith(c) and "core" in (convs[c], _other(path)) for c in convs):
            continue
        yield Layer(name, stock_class(module).__name__, path, why)


def _other(path: str) -> str:
    return "PyG" if path == "core" else "core"


def _path(module: nn.Module) -> tuple[str, str]:
    if not isinstance(module, Accelerated):
        if fast_class(type(module)) is not None:
            return "PyG", "not accelerated; call gnnlib.accelerate(model)"
        return "PyG", why_custom(type(module)) or f"the core has no fast form of {type(module).__name__}"
    why = module._view(module).why_stock()
    if why is not None:
        return "PyG", why
    if WHY not in module.__dict__:
        return "core", "no call yet"
    last = module.__dict__[WHY]
    return ("core", "ran in the last call") if last is None else ("PyG", f"in the last call: {last}")
