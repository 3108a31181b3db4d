"""Work in forked processes and in several threads, after the parent has used its thread pool."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gnnlib.sparse import as_csr, spmm
from gnnlib.sparse.cache import structures
from gnnlib.sparse.native import launch
from tests.sparse.cases import SOME, Case, actual
from tests.sparse.graphs import LARGE, draw

FORK = multiprocessing.get_context("fork")


def work(case: Case) -> list[Tensor]:
    return actual(case, LARGE, case.inputs(LARGE, torch.float32, 17))


class _Work(Dataset[list[Tensor]]):
    """Item k is the outcome of a case, computed wherever the loader asks for it."""

    def __len__(self) -> int:
        return len(SOME)

    def __getitem__(self, k: int) -> list[Tensor]:
        return [*work(SOME[k]), torch.tensor(launch.num_threads())]


def _only(items: list[Any]) -> Any:
    return items[0]


@pytest.mark.usefixtures("two_threads")
def test_dataloader_workers() -> None:
    here = [work(case) for case in SOME]  # starts the pool of the parent
    assert launch.num_threads() == 2
    loader = DataLoader(_Work(), num_workers=2, collate_fn=_only, timeout=120, multiprocessing_context=FORK)
    there = list(loader)
    for case, a, b in zip(SOME, here, there, strict=True):
        assert int(b[-1]) == 1, "a forked process must not wake the pool"
        assert all(torch.equal(s, t) for s, t in zip(a, b[:-1], strict=True)), case
    assert all(torch.equal(s, t) for s, t in zip(here[0], work(SOME[0]), strict=True))


def in_a_fork(task: Callable[[], object], seconds: float = 60) -> int | None:
    """Exit code of a forked process that runs the task; None when it hangs."""
    process = FORK.Process(target=task)
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode


@pytest.mark.usefixtures("two_threads")
def test_bare_fork() -> None:
    """A process that is no DataLoader worker, with the parent's cached structures."""
    case = SOME[0]
    wanted = work(case)

    def task() -> None:
        torch.set_num_threads(1)  # torch's own pool does not survive a fork either
        assert launch.num_threads() == 1
        assert all(torch.equal(s, t) for s, t in zip(wanted, work(case), strict=True))

    assert in_a_fork(task) == 0


def test_fork_while_another_thread_is_in_the_cache() -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with structures._lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        assert in_a_fork(lambda: as_csr(torch.tensor([[0, 1], [1, 0]]), 2), 20) == 0
    finally:
        done.set()
        thread.join()


@pytest.mark.usefixtures("two_threads")
def test_threads_share_tensors_and_kernels() -> None:
    """Several threads sort the same edges at once and run parallel kernels at once."""
    edge_indices = [draw(301, 301, 6000, seed=k) for k in range(4)]
    x = torch.rand(301, 33)
    wanted = [spmm(e.clone(), x) for e in edge_indices]
    start = threading.Barrier(4)

    def task(seed: int) -> None:
        start.wait(30)
        for k in torch.randperm(40, generator=torch.Generator().manual_seed(seed)).tolist():
            assert torch.equal(spmm(edge_indices[k % 4], x), wanted[k % 4])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(task, range(4)))


def test_threads_get_the_same_structure() -> None:
    edge_index = draw(301, 301, 6000)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: as_csr(edge_index, 301), range(32)))
    assert all(adj is found[0] for adj in found)


def test_threads_that_change_and_drop_tensors() -> None:
    """Entries come and go in several threads; no answer is stale and no entry is left behind."""
    before = len(structures)
    deadline = time.monotonic() + 1

    def task(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        while time.monotonic() < deadline:
            edge_index = torch.randint(9, (2, 20), generator=generator)
            for _ in range(3):
                assert as_csr(edge_index, 10).indices.sum() == edge_index[0].sum()
                edge_index.add_(1).remainder_(10)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(task, range(4)))
    assert len(structures) <= before
