"""Readers: one module for each form that raw files come in, each with ``read(source) -> Parts``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from gnnlib.data.card import Card
from gnnlib.data.places import Found
from gnnlib.names import choose

__all__ = ["reader_module", "READERS", "Source"]

READERS = (
    "city",
    "citynetwork",
    "digits",
    "embedding",
    "expressivity",
    "hypergraph",
    "interactions",
    "links",
    "longrange",
    "lrgb",
    "npz",
    "ogb",
    "planetoid",
    "pyg",
    "series",
    "sets",
    "social",
    "tu",
)


@dataclass(frozen=True)
class Source:
    """What a reader works from.

    Args:
        card: the dataset's card.
        found: its files, already held against the card, or None for a bundled dataset.
        digests: SHA-256 of each file by its path.
        split: the split that is asked for.
    """

    card: Card
    found: Found | None
    digests: Mapping[str, str]
    split: int

    @property
    def files(self) -> Found:
        """The files of a dataset that has some."""
        assert self.found is not None, "a bundled dataset has no files"
        return self.found


def reader_module(name: str) -> ModuleType:
    """Import the reader that a card names.

    Raises:
        ValueError: when there is none of that name.
    """
    return importlib.import_module(f"gnnlib.data.readers.{choose('reader', name, READERS)}")
