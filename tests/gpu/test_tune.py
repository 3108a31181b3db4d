"""Measured tiles: when they are measured, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from gnnlib.sparse.gpu import tiles, tune
from gnnlib.sparse.gpu.tiles import Shape, Tile

SHAPE = Shape.of(128, 4, 100_000, 2_000_000)
TILES = (Tile(4, 128, 4), Tile(2, 128, 2), Tile(1, 128, 1))


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Tile]:
    """A device whose third tile is the fastest; the tiles that were timed on it."""
    seen: list[Tile] = []

    def seconds(run: object, tile: Tile) -> float:
        seen.append(tile)
        return 1.0 / len(seen)

    monkeypatch.setenv("GNNLIB_CACHE", str(tmp_path))
    monkeypatch.setenv("GNNLIB_AUTOTUNE", "1")
    monkeypatch.setattr(tune, "INTERPRETED", False)
    monkeypatch.setattr(tune, "_seconds", seconds)
    monkeypatch.setattr(tune, "_chosen", {})
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB/HBM3")
    return seen


def choose(op: str = "spmm", shape: Shape = SHAPE) -> Tile:
    return tune.choose(op, torch.zeros(1), TILES, lambda tile: None, shape, 1, False)


def test_a_choice_is_measured_once_and_kept(timed: list[Tile], tmp_path: Path) -> None:
    assert choose() == TILES[2]
    assert timed == list(TILES)
    assert choose() == TILES[2]
    tune._chosen.clear()  # as in the next process
    assert choose() == TILES[2]
    assert timed == list(TILES)
    (path,) = (tmp_path / "tiles").iterdir()
    assert path.name.startswith("NVIDIA-H100-80GB-HBM3-triton-")
    assert choose("spmm_arg") == TILES[2]
    assert len(json.loads(path.read_text())) == 2


def test_a_damaged_or_stale_file_is_measured_again(timed: list[Tile]) -> None:
    choose()
    path = tune.store("NVIDIA H100 80GB/HBM3")
    for content in ("", "[1]", '{"spmm": 3}', path.read_text().replace("128", "99")):
        path.write_text(content)
        tune._chosen.clear()
        timed.clear()
        assert choose() in TILES
        assert len(timed) == 3


def test_a_folder_that_cannot_be_written_is_said(
    timed: list[Tile], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GNNLIB_CACHE", str(tmp_path / "file"))
    assert choose() == TILES[2]
    assert "gnnlib measures its tiles again next time" in caplog.text


@pytest.mark.usefixtures("timed")
def test_nothing_is_measured_where_it_is_not_worth_it(
    timed: list[Tile], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose(shape=Shape.of(128, 4, 100, 2000)) == TILES[0]
    monkeypatch.setenv("GNNLIB_AUTOTUNE", "0")
    assert choose() == TILES[0]
    monkeypatch.setenv("GNNLIB_AUTOTUNE", "1")
    monkeypatch.setattr(tune, "INTERPRETED", True)
    assert choose() == TILES[0]
    assert not timed


def test_tiles_fill_their_warps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "INTERPRETED", False)
    shapes = ((1, 4, 7), (7, 8, 100), (16, 2, 1), (64, 4, 20), (100, 4, 50), (1433, 4, 2))
    for width, itemsize, degree in shapes:
        shape = Shape.of(width, itemsize, 1000, 1000 * degree)
        found = tiles.row_tiles.__wrapped__(shape)
        assert len(found) == len(set(found)) >= 2 or width < 16
        for tile in found:
            assert all(n & (n - 1) == 0 for n in tile)  # powers of two
            rows, programs = tile.grid(1000, width)
            assert rows * tile.rows >= 1000
            assert programs * tile.columns >= width
