"""Swaps the classes of a model's PyG layers for fast subclasses, and back."""

from __future__ import annotations

import functools
import typing
from typing import Any, TypeVar

import torch
from torch import nn
from torch_geometric.nn import MessagePassing

from gnnlib.accel.aggregations import counterpart, reduction
from gnnlib.accel.gate import StockError
from gnnlib.accel.table import ON_REQUEST, VIEWS
from gnnlib.accel.view import View

M = TypeVar("M", bound=nn.Module)

#: On an accelerated layer: why its last call took PyG's path, None where the core ran.
WHY = "_gnnlib_why"
_DECLINED = (StockError, ValueError, TypeError, NotImplementedError, IndexError)
_KNOWN = VIEWS | ON_REQUEST
_fast: dict[type, type] = {}


_CLASS: Any = object.__dict__["__class__"]


class Accelerated:
    """What the fast subclass of a PyG layer adds to it; its name is that of PyG's class."""

    _stock: type
    _view: type[View]

    def _get_class(self) -> type:
        return self._stock

    def _set_class(self, cls: type) -> None:
        _CLASS.__set__(self, cls)

    # PyG looks layers up by their class, and keeps its templates there: it finds its own. type() tells.
    __class__ = property(_get_class, _set_class)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Fast classes are made at run time: what is saved is PyG's class, to be swapped again when loaded.
        return _restored, (self._stock,), _plain_state(self)

    def __reduce_package__(self, exporter: Any) -> Any:
        # A torch.package stands alone, so it gets PyG's layer: cast(importer, layer) gives the layer.
        return typing.cast, (_stock_copy(self),)

    def __prepare_scriptable__(self) -> Any:
        return _stock_copy(self)  # TorchScript compiles PyG's code


def _plain_state(layer: Any) -> dict[str, Any]:
    state = layer.__getstate__()
    return {k: v for k, v in state.items() if k != WHY}


def _restored(stock: type) -> Any:
    fast = fast_class(stock)
    cls: Any = stock if fast is None else fast
    return cls.__new__(cls)


def _stock_copy(layer: Any) -> Any:
    """PyG's layer with the same parameters."""
    stock = layer._stock.__new__(layer._stock)
    stock.__dict__.update(_plain_state(layer))
    return stock


def _with_forward(stock: Any, view: type[View]) -> Any:
    own = stock.forward

    @functools.wraps(own)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        fast = view(self)
        why = fast.why_stock()
        if why is None:
            try:
                out = fast.run(*args, **kwargs)
            except _DECLINED as error:
                why = str(error)
            else:
                if not torch.compiler.is_compiling():
                    self.__dict__[WHY] = None
                return out
        if not torch.compiler.is_compiling():
            self.__dict__[WHY] = why
        return own(self, *args, **kwargs)

    return forward


def fast_class(cls: type) -> type | None:
    """The fast subclass of a known class, or of a class that changes nothing about one; None without any."""
    if cls not in _fast:
        view = next((_KNOWN[base] for base in cls.__mro__ if base in _KNOWN), None)
        if view is None or why_custom(cls) is not None:
            return None
        members = {
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
            "_stock": cls,
            "_view": view,
            "forward": _with_forward(cls, view),
        }
        _fast[cls] = type(cls.__name__, (Accelerated, cls), members)
    return _fast[cls]


def is_fast(module: nn.Module) -> bool:
    """Whether :func:`accelerate` has changed this layer."""
    return isinstance(module, Accelerated)


def why_custom(cls: type) -> str | None:
    """What a subclass of a known layer changes about it, or None."""
    base = next((b for b in cls.__mro__ if b in _KNOWN), None)
    if base is None or base is cls:
        return None
    for part in cls.__mro__[: cls.__mro__.index(base)]:
        own = vars(part)
        templates = {n for n in _TEMPLATES if own.get(n) is own.get(f"_jinja_{n}")}
        for name in own.keys() - _HARMLESS - templates:
            if hasattr(base, name) and (not name.startswith("__") or name in _TELLING):
                return f"a subclass of {base.__name__} that has its own {name}"
    return None


#: What PyG itself puts on a class when the first layer of it is built.
_TEMPLATES = ("propagate", "edge_updater")
_HARMLESS = {"reset_parameters", "extra_repr", "collect", "edge_collect"} | {
    f"_{kind}_{name}" for kind in ("orig", "jinja") for name in _TEMPLATES
}
_TELLING = {"__call__", "__getattr__", "__getattribute__", "__norm__", "__lift__"}


def accelerate(model: M, *, dropout: bool = False) -> M:
    """Run the PyG layers of ``model`` on the sparse core, in place.

    Each supported layer changes its class to a subclass of its own, and nothing else: parameters,
    ``state_dict``, hooks, ``isinstance`` and ``repr`` stay, and results too, up to rounding. Three things are
    not PyG's: at a tie of max or min the gradient goes to the first edge, where PyG shares it among the
    winners; dropout of attention draws other random numbers; variances are of two passes, so that they do
    not cancel.

    A call outside the fast path runs PyG's own code: hooks on the steps of message passing, an explainer at
    work, a subclass with steps of its own, tracing, an unusual argument. ``gnnlib.doctor(model)`` tells for
    each layer which path it takes and why; ``decelerate`` undoes it all. Copies, pickles and ``torch.save``
    keep the fast layers; TorchScript and ``torch.package`` get PyG's.

    Args:
        model: any module; itself a PyG layer, or one that holds some.
        dropout: also run :class:`torch.nn.Dropout` on the core's counter. On a CPU torch's can take longer
            than the layers between; ours drops as often, and other elements for the same seed.

    Returns:
        ``model`` itself.
    """
    _check(model, "accelerate")
    # A plain reduction inside a convolution serves PyG's path, which is to give PyG's very bits.
    inner = {
        id(part)
        for layer in model.modules()
        if isinstance(layer, MessagePassing) and layer.aggr_module is not None
        for part in layer.aggr_module.modules()
        if reduction(part) is not None
    }
    for module in model.modules():
        if isinstance(module, Accelerated) or id(module) in inner:
            continue
        if isinstance(module, tuple(ON_REQUEST)) and not dropout:
            continue
        fast = fast_class(type(module))
        if fast is not None:
            counterpart(getattr(module, "aggr_module", None))  # made now: compiled code had better find it
            module.__class__ = fast
    return model


def decelerate(model: M) -> M:
    """Give every layer that :func:`accelerate` changed its own class back, in place.

    Args:
        model: any module.

    Returns:
        ``model`` itself.
    """
    _check(model, "decelerate")
    for module in model.modules():
        if isinstance(module, Accelerated):
            module.__dict__.pop(WHY, None)
            module.__class__ = module._stock
    return model


def _check(model: Any, who: str) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"{who}: got {type(model).__name__}; pass a torch.nn.Module")
