"""Option values by their dataclass annotation: text from a command line, numbers from json or toml."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

__all__ = ["describe", "fit", "hints", "parse"]

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def hints(config: type) -> dict[str, Any]:
    """The annotation of each field of a dataclass."""
    return get_type_hints(config)


def describe(annotation: Any) -> str:
    """What an option takes, in words."""
    if annotation is type(None):
        return "none"
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(str(v) for v in inside)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(a) for a in inside)
    if origin in (tuple, list):
        return f"a list of {describe(inside[0])}s separated by commas".replace(
            "a whole number", "whole number"
        )
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(
        annotation, getattr(annotation, "__name__", str(annotation))
    )


def parse(name: str, text: str, annotation: Any) -> Any:
    """The value that ``name=text`` means for a field of this type.

    Raises: ValueError naming the option, the text and what it takes.
    """
    for kind in _alternatives(annotation):
        try:
            return _read(text.strip(), kind)
        except ValueError:
            continue
    raise ValueError(f"option {name}={text!r} is not understood; it takes {describe(annotation)}")


def _alternatives(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = list(get_args(annotation))
        return sorted(kinds, key=lambda k: k is str)  # anything is text: try it last
    return [annotation]


def _read(text: str, kind: Any) -> Any:
    if kind is type(None):
        if text.lower() in ("none", "null", ""):
            return None
        raise ValueError
    if kind is bool:
        if text.lower() in _TRUE + _FALSE:
            return text.lower() in _TRUE
        raise ValueError
    if kind is int:
        value = float(text)
        if not value.is_integer():
            raise ValueError
        return int(text) if text.lstrip("+-").isdigit() else int(value)
    if kind is float:
        return float(text)
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        for choice in inside:
            if text == str(choice):
                return choice
        raise ValueError
    if origin in (tuple, list):
        parts = [p for p in text.strip("()[] ").split(",") if p.strip()]
        return tuple(_read(p.strip(), inside[0]) for p in parts)
    return text


def fit(name: str, value: Any, annotation: Any) -> Any:
    """``value`` as the field holds it (a whole float becomes an int, a list a tuple).

    Raises: ValueError or TypeError naming the option, what came and what it takes.
    """
    for kind in _alternatives(annotation):
        origin, inside = get_origin(kind), get_args(kind)
        if origin is Literal:
            if value in inside:
                return value
        elif kind is type(None):
            if value is None:
                return None
        elif kind is bool:
            if isinstance(value, bool):
                return value
        elif kind is int:
            if isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer():
                return int(value)
        elif kind is float:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
        elif origin in (tuple, list):
            if isinstance(value, tuple | list):
                return tuple(fit(name, v, inside[0]) for v in value)
        elif not isinstance(origin or kind, type) or isinstance(value, origin or kind):
            return value
    kind_of_error = ValueError if isinstance(value, str | int | float) else TypeError
    raise kind_of_error(f"option {name} is {value!r}; it takes {describe(annotation)}")
