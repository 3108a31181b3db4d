"""A private copy of a dataset's folder for the PyG and OGB classes, which write beside their input."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import pickle
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from gnnlib.data.card import Card
from gnnlib.data.places import Found, cache_folder
from gnnlib.files import explain, locked

T = TypeVar("T")

_FORMAT = "1"  # raise it when a reader changes what it lays out
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM})


def staged(
    card: Card,
    found: Found,
    digests: Mapping[str, str],
    inner: str,
    build: Callable[[Path], T],
    *,
    empty_files: tuple[str, ...] = (),
) -> T:
    """Return ``build(folder)`` for a folder of the cache that looks like the dataset's root.

    The folder holds links to the raw files under ``inner``, so the root that was found is only read.
    It is named by the content of these files. The first process to come builds it under a temporary
    name, processed files and all, and renames it when it is complete; others wait for its lock. Processed
    files that cannot be read are made again.

    Args:
        card: the dataset.
        found: its files.
        digests: the content of each file.
        inner: where ``build`` expects the dataset's own folder, below the one it is given.
        build: opens the dataset; called once to process, and once more to open the result.
        empty_files: files to add under ``inner`` that a class only tests for.

    Raises:
        ValueError: when the files cannot be read.
        OSError: when the cache cannot be written.
    """
    folder = cache_folder("processed")
    target = folder / f"{card.name.replace(':', '-')}-{_key(card, digests)}"
    with locked(folder / f"{target.name}.lock"):
        if target.is_dir():
            _lay_out(target / inner, found.files, ())
            try:
                return _build(card, found, build, target)
            except ValueError:  # the processed files are damaged; make them again
                shutil.rmtree(target)
        for left in folder.glob(f".{target.name}.*"):  # by a process that was killed: the lock is ours
            shutil.rmtree(left, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=folder))
        try:
            _lay_out(fresh / inner, found.files, empty_files)
            _build(card, found, build, fresh)
            fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return _build(card, found, build, target)


def _key(card: Card, digests: Mapping[str, str]) -> str:
    """Name the content: the raw files, the options and the versions that wrote the processed files."""
    import torch_geometric

    parts = [_FORMAT, torch_geometric.__version__, card.reader, repr(sorted(card.options.items()))]
    parts += [f"{path} {digests[path]}" for path in sorted(digests)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _lay_out(folder: Path, files: Mapping[str, Path], empty_files: tuple[str, ...]) -> None:
    """Link each file below ``folder``; a link that points elsewhere, since data moved, is renewed."""
    try:
        for path, source in files.items():
            _link(folder / path, source.resolve())
        for path in empty_files:
            (folder / path).touch()
    except OSError as error:
        raise explain(error, folder) from error


def _link(link: Path, source: Path) -> None:
    if link.is_symlink():
        if Path(os.readlink(link)) == source:
            return
        link.unlink()
    elif link.is_file():
        return  # a copy: the content is the one the folder's name gives
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(source)
    except OSError:  # no links here: Windows without the right to make them, some network disks
        shutil.copyfile(source, link)


def _build(card: Card, found: Found, build: Callable[[Path], T], folder: Path) -> T:
    try:
        with quiet(), warnings.catch_warnings():
            # PyG warns, and then unpickles without a limit, when a processed file holds more than data
            warnings.filterwarnings("error", "Weights only load failed", UserWarning)
            warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
            return build(folder)
    except OSError as error:
        if error.errno in _FULL:
            raise explain(error, folder) from error
        if isinstance(error, FileNotFoundError):
            raise
        raise _unreadable(card, found, error) from error
    except RuntimeError as error:
        if "writ" in str(error).lower():  # torch.save reports a full disk as a RuntimeError
            raise OSError(
                f"dataset '{card.name}': the processed files could not be written below {folder.parent} "
                f"({error}); free some space or set GNNLIB_CACHE to another folder"
            ) from error
        raise _unreadable(card, found, error) from error
    except (EOFError, pickle.UnpicklingError, UserWarning, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise _unreadable(card, found, error) from error


def _unreadable(card: Card, found: Found, error: Exception) -> ValueError:
    return ValueError(
        f"dataset '{card.name}': the files under {found.folder} could not be read "
        f"({type(error).__name__}: {error}); they may be damaged: fetch them again from {card.source}"
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the dataset classes print about their progress off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
