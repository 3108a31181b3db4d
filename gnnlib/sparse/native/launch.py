"""How a CPU kernel is compiled, cached and started.

Each kernel is one function, compiled once, that divides its ``prange`` loops among as many threads as it is
told: one for small inputs and in forked processes, where an OpenMP pool would abort. Any number of threads
does the same arithmetic in the same order, so their results have the same bits.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
import torch
from numba import njit
from numba.core.dispatcher import Dispatcher
from torch import Tensor

from gnnlib.sparse.native import spread
from gnnlib.sparse.native.helper import helper

logger = logging.getLogger("gnnlib")

_BLOCKS = "gnnlib.sparse.native."

#: Feature operations under which one thread is faster than waking the pool (two-core EPYC Milan).
SMALL = 100_000

_forked = False
_pool = 0


def _after_fork() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_after_fork)


def num_threads() -> int:
    """Threads that a kernel may use: torch's number, at most numba's pool, one in a forked process."""
    return 1 if _forked else min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)


def _started() -> int:
    """Address of the pool's ``parallel_for``; starts the pool the first time.

    numba's OpenMP runtime is not torch's. A pool that spins between kernels takes the cores from torch's
    threads (two cores: a training step of 12 ms took 16 alone and 200 beside other work), so it sleeps,
    unless the user has chosen. The runtime reads the variable when it is loaded, which is now.
    """
    global _pool
    if not _pool:
        chosen = "OMP_WAIT_POLICY" in os.environ
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        numba.set_num_threads(num_threads())
        if not chosen:
            del os.environ["OMP_WAIT_POLICY"]
        _pool = llvmlite.binding.address_of_symbol("numba_parallel_for")
    return _pool


def _fingerprint(module: str) -> str:
    """Digest of what a kernel's machine code depends on: its file, that of its package, where constants
    stand, and the building blocks it uses.
    """
    digest = hashlib.sha256()
    package = str(sys.modules[module.rpartition(".")[0]].__file__)
    for path in sorted({package, str(spread.__file__), *_sources(module, set())}):
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:16]


def _sources(module: str, found: set[str]) -> set[str]:
    """Files of a module and of everything under ``gnnlib.sparse`` with compiled code that it names."""
    members = vars(sys.modules[module])
    if members["__file__"] in found:
        return found
    found.add(members["__file__"])
    for value in list(members.values()):
        named = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
        if isinstance(named, str) and (named.startswith(_BLOCKS) or isinstance(value, Dispatcher)):
            _sources(named, found)
    return found


class Launcher:
    """A compiled kernel. ``launcher(work, *args)`` runs it on as many threads as suit ``work`` operations."""

    kernels: list[Launcher] = []  # noqa: RUF012 - one list for all, read by ``gnnlib doctor --warm``
    announced = False

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = function.__name__.strip("_")
        mark = _fingerprint(function.__module__)
        self.compiled = njit(cache=True)(spread.lifted(function, f"{self.name}_{mark}"))
        Launcher.kernels.append(self)

    def __call__(self, work: int, *args: Any) -> Any:
        return self.on(1 if work < SMALL else num_threads(), *args)

    def on(self, threads: int, *args: Any) -> Any:
        """Run on so many threads, at most those of the pool; the result has the same bits for any number."""
        threads = min(threads, numba.config.NUMBA_NUM_THREADS)
        pool = 0 if threads == 1 else _started()
        known, start = len(self.compiled.overloads), time.perf_counter()
        result = self.compiled(pool, threads, *args)
        if len(self.compiled.overloads) != known:
            self._announce(time.perf_counter() - start)
        return result

    def _announce(self, seconds: float) -> None:
        if seconds > 1 and not Launcher.announced:
            Launcher.announced = True
            logger.warning(
                "compiling the CPU kernels on first use (%s took %.1f s); they are kept on disk for later "
                "runs, and 'gnnlib doctor --warm' compiles all of them ahead",
                self.name,
                seconds,
            )


def variant(*key: Any) -> Callable[[Callable[..., Any]], Any]:
    """:func:`helper` for a function that a factory makes, whose name shall tell ``key``.

    Symbols of compiled code are made of names and argument types. Two variants of one name, compiled in two
    processes, could get the same symbol, and a third process that loads both from the disk cache would then
    run one in place of the other.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        return helper(_named(function, "_".join([function.__qualname__.split(".")[0], *map(str, key)])))

    return decorate


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A copy under another name: numba's disk cache tells functions apart by name and line only."""
    copy = types.FunctionType(
        function.__code__, function.__globals__, name, function.__defaults__, function.__closure__
    )
    copy.__qualname__, copy.__module__, copy.__doc__ = name, function.__module__, function.__doc__
    return copy


def array(tensor: Tensor, dtype: torch.dtype | None = None) -> np.ndarray[Any, Any]:
    """The contiguous numpy view of a tensor's memory; a copy where layout or dtype must change."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if dtype is not None and tensor.dtype != dtype:
        tensor = tensor.to(dtype)
    return tensor.contiguous().numpy()


_EMPTY: dict[tuple[torch.dtype, int], np.ndarray[Any, Any]] = {}


def optional(tensor: Tensor | None, dtype: torch.dtype, dims: int = 1) -> np.ndarray[Any, Any]:
    """Like :func:`array` in the given dtype; an empty array stands for None."""
    if tensor is not None:
        return array(tensor, dtype)
    if (dtype, dims) not in _EMPTY:
        _EMPTY[dtype, dims] = torch.empty([0] * dims, dtype=dtype).numpy()
    return _EMPTY[dtype, dims]
