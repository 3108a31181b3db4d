"""Downloads: checked, whole, over https, and clear about what failed. The server is this machine."""

from __future__ import annotations

import dataclasses
import logging
import zipfile
from pathlib import Path

import pytest

from gnnlib.data import fetch, load
from gnnlib.data.card import Archive, Card, CardFile


def at(card: Card, url: str | None, digest: str | None = None) -> Card:
    """The card with another address for its file."""
    file = dataclasses.replace(card.files[0], url=url, sha256=digest or card.files[0].sha256)
    return dataclasses.replace(card, files=(file,))


def left_over(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file() and "locks" not in path.parts]


def test_what_is_missing_is_fetched_once(cache: Path, ring: Card, ring_file: Path, served: str) -> None:
    card = at(ring, f"{served}/ring.npz")
    assert load(card).folder == cache / "datasets" / "rings"
    assert left_over(cache) == [cache / "datasets" / "rings" / "raw" / "ring.npz"]
    ring_file.unlink()
    assert len(load(card).splits) == 2


def test_the_wrong_content_is_not_kept(cache: Path, ring: Card, served: str) -> None:
    with pytest.raises(ValueError, match=r"ring.npz is not the file that is expected") as caught:
        load(at(ring, f"{served}/ring.npz", "b" * 64))
    assert "b" * 64 in str(caught.value)
    assert str(ring.files[0].sha256) in str(caught.value)
    assert left_over(cache) == []


def test_an_answer_of_not_found(cache: Path, ring: Card, served: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"could not be fetched .the server answered 404.* put it at"):
        load(at(ring, f"{served}/absent.npz"))
    assert left_over(cache) == []


def test_no_network(cache: Path, ring: Card) -> None:
    unreachable = "https://127.0.0.1:9/ring.npz"  # nothing listens on the discard port
    with pytest.raises(FileNotFoundError) as caught:
        load(at(ring, unreachable))
    message = str(caught.value)
    assert f"{unreachable} could not be fetched (no connection: is this machine online?)" in message
    assert f"put it at {cache / 'datasets/rings/raw/ring.npz'}, or set GNNLIB_DATA" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "url", ["http://example.org/ring.npz", "ftp://example.org/ring.npz", "file:///etc/passwd"]
)
def test_only_https_leaves_the_machine(cache: Path, ring: Card, url: str) -> None:
    with pytest.raises(ValueError, match="is not an https address; correct the card"):
        load(at(ring, url))


def test_a_redirection_away_from_https_is_refused(cache: Path, ring: Card, served: str) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"it leads to http://example.org/ring.npz, which is not https"
    ):
        load(at(ring, f"{served}/moved"))


def unknown_digest(card: Card, url: str | None) -> Card:
    return dataclasses.replace(card, files=(CardFile("raw/ring.npz", url=url),))


def test_no_known_checksum_needs_asking(
    cache: Path, ring: Card, served: str, caplog: pytest.LogCaptureFixture
) -> None:
    card = unknown_digest(ring, f"{served}/ring.npz")
    with pytest.raises(
        FileNotFoundError, match=r"no checksum is known for .*gnnlib data ring --fetch --unverified"
    ):
        load(card)
    with caplog.at_level(logging.WARNING, "gnnlib.data"):
        assert fetch(card, unverified=True) == cache / "datasets" / "rings"
    assert str(ring.files[0].sha256) in caplog.text
    assert len(load(card).splits) == 2


def test_bundled_sets_have_nothing_to_fetch() -> None:
    with pytest.raises(ValueError, match="'digits' comes with the installed packages"):
        fetch("digits")


def zipped(card: Card, folder: Path, served: str, member: str = "top/ring.npz") -> Card:
    with zipfile.ZipFile(folder / "rings.zip", "w") as archive:
        archive.write(folder / "ring.npz", member)
        archive.writestr("../outside", "never unpacked")
        archive.writestr("top/unasked", "never unpacked")
    members = {"raw/ring.npz": "top/ring.npz", "raw/more.txt": "top/more.txt"}
    files = (*card.files, CardFile("raw/more.txt", optional=True))
    return dataclasses.replace(card, files=files, archive=Archive(f"{served}/rings.zip", members))


def test_a_zip_yields_the_files_of_the_card_only(
    cache: Path, ring: Card, ring_file: Path, served: str
) -> None:
    card = zipped(ring, ring_file.parent, served)
    assert len(load(card).splits) == 2
    assert left_over(cache) == [cache / "datasets" / "rings" / "raw" / "ring.npz"]


def test_a_zip_without_the_file(cache: Path, ring: Card, ring_file: Path, served: str) -> None:
    with pytest.raises(ValueError, match=r"rings.zip holds no top/ring.npz"):
        load(zipped(ring, ring_file.parent, served, member="elsewhere"))
    assert left_over(cache) == []


def test_a_zip_with_another_content(cache: Path, ring: Card, ring_file: Path, served: str) -> None:
    ring_file.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"raw/ring.npz from .*rings.zip is not the file that is expected"):
        load(zipped(ring, ring_file.parent, served))
    assert left_over(cache) == []


def test_no_zip_at_all(cache: Path, ring: Card, ring_file: Path, served: str) -> None:
    card = zipped(ring, ring_file.parent, served)
    (ring_file.parent / "rings.zip").write_bytes(b"an error page")
    with pytest.raises(ValueError, match=r"rings.zip is no readable zip"):
        load(card)
