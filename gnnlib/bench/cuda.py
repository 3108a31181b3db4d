"""Measuring on a CUDA device: time by events, memory by the allocator, and what the device copies."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch


def why_not() -> str | None:
    """Why nothing can be measured on a CUDA device here, or None."""
    if torch.version.cuda is None and torch.version.hip is None:
        return "this torch was built for CPUs only; install one that was built for CUDA"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device; nvidia-smi tells whether the driver does"
    return None


def name() -> str:
    """The device's name, as the driver gives it."""
    return torch.cuda.get_device_name()


def elapsed(run: Callable[[], Any], calls: int) -> float:
    """Seconds per call between two events on the stream, so that what a call leaves running counts."""
    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    out = None
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        out = run()
    end.record()
    end.synchronize()
    del out
    milliseconds: float = start.elapsed_time(end)
    return milliseconds / 1e3 / calls


def peak(call: Callable[[], Any]) -> int:
    """Bytes by which ``call`` raises what the allocator has given out, at its highest."""
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = call()
    torch.cuda.synchronize()
    del out
    return torch.cuda.max_memory_allocated() - before


def copy_bandwidth(size: int = 2**30, rounds: int = 10) -> float:
    """Bytes read and written per second by a copy too large for any cache; the best of ``rounds``."""
    source = torch.ones(size // 4, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * size / min(elapsed(lambda: target.copy_(source), 1) for _ in range(rounds))
