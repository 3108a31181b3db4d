"""Where the GPU kernels run: in Triton's interpreter on a CPU, or on a CUDA device."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from gnnlib.sparse import use_backend


def absent(device: str) -> str | None:
    """Why the kernels cannot run there, or None."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    import triton

    from gnnlib.sparse.gpu.launch import INTERPRETED

    if device == "cuda":
        if not torch.cuda.is_available():
            return "there is no CUDA device"
        return "TRITON_INTERPRET=1 keeps the kernels off the CUDA device" if INTERPRETED else None
    if not INTERPRETED:
        return "the kernels are compiled for the CUDA device, on which the same tests run"
    triton_version, numpy_version = (
        tuple(int(n) for n in module.__version__.split(".")[:2]) for module in (triton, np)
    )
    if triton_version < (3, 9) and numpy_version >= (2, 4):
        return "the interpreter of Triton before 3.9 fails with numpy 2.4 and later"
    return None


@pytest.fixture(params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Everything in the test runs on the gpu backend, with tensors on this device."""
    name = "cuda" if request.param == "cuda" else "cpu"
    if (why := absent(name)) is not None:
        pytest.skip(why)
    with use_backend("gpu"):
        yield torch.device(name, 0) if name == "cuda" else torch.device(name)


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of more than four edges are hubs, so that small graphs have many."""
    from gnnlib.sparse.gpu import work

    monkeypatch.setattr(work, "CUT", 4)
