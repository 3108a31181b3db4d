"""Files that are whole or absent: written beside their place, synced, then renamed over it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

__all__ = [
    "atomic_write",
    "cache_root",
    "check_file",
    "explain",
    "locked",
    "make_dir",
    "write_bytes",
    "write_json",
    "write_text",
]

_REASONS = {
    errno.ENOSPC: ("no space is left on the disk", "free some space or choose another folder"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or choose another folder"),
    errno.EFBIG: ("the file would be larger than is allowed", "raise the limit or choose another folder"),
    errno.EROFS: ("the disk is read-only", "choose a folder that can be written"),
    errno.EACCES: ("permission is denied", "choose a folder that can be written"),
    errno.EPERM: ("permission is denied", "choose a folder that can be written"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another folder"),
    errno.EISDIR: ("a folder of that name is in the way", "choose another name"),
}


def explain(error: OSError, path: str | os.PathLike[str], doing: str = "write") -> OSError:
    """Return an OSError of the same errno whose message says what failed, why, and what to do."""
    reason, cure = _REASONS.get(error.errno or 0, (error.strerror or str(error), "choose another folder"))
    told = type(error)(f"cannot {doing} {os.fspath(path)}: {reason}; {cure}")
    told.errno = error.errno
    return told


def cache_root() -> Path:
    """Return the user's cache folder: ``$GNNLIB_CACHE``, or the usual one of the platform."""
    if named := os.environ.get("GNNLIB_CACHE"):
        return Path(named).expanduser().absolute()
    try:
        import pooch
    except ImportError:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "gnnlib"
    return Path(pooch.os_cache("gnnlib"))


def check_file(path: str | os.PathLike[str]) -> Path:
    """Make the folder of a file that is to be written later, see that it can be, and return its path.

    Raises:
        OSError: when it cannot be written; the message says why and what to do.
    """
    target = Path(path)
    folder = make_dir(target.parent)
    if target.is_dir():
        raise IsADirectoryError(
            f"cannot write {target}: a folder of that name is in the way; choose another name"
        )
    try:
        if target.exists():
            target.open("ab").close()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise explain(error, target) from error
    return target


def make_dir(path: str | os.PathLike[str]) -> Path:
    """Create a folder and its parents, and return it.

    Raises:
        OSError: when it cannot be made; the message says why and what to do.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(f"cannot make folder {folder}: a file of that name is in the way") from error
    except OSError as error:
        raise explain(error, folder, "make folder") from error
    return folder


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that takes its name only when it is complete.

    The bytes go to a temporary file in the same folder, are synced to disk, and then renamed over
    ``path``, so a reader sees the old file or the new one and never a part; after an error, or a full
    disk, the old file is untouched and nothing is left beside it.

    Raises:
        OSError: when the disk refuses; the message says why and what to do.
    """
    target = Path(path)
    make_dir(target.parent)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(
            prefix=f".{target.name[:100]}.", suffix=".part", dir=target.parent
        )
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes it private; give it the usual mode
        os.replace(temporary, target)
        temporary = None
        _sync_folder(target.parent)
    except OSError as error:
        raise explain(error, target) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write ``content`` to ``path`` in one step (see :func:`atomic_write`)."""
    with atomic_write(path) as file:
        file.write(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write ``content`` as UTF-8 to ``path`` in one step (see :func:`atomic_write`)."""
    write_bytes(path, content.encode("utf-8"))


def write_json(
    path: str | os.PathLike[str], content: Any, *, default: Callable[[Any], Any] | None = None
) -> None:
    """Write ``content`` as indented JSON to ``path`` in one step (see :func:`atomic_write`)."""
    write_text(path, json.dumps(content, indent=2, default=default) + "\n")


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock file ``path`` against other processes for the time of the block.

    Raises:
        OSError: when the lock file cannot be made.
    """
    from filelock import FileLock

    target = Path(path)
    make_dir(target.parent)
    lock = FileLock(str(target))
    try:
        lock.acquire()
    except OSError as error:
        raise explain(error, target, "lock") from error
    try:
        yield
    finally:
        lock.release()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot sync a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
