"""Compressed sparse rows: the one graph structure that every op reads."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from gnnlib.sparse.autograd import traced
from gnnlib.sparse.cache import capturing
from gnnlib.sparse.ops import build

T = TypeVar("T")
_INT32_MAX = 2**31 - 1
_INDEX = (torch.int32, torch.int64)


class CSR:
    r"""A sparse matrix in compressed rows, row = target node and column = source node.

    Row i holds the **sources** of target i in ``indices[indptr[i]:indptr[i + 1]]``, so aggregation over
    incoming edges is the product ``A @ x``. A place in ``indices`` is a *slot*. Edge values (weights,
    scores) are in the **caller's** edge order, which ``perm`` maps to: slot s holds the caller's edge
    ``perm[s]``; without a ``perm`` slots and edges are the same. The transpose, degrees and whatever layers
    derive from the structure are computed once and kept, so a CSR must not be changed in place.

    Args:
        indptr: row offsets, non-decreasing from 0, ``[R + 1]``, kept as int64.
        indices: column of each slot, ``[E]``, kept as int32 where ``num_cols`` allows it, else int64.
        num_cols: number of columns C; the number of rows when omitted.
        perm: the caller's edge of each slot, int64 ``[E]``.
        value: edge weights that come with the matrix, in the caller's order, ``[num_values]``.
        num_values: length of the caller's edge values; E when omitted.

    Shapes: R rows, C columns, E slots.
    Cost: O(E) checks on a CPU.
    Raises: TypeError for offsets or indices that are no integers; ValueError for a wrong shape, offsets
        that decrease, or a column outside ``[0, num_cols)``.
    """

    indptr: Tensor
    indices: Tensor
    num_cols: int
    perm: Tensor | None
    value: Tensor | None
    num_values: int

    def __init__(
        self,
        indptr: Tensor,
        indices: Tensor,
        num_cols: int | None = None,
        *,
        perm: Tensor | None = None,
        value: Tensor | None = None,
        num_values: int | None = None,
    ) -> None:
        _check_arrays(indptr, indices, num_cols)
        _check_companions(indices, perm, value, num_values)
        cols = indptr.numel() - 1 if num_cols is None else num_cols
        self._fill(
            indptr.to(torch.int64).contiguous(),
            indices.to(torch.int32 if cols <= _INT32_MAX else torch.int64).contiguous(),
            cols,
            perm,
            value,
            num_values,
        )

    @classmethod
    def trusted(
        cls,
        indptr: Tensor,
        indices: Tensor,
        num_cols: int,
        perm: Tensor | None = None,
        value: Tensor | None = None,
        num_values: int | None = None,
    ) -> Self:
        """A CSR of arrays that the core made itself, without the checks; shapes as in the class."""
        self = cls.__new__(cls)
        self._fill(indptr, indices, num_cols, perm, value, num_values)
        return self

    def _fill(
        self,
        indptr: Tensor,
        indices: Tensor,
        num_cols: int,
        perm: Tensor | None,
        value: Tensor | None,
        num_values: int | None,
    ) -> None:
        self.indptr = indptr
        self.indices = indices
        self.num_cols = num_cols
        self.perm = perm
        self.value = value
        self.num_values = indices.shape[0] if num_values is None else num_values
        self._cache: dict[Hashable, Any] = {}
        self._structure: dict[Hashable, Any] = {}

    # -- sizes and arrays -------------------------------------------------------------------------

    @property
    def num_rows(self) -> int:
        """Number of rows R, the target nodes."""
        return self.indptr.shape[0] - 1

    @property
    def num_edges(self) -> int:
        """Number of slots E."""
        return self.indices.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, ``(R, C)``."""
        return self.num_rows, self.num_cols

    @property
    def device(self) -> torch.device:
        """The device that holds the arrays."""
        return self.indptr.device

    @property
    def arrays(self) -> tuple[Tensor, Tensor]:
        """``indptr`` and ``indices``, the arguments with which every kernel begins."""
        return self.indptr, self.indices

    @property
    def filled(self) -> Tensor:
        """Which slots hold an edge, bool ``[E]``: all but the spare ones that traced code keeps for loops."""
        return torch.arange(self.num_edges, device=self.device) < self.indptr[-1]

    def __repr__(self) -> str:
        order = "" if self.perm is None else ", reordered"
        return f"CSR({self.num_rows} x {self.num_cols}, {self.num_edges} edges{order}, {self.device})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}, "_structure": {}}

    # -- structure derived from the arrays --------------------------------------------------------

    def derive(self, key: Hashable, fn: Callable[[CSR], T]) -> T:
        """Return ``fn(self)``, computed once for this CSR and ``key``; not kept while compiling.

        ``fn`` may use the structure and the caller's order but not ``value``, which is not part of the key.
        """
        return self._keep(self._cache, key, fn)

    def _keep(self, cache: dict[Hashable, Any], key: Hashable, fn: Callable[[CSR], T]) -> T:
        if traced(self.indptr):
            return fn(self)
        if key not in cache:
            made = fn(self)
            if capturing():
                return made
            cache[key] = made
        found: T = cache[key]
        return found

    @property
    def degree(self) -> Tensor:
        """Entries of each row, int64 ``[R]``."""
        return self._keep(self._structure, "degree", lambda a: a.indptr.diff())

    @property
    def col_degree(self) -> Tensor:
        """Entries of each column, int64 ``[C]``."""
        return self._keep(self._structure, "col_degree", lambda a: a._transpose[0].diff())

    @property
    def rows(self) -> Tensor:
        """Row of each slot, int64 ``[E]``; made anew at each call."""
        return row_of_slot(self.indptr, self.num_edges)

    @property
    def _transpose(self) -> tuple[Tensor, Tensor, Tensor]:
        return self._keep(self._structure, "transpose", _transposed_arrays)

    @property
    def transpose_perm(self) -> Tensor:
        """Slot of this CSR for each slot of the transpose, int64 ``[E]``."""
        return self._transpose[2]

    @property
    def transposed(self) -> CSR:
        """The transpose ``[C, R]``, cached; edge values stay in the same caller's order."""
        flipped = self.derive("transposed", _transposed)
        return flipped if self.value is None else flipped.with_value(self.value)

    def with_value(self, value: Tensor) -> CSR:
        """The same structure with the edge weights ``value``; all that is cached is shared."""
        other = CSR.trusted(self.indptr, self.indices, self.num_cols, self.perm, value, self.num_values)
        other._cache, other._structure = self._cache, self._structure
        return other

    @property
    def slot_order(self) -> CSR:
        """The same structure with edge values in slot order (``perm`` None); what is cached is shared."""
        if self.perm is None:
            return self
        other = CSR.trusted(self.indptr, self.indices, self.num_cols)
        other._structure = self._structure
        return other

    # -- edge values ------------------------------------------------------------------------------

    def to_slots(self, value: Tensor) -> Tensor:
        """Edge values ``[num_values, ...]`` from the caller's order to slot order ``[E, ...]``."""
        if value.shape[0] != self.num_values:
            raise ValueError(
                f"CSR: {value.shape[0]} edge values came but the graph has {self.num_values} edges; "
                "pass one value for each edge of the edge_index"
            )
        return value if self.perm is None else value.index_select(0, self.perm)

    def from_slots(self, value: Tensor) -> Tensor:
        """Edge values ``[E, ...]`` from slot order to the caller's order ``[num_values, ...]``.

        A caller's edge without a slot (a loop that ``add_self_loops`` replaced) gets 0.
        """
        if self.perm is None:
            return value
        out = value.new_zeros(self.num_values, *value.shape[1:])
        return out.index_copy(0, self.perm, value)

    @property
    def edge_index(self) -> Tensor:
        """Sources and targets of the slots in the caller's order, int64 ``[2, E]``."""
        index = torch.stack([self.indices.long(), self.rows])
        if self.perm is None:
            return index
        return index[:, self.perm.argsort()]

    def to_dense(self, value: Tensor | None = None) -> Tensor:
        """The dense matrix ``[R, C]`` of edge values in the caller's order; duplicates add up."""
        value = self.value if value is None else value
        v = torch.ones(self.num_edges, device=self.device) if value is None else self.to_slots(value)
        dense = v.new_zeros(self.num_rows, self.num_cols, *v.shape[1:])
        return dense.index_put((self.rows, self.indices.long()), v, accumulate=True)

    # -- other graphs -----------------------------------------------------------------------------

    def add_self_loops(self, remaining: bool = True) -> CSR:
        """The graph in which every node has exactly one loop, cached.

        The result's edge values are in the order of the caller's E edges followed by N loops: pass
        ``torch.cat([weight, loop_weight])``. In a bipartite graph ``N = min(R, C)``: loops belong to the
        nodes that are both a source and a target.

        Args:
            remaining: a loop that exists keeps its own value (of several, the last one); otherwise all
                existing loops are dropped and the N new ones take their place.

        Shapes: ``[R, C]`` -> ``[R, C]`` with ``num_values = num_values + N``.
        """
        return self.derive(("self_loops", remaining), lambda a: _with_self_loops(a, remaining))

    def to(self, device: torch.device | str) -> CSR:
        """This CSR on ``device``; itself when it is there already."""
        if torch.device(device) == self.device:
            return self
        move = [t if t is None else t.to(device) for t in (self.perm, self.value)]
        return CSR.trusted(
            self.indptr.to(device), self.indices.to(device), self.num_cols, move[0], move[1], self.num_values
        )


def row_of_slot(indptr: Tensor, num_slots: int) -> Tensor:
    """Row of each slot, int64 ``[num_slots]``; slots past the last offset get the last row."""
    slots = torch.arange(num_slots, device=indptr.device)
    return torch.searchsorted(indptr[1:], slots, right=True).clamp_(max=max(indptr.shape[0] - 2, 0))


def _transposed_arrays(adj: CSR) -> tuple[Tensor, Tensor, Tensor]:
    if adj.device.type == "cpu" or traced(adj.indptr):
        indptr, indices, perm = build.csr_transpose(adj.indptr, adj.indices, adj.num_cols)
        return indptr, indices, perm
    return build.kept_transpose(adj.indptr, adj.indices, adj.num_cols)  # GPU kernels look it up there


def _transposed(adj: CSR) -> CSR:
    indptr, indices, perm = adj._transpose
    if adj.perm is not None:
        perm = adj.perm.index_select(0, perm)
    return CSR.trusted(indptr, indices, adj.num_rows, perm, None, adj.num_values)


def _with_self_loops(adj: CSR, remaining: bool) -> CSR:
    indptr, indices, slot = build.self_loops(
        adj.indptr, adj.indices, adj.perm, adj.num_cols, adj.num_values, remaining
    )
    num_values = adj.num_values + min(adj.shape)
    return CSR.trusted(indptr, indices, adj.num_cols, slot, None, num_values)


def _check_companions(
    indices: Tensor, perm: Tensor | None, value: Tensor | None, num_values: int | None
) -> None:
    edges = indices.shape[0]
    if perm is not None and perm.shape != indices.shape:
        raise ValueError(f"CSR: perm has shape {list(perm.shape)}, indices {list(indices.shape)}")
    count = edges if num_values is None else num_values
    if value is not None and (value.dim() == 0 or value.shape[0] != count):
        raise ValueError(
            f"CSR: value has shape {list(value.shape)} but there are {count} edges; pass one for each"
        )
    if perm is not None and perm.device.type == "cpu" and edges:
        low, high = (int(v) for v in perm.aminmax())
        if low < 0 or high >= count or (count == edges and bool((perm.bincount(minlength=count) != 1).any())):
            raise ValueError(
                f"CSR: perm runs from {low} to {high} over {count} edges; "
                "pass the edge of each slot, each once"
            )


def _check_arrays(indptr: Tensor, indices: Tensor, num_cols: int | None) -> None:
    for name, t in (("indptr", indptr), ("indices", indices)):
        if not isinstance(t, Tensor) or t.is_floating_point() or t.is_complex() or t.dtype == torch.bool:
            kind = t.dtype if isinstance(t, Tensor) else type(t).__name__
            raise TypeError(f"CSR: {name} is {kind}; pass an integer tensor")
        if t.dim() != 1:
            raise ValueError(f"CSR: {name} has shape {list(t.shape)}; expected one dimension")
    if indptr.numel() == 0:
        raise ValueError("CSR: indptr is empty; it holds one more entry than there are rows")
    if indptr.device != indices.device:
        raise ValueError(f"CSR: indptr is on {indptr.device}, indices on {indices.device}; move one of them")
    if indptr.device.type != "cpu":
        return  # reading values would wait for the device
    cols = indptr.numel() - 1 if num_cols is None else num_cols
    if cols < 0:
        raise ValueError(f"CSR: num_cols={cols} is negative; pass the number of source nodes")
    if int(indptr[0]) != 0 or int(indptr[-1]) != indices.numel() or bool((indptr.diff() < 0).any()):
        raise ValueError(
            f"CSR: indptr runs from {int(indptr[0])} to {int(indptr[-1])} over {indices.numel()} indices; "
            "it must start at 0, never decrease and end at the number of indices"
        )
    if indices.numel() and (int(indices.min()) < 0 or int(indices.max()) >= cols):
        raise ValueError(
            f"CSR: indices run from {int(indices.min())} to {int(indices.max())} but there are {cols} columns"
        )
