"""Models run on shrinking sets of rows: after each layer only what the layers that follow can still use.

The output at the centre of a ball of r hops depends, after layer k of r, on the rows within r - k hops. With
the nodes in the order of their distance these are the first rows, so a layer is given the first rows and the
edges among them, and gives back fewer. One hop more is kept, so that layers which look at degrees find those
of every neighbour they use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["Layers", "layers_of", "Steps", "trimmed"]

_ALIGNED = {
    torch.add, torch.sub, torch.mul, torch.cat, torch.stack, Tensor.add, Tensor.sub, Tensor.mul,
    Tensor.__add__, Tensor.__radd__, Tensor.__sub__, Tensor.__rsub__, Tensor.__mul__, Tensor.__rmul__,
}  # fmt: skip


class Layers(NamedTuple):
    """Layers that are given shrinking rows, and whether rows of several of them are added or joined."""

    calls: list[nn.Module]
    mixed: bool


class Steps:
    """How many rows and edges are in use before each layer, and after the last.

    Args:
        hop: of each row, nearest first.
        ends: edges among the rows, in the order of their farther end.
        reach: layers, each one hop.

    Shapes: hop ``[n]``, ends ``[2, e]``; rows and edges are lists of reach + 1 numbers.
    """

    def __init__(self, hop: Tensor, ends: Tensor, reach: int) -> None:
        last = torch.arange(reach + 1, 0, -1)
        rows = torch.searchsorted(hop, last, right=True)
        self.rows: list[int] = rows.tolist()
        self.edges: list[int] = torch.searchsorted(ends.amax(0), rows).tolist()


def layers_of(model: nn.Module, run: Callable[[], Any], ends: Tensor) -> list[nn.Module]:
    """The calls of modules that take the edges and hand them to no module inside, in the order of the calls.

    Shapes: ends ``[2, e]``, the object that the model is called with.
    """
    calls: list[list[Any]] = []  # module, whether one inside took the edges
    open_calls: list[list[Any]] = []

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        if _takes(ends, args, kwargs):
            if open_calls:
                open_calls[-1][1] = True
            call = [module, False]
            calls.append(call)
            open_calls.append(call)

    def after(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        if _takes(ends, args, kwargs):
            open_calls.pop()

    hooks = [m.register_forward_pre_hook(before, with_kwargs=True) for m in model.modules()]
    hooks += [m.register_forward_hook(after, with_kwargs=True) for m in model.modules()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return [module for module, inside in calls if not inside]


@contextlib.contextmanager
def trimmed(layers: Layers, ends: Tensor, steps: Steps) -> Iterator[None]:
    """Calls of these layers, in this order, take and give the rows that are still in use."""
    done = 0

    def before(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        rows, edges = steps.rows[done], steps.edges[done]

        def cut(value: Any) -> Any:
            if value is ends:
                return ends[:, :edges]
            return value[:rows] if isinstance(value, Tensor) and value.size(0) > rows else value

        return tuple(cut(a) for a in args), {k: cut(v) for k, v in kwargs.items()}

    def after(module: nn.Module, args: Any, out: Any) -> Any:
        nonlocal done
        done += 1
        return out[: steps.rows[done]]

    hooks: list[Any] = []
    for module in dict.fromkeys(layers.calls):
        hooks.append(module.register_forward_pre_hook(before, with_kwargs=True))
        hooks.append(module.register_forward_hook(after))
    try:
        with _Align() if layers.mixed else contextlib.nullcontext():
            yield
    finally:
        for hook in hooks:
            hook.remove()


class _Align(TorchFunctionMode):
    """Sums, products and concatenations of matrices with more and fewer rows take the rows they share."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in _ALIGNED:
            listed = bool(args) and isinstance(args[0], list | tuple)
            values = list(args[0]) if listed else list(args)
            rows = {v.size(0) for v in values if isinstance(v, Tensor) and v.dim() == 2}
            if len(rows) > 1:
                few = min(rows)
                values = [v[:few] if isinstance(v, Tensor) and v.dim() == 2 else v for v in values]
                args = (values, *args[1:]) if listed else tuple(values)
        return func(*args, **(kwargs or {}))


def _takes(ends: Tensor, args: Any, kwargs: Any) -> bool:
    return any(value is ends for value in (*args, *kwargs.values()))
