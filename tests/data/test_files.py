"""Files are whole or absent."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gnnlib.files import atomic_write, locked, make_dir, write_bytes, write_json, write_text


def test_writes_make_their_folder_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_text(path, "one")
    write_text(path, "zwei \u00e4")
    assert path.read_text(encoding="utf-8") == "zwei \u00e4"
    write_json(tmp_path / "c.json", {"k": [1, 2]})
    assert json.loads((tmp_path / "c.json").read_text()) == {"k": [1, 2]}
    assert not list(tmp_path.rglob("*.part"))


def test_mode_is_that_of_an_ordinary_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "ours", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_error_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    write_bytes(path, b"old")
    with contextlib.suppress(ZeroDivisionError), atomic_write(path) as file:
        file.write(b"new")
        file.write(b"1" * (1 // 0))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "no space is left on the disk; free some space"),
        (errno.EROFS, "the disk is read-only; choose a folder that can be written"),
        (errno.EACCES, "permission is denied; choose a folder"),
    ],
)
def test_a_full_or_read_only_disk_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    path = tmp_path / "kept"
    write_bytes(path, b"old")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match=f"cannot write .*kept: {reason}") as caught:
        write_bytes(path, b"new")
    assert caught.value.errno == number
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="a file of that name is in the way"):
        make_dir(tmp_path / "file")
    with pytest.raises(OSError, match="a file of that name is in the way"):
        write_text(tmp_path / "file" / "below", "x")


def test_a_lock_keeps_another_process_out(tmp_path: Path) -> None:
    code = f"""
        from filelock import FileLock, Timeout
        try:
            FileLock({str(tmp_path / "lock")!r}).acquire(timeout=0)
        except Timeout:
            print("kept out")
    """
    with locked(tmp_path / "lock"):
        inside = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
        )
    assert inside.stdout.strip() == "kept out"
    with locked(tmp_path / "lock"):
        pass
