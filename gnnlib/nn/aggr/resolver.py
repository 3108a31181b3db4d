"""Aggregations by name."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from torch import nn

from gnnlib.nn.aggr.base import watched
from gnnlib.nn.aggr.basic import MaxAggregation, MeanAggregation, MinAggregation, SumAggregation

_ALIASES = {"add": "sum"}
_PLAIN = (SumAggregation, MeanAggregation, MaxAggregation, MinAggregation)


def aggregation_resolver(query: Any, *args: Any, **kwargs: Any) -> Any:
    """The aggregation that ``query`` names, without regard to case, dashes and underscores.

    A name is that of a class, with or without its "Aggregation": ``"mean"``, ``"power_mean"``, ``"lstm"``;
    ``"add"`` is the sum. A list becomes a :class:`MultiAggregation`; a module or None is returned as it is.
    Classes that only PyG has are taken from there. PyG's function of this name reads names alike.

    Args:
        query: the name, list or module.
        *args: arguments of the class.
        **kwargs: arguments of the class.

    Shapes: what it returns maps x ``[..., N, F]`` -> ``[..., R, F']``.
    Raises: ValueError for a name that nobody has; TypeError for arguments that the class does not take, or
        needs and did not get.
    """
    package = importlib.import_module("gnnlib.nn.aggr")
    if isinstance(query, (list, tuple)):
        return package.MultiAggregation(query, *args, **kwargs)
    if not isinstance(query, str):
        return query
    base = package.Aggregation
    classes = {n: c for n in package.__all__ if isinstance(c := getattr(package, n), type)}
    found = {_key(n): c for n, c in classes.items() if issubclass(c, base) and c is not base}
    key = _key(_ALIASES.get(_key(query), query))
    if key in found:
        return _built(found[key], *args, **kwargs)
    elsewhere = _of_pyg(key)
    if elsewhere is None:
        raise ValueError(
            f"aggregation {query!r} is unknown; choose one of add, {', '.join(sorted(found))}, or pass a "
            "module"
        )
    return _built(elsewhere, *args, **kwargs)


def _built(cls: type[nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
    try:
        inspect.signature(cls).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"{cls.__name__}: {error}; pass its arguments beside the name, as aggr_kwargs of a layer or "
            "aggrs_kwargs of MultiAggregation, or pass a module"
        ) from None
    return cls(*args, **kwargs)


def reduction_name(aggr: Any) -> str | None:
    """``"sum"``, ``"mean"``, ``"max"`` or ``"min"`` if ``aggr`` names one of them or is its module."""
    if type(aggr) in _PLAIN and not watched(aggr):
        return _key(type(aggr).__name__)
    key = _ALIASES.get(_key(aggr), _key(aggr)) if isinstance(aggr, str) else None
    return key if key in [_key(cls.__name__) for cls in _PLAIN] else None


def _key(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "").removesuffix("aggregation")


def _of_pyg(key: str) -> type[nn.Module] | None:
    theirs = importlib.import_module("torch_geometric.nn.aggr")
    for name in theirs.__all__:
        if _key(name) == key and name != "Aggregation":
            cls: type[nn.Module] = getattr(theirs, name)
            return cls
    return None
