"""Downloads of raw files into the user's cache, each held against its known checksum."""

from __future__ import annotations

import logging
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gnnlib.data.card import Card, CardFile
from gnnlib.data.checksum import sha256
from gnnlib.data.places import cache_folder, downloads
from gnnlib.files import atomic_write, locked

_log = logging.getLogger("gnnlib.data")
_TIMEOUT = (10, 60)  # seconds to connect, and between two blocks
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def download(card: Card, *, optional: bool = False, unverified: bool = False, progress: bool = False) -> None:
    """Fetch what the cache lacks of a dataset, over https.

    Args:
        card: the dataset.
        optional: fetch the optional files too.
        unverified: also take files for which the card knows no digest.
        progress: draw a progress bar for each file.

    Raises:
        FileNotFoundError: when a file cannot be fetched; the message says where to put it by hand.
        ValueError: when a fetched file has the wrong digest; it is not kept.
    """
    folder = downloads().folder / card.folder
    with locked(cache_folder("locks") / f"download-{card.folder.replace('/', '-')}.lock"):
        wanted = [
            file
            for file in card.files
            if (optional or not file.optional) and not (folder / file.path).is_file()
        ]
        if not wanted:
            return
        _refuse(card, wanted, unverified)
        for file in wanted:
            if file.url is not None:
                _fetch(card, file, file.url, folder / file.path, progress)
        if packed := [file for file in wanted if file.url is None]:
            # what else the zip holds of the optional files comes along, unless it cannot be checked
            extra = [
                f for f in card.files if f.optional and f.url is None and not (folder / f.path).is_file()
            ]
            _fetch_archive(card, packed, [f for f in extra if unverified or card.is_checked(f)], progress)


def absent(card: Card, missing: Sequence[str], because: str = "", or_else: str = "") -> FileNotFoundError:
    """Return the error for files that are nowhere, saying what the caller can do."""
    files = missing[0] if len(missing) == 1 else f"{missing[0]} (and {len(missing) - 1} more)"
    it = "it" if len(missing) == 1 else "them"
    relative = f"{card.folder}/{missing[0]}"
    return FileNotFoundError(
        f"dataset '{card.name}': {files} is neither under root, nor under $GNNLIB_DATA, nor in the cache"
        f"{because}; {or_else}put {it} at {downloads().folder / relative}, "
        f"or set GNNLIB_DATA to a folder that holds {relative}"
    )


def _refuse(card: Card, wanted: list[CardFile], unverified: bool) -> None:
    missing = [file.path for file in wanted]
    if card.archive is None and any(file.url is None for file in wanted):
        raise absent(card, missing, f", and no address to fetch it from is known (source: {card.source})")
    for file in wanted:
        if not unverified and not card.is_checked(file):
            url = file.url or (card.archive.url if card.archive else "")
            raise absent(
                card,
                missing,
                f", and no checksum is known for {url}, so it is fetched only when you ask for it",
                f"run `gnnlib data {card.name} --fetch --unverified`, ",
            )


def _fetch(card: Card, file: CardFile, url: str, target: Path, progress: bool) -> None:
    incoming = _retrieve(card, [file.path], url, None if file.unpacked else file.sha256, progress)
    try:
        _check(card, file, incoming, url)
        with incoming.open("rb") as source, atomic_write(target) as out:
            shutil.copyfileobj(source, out)
    finally:
        incoming.unlink(missing_ok=True)


def _fetch_archive(card: Card, required: list[CardFile], optional: list[CardFile], progress: bool) -> None:
    assert card.archive is not None
    folder = downloads().folder / card.folder
    incoming = _retrieve(card, [f.path for f in required], card.archive.url, card.archive.sha256, progress)
    try:
        with zipfile.ZipFile(incoming) as archive:
            names = set(archive.namelist())
            for file in [*required, *optional]:
                member = card.archive.members[file.path]
                if member not in names:
                    if file in optional:
                        continue
                    raise ValueError(f"dataset '{card.name}': {card.archive.url} holds no {member}")
                target = folder / file.path
                with archive.open(member) as source, atomic_write(target) as out:
                    shutil.copyfileobj(source, out)
                try:
                    _check(card, file, target, card.archive.url)
                except ValueError:
                    target.unlink(missing_ok=True)
                    raise
    except zipfile.BadZipFile as error:
        raise ValueError(f"dataset '{card.name}': {card.archive.url} is no readable zip ({error})") from error
    finally:
        incoming.unlink(missing_ok=True)


def _check(card: Card, file: CardFile, path: Path, url: str) -> None:
    if file.sha256 is None:
        _log.warning("%s: no checksum is known for %s; it has SHA-256 %s", card.name, file.path, sha256(path))
    elif (found := sha256(path, unpacked=file.unpacked)) != file.sha256:
        raise ValueError(
            f"dataset '{card.name}': {file.path} from {url} is not the file that is expected: "
            f"SHA-256 expected {file.sha256}, found {found}; it was not kept"
        )


def _retrieve(card: Card, missing: Sequence[str], url: str, digest: str | None, progress: bool) -> Path:
    """Fetch ``url`` to a temporary file of the cache and return it."""
    import pooch
    import requests

    said = pooch.get_logger()
    level = said.level
    if not _allowed(url):
        raise ValueError(f"dataset '{card.name}': {url} is not an https address; correct the card")
    folder = cache_folder("incoming")
    name = f"{card.name}-{urlsplit(url).path.rpartition('/')[2]}"
    (folder / name).unlink(missing_ok=True)
    _log.info("fetching %s", url)
    said.setLevel(logging.WARNING)  # what pooch would print, the line above says
    try:
        fetched = pooch.retrieve(
            url,
            known_hash=f"sha256:{digest}" if digest else None,
            fname=name,
            path=folder,
            downloader=pooch.HTTPDownloader(
                progressbar=progress, timeout=_TIMEOUT, hooks={"response": _secure}
            ),
        )
    except requests.exceptions.RequestException as error:
        raise absent(card, missing, f", and {url} could not be fetched ({_short(error)})") from error
    except ValueError as error:
        if "hash of downloaded file" not in str(error):
            raise
        raise ValueError(f"dataset '{card.name}': {url} is not the file that is expected: {error}") from error
    finally:
        said.setLevel(level)
    return Path(fetched)


def _allowed(url: str) -> bool:
    """True for https, and for plain http to this very machine, whose traffic leaves it nowhere."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _secure(response: Any, *_: Any, **__: Any) -> None:
    """Refuse a redirection away from https."""
    import requests

    target = response.headers.get("location") if response.is_redirect else None
    for url in (response.url, target):
        if url and urlsplit(url).scheme and not _allowed(url):
            raise requests.exceptions.InvalidURL(f"it leads to {url}, which is not https")


def _short(error: Exception) -> str:
    import requests

    if isinstance(error, requests.exceptions.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate was not accepted"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "no connection: is this machine online?"
    return str(error)
