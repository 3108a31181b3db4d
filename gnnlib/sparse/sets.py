"""Sets of rows: which elements a reduction takes together, sorted once for each index."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gnnlib.sparse.autograd import traced
from gnnlib.sparse.cache import structures
from gnnlib.sparse.convert import as_csr
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.build import index_dtype
from gnnlib.sparse.ops.scatter import gather_rows


@dataclass(frozen=True)
class Sets:
    """A family of R sets of N elements, as the rows of a CSR ``[R, N]`` with a slot for each membership.

    The elements of a set are in the order of the index. An element may lie in several sets, as a node does
    in those of its neighbours, or in none.

    Args:
        adj: row = set, column = element.
        in_order: slot s holds element s, so that rows of elements are rows of slots.
    """

    adj: CSR
    in_order: bool

    @property
    def num_sets(self) -> int:
        """Number of sets R."""
        return self.adj.num_rows

    @property
    def indptr(self) -> Tensor:
        """Offsets of the sets over the slots, int64 ``[R + 1]``."""
        return self.adj.indptr

    @property
    def count(self) -> Tensor:
        """Elements of each set, int64 ``[R]``."""
        return self.adj.degree

    def take(self, x: Tensor) -> Tensor:
        """Rows of elements ``[N, ...]`` -> rows of slots ``[E, ...]``, those of a set next to each other."""
        if self.in_order:
            return x
        flat = x.reshape(x.shape[0], math.prod(x.shape[1:]))
        return gather_rows(self.adj.indices, flat).reshape(self.adj.num_edges, *x.shape[1:])

    def of_elements(self) -> Tensor:
        """The set of each element, int64 ``[N]``, where each element lies in exactly one."""
        rows = self.adj.rows
        if self.in_order:
            return rows
        return torch.empty_like(rows).scatter_(0, self.adj.indices.long(), rows)

    def of_slots(self) -> Sets:
        """The same sets with the slots for elements, for values that :meth:`take` or an edge op gave."""
        return self if self.in_order else self.adj.derive("sets of slots", lambda a: Sets(_slots(a), True))

    def first(self, most: int) -> Sets:
        """The sets of the first ``most`` elements of each; reads the sizes, so not for compiled code."""
        count = self.count
        if not count.numel() or int(count.max()) <= most:
            return self
        place = torch.arange(self.adj.num_edges, device=count.device) - self.indptr[self.adj.rows]
        indptr = torch.zeros_like(self.indptr)
        torch.cumsum(count.clamp(max=most), 0, out=indptr[1:])
        return Sets(CSR.trusted(indptr, self.adj.indices[place < most], self.adj.num_cols), False)

    def places(self, length: int | None = None) -> tuple[Tensor, Tensor]:
        """Slot and validity of each place of a padded form, ``[R, L]`` both; slot E where there is none.

        L is the size of the largest set if not given; elements past it are left out.
        """
        if length is None:
            if traced(self.indptr):
                raise ValueError(
                    "Aggregation: compiled code needs the size of the largest set; pass max_num_elements"
                )
            length = int(self.count.max()) if self.num_sets else 0
        place = torch.arange(length, device=self.indptr.device)
        valid = place < self.count[:, None]
        return torch.where(valid, self.indptr[:-1, None] + place, self.adj.num_edges), valid


def as_sets(
    x: Tensor,
    index: Tensor | None,
    ptr: Tensor | None = None,
    num_sets: int | None = None,
    who: str = "as_sets",
) -> Sets:
    """The sets of the rows of x that share an index, or lie between two offsets; kept while that lives.

    Args:
        x: rows ``[N, ...]``.
        index: set of each row, integers from 0 in any order ``[N]``.
        ptr: offsets of the sets, non-decreasing from 0 to N, ``[R + 1]``; takes the place of ``index``.
        num_sets: number of sets R; the largest index plus one when omitted.
        who: the caller, for messages.

    Without index and ptr all rows are one set. Raises TypeError for a wrong dtype, ValueError for a shape or
    a number that does not fit.
    """
    if ptr is not None:
        return _from_ptr(x, ptr, num_sets, who)
    if index is None:
        index = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
        num_sets = 1 if num_sets is None else num_sets
    check_index("index", index, x, who)
    if index.shape[0] != x.shape[0]:
        raise ValueError(
            f"{who}: index has {index.shape[0]} entries but x has {x.shape[0]} rows along dim; pass the set "
            "of each row"
        )
    if num_sets is None:
        if traced(x, index):
            raise ValueError(f"{who}: compiled code needs the number of sets; pass dim_size")
        num_sets = int(index.max()) + 1 if index.numel() else 0
    if traced(index):
        return Sets(_by_index(index, num_sets), False)
    return structures.get(index, (index,), ("sets", num_sets), lambda: _sorted(index, num_sets, who))


def check_index(name: str, index: Tensor, x: Tensor, who: str) -> None:
    """Refuse what is no list of integers beside x."""
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise TypeError(f"{who}: {name} is {index.dtype}; pass integers (torch.int64)")
    if index.dim() != 1:
        raise ValueError(f"{who}: {name} has shape {list(index.shape)}; expected one dimension")
    if index.device != x.device:
        raise ValueError(f"{who}: x is on {x.device} but {name} is on {index.device}; move one of them")


def check_not_negative(name: str, index: Tensor, who: str) -> None:
    """Refuse numbers below 0, on a CPU: elsewhere reading them would wait for the device."""
    if index.device.type == "cpu" and index.numel() and not traced(index) and (low := int(index.min())) < 0:
        raise ValueError(f"{who}: {name} has the entry {low}; pass numbers from 0")


def _by_index(index: Tensor, num_sets: int) -> CSR:
    elements = torch.arange(index.shape[0], device=index.device)
    return as_csr(torch.stack([elements, index.long()]), (index.shape[0], num_sets))


def _sorted(index: Tensor, num_sets: int, who: str) -> Sets:
    if index.device.type == "cpu" and index.numel():
        low, high = (int(v) for v in index.aminmax())
        if low < 0 or high >= num_sets:
            raise ValueError(
                f"{who}: index names set {low if low < 0 else high} but there are {num_sets} sets, 0 to "
                f"{num_sets - 1}; check the index or pass a larger dim_size"
            )
    adj = _by_index(index, num_sets)
    return Sets(adj, adj.perm is None)


def _from_ptr(x: Tensor, ptr: Tensor, num_sets: int | None, who: str) -> Sets:
    check_index("ptr", ptr, x, who)
    if not ptr.shape[0]:
        raise ValueError(f"{who}: ptr is empty; it holds one more entry than there are sets")
    if num_sets is not None and num_sets != ptr.shape[0] - 1:
        raise ValueError(
            f"{who}: dim_size={num_sets} came with the ptr of {ptr.shape[0] - 1} sets; leave dim_size out"
        )
    n = x.shape[0]
    if traced(ptr):
        return Sets(_by_ptr(ptr, n), True)
    return structures.get(ptr, (ptr,), ("sets of ptr", n), lambda: _covering(ptr, n, who))


def _by_ptr(ptr: Tensor, num_elements: int) -> CSR:
    elements = torch.arange(num_elements, dtype=index_dtype(num_elements), device=ptr.device)
    return CSR.trusted(ptr.to(torch.int64, copy=True), elements, num_elements)


def _covering(ptr: Tensor, num_elements: int, who: str) -> Sets:
    if ptr.device.type == "cpu":
        first, last = int(ptr[0]), int(ptr[-1])
        if first != 0 or last != num_elements or bool((ptr.diff() < 0).any()):
            raise ValueError(
                f"{who}: ptr runs from {first} to {last} over {num_elements} rows of x; it must start at 0, "
                "never decrease and end at the number of rows"
            )
    return Sets(_by_ptr(ptr, num_elements), True)


def _slots(adj: CSR) -> CSR:
    return CSR.trusted(
        adj.indptr,
        torch.arange(adj.num_edges, dtype=index_dtype(adj.num_edges), device=adj.device),
        adj.num_edges,
    )
