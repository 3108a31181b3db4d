"""The same inputs give the same bits: for one thread and two, in each process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gnnlib.sparse import spmm
from gnnlib.sparse.native import launch
from tests.sparse.cases import CASES, SOME, Case, actual
from tests.sparse.graphs import HUBS, HUGE_HUB, LARGE, MIXED, ZOO, turned

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 17  # whole vectors and a rest


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    """Whether all bits agree."""
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    return all(
        torch.equal(s.contiguous().view(whole[s.itemsize]), t.contiguous().view(whole[t.itemsize]))
        for s, t in zip(a, b, strict=True)
    )


def digest() -> str:
    """A fingerprint of outputs and gradients on a graph that takes several threads."""
    found = hashlib.sha256()
    for case in SOME:
        for t in actual(case, LARGE, case.inputs(LARGE, torch.float32, WIDTH)):
            found.update(t.contiguous().numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_one_thread_and_two(case: Case, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    products = any(part in repr(case) for part in ("map", "gatv2-edge")) and "mapped" not in repr(case)
    if backend == "reference" and products:
        pytest.skip("torch's matrix product, in the reference, follows the threads on some processors")
    inputs = case.inputs(LARGE, torch.float32, WIDTH)
    one = actual(case, LARGE, inputs)
    torch.set_num_threads(2)
    monkeypatch.setattr(launch, "SMALL", 0)
    assert same(one, actual(case, LARGE, inputs))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["spmm-sum-edge-heads", "spmm-max-plain", "sddmm-dot-F"])
def test_one_thread_and_two_in_other_dtypes(name: str, dtype: torch.dtype) -> None:
    case = next(c for c in CASES if c.name == name)
    inputs = case.inputs(LARGE, dtype, WIDTH)
    one = actual(case, LARGE, inputs)
    torch.set_num_threads(2)
    assert same(one, actual(case, LARGE, inputs))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("case", SOME, ids=repr)
def test_odd_graphs_in_two_threads(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer rows than threads, none at all, or only empty ones; and hubs of many pieces."""
    for graph in (*ZOO, MIXED, HUBS, turned(HUBS), HUGE_HUB, turned(HUGE_HUB)):
        inputs = case.inputs(graph, torch.float32, WIDTH)
        monkeypatch.setattr(launch, "SMALL", 10**12)
        one = actual(case, graph, inputs)
        monkeypatch.setattr(launch, "SMALL", 0)
        assert same(one, actual(case, graph, inputs)), graph


@pytest.mark.usefixtures("two_threads")
def test_one_thread_and_two_are_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above compare one thread with two, and not one of them with itself."""
    used: list[int] = []
    run = launch.Launcher.on

    def spy(self: launch.Launcher, threads: int, *args: object) -> object:
        used.append(threads)
        return run(self, threads, *args)

    monkeypatch.setattr(launch.Launcher, "on", spy)
    spmm(LARGE.adj, torch.rand(301, WIDTH))
    spmm(MIXED.adj, torch.rand(37, 3))
    torch.set_num_threads(1)
    spmm(LARGE.adj, torch.rand(301, WIDTH))
    assert used == [2, 1, 1]


def test_two_processes() -> None:
    script = (
        "import sys, torch; torch.set_num_threads(int(sys.argv[1]));"
        "from tests.sparse.test_bits import digest; print(digest())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, threads],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": threads},
            stdout=subprocess.PIPE,
            text=True,
        )
        for threads in ("1", "2")
    ]
    here = digest()
    try:
        found = [p.communicate(timeout=200)[0].strip() for p in started]
    finally:
        for p in started:
            p.kill()
    assert found == [here, here]
