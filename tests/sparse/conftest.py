"""What the core's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from gnnlib.sparse import use_backend


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """One thread unless a test asks for more: its tensors are small, and the serial kernels run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def two_threads(_one_thread: None) -> None:
    """Two threads, so that large inputs take the parallel kernels."""
    torch.set_num_threads(2)


@pytest.fixture(params=["cpu", "reference"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Everything in the test runs on this backend."""
    with use_backend(request.param):
        yield request.param
