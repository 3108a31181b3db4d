"""A disk that refuses: a clear error, and never a half-written file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gnnlib.train import TrainConfig, checkpoint, run

Quick = Callable[..., TrainConfig]


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def parts(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and p.name.endswith(".part")]


def test_a_disk_that_fills_up_while_saving(
    quick: Quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    checkpoint.save(path, {"model": {"w": torch.ones(3)}}, {"dataset": "a"})
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*last.ckpt: no space is left on the disk; free some"):
        checkpoint.save(path, {"model": {"w": torch.zeros(3)}}, {"dataset": "a"})
    assert path.read_bytes() == before
    assert not parts(tmp_path)


def test_a_run_on_a_full_disk_can_go_on_later(quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, calls = os.fsync, []

    def fsync(handle: int) -> None:
        calls.append(1)
        if len(calls) > 6:
            full()
        honest(handle)

    folder = Path(quick().out or "")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="no space is left on the disk"):
        run(quick(epochs=6, checkpoint_seconds=0))
    monkeypatch.setattr(os, "fsync", honest)
    assert not parts(folder)
    assert 1 <= torch.load(folder / "seed-0" / "last.ckpt", weights_only=True)["epoch"] < 6
    result = run(quick(epochs=6, checkpoint_seconds=0), resume=True)
    assert result.runs[0]["epochs"] == 6


def test_a_read_only_disk_is_told_before_training(quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        OSError, match=r"cannot make folder .*run: the disk is read-only; choose a folder that"
    ):
        run(quick())


def test_a_folder_that_may_not_be_written(quick: Quick, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("the superuser may write everywhere")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(OSError, match="permission is denied; choose a folder that can be written"):
            run(quick())
    finally:
        tmp_path.chmod(0o755)
