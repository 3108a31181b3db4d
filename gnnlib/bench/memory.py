"""Peak resident memory of a call above the level before it, by the kernel's high-water mark."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_GROUP = Path("/sys/fs/cgroup")


def _kib(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise OSError(f"{_STATUS} has no {field}")


def why_not() -> str | None:
    """Why the high-water mark cannot be read here, or None."""
    try:
        _CLEAR.write_text("5")
        _kib("VmHWM")
    except OSError as e:
        return f"needs Linux with a writable {_CLEAR} ({e.strerror or e})"
    return None


def _trim() -> None:
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return  # another libc: freed blocks that it keeps are part of the level before the call


def peak(call: Callable[[], Any]) -> int:
    """Bytes by which ``call`` raises the resident memory of this process at its highest.

    Meaningful in a fresh process whose libraries are loaded: memory that the process holds free already
    can be reused without showing.

    Raises:
        OSError: where the mark cannot be reset; see :func:`why_not`.
    """
    _trim()
    _CLEAR.write_text("5")
    before = _kib("VmRSS")
    out = call()
    high = _kib("VmHWM")
    del out
    return max(0, high - before) * 1024


def free() -> int:
    """Bytes that can be had before the machine, or the group this process is in, runs out."""
    import psutil

    available = int(psutil.virtual_memory().available)
    try:  # a container's own limit, where it has one; what its page cache holds can be had too
        limit, used = ((_GROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        cache = next(
            int(line.split()[1])
            for line in (_GROUP / "memory.stat").read_text().splitlines()
            if line.startswith("inactive_file ")
        )
        return available if limit == "max" else min(available, int(limit) - int(used) + cache)
    except (OSError, ValueError, StopIteration):
        return available


def shortage(needed: int) -> str | None:
    """Why a call that holds ``needed`` bytes had better not start, or None."""
    if needed <= (there := free()):
        return None
    return (
        f"needs about {needed / 1e9:.1f} GB and {there / 1e9:.1f} GB are free; it was not started, "
        "since running out would stop other programs; free memory or take a larger machine"
    )
