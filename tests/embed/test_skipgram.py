"""Skip-gram: one step against the formulas in float64, both backends, any number of threads."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from gnnlib.embed import DeepWalk
from gnnlib.sparse import use_backend
from gnnlib.sparse.native.launch import SMALL
from gnnlib.sparse.ops.skipgram import cpu, skipgram, walk_windows


def naive(table: Tensor, other: Tensor, ptr: Tensor, context: Tensor, out: Tensor, rate: float) -> None:
    """A block in place: each centre sees the tables as they were, and goes through its contexts in order."""
    w, c = table.clone(), other.clone()
    for i, targets in enumerate(out.tolist()):
        mine, its = w.clone(), [c[max(v, 0)].clone() for v in targets]
        for u in context[ptr[i] : ptr[i + 1]].tolist():
            x = mine[u].clone()
            steps = []
            for k, v in enumerate(targets):
                f = float(x @ its[k])
                s = 1.0 if f > 6 else 0.0 if f < -6 else 1 / (1 + math.exp(-f))
                steps.append(rate * ((k == 0) - s) if v >= 0 else 0.0)
            for a, y in zip(steps, its, strict=True):
                mine[u] += a * y
                y += a * x
        table += mine - w
        for v, y in zip(targets, its, strict=True):
            other[max(v, 0)] += y - c[max(v, 0)]


def problem(width: int = 48, scale: float = 0.4) -> tuple[Tensor, ...]:
    walks = torch.randint(0, 30, (8, 11)).int()
    walks[3, 5:] = -1
    ptr, context, centre = walk_windows(walks, 4, seed=7)
    out = torch.randint(0, 30, (centre.numel(), 6)).int()
    out[:, 0] = centre
    out[:, 1:][out[:, 1:] == centre[:, None]] = -1
    table, other = scale * torch.randn(30, width), scale * torch.randn(30, width)
    return table, other, ptr, context, out


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("width", [16, 48, 80])
@pytest.mark.parametrize("same", [False, True], ids=["two-tables", "one-table"])
def test_blocks_equal_the_formulas(backend: str, width: int, same: bool) -> None:
    table, other, ptr, context, out = problem(width, scale=1.0)  # some scores are beyond 6
    other = table if same else other
    wide = table.double()
    wide_other = wide if same else other.double()
    block, size = 5, out.shape[0]
    for start in range(0, size, block):
        stop = min(start + block, size)
        rate = max(0.1 * (1 - (3 + start) / 90), 0.05)
        part = ptr[start : stop + 1] - ptr[start]
        naive(wide, wide_other, part, context[ptr[start] : ptr[stop]], out[start:stop], rate)
    with use_backend(backend):
        skipgram(table, other, ptr, context, out, 0.1, 0.05, 3, 90, block)
    assert float((table - wide).abs().max()) < 2e-4  # some ninety steps of vectors of length 9, in float32
    assert float((other - wide_other).abs().max()) < 2e-4


def test_a_step_follows_the_gradient() -> None:
    table, other, ptr, context, out = problem(scale=0.2)
    w, c = table.double().requires_grad_(), other.double().requires_grad_()
    value = torch.zeros((), dtype=torch.float64)
    for i in range(out.shape[0]):
        for u in context[ptr[i] : ptr[i + 1]].long():
            for k, v in enumerate(out[i].tolist()):
                if v >= 0:
                    value = value + torch.nn.functional.logsigmoid((1 if k == 0 else -1) * (w[u] @ c[v]))
    value.backward()
    after = w.detach().clone(), c.detach().clone()
    lr = 1e-7  # so small that the contexts of a centre see the same rows
    with use_backend("reference"):
        skipgram(*after, ptr, context, out, lr, lr, 0, 1e9, 10**6)
    assert torch.allclose((after[0] - w) / lr, w.grad, atol=1e-4)
    assert torch.allclose((after[1] - c) / lr, c.grad, atol=1e-4)


def test_threads_give_the_same_bits() -> None:
    found = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.manual_seed(0)
            torch.set_num_threads(count)
            table, other, ptr, context, out = problem(144)
            assert out.shape[1] * context.numel() * 144 > SMALL
            skipgram(table, other, ptr, context, out, 0.1, 0.01, 0, 1000, 17)
            found.append((table, other))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("slow", [1, 2])
def test_threads_work_together_while_that_is_faster(slow: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bits are those of one call on one thread."""
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("numba has one thread")
    run, asked, clock = cpu._launch_train.on, [], [0.0]

    def on(threads: int, *given: Any) -> None:
        asked.append((threads, len(given[4])))
        clock[0] += (9.0 if threads == slow else 1.0) * len(given[4])
        run(threads, *given)

    monkeypatch.setattr(cpu._launch_train, "on", on)
    monkeypatch.setattr(cpu.time, "perf_counter", lambda: clock[0])
    found = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.manual_seed(0)
            torch.set_num_threads(count)
            walks = torch.randint(0, 30, (30, 20)).int()
            ptr, context, centre = walk_windows(walks, 4, seed=7)
            table, other = torch.randn(30, 48), torch.randn(30, 48)
            skipgram(table, other, ptr, context, centre[:, None], 0.1, 0.01, 0, 1000, 5)
            found.append((table, other))
    finally:
        torch.set_num_threads(threads)
    part = cpu.TRIAL * 5
    together = [(2, part), (2, 2 * part), (2, 4 * part), (2, 8 * part), (2, 600 - 16 * part)]
    assert asked == [(1, 600), (1, part), *(together if slow == 1 else [(2, part), (1, 600 - 2 * part)])]
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_windows(backend: str) -> None:
    walks = torch.tensor([[0, 1, 2, 3, 4, 5], [6, 7, -1, -1, -1, -1], [8, -1, -1, -1, -1, -1]]).int()
    with use_backend(backend):
        ptr, context, centre = walk_windows(walks, 3, seed=1, offset=2)
        assert centre.tolist() == [0, 6, 8, 1, 7, 2, 3, 4, 5]
        assert context.tolist() == [2, 3, 0, 4, 1, 5, 2, 3]
        assert ptr.diff().tolist() == [1, 0, 0, 1, 0, 2, 2, 1, 1]
        many = torch.arange(40).repeat(500, 1).int()
        ptr, context, centre = walk_windows(many, 3, seed=2)
        assert centre[: 40 * 64].tolist() == torch.arange(40).repeat_interleave(64).tolist()
        assert (
            centre[-40 * 52 :].tolist() == torch.arange(40).repeat_interleave(52).tolist()
        )  # 500 = 7 * 64 + 52
        half = (context - torch.repeat_interleave(centre, ptr.diff())).abs()
        assert int(half.max()) == 3
        inner = (centre > 3) & (centre < 36)
        size = ptr.diff()[inner] // 2
        assert np.allclose(size.bincount(minlength=4)[1:] / size.numel(), 1 / 3, atol=0.02)
        # The widths of a walk do not depend on the part that it comes in.
        parts = [walk_windows(many[a:b], 3, seed=2, first=a)[0].diff() for a, b in ((0, 64), (64, 500))]
        assert torch.equal(ptr.diff(), torch.cat(parts))


def test_small_parts_of_a_graph_do_not_blow_up() -> None:
    """Two nodes joined to each other alone: their walks go to and fro, and each context comes ten times."""
    pairs = torch.arange(600).view(2, 300)
    draw = torch.randint(600, 700, (2, 900))
    method = DeepWalk(16, num_walks=4, walk_length=40, window=10, seed=0)
    vectors = method.fit_transform(torch.cat([pairs, pairs.flip(0), draw, draw.flip(0)], dim=1))
    assert float(np.linalg.norm(vectors, axis=1).max()) < 10
