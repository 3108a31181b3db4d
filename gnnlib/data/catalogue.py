"""The datasets by name, without opening any."""

from __future__ import annotations

import dataclasses
import os
import re
from types import MappingProxyType

from gnnlib.data.card import TASKS, Archive, Card, CardFile, cards
from gnnlib.data.places import downloads
from gnnlib.names import choose

_TU_URL = "https://www.chrsmrrs.com/graphkerneldatasets"
_TU_REQUIRED = ("A", "graph_indicator", "graph_labels")
_TU_OPTIONAL = ("edge_attributes", "edge_labels", "graph_attributes", "node_attributes", "node_labels")

# Of OGB, what the containers and metrics here cannot carry yet, and why.
_UNSUPPORTED = {
    "ogbn-mag": "it is heterogeneous",
    "ogbl-wikikg2": "it is a knowledge graph",
    "ogbl-biokg": "it is a knowledge graph",
    "ogbl-citation2": "each of its test links comes with its own 1,000 negatives",
    "ogbg-code2": "its labels are sequences of words",
}


def names(task: str | None = None) -> list[str]:
    """Return the names of the datasets that have a card, in alphabetical order.

    Beside these, ``"TU:NAME"`` loads any other set of the TU collection, and ``"FAMILY-SIZE"`` a generated
    one of another size, as ``"city-50000"``.

    Args:
        task: only those of this task: ``"node"``, ``"graph"``, ``"link"``, ``"hypergraph"``,
            ``"incidence"``, ``"embedding"``, ``"forecast"`` or ``"recommendation"``.

    Raises:
        ValueError: when the task is unknown.
    """
    if task is not None:
        task = choose("task", task, TASKS)
    return [name for name, card in cards().items() if task in (None, card.task)]


def find_card(name: str | Card, root: str | os.PathLike[str] | None = None) -> Card:
    """Return the card of a dataset; a card is returned as it is.

    Args:
        name: as for :func:`load`.
        root: a data root whose folders may tell how a name of the TU collection is spelt.

    Raises:
        ValueError: when the name is unknown; the message names the nearest.
        NotImplementedError: for a dataset of OGB that is not supported, with the reason.
    """
    if isinstance(name, Card):
        return name
    if isinstance(name, str):
        if name.lower().startswith("tu:"):
            return _tu_card(name[3:], root)
        if (why := _UNSUPPORTED.get(name.lower())) is not None:
            raise NotImplementedError(f"dataset '{name}' cannot be loaded: {why}; use ogb's own class for it")
        if (sized := _sized_card(name)) is not None:
            return sized
    return cards()[choose("dataset", name, cards())]


def _sized_card(name: str) -> Card | None:
    """The card of ``family-SIZE``, where the family is made by a generator; None for any other name.

    Raises:
        ValueError: when the generator makes no such size.
    """
    found = re.fullmatch(r"(.+)-(\d+)", name.lower())
    if found is None or name.lower() in cards() or found[1] not in cards():
        return None
    card, size = cards()[found[1]], int(found[2])
    parameter = card.options.get("parameter")
    if parameter is None:
        return None
    low, high = card.options["range"]
    if not low <= size <= high:
        raise ValueError(f"dataset '{name}': {parameter}={size}; {card.name} is made from {low} to {high}")
    return dataclasses.replace(
        card,
        name=f"{card.name}-{size}",
        title=f"{card.title} ({parameter} {size})",
        counts=MappingProxyType({}),
        options=MappingProxyType({**card.options, parameter: size}),
    )


def _tu_card(name: str, root: str | os.PathLike[str] | None) -> Card:
    """Return the card of a TU dataset: the one on file, or one made for a name that has none.

    Raises:
        ValueError: when the name cannot be a dataset's.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
        raise ValueError(f"dataset 'TU:{name}': a name of the TU collection is expected, such as TU:MUTAG")
    for card in cards().values():
        if card.reader == "tu" and str(card.options["tu_name"]).lower() == name.lower():
            return card
    name = _spelling(name, root)
    files = tuple(
        CardFile(f"raw/{name}_{part}.txt", optional=part in _TU_OPTIONAL)
        for part in (*_TU_REQUIRED, *_TU_OPTIONAL)
    )
    return Card(
        name=f"TU:{name}",
        title=f"{name} of the TU collection",
        task="graph",
        reader="tu",
        source="https://chrsmrrs.github.io/datasets",
        licence="see the source",
        split="10 stratified folds (seed 0): test on fold k, validate on fold k + 1, train on the rest",
        metric="accuracy",
        folder=f"TUDataset/{name}",
        files=files,
        archive=Archive(f"{_TU_URL}/{name}.zip", {file.path: f"{name}/{file.path[4:]}" for file in files}),
        options={"tu_name": name},
    )


def _spelling(name: str, root: str | os.PathLike[str] | None) -> str:
    """The collection's spelling of a name, from the folders at hand; else the name as it came."""
    for place in (root, os.environ.get("GNNLIB_DATA"), downloads().folder):
        if place and os.path.isdir(folder := os.path.join(place, "TUDataset")):
            for entry in sorted(os.listdir(folder)):
                if entry.lower() == name.lower():
                    return entry
    return name
