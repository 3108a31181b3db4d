"""Where the files of a dataset are looked for, and where downloads and processed files go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gnnlib.data.card import Card
from gnnlib.files import cache_root, make_dir


@dataclass(frozen=True)
class Place:
    """A folder that may hold datasets, and what to call it in a message."""

    folder: Path
    label: str
    explicit: bool = False


@dataclass(frozen=True)
class Found:
    """The files of a dataset on disk.

    ``folder`` is the dataset's folder, ``files`` maps the card's paths to the files that are there.
    """

    folder: Path
    files: dict[str, Path]
    place: Place


def cache_folder(*parts: str) -> Path:
    """Return a folder of the cache, made if needed.

    Raises:
        OSError: when it cannot be made; the message says to set GNNLIB_CACHE.
    """
    try:
        return make_dir(cache_root().joinpath(*parts))
    except OSError as error:
        raise type(error)(f"{error}; GNNLIB_CACHE names the cache folder to use instead") from error


def downloads() -> Place:
    """Return the place that downloads go to."""
    return Place(cache_root() / "datasets", "the cache")


def places(root: str | os.PathLike[str] | None) -> Iterator[Place]:
    """Yield the places to look in, first to last: ``root``, ``$GNNLIB_DATA``, the user's cache.

    Raises:
        FileNotFoundError: when ``root`` or ``$GNNLIB_DATA`` is no folder.
    """
    if root is not None:
        yield Place(_folder(root, "root"), "root", explicit=True)
    if named := os.environ.get("GNNLIB_DATA"):
        yield Place(_folder(named, "GNNLIB_DATA"), "GNNLIB_DATA")
    yield downloads()


def _folder(path: str | os.PathLike[str], what: str) -> Path:
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{what}={os.fspath(path)} is not a folder; name a folder that holds datasets"
        )
    return folder


def locate(card: Card, root: str | os.PathLike[str] | None, *, optional: bool = False) -> Found | None:
    """Return the dataset's files in the first place that holds them all, or None.

    In each place the dataset may lie under the card's folder (``Planetoid/Cora``), under the last part
    of it (``Cora``), or directly. ``optional`` asks for the optional files too.

    Raises:
        FileNotFoundError: when ``root`` was given and holds some of the files but not all.
    """
    for place in places(root):
        best = max(_candidates(card, place), key=lambda found: len(found.files))
        missing = lacking(card, best, optional=optional)
        if not missing:
            return best
        if place.explicit and best.files:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise FileNotFoundError(
                f"dataset '{card.name}': {best.folder / missing[0]} is missing{more}; "
                f"the rest of the dataset is there. Add it, or load without root to look elsewhere"
            )
    return None


def _candidates(card: Card, place: Place) -> Iterator[Found]:
    parts = PurePosixPath(card.folder).parts
    for start in range(len(parts) + 1):
        folder = place.folder.joinpath(*parts[start:])
        paths = {file.path: folder / file.path for file in card.files}
        yield Found(folder, {path: at for path, at in paths.items() if at.is_file()}, place)


def lacking(card: Card, found: Found, *, optional: bool = False) -> list[str]:
    """Return the paths that the card asks for and ``found`` does not hold."""
    return [
        file.path for file in card.files if (optional or not file.optional) and file.path not in found.files
    ]


def whereabouts(card: Card, root: str | os.PathLike[str] | None = None) -> str:
    """Say where a dataset is, or how it can be had, in a word or a path."""
    if card.bundled:
        return "bundled"
    try:
        if (found := locate(card, root)) is not None:
            return str(found.folder)
    except FileNotFoundError:
        return "incomplete"
    return {"checked": "online", "unverified": "unverified", "no": "by hand"}[card.downloadable]
