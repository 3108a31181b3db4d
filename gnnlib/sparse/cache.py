"""Structures that were built from a tensor, kept while that tensor lives and stays as it was."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

T = TypeVar("T")


def capturing() -> bool:
    """Whether a CUDA graph is being captured: nothing may wait for the device then, and what is made holds no
    values before the graph runs, so it must not be kept.
    """
    started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return started and torch.cuda.is_current_stream_capturing()


def _version(tensor: Tensor) -> int | None:
    """How often the tensor was written in place; None where torch does not count (inference mode)."""
    return None if tensor.is_inference() else tensor._version


def _state(version: int, parts: tuple[Tensor, ...]) -> list[Any]:
    """What must not have changed: the version, and where and how the index arrays lie in memory."""
    state: list[Any] = [version]
    for p in parts:
        state += p.untyped_storage()._cdata, p.storage_offset(), p.shape, p.stride(), p.dtype
    return state


class _Entry(NamedTuple):
    tensor: weakref.ref[Tensor]
    state: list[Any]
    storages: tuple[StorageWeakRef, ...]  # while these exist, no other storage gets the same address
    values: dict[Hashable, Any]


class WeakCache:
    """Values by the identity of a living, unchanged tensor; the oldest go when ``size`` tensors are held.

    A tensor is unchanged while torch counts no write to it. Writes that torch does not see (through a numpy
    view, ``tensor.data[...]`` or another process) go unnoticed.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._paused = threading.local()
        self.renew_lock()

    def __len__(self) -> int:
        return len(self._entries)

    def renew_lock(self) -> None:
        """Take a fresh lock; in a forked process another thread of the parent may have held the old one."""
        self._lock = threading.RLock()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Neither look up nor keep anything in this thread."""
        before = getattr(self._paused, "on", False)
        self._paused.on = True
        try:
            yield
        finally:
            self._paused.on = before

    def keeps(self, tensor: Tensor) -> bool:
        """Whether what is made for ``tensor`` now is kept."""
        return _version(tensor) is not None and not getattr(self._paused, "on", False) and not capturing()

    def get(self, tensor: Tensor, parts: tuple[Tensor, ...], key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` returned for ``tensor``, whose index arrays are ``parts``, if nothing changed since.

        The value must not hold the tensor or a view of it: it would keep its own key alive.
        """
        version = _version(tensor)
        if version is None or getattr(self._paused, "on", False):
            return make()
        state = _state(version, parts)
        with self._lock:
            found = self._find(tensor, state)
            if found is not None and key in found.values:
                self._entries.move_to_end(id(tensor))
                known: T = found.values[key]
                return known
        if capturing():
            return make()
        made = make()  # without the lock: make may wait for a compiler or an import that another thread does
        with self._lock:
            entry = self._find(tensor, state) or self._add(tensor, state, parts)
            kept: T = entry.values.setdefault(key, made)
            return kept

    def peek(self, tensor: Tensor, key: Hashable) -> Any:
        """What is kept for ``tensor``, its own one part, under ``key`` if it did not change; else None."""
        version = _version(tensor)
        if version is None or id(tensor) not in self._entries:
            return None
        with self._lock:
            found = self._find(tensor, _state(version, (tensor,)))
            return None if found is None else found.values.get(key)

    def _find(self, tensor: Tensor, state: list[Any]) -> _Entry | None:
        entry = self._entries.get(id(tensor))
        return entry if entry is not None and entry.tensor() is tensor and entry.state == state else None

    def _add(self, tensor: Tensor, state: list[Any], parts: tuple[Tensor, ...]) -> _Entry:
        name = id(tensor)
        storages = tuple(StorageWeakRef(p.untyped_storage()) for p in parts)  # type: ignore[no-untyped-call]
        entry = _Entry(weakref.ref(tensor, lambda ref: self._drop(name, ref)), state, storages, {})
        self._entries[name] = entry
        self._entries.move_to_end(name)
        while len(self._entries) > self.size:
            self._entries.popitem(last=False)
        return entry

    def _drop(self, name: int, ref: weakref.ref[Tensor]) -> None:
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None and entry.tensor is ref:
                del self._entries[name]


#: The one cache of the core: adjacencies by their edge_index, groups by their index.
structures = WeakCache(size=256)
os.register_at_fork(after_in_child=structures.renew_lock)
