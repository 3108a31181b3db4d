"""Clocks, memory marks and byte counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gnnlib.bench import memory, timing, traffic
from gnnlib.bench.graphs import Graph
from gnnlib.bench.timing import Times, interleave


def test_contenders_take_turns_and_give_equally_many_samples() -> None:
    calls: list[str] = []
    runs = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    found = interleave(runs, 3, min_sample=0.0)
    assert [len(t.samples) for t in found.values()] == [3, 3]
    assert calls[4:] == ["a", "b"] * 3  # after two warm-up calls of each


def test_a_short_call_is_repeated_until_the_clock_can_see_it() -> None:
    count = 0

    def run() -> None:
        nonlocal count
        count += 1

    found = interleave({"short": run}, 2, min_sample=0.01)
    assert count > 200
    assert found["short"].min < 1e-4


def test_a_slow_call_is_warm_after_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "PATIENCE", -1.0)
    calls: list[int] = []
    interleave({"slow": lambda: calls.append(1)}, 2, min_sample=1.0)
    assert len(calls) == 1 + 2
    timing.twice(lambda: calls.append(1))
    assert len(calls) == 4


def test_a_shortage_names_what_is_needed_and_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.free() > 0
    assert memory.shortage(0) is None
    said = memory.shortage(10**15)
    assert said is not None
    assert said.startswith("needs about 1000000.0 GB")


def test_a_containers_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    whole = memory.free()
    for name, text in {"max": "3000\n", "current": "2000\n", "stat": "anon 1\ninactive_file 500\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory.free() == 3000 - 2000 + 500
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free() > 1500
    assert whole > 1500


def test_times_report_minimum_median_and_range() -> None:
    times = Times((3.0, 1.0, 2.0))
    assert (times.min, times.median, times.spread) == (1.0, 2.0, 1.0)


def test_rounds_must_be_positive() -> None:
    with pytest.raises(ValueError, match="rounds=0"):
        interleave({}, 0)


def test_a_peak_is_what_the_call_adds_even_when_it_is_freed() -> None:
    if why := memory.why_not():
        pytest.skip(why)
    size = 128 * 2**20
    keep = torch.ones(size // 4)  # the level before the call does not count
    found = memory.peak(lambda: torch.ones(size // 4).sum())
    assert 0.9 * size < found < 1.2 * size
    assert keep.numel()


def test_bytes_of_a_pass_worked_by_hand() -> None:
    graph = Graph("three", torch.tensor([[0, 0, 1], [1, 2, 2]]), 3)
    found = traffic.neighbor_pass(graph, 4)
    rest = 3 * 4 + 4 * 8 + 3 * 4 * 4  # indices, offsets, output
    assert found.once == 2 * 4 * 4 + rest  # node 2 is nobody's source
    assert found.per_edge == 3 * 4 * 4 + rest


def test_copy_bandwidth_is_that_of_a_machine() -> None:
    assert 1e8 < traffic.copy_bandwidth(2**24, rounds=2) < 1e13
