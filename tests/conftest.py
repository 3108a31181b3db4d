"""What every test starts from: seeded generators, NaN in fresh memory, and the data root."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: more threads would only take turns
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

if (
    not torch.cuda.is_available()
):  # then Triton's interpreter runs the GPU kernels; it must know before they exist
    os.environ.setdefault("TRITON_INTERPRET", "1")


#: xdist gives the first half of the tests to one process, the second to another. The first compiles the CPU
#: kernels, op by op; the second begins with what needs few of them, and later finds them on disk.
_FIRST, _LAST = ("sparse", "gpu", "accel", "models"), ("bench", "train", "loader", "embed", "nn")


def _turn(item: pytest.Item) -> int:
    here = Path(__file__).parent
    folder = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
    if folder in _FIRST:
        return _FIRST.index(folder)
    return len(_FIRST) + (1 + _LAST.index(folder) if folder in _LAST else 0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests by folder, for two processes."""
    items.sort(key=_turn)


def pytest_collection_finish() -> None:
    """What the collection made stays to the end; no garbage collection need look through it."""
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Libraries that count their own objects at the end see none left."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - third-party code under test draws from the global state
    # torch.manual_seed also keeps a stack trace for each device that is not there: milliseconds a test.
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(0)


@pytest.fixture(autouse=True)
def _nan_in_fresh_memory() -> Iterator[None]:
    """Fill what ``torch.empty`` returns with NaN (or the largest integer): an unwritten output shows.

    torch fills only while its deterministic mode is on; ``warn_only`` keeps the mode from refusing
    operations that a test may use on purpose.
    """
    fill = torch.utils.deterministic.fill_uninitialized_memory
    mode = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.utils.deterministic.fill_uninitialized_memory = fill
    torch.use_deterministic_algorithms(mode, warn_only=warn_only)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep processed datasets in a folder of this run, away from the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNNLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real benchmark data that ``$GNNLIB_DATA`` names."""
    named = os.environ.get("GNNLIB_DATA")
    if not named:
        pytest.skip("GNNLIB_DATA is not set: it names the folder of benchmark data that this test reads")
    root = Path(named).expanduser()
    if not root.is_dir():
        pytest.fail(f"GNNLIB_DATA={named} is not a folder")
    return root.resolve()
