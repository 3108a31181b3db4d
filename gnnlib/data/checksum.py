"""Checksums of raw files, computed once for each state of a file."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from gnnlib.data.card import Card, CardFile
from gnnlib.files import write_json

# A file changed less than this long ago could change again within the clock's resolution, so its
# digest is not remembered. File systems keep times to 2 s at worst (FAT).
_SETTLED = 2.0


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


Ledger = dict[str, list[int | str]]


def verify(card: Card, files: Mapping[str, Path], ledger_file: Path) -> dict[str, str]:
    """Return the SHA-256 of each file, after holding it against the card.

    A digest is remembered in ``ledger_file`` with the file's size and times, and computed again only
    when one of these has changed. Files whose card gives no digest are digested all the same (gzip
    undone, so a truncated file shows): the result identifies the content.

    Raises:
        ValueError: when a digest differs or a gzip file is damaged; the message names the file, the
            expected and the found digest.
    """
    known = _read_ledger(ledger_file)
    fresh: Ledger = {}
    found: dict[str, str] = {}
    for file in card.files:
        if file.path in files:
            path = files[file.path]
            found[file.path] = digest = _remembered(path, _unpacks(file), known, fresh)
            if file.sha256 is not None and digest != file.sha256:
                raise ValueError(_mismatch(card, file, path, digest))
    if fresh:
        with contextlib.suppress(OSError):  # a ledger that cannot be kept costs time, nothing else
            write_json(ledger_file, known | fresh)
    return found


def sha256(path: Path, *, unpacked: bool = False) -> str:
    """Return the SHA-256 of a file in hex, optionally of its content after gzip is undone.

    Raises:
        ValueError: when the gzip stream is damaged or cut short.
    """
    try:
        with gzip.open(path) if unpacked else path.open("rb") as file:
            return _digest(file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is damaged or cut short ({error}); delete it and fetch it again from its source"
        ) from error


def _digest(file: _Readable) -> str:
    state = hashlib.sha256()
    while block := file.read(1 << 20):
        state.update(block)
    return state.hexdigest()


def _unpacks(file: CardFile) -> bool:
    return file.unpacked or (file.sha256 is None and file.path.endswith(".gz"))


def _remembered(path: Path, unpacked: bool, known: Ledger, fresh: Ledger) -> str:
    stat = path.stat()
    state: list[int | str] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    key = f"{path}:unpacked" if unpacked else str(path)
    entry = known.get(key)
    if entry is not None and entry[:-1] == state:
        return str(entry[-1])
    digest = sha256(path, unpacked=unpacked)
    if time.time() - max(stat.st_mtime, stat.st_ctime) > _SETTLED:
        fresh[key] = [*state, digest]
    return digest


def _read_ledger(path: Path) -> Ledger:
    try:
        ledger = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return ledger if isinstance(ledger, dict) else {}


def _mismatch(card: Card, file: CardFile, path: Path, digest: str) -> str:
    danger = " It is a pickle, which can run code when read, so it was not opened." if file.pickled else ""
    of = " of the unpacked content" if file.unpacked else ""
    return (
        f"dataset '{card.name}': {path} is not the file that is expected: "
        f"SHA-256{of} expected {file.sha256}, "
        f"found {digest}.{danger} It may be cut short or changed; delete it and fetch it again from "
        f"{file.url or (card.archive.url if card.archive else card.source)}"
    )
