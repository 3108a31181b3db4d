"""Processed files: in the cache, whole, and safe with several processes at once."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gnnlib.data import load, stage
from tests.data.test_places import snapshot
from tests.data.tiny import write_tu


def processed(cache: Path) -> list[Path]:
    return [path for path in (cache / "processed").iterdir() if path.is_dir()]


def test_a_root_is_only_read(cache: Path, tmp_path: Path) -> None:
    write_tu(tmp_path / "root", "RINGS")
    before = snapshot(tmp_path / "root")
    loaded = load("TU:RINGS", tmp_path / "root")
    assert len(loaded.dataset) == 20
    assert snapshot(tmp_path / "root") == before
    (folder,) = processed(cache)
    assert folder.name.startswith("TU-RINGS-")
    assert (folder / "RINGS" / "processed" / "data.pt").is_file()


def test_the_second_load_processes_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch_geometric.datasets import TUDataset

    write_tu(tmp_path, "RINGS")
    load("TU:RINGS", tmp_path)
    monkeypatch.setattr(TUDataset, "process", lambda _: pytest.fail("processed again"))
    assert len(load("TU:RINGS", tmp_path).dataset) == 20


def test_other_content_is_processed_apart(cache: Path, tmp_path: Path) -> None:
    raw = write_tu(tmp_path, "RINGS")
    load("TU:RINGS", tmp_path)
    labels = raw / "RINGS_graph_labels.txt"
    labels.write_text(labels.read_text().replace("4", "5"))
    load("TU:RINGS", tmp_path)
    assert len(processed(cache)) == 2


def test_data_that_moved_is_linked_anew(cache: Path, tmp_path: Path) -> None:
    write_tu(tmp_path / "before", "RINGS")
    load("TU:RINGS", tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    assert len(load("TU:RINGS", tmp_path / "after").dataset) == 20
    (folder,) = processed(cache)
    assert os.path.exists(folder / "RINGS" / "raw" / "RINGS_A.txt")


def test_without_symbolic_links_files_are_copied(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    write_tu(tmp_path, "RINGS")
    for _ in range(2):
        assert len(load("TU:RINGS", tmp_path).dataset) == 20


def test_damaged_files_leave_nothing_behind(cache: Path, tmp_path: Path) -> None:
    raw = write_tu(tmp_path, "RINGS")
    (raw / "RINGS_A.txt").write_text("1, 2\nthree, 4\n")
    with pytest.raises(
        ValueError, match=r"dataset 'TU:RINGS': the files under .*RINGS could not be read"
    ) as caught:
        load("TU:RINGS", tmp_path)
    assert "three" in str(caught.value)
    assert processed(cache) == []


def test_a_full_disk_says_so(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    write_tu(tmp_path, "RINGS")
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"could not be written below .*free some space or set GNNLIB_CACHE"):
        load("TU:RINGS", tmp_path)
    assert processed(cache) == []


def test_nothing_is_printed(cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_tu(tmp_path, "RINGS")
    load("TU:RINGS", tmp_path)
    assert capfd.readouterr() == ("", "")


def test_two_processes_at_once(cache: Path, tmp_path: Path) -> None:
    write_tu(tmp_path, "RINGS", num_graphs=200)
    code = f"""
        import gnnlib.data.registry
        import gnnlib.data.readers.tu
        print("ready", flush=True)
        input()
        loaded = gnnlib.data.load("TU:RINGS", {str(tmp_path)!r})
        print(len(loaded.dataset), int(loaded.dataset._data.edge_index.sum()))
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    other.stdin.write("\n")
    other.stdin.flush()
    ours = load("TU:RINGS", tmp_path)
    theirs = other.communicate(timeout=120)[0]
    assert other.returncode == 0
    assert theirs == f"{len(ours.dataset)} {int(ours.dataset._data.edge_index.sum())}\n"
    assert len(processed(cache)) == 1


def test_what_a_killed_process_left_is_removed(cache: Path, tmp_path: Path) -> None:
    write_tu(tmp_path, "RINGS")
    load("TU:RINGS", tmp_path)
    (folder,) = processed(cache)
    folder.rename(folder.with_name(f".{folder.name}.abc123"))
    load("TU:RINGS", tmp_path)
    assert processed(cache) == [folder]


def test_damaged_processed_files_are_made_again(cache: Path, tmp_path: Path) -> None:
    write_tu(tmp_path, "RINGS")
    load("TU:RINGS", tmp_path)
    (folder,) = processed(cache)
    path = folder / "RINGS" / "processed" / "data.pt"
    path.write_bytes(path.read_bytes()[:200])
    assert len(load("TU:RINGS", tmp_path).dataset) == 20
    assert path.stat().st_size > 200


def test_processed_files_are_never_unpickled_without_limit(cache: Path, tmp_path: Path) -> None:
    import torch

    write_tu(tmp_path, "RINGS")
    load("TU:RINGS", tmp_path)
    (folder,) = processed(cache)
    torch.save(Trap(tmp_path / "ran"), folder / "RINGS" / "processed" / "data.pt")
    assert len(load("TU:RINGS", tmp_path).dataset) == 20  # made again
    assert not (tmp_path / "ran").exists()


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.path),))


def test_the_versions_are_part_of_the_name(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tu(tmp_path, "RINGS")
    load("TU:RINGS", tmp_path)
    monkeypatch.setattr(stage, "_FORMAT", "next")
    load("TU:RINGS", tmp_path)
    assert len(processed(cache)) == 2
