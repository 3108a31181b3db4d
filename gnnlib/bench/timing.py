"""Wall-clock times of several contenders, measured in turn so that drift of the machine hits all alike."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Run = Callable[[], Any]

#: A sample lasts at least this long (seconds): shorter calls are repeated and divided.
MIN_SAMPLE = 0.05
#: A call that takes longer (seconds) is warm after one; its time hides whatever a second would still save.
PATIENCE = 3.0
#: Idle threads of an OpenMP pool spin for a millisecond or so after their last loop; let them sleep.
SETTLE = 0.005


@dataclass(frozen=True)
class Times:
    """Seconds per call of one contender, one entry a round."""

    samples: tuple[float, ...]

    @property
    def min(self) -> float:
        return min(self.samples)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """Range of the samples over their median."""
        return (max(self.samples) - self.min) / self.median


def elapsed(run: Run, calls: int) -> float:
    """Seconds per call of ``calls`` in a row."""
    out = None
    start = time.perf_counter()
    for _ in range(calls):
        out = run()
    end = time.perf_counter()
    del out  # the last result is freed outside the clock, every earlier one inside it, for all alike
    return (end - start) / calls


def alone(run: Callable[[], T]) -> T:
    """A call on one thread: what a loader's worker has, or what a figure per core asks for."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run()
    finally:
        torch.set_num_threads(threads)


def twice(run: Run) -> Any:
    """Two calls, or one that takes longer than :data:`PATIENCE`; the last result."""
    start = time.perf_counter()
    out = run()
    if time.perf_counter() - start > PATIENCE:
        return out
    del out  # or the peak of the second call would count the result of the first
    return run()


def interleave(
    runs: Mapping[str, Run],
    rounds: int,
    *,
    min_sample: float = MIN_SAMPLE,
    clock: Callable[[Run, int], float] = elapsed,
    on_sample: Callable[[str, float], None] = lambda name, seconds: None,
) -> dict[str, Times]:
    """Time every run once a round, in the same order each round, after two warm-up calls of each.

    ``clock(run, calls)`` gives seconds per call.

    A run whose first call takes longer than :data:`PATIENCE` gets no second.

    Every contender gives the same number of samples, so no minimum is favoured by more draws.
    """
    if rounds < 1:
        raise ValueError(f"interleave: rounds={rounds}; at least 1 is needed, 5 for a figure to quote")
    calls = {}
    for name, run in runs.items():
        slow = clock(run, 1) > PATIENCE
        calls[name] = 1 if slow else max(1, math.ceil(min_sample / max(clock(run, 1), 1e-7)))
    samples: dict[str, list[float]] = {name: [] for name in runs}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, run in runs.items():
                time.sleep(SETTLE)
                samples[name].append(clock(run, calls[name]))
                on_sample(name, samples[name][-1])
    finally:
        if collecting:
            gc.enable()
    return {name: Times(tuple(s)) for name, s in samples.items()}
