"""Structures that were built from a tensor, kept while that tensor lives and stays as it was."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")


def _version(tensor: Tensor) -> int | None:
    """How often the tensor was written in place; None where torch does not count (inference mode)."""
    return None if tensor.is_inference() else tensor._version


class WeakCache:
    """Values by the identity of a living, unchanged tensor; the oldest go when ``size`` tensors are held."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = threading.RLock()
        self._entries: OrderedDict[int, tuple[weakref.ref[Tensor], Any, dict[Hashable, Any]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, tensor: Tensor, parts: tuple[Tensor, ...], key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` returned for ``tensor``, whose index arrays are ``parts``, if nothing changed since.

        The value must not hold the tensor or a view of it: it would keep its own key alive.
        """
        version = _version(tensor)
        if version is None:
            return make()
        state = (version, *((p.data_ptr(), p.shape, p.stride(), p.dtype) for p in parts))
        name = id(tensor)
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry[0]() is not tensor or entry[1] != state:
                entry = (weakref.ref(tensor, lambda ref: self._drop(name, ref)), state, {})
                self._entries[name] = entry
                while len(self._entries) > self.size:
                    self._entries.popitem(last=False)
            self._entries.move_to_end(name)
            if key not in entry[2]:
                entry[2][key] = make()
            found: T = entry[2][key]
            return found

    def _drop(self, name: int, ref: weakref.ref[Tensor]) -> None:
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None and entry[0] is ref:
                del self._entries[name]


#: The one cache of the core: adjacencies by their edge_index, groups by their index.
structures = WeakCache(size=256)
