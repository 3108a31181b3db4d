"""A file is read only when it is the file that is expected."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from gnnlib.data import checksum, load
from gnnlib.data.card import Card, CardFile

Put = Callable[[Path], Path]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember digests of files that were written a moment ago."""
    monkeypatch.setattr(checksum, "_SETTLED", -1.0)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were digested."""
    seen: list[Path] = []
    digest = checksum.sha256

    def spy(path: Path, *, unpacked: bool = False) -> str:
        seen.append(path)
        return digest(path, unpacked=unpacked)

    monkeypatch.setattr(checksum, "sha256", spy)
    return seen


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_changed_file_is_refused(cache: Path, tmp_path: Path, ring: Card, put: Put, damage: str) -> None:
    path = put(tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(ValueError, match="is not the file that is expected") as caught:
        load(ring, tmp_path)
    message = str(caught.value)
    assert str(path) in message
    assert f"expected {ring.files[0].sha256}, found {found}" in message
    assert "fetch it again from made by the tests" in message


def test_a_pickle_that_differs_is_never_opened(cache: Path, tmp_path: Path, ring: Card, put: Put) -> None:
    put(tmp_path)
    pickled = dataclasses.replace(ring, files=(CardFile("raw/ring.npz", "0" * 64, pickled=True),))
    with pytest.raises(
        ValueError, match="It is a pickle, which can run code when read, so it was not opened"
    ):
        load(pickled, tmp_path)


def test_a_digest_is_computed_once(
    cache: Path, tmp_path: Path, ring: Card, put: Put, settled: None, hashed: list[Path]
) -> None:
    path = put(tmp_path)
    load(ring, tmp_path)
    load(ring, tmp_path)
    assert hashed == [path]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")  # the same size
    with pytest.raises(ValueError, match="is not the file that is expected"):
        load(ring, tmp_path)
    path.write_bytes(content)
    load(ring, tmp_path)
    assert len(hashed) == 3


def test_a_file_written_a_moment_ago_is_digested_again(
    cache: Path, tmp_path: Path, ring: Card, put: Put, hashed: list[Path]
) -> None:
    put(tmp_path)
    load(ring, tmp_path)
    load(ring, tmp_path)
    assert len(hashed) == 2


def test_a_broken_ledger_is_ignored(
    cache: Path, tmp_path: Path, ring: Card, put: Put, settled: None, hashed: list[Path]
) -> None:
    put(tmp_path)
    load(ring, tmp_path)
    (ledger,) = (cache / "checksums").iterdir()
    for content in ("{", "[1]"):
        ledger.write_text(content)
        load(ring, tmp_path)
    assert len(hashed) == 3


def test_unpacked_content_is_what_counts(tmp_path: Path) -> None:
    one, two = tmp_path / "one.gz", tmp_path / "two.gz"
    one.write_bytes(gzip.compress(b"the same", mtime=1, compresslevel=1))
    two.write_bytes(gzip.compress(b"the same", mtime=2, compresslevel=9))
    assert checksum.sha256(one) != checksum.sha256(two)
    expected = hashlib.sha256(b"the same").hexdigest()
    assert checksum.sha256(one, unpacked=True) == checksum.sha256(two, unpacked=True) == expected


@pytest.mark.parametrize("change", [lambda b: b[:-6], lambda b: b"no" + b, lambda b: b[:20] + b"??" + b[22:]])
def test_a_damaged_gzip_file_is_named(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "edges.csv.gz"
    path.write_bytes(change(gzip.compress(bytes(range(200)))))
    with pytest.raises(ValueError, match=r"edges.csv.gz is damaged or cut short"):
        checksum.sha256(path, unpacked=True)


def test_counts_are_held_against_the_card(cache: Path, tmp_path: Path, ring: Card, put: Put) -> None:
    put(tmp_path)
    wrong = dataclasses.replace(ring, counts={**ring.counts, "edges": 25})
    with pytest.raises(ValueError, match="edges should be 25 but 24 came"):
        load(wrong, tmp_path)
