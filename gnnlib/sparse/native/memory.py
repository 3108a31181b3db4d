"""Memory for the results of kernels."""

from __future__ import annotations

import ctypes
import math
import sys
from functools import cache
from typing import Any

import torch
from torch import Tensor

#: Bytes from which huge pages are asked for. A result of 87 MB took 46 ms to touch for the first time on
#: ordinary pages and 9 ms on huge ones (EPYC Milan, one thread).
LARGE = 1 << 23
_HUGE = 1 << 21
_MADV_HUGEPAGE = 14


@cache
def _advise() -> Any:
    """The system's ``madvise``; None where there is none or it knows no huge pages."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        advise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise


def empty(*shape: int, dtype: torch.dtype) -> Tensor:
    """``torch.empty`` on a CPU, a large one on huge pages where the system grants them.

    Large results are fresh mappings, so most of the time to write one is page faults. Only whole huge pages
    inside the result are asked for: its size does not grow.
    """
    out = torch.empty(shape, dtype=dtype)
    size = math.prod(shape) * dtype.itemsize
    if size >= LARGE and (advise := _advise()) is not None:
        start = -(-out.data_ptr() // _HUGE) * _HUGE
        length = (out.data_ptr() + size - start) // _HUGE * _HUGE
        advise(start, length, _MADV_HUGEPAGE)  # advice: when it is refused, ordinary pages serve
    return out
