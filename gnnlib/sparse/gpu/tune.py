"""Which tile is fastest here: measured once for a shape class, kept in memory and on disk.

The tiles compared give the same bits, so a choice changes the time alone. ``GNNLIB_AUTOTUNE=0`` in the
environment measures nothing and takes the first tile, as small inputs and Triton's interpreter do.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Hashable
from pathlib import Path

import torch
import triton
from torch import Tensor

from gnnlib import files
from gnnlib.sparse.cache import capturing
from gnnlib.sparse.gpu.launch import INTERPRETED
from gnnlib.sparse.gpu.tiles import Shape, Tile

logger = logging.getLogger("gnnlib")

#: Gathered values under which a launch costs more than a tile can save.
SMALL = 1 << 24
_ROUNDS = 5

_chosen: dict[Hashable, Tile] = {}


def choose(
    op: str, like: Tensor, tiles: tuple[Tile, ...], run: Callable[[Tile], None], shape: Shape, *case: Hashable
) -> Tile:
    """The fastest of ``tiles``, measured where that was not done yet; the first where it is not worth it.

    Args:
        op: name of the kernel.
        like: a tensor on the device.
        tiles: candidates whose results have the same bits, the sensible default first.
        run: launches the kernel with a tile.
        shape: the shape class.
        case: what else tells two variants of the kernel apart.
    """
    if len(tiles) == 1 or not _tunes() or shape.width << shape.size < SMALL:
        return tiles[0]
    key = (op, like.get_device(), like.dtype, shape, case)
    found = _chosen.get(key)
    if found is None:
        if capturing():  # nothing can be timed inside a graph
            return tiles[0]
        found = _chosen[key] = _look_up(op, like, tiles, run, shape, case)
    return found


def _tunes() -> bool:
    return not INTERPRETED and os.environ.get("GNNLIB_AUTOTUNE", "1") != "0"


def _look_up(
    op: str,
    like: Tensor,
    tiles: tuple[Tile, ...],
    run: Callable[[Tile], None],
    shape: Shape,
    case: tuple[Hashable, ...],
) -> Tile:
    name = " ".join(str(part) for part in (op, like.dtype, *shape, *case))
    path = store(torch.cuda.get_device_name(like.device))
    known = load(path).get(name)
    if known in tiles:
        return Tile(*known)
    logger.info("gnnlib measures tiles of %s for %s; the choice is kept in %s", op, shape, path)
    times = {tile: _seconds(run, tile) for tile in tiles}
    best = min(times, key=times.__getitem__)
    save(path, name, best)
    return best


def _seconds(run: Callable[[Tile], None], tile: Tile) -> float:
    """The least time of a launch by CUDA events; infinite for a tile that the device has no room for."""
    try:
        run(tile)
    except triton.runtime.errors.OutOfResources:
        return float("inf")
    best = float("inf")
    for _ in range(_ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run(tile)
        end.record()
        end.synchronize()
        best = min(best, start.elapsed_time(end))
    return best


def store(device: str) -> Path:
    """The file that keeps the choices for a device and this version of Triton."""
    device = re.sub(r"[^A-Za-z0-9]+", "-", device)
    return files.cache_root() / "tiles" / f"{device}-triton-{triton.__version__}.json"


def load(path: Path) -> dict[str, tuple[int, ...]]:
    """The choices in a file; none where it cannot be read."""
    try:
        return {str(k): tuple(int(n) for n in v) for k, v in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def save(path: Path, name: str, tile: Tile) -> None:
    """Add a choice to a file; one that cannot be written is said and otherwise ignored."""
    try:
        files.write_json(path, {**load(path), name: list(tile)})
    except OSError as error:
        logger.warning("gnnlib measures its tiles again next time: %s", error)
