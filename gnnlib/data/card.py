"""Cards: what is known of a dataset before any of its files is opened."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from gnnlib.names import choose

TASKS = ("node", "graph", "link", "hypergraph", "incidence", "embedding", "forecast", "recommendation")

_KEYS = ("name", "title", "task", "reader", "source", "licence", "split", "metric", "about", "folder", "base",
         "archive", "files", "counts", "options")  # fmt: skip
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CardFile:
    """One raw file of a dataset.

    Args:
        path: place inside the dataset's folder, with ``/`` between parts.
        sha256: the expected digest in hex, or None where none is known.
        unpacked: the digest is of the content after gzip is undone.
        url: https address of this one file, or None.
        optional: the dataset is usable without it.
        pickled: the file is a Python pickle, so it is read only when its digest is known and right.
    """

    path: str
    sha256: str | None = None
    unpacked: bool = False
    url: str | None = None
    optional: bool = False
    pickled: bool = False


@dataclass(frozen=True)
class Archive:
    """A zip that holds the raw files.

    Args:
        url: its https address.
        members: for each file's path, the name inside the zip.
        sha256: digest of the zip, or None where none is known.
    """

    url: str
    members: Mapping[str, str]
    sha256: str | None = None


@dataclass(frozen=True)
class Card:
    """What a dataset is, where its files come from and what they must hold.

    Args:
        name: the name that :func:`load` takes.
        title: one line for people.
        task: ``"node"``, ``"graph"`` or ``"link"``; ``"hypergraph"`` for labels of the nodes of a hypergraph,
            ``"incidence"`` for its held-out incidences; ``"embedding"``; ``"forecast"`` of series on
            nodes; ``"recommendation"`` of items to users.
        reader: which reader opens the files.
        source: where the data comes from.
        licence: its licence, or ``"none stated"``.
        split: which parts are for training, validation and test, in words.
        metric: name of the metric, or ``"ogb"`` for OGB's own evaluator.
        about: further words: origin of features and labels, cautions.
        folder: the dataset's folder inside a data root; empty for a bundled dataset.
        files: its raw files.
        archive: a zip with these files, if the source offers one.
        counts: what the loaded dataset must count (nodes, edges, graphs, features, classes, ...).
        options: for the reader.
    """

    name: str
    title: str
    task: str
    reader: str
    source: str
    licence: str
    split: str
    metric: str
    about: str = ""
    folder: str = ""
    files: tuple[CardFile, ...] = ()
    archive: Archive | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        choose("task", self.task, TASKS)
        for file in self.files:
            parts = PurePosixPath(file.path)
            if parts.is_absolute() or ".." in parts.parts:
                raise ValueError(f"card '{self.name}': file path '{file.path}' leaves the dataset's folder")
            if file.pickled and file.sha256 is None:
                raise ValueError(f"card '{self.name}': '{file.path}' is a pickle, so it needs a sha256")
            if file.sha256 is not None and not _HEX.fullmatch(file.sha256):
                raise ValueError(f"card '{self.name}': sha256 of '{file.path}' is not 64 hex digits")

    @property
    def bundled(self) -> bool:
        """True when the data comes with the installed packages and needs no file."""
        return not self.files

    @property
    def downloadable(self) -> str:
        """How the files can be had: ``"checked"``, ``"unverified"`` (no digest is known) or ``"no"``."""
        required = [file for file in self.files if not file.optional]
        if not required or any(file.url is None and self.archive is None for file in required):
            return "no"
        if all(self.is_checked(file) for file in required):
            return "checked"
        return "unverified"

    def is_checked(self, file: CardFile) -> bool:
        """True when a download of ``file`` can be held against a known digest."""
        if file.sha256 is not None:
            return True
        return file.url is None and self.archive is not None and self.archive.sha256 is not None

    @classmethod
    def read(cls, path: str | Path) -> Card:
        """Read a card from a toml file.

        Raises:
            ValueError: when the file is no card; the message names the file and the key.
        """
        file = Path(path)
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"card {file}: not a valid toml file: {error}") from error
        try:
            return _card(table, file)
        except (KeyError, TypeError) as error:
            raise ValueError(f"card {file}: {error} is missing or of the wrong kind") from error


def _card(table: dict[str, Any], path: Path) -> Card:
    if unknown := sorted(set(table) - set(_KEYS)):
        choose(f"key of card {path}:", unknown[0], _KEYS)
    if "base" in table:
        base = Card.read(path.with_name(f"{table.pop('base')}.toml"))
        return Card(
            **{**table, "counts": MappingProxyType(table["counts"])},
            folder=base.folder,
            files=tuple(file for file in base.files if not file.optional),
            archive=base.archive,
        )
    files: list[CardFile] = []
    members: dict[str, str] = {}
    for group in table.pop("files", []):
        files += _group(group)
        members |= {_join(group.get("folder", ""), name): _join(group.get("member", ""), name)
                    for name in group["sha256"]}  # fmt: skip
    archive = table.pop("archive", None)
    return Card(
        **{key: value for key, value in table.items() if key not in ("counts", "options")},
        files=tuple(files),
        archive=Archive(archive["url"], MappingProxyType(members), archive.get("sha256"))
        if archive
        else None,
        counts=MappingProxyType(table.get("counts", {})),
        options=MappingProxyType(table.get("options", {})),
    )


def _group(group: dict[str, Any]) -> list[CardFile]:
    """The files of one ``[[files]]`` table: a folder, a common url and a digest for each name."""
    return [
        CardFile(
            path=_join(group.get("folder", ""), name),
            sha256=digest or None,
            unpacked=bool(digest) and group.get("unpacked", False),
            url=f"{group['url'].rstrip('/')}/{name}" if "url" in group else None,
            optional=group.get("optional", False),
            pickled=name in group.get("pickled", ()),
        )
        for name, digest in group["sha256"].items()
    ]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def cards_folder() -> Path:
    """Return the folder of cards: inside the installed package, or ``datasets`` of a checkout."""
    packaged = Path(__file__).with_name("cards")
    if packaged.is_dir():
        return packaged
    checkout = Path(__file__).parents[2] / "datasets"
    if checkout.is_dir():
        return checkout
    raise FileNotFoundError(f"no dataset cards at {packaged} or {checkout}; install gnnlib again")


@cache
def cards() -> Mapping[str, Card]:
    """Return every card by name, in alphabetical order."""
    read = sorted(
        (Card.read(path) for path in cards_folder().glob("*.toml")), key=lambda card: card.name.lower()
    )
    return MappingProxyType({card.name: card for card in read})
