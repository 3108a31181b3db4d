"""Where files are looked for: root, then $GNNLIB_DATA, then the cache."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gnnlib.data import load
from gnnlib.data.card import Card, CardFile
from gnnlib.data.places import whereabouts
from gnnlib.files import cache_root

Put = Callable[[Path], Path]


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below a folder with its size and time."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in [folder, *folder.rglob("*")]
    }


def test_search_order(
    cache: Path, tmp_path: Path, ring: Card, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, data = tmp_path / "root", tmp_path / "data"
    put(cache / "datasets")
    assert load(ring).folder == cache / "datasets" / "rings"
    put(data)
    monkeypatch.setenv("GNNLIB_DATA", str(data))
    assert load(ring).folder == data / "rings"
    put(root)
    assert load(ring, root).folder == root / "rings"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert load(ring, empty).folder == data / "rings"


@pytest.mark.parametrize("below", ["rings", "."])
def test_the_folder_may_lie_higher(cache: Path, tmp_path: Path, ring: Card, put: Put, below: str) -> None:
    put(tmp_path / "root")
    nested = dataclasses.replace(ring, folder="some/rings")
    assert load(nested, tmp_path / "root").folder == tmp_path / "root" / "rings"
    assert load(nested, tmp_path / "root" / "rings").folder == tmp_path / "root" / "rings"


def test_a_root_that_lacks_a_file_names_it(cache: Path, tmp_path: Path, ring: Card, put: Put) -> None:
    root = tmp_path / "root"
    put(root)
    put(cache / "datasets")
    more = dataclasses.replace(
        ring, files=(*ring.files, CardFile("raw/second.txt"), CardFile("raw/third.txt"))
    )
    with pytest.raises(FileNotFoundError, match=r"root/rings/raw/second.txt is missing \(and 1 more\)"):
        load(more, root)


def test_a_dataset_that_is_nowhere(cache: Path, tmp_path: Path, ring: Card) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load(ring, tmp_path)
    message = str(caught.value)
    assert "raw/ring.npz is neither under root, nor under $GNNLIB_DATA, nor in the cache" in message
    assert f"put it at {cache / 'datasets' / 'rings' / 'raw' / 'ring.npz'}" in message
    assert "or set GNNLIB_DATA to a folder that holds rings/raw/ring.npz" in message


def test_a_root_that_is_no_folder(
    cache: Path, tmp_path: Path, ring: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=r"root=.*nowhere is not a folder"):
        load(ring, tmp_path / "nowhere")
    monkeypatch.setenv("GNNLIB_DATA", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match=r"GNNLIB_DATA=.*gone is not a folder"):
        load(ring)


def test_a_read_only_root_is_only_read(cache: Path, tmp_path: Path, ring: Card, put: Put) -> None:
    root = tmp_path / "root"
    put(root)
    for path in [*root.rglob("*"), root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = snapshot(root)
    try:
        load(ring, root)
        assert snapshot(root) == before
    finally:
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755)


def test_a_cache_that_cannot_be_made_names_the_variable(
    tmp_path: Path, ring: Card, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GNNLIB_CACHE", str(tmp_path / "file"))
    monkeypatch.delenv("GNNLIB_DATA", raising=False)
    served = dataclasses.replace(
        ring, files=tuple(dataclasses.replace(f, url="https://example.org/ring.npz") for f in ring.files)
    )
    with pytest.raises(OSError, match="GNNLIB_CACHE names the cache folder to use instead"):
        load(served)


def test_cache_root_is_the_platforms_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GNNLIB_CACHE", raising=False)
    assert cache_root().name == "gnnlib"
    monkeypatch.setenv("GNNLIB_CACHE", "~/elsewhere")
    assert cache_root() == Path(os.path.expanduser("~/elsewhere"))


def test_whereabouts(cache: Path, tmp_path: Path, ring: Card, put: Put) -> None:
    assert whereabouts(dataclasses.replace(ring, files=())) == "bundled"
    assert whereabouts(ring) == "by hand"
    put(tmp_path)
    assert whereabouts(ring, tmp_path) == str(tmp_path / "rings")
    more = dataclasses.replace(ring, files=(*ring.files, CardFile("raw/second.txt")))
    assert whereabouts(more, tmp_path) == "incomplete"


def test_optional_files_are_asked_for_by_later_splits(
    cache: Path, tmp_path: Path, ring: Card, put: Put
) -> None:
    put(tmp_path)
    more = dataclasses.replace(
        ring,
        files=(*ring.files, CardFile("raw/masks.npz", optional=True)),
        options={"splits_without_optional": 1},
    )
    with pytest.raises(FileNotFoundError, match=r"masks.npz is missing"):
        load(more, tmp_path, split=1)
