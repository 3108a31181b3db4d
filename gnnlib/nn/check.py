"""Checks of constructor arguments that several layers share."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

__all__ = ["check_choice", "check_share", "check_whole"]


def check_choice(who: str, known: Sequence[str | None], **given: Any) -> None:
    """Refuse a name that is not among the known ones."""
    for name, value in given.items():
        if value not in known:
            listed = ", ".join(map(repr, known[:-1])) + f" or {known[-1]!r}"
            raise ValueError(f"{who}: {name}={value!r} is unknown; choose {listed}")


def check_share(who: str, *, below_one: bool = False, **given: float) -> None:
    """Refuse a number outside [0, 1], or [0, 1)."""
    for name, value in given.items():
        if not 0 <= value <= 1 or (below_one and value == 1):
            raise ValueError(
                f"{who}: {name}={value}; pass a number from 0 {'up to, but not,' if below_one else 'to'} 1"
            )


def check_whole(who: str, least: int = 1, **given: Any) -> None:
    """Refuse what is no whole number from ``least`` on."""
    for name, value in given.items():
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{who}: {name}={value}; pass a whole number, {least} or more")
