"""Choosing one of several known names, with a helpful message when the name is not among them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN = 40  # a message lists at most this many known names


def choose(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the entry of ``known`` that ``name`` means, without regard to case, ``-`` or ``_``.

    Args:
        kind: what the name names, for the message: ``"dataset"``, ``"model"``, ``"option"``.
        name: what the caller asked for.
        known: the names that exist.

    Raises:
        TypeError: when ``name`` is no string.
        ValueError: when no entry matches; the message names the nearest one and lists the others.
    """
    if not isinstance(name, str):
        raise TypeError(f"{kind}: a name is expected, but {type(name).__name__} came; pass a string")
    entries = list(known)
    if name in entries:
        return name
    by_key = {_key(entry): entry for entry in entries}
    if _key(name) in by_key:
        return by_key[_key(name)]
    near = difflib.get_close_matches(_key(name), list(by_key), n=1, cutoff=0.5)
    hint = f"; did you mean '{by_key[near[0]]}'?" if near else ";"
    raise ValueError(f"{kind} '{name}' is unknown{hint} known: {_listing(entries)}")


def _key(name: str) -> str:
    return name.strip().lower().replace("_", "-")


def _listing(entries: list[str]) -> str:
    if not entries:
        return "none"
    shown = sorted(entries, key=str.lower)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
