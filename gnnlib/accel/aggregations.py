"""Our aggregation for each of PyG's that computes the same, on PyG's parameters."""

from __future__ import annotations

from typing import Any

import torch_geometric.nn as pyg
from torch import nn

from gnnlib.accel.gate import hooked
from gnnlib.nn import aggr as ours

#: PyG's aggregation modules that are reductions of the core.
REDUCTIONS: dict[type, str] = {
    pyg.SumAggregation: "sum",
    pyg.MeanAggregation: "mean",
    pyg.MaxAggregation: "max",
    pyg.MinAggregation: "min",
}
_SCALERS = {"identity", "amplification", "attenuation", "linear", "inverse_linear"}


def stock_class(module: nn.Module) -> type:
    """The PyG class of a module, accelerated or not."""
    found: type = getattr(type(module), "_stock", type(module))
    return found


def reduction(module: nn.Module | None) -> str | None:
    """The core's name for a PyG aggregation module, or None when it is no plain reduction."""
    return None if module is None or hooked(module) else REDUCTIONS.get(stock_class(module))


def moment(module: Any) -> str | None:
    """The same for what the core takes in one pass over the neighbours, variances included."""
    kind = stock_class(module)
    if kind is pyg.VarAggregation and not module.semi_grad and not hooked(module):
        return "var"
    if kind is pyg.StdAggregation and not module.var_aggr.semi_grad and not hooked(module):
        return "std"
    return reduction(module)


def counterpart(module: Any) -> nn.Module | None:
    """Our aggregation that computes what PyG's ``module`` does, or None.

    Those without parameters are made once for all. One with parameters reads PyG's.
    """
    recipe = _recipe(module)
    if recipe is not None:
        if recipe not in _made:
            _made[recipe] = _make(recipe)
        return _made[recipe]
    if module is None or hooked(module):
        return None
    kind = stock_class(module)
    if kind is pyg.SoftmaxAggregation:
        return _Softmax(module)
    if kind is pyg.aggr.DegreeScalerAggregation and {*map(str, module.scaler)} <= _SCALERS:
        return _Scaler(module)
    if kind is pyg.MultiAggregation and module.mode == "cat":
        parts = [counterpart(m) for m in module.aggrs]
        return None if None in parts else _Multi(module, parts)
    return None


_made: dict[tuple[Any, ...], nn.Module] = {}


def _recipe(module: Any) -> tuple[Any, ...] | None:
    """An aggregation without parameters: its name, and its option or the parts of a list."""
    if module is None or hooked(module):
        return None
    kind = stock_class(module)
    if kind in REDUCTIONS:
        return (REDUCTIONS[kind],)
    if kind is pyg.VarAggregation:
        return "var", module.semi_grad
    if kind is pyg.StdAggregation:
        return "std", module.var_aggr.semi_grad
    if kind is pyg.MultiAggregation and module.mode == "cat":
        parts = [_recipe(m) for m in module.aggrs]
        return None if None in parts else ("cat", *parts)
    return None


def _make(recipe: tuple[Any, ...]) -> nn.Module:
    name, *rest = recipe
    if name == "cat":
        return ours.MultiAggregation([_make(part) for part in rest])
    if rest:
        return {"var": ours.VarAggregation, "std": ours.StdAggregation}[name](*rest)
    module: nn.Module = ours.aggregation_resolver(name)
    return module


class _Borrowed:
    """Our aggregation without parameters of its own: whatever it asks of itself is PyG's."""

    def __init__(self, theirs: nn.Module) -> None:
        self.__dict__["theirs"] = theirs

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["theirs"], name)


class _Softmax(_Borrowed, ours.SoftmaxAggregation):
    pass


class _Scaler(_Borrowed, ours.DegreeScalerAggregation):
    pass


class _Multi(_Borrowed, ours.MultiAggregation):
    def __init__(self, theirs: nn.Module, parts: list[Any]) -> None:
        super().__init__(theirs)
        self.__dict__["aggrs"] = parts
