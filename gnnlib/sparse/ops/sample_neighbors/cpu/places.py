"""Places of nodes in a sample: which nodes were met, in order, and where each of them is.

Where subgraphs share their nodes an array over all nodes holds the places; it is kept from one sample to
the next, and each sample wipes only what it wrote. Where every seed has a subgraph of its own, the places
of pairs (seed, node) are in a table with open addressing that grows with the sample.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
import torch
from numba import njit

from gnnlib.sparse.native import tile
from gnnlib.sparse.ops.sample_neighbors.request import Nodes

#: Edges ahead whose source's place is prefetched.
AHEAD = 16
#: Arrays over all nodes that a thread keeps.
KEPT = 16

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_NO_TAGS = np.empty(0, np.int64)
_NO_KEYS = np.empty(0, np.int64)


@njit(inline="always")
def _home(keys, key):
    return np.int64((np.uint64(key) * _GOLDEN) >> _HALF) & (keys.size - 1)


@njit(inline="always")
def entry(table, keys, size, node, tag):
    """Where in the table the place of a node stands, or will stand; it is -1 until then."""
    if keys.size == 0:
        return np.int64(node)
    key = tag * size + node
    p = _home(keys, key)
    while keys[p] != key and keys[p] >= 0:
        p = (p + 1) & (keys.size - 1)
    return p


@njit(cache=True)
def _enter(table, keys, size, source, tags, row, node, tag, base):
    """Places of the sources, new ones from ``base`` on; returns how many are new."""
    by_place = table.reshape(-1, 1)
    fresh = base
    for e in range(source.size):
        if e + AHEAD < source.size:
            coming = tile.item(source, e + AHEAD)
            if keys.size > 0:
                coming = _home(keys, tags[e + AHEAD] * size + coming)
            tile.prefetch(by_place, coming, 0)
        mine = tags[e] if keys.size > 0 else 0
        j = tile.item(source, e)
        p = entry(table, keys, size, j, mine)
        place = table[p]
        if place < 0:
            place = fresh
            table[p] = place
            node[place] = j
            if keys.size > 0:
                keys[p] = mine * size + j
                tag[place] = mine
            fresh += 1
        row[e] = place
    return fresh


@njit(cache=True)
def _wipe(table, node):
    for i in range(node.size):
        table[node[i]] = -1


@njit(cache=True)
def _again(table, keys, size, node, tag):
    """Write the places of known nodes into a larger table."""
    for i in range(node.size):
        p = entry(table, keys, size, node[i], tag[i])
        if table[p] < 0:
            table[p] = i
            keys[p] = tag[i] * size + node[i]


class Kept(threading.local):
    """Arrays over all nodes that this thread keeps for its next sample, each filled with one value.

    Args:
        fill: that value.
        dtype: of the arrays.
    """

    def __init__(self, fill: float, dtype: type[np.generic]) -> None:
        self.fill, self.dtype = fill, dtype
        self.tables: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()

    def take(self, size: int) -> np.ndarray:
        """An array of this size, taken out of those that are kept or made new."""
        for key in self.tables:
            if key[0] == size:
                return self.tables.pop(key)
        return np.full(size, self.fill, self.dtype)

    def give(self, table: np.ndarray) -> None:
        """Keep an array that holds nothing but the value."""
        self.tables[table.size, id(table)] = table
        while len(self.tables) > KEPT:
            self.tables.popitem(last=False)


_kept = Kept(-1, np.int32)


class Places:
    """The nodes of one type that a sample met.

    Args:
        size: number of nodes there are.
        seeds: the first nodes, int64; one that comes twice keeps both places, and is found at the first.
        first_tag: number of the first seed where each has a subgraph of its own; None where they share.
    """

    def __init__(self, size: int, seeds: np.ndarray, first_tag: int | None) -> None:
        self.size, self.num_nodes = max(size, 1), seeds.size
        self.node = seeds.copy()
        self.tag = _NO_TAGS if first_tag is None else np.arange(first_tag, first_tag + seeds.size)
        self.apart = first_tag is not None
        if self.apart:
            self._grow(0)
        else:
            self.keys, self.table = _NO_KEYS, _kept.take(self.size)
            for_seeds = np.arange(seeds.size - 1, -1, -1)
            self.table[seeds[for_seeds]] = for_seeds  # backwards: the first of equal ones stays

    def between(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and tags of these places; tags are empty where subgraphs share nodes."""
        return self.node[begin:end], self.tag[begin:end]

    def enter(self, source: np.ndarray, tags: np.ndarray) -> np.ndarray:
        """The place of each source; new ones come after all that are known."""
        needed = self.num_nodes + source.size
        if self.node.size < needed:
            self.node = np.concatenate([self.node, np.empty(2 * needed - self.node.size, np.int64)])
            if self.apart:
                self.tag = np.concatenate([self.tag, np.empty(2 * needed - self.tag.size, np.int64)])
        if self.apart:
            self._grow(source.size)
        row = np.empty(source.size, np.int64)
        arrays = self.table, self.keys, self.size, source, tags, row, self.node, self.tag
        self.num_nodes = _enter(*arrays, self.num_nodes)
        return row

    def _grow(self, more: int) -> None:
        """Make room for so many pairs more, half of the table at most being taken."""
        wanted = 1 << (2 * (self.num_nodes + more) + 1).bit_length()
        if more and self.keys.size >= wanted // 2 and self.keys.size >= 2 * (self.num_nodes + more):
            return
        self.keys, self.table = np.full(wanted, -1, np.int64), np.full(wanted, -1, np.int32)
        known = self.node[: self.num_nodes], self.tag[: self.num_nodes]
        _again(self.table, self.keys, self.size, *known)

    def answer(self, counts: list[int]) -> Nodes:
        """The nodes as tensors of their own."""
        node, tag = (a[: self.num_nodes].copy() for a in (self.node, self.tag))
        return Nodes(torch.from_numpy(node), torch.from_numpy(tag) if self.apart else None, counts)

    def clear(self) -> None:
        """Give the array over all nodes back, wiped."""
        if not self.apart:
            _wipe(self.table, self.node[: self.num_nodes])
            _kept.give(self.table)
