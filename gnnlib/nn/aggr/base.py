"""What aggregations share: the sets, the dimension, and how one applies another."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from gnnlib.nn.aggr.reduce import REDUCTIONS, reduce_sets
from gnnlib.sparse import CSR
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.sets import Sets, as_sets


class Aggregation(nn.Module):
    r"""Base of the aggregations: one vector for each set of a batch of sets.

    .. math:: r_b = \operatorname{aggr} \{\, x_i : \mathrm{index}_i = b \,\}

    A class of one's own overrides :meth:`aggregate`; or :meth:`forward` as in PyG, with :meth:`reduce` and
    :meth:`to_dense_batch` to build on. An index need not be sorted and may leave sets out; it is sorted once
    and kept while it lives. What a set gives depends on its own elements alone, whatever else is in the
    batch, and an empty set gives 0 unless the class says otherwise.

    Shapes: x ``[..., N, F]`` with N at ``dim``, index ``[N]`` or ptr ``[R + 1]`` -> ``[..., R, F']``.
    Raises: ValueError for a dimension, index, ptr or ``dim_size`` that does not fit x; TypeError for an index
        that is no integer or x that is not floating.
    """

    @property
    def _who(self) -> str:
        return type(self).__name__

    def reset_parameters(self) -> None:
        """Draw new parameters; an aggregation without any has nothing to do."""

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,
    ) -> Tensor:
        """Aggregate the elements of each set.

        Args:
            x: elements along ``dim``.
            index: set of each element, in any order; all are one set without ``index`` and ``ptr``.
            ptr: offsets of the sets, whose elements lie next to each other; takes the place of ``index``.
            dim_size: number of sets R; the largest index plus one when omitted.
            dim: the dimension that runs over elements.
            max_num_elements: leave out the elements of a set past the first so many. In compiled code it is
                the size to which sets are padded where they are, and none is left out elsewhere.
        """
        rows, sets, dim = self._door(x, index, ptr, dim_size, dim, max_num_elements)
        return self.aggregate(rows, sets).movedim(0, dim).contiguous()

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Aggregate x ``[N, ...]``, elements first, over sets that know their elements -> ``[R, ...]``."""
        raise NotImplementedError(f"{self._who}: override aggregate(x, sets), or forward")

    # -- for classes of one's own -----------------------------------------------------------------

    def reduce(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        reduce: str = "sum",
    ) -> Tensor:
        """Reduce each set: sum (or add), mean, max, min, var or mul."""
        name = {"add": "sum", "prod": "mul"}.get(reduce, reduce)
        rows, sets, dim = self._door(x, index, ptr, dim_size, dim)
        if name == "mul":
            return multiply(sets, rows).movedim(0, dim)
        if name not in REDUCTIONS:
            raise ValueError(
                f"{self._who}: reduce={reduce!r} is unknown; choose {', '.join(REDUCTIONS)} or mul"
            )
        return reduce_sets(sets, rows, [name])[0].movedim(0, dim)

    def to_dense_batch(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        fill_value: float = 0.0,
        max_num_elements: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The sets padded to one length: x ``[N, F]`` -> ``[R, L, F]``, and ``[R, L]`` true at elements."""
        rows, sets, _ = self._door(x, index, ptr, dim_size, dim)
        return pad(sets, rows, fill_value, max_num_elements)

    # -- the door ---------------------------------------------------------------------------------

    def _door(
        self,
        x: Tensor,
        index: Tensor | None,
        ptr: Tensor | None,
        dim_size: int | None,
        dim: int,
        max_num_elements: int | None = None,
    ) -> tuple[Tensor, Sets, int]:
        """Elements first, their sets, and the dimension from the left."""
        if not -x.dim() <= dim < x.dim():
            raise ValueError(f"{self._who}: dim={dim} does not exist in x of shape {list(x.shape)}")
        if not x.is_floating_point():
            raise TypeError(f"{self._who}: x is {x.dtype}; pass floating values, for example x.float()")
        dim = dim % x.dim()
        rows = x.movedim(dim, 0)
        sets = as_sets(rows, index, ptr, dim_size, self._who)
        if max_num_elements is not None and not torch.compiler.is_compiling():
            sets = sets.first(max_num_elements)
        return rows, sets, dim

    def _matrix(self, x: Tensor) -> Tensor:
        """Refuse elements that are not vectors."""
        if x.dim() != 2:
            raise ValueError(
                f"{self._who}: x has {x.dim()} dimensions; expected [N, F] with one vector an element"
            )
        return x

    def __repr__(self) -> str:
        return f"{self._who}()"


def pad(sets: Sets, x: Tensor, fill_value: float = 0.0, length: int | None = None) -> tuple[Tensor, Tensor]:
    """Rows of elements ``[N, ...]`` -> ``[R, L, ...]`` and the mask ``[R, L]`` of those that are elements."""
    slot, valid = sets.places(length)
    rows = sets.take(x)
    rows = torch.cat([rows, rows.new_full((1, *rows.shape[1:]), fill_value)])
    return rows.index_select(0, slot.reshape(-1)).reshape(*slot.shape, *x.shape[1:]), valid


def nothing(x: Tensor, num_sets: int, width: int) -> Tensor:
    """The result ``[R, width]`` of sets that are all empty, with x in its history as always."""
    return x.new_zeros(num_sets, width) + x[:0].sum()


def multiply(sets: Sets, x: Tensor) -> Tensor:
    """The product of the elements of each set, 1 for an empty one: ``[N, ...]`` -> ``[R, ...]``."""
    rows = sets.take(x)
    wide = rows.to(accumulate_dtype(x.dtype))
    where = sets.adj.rows.reshape(-1, *[1] * (x.dim() - 1)).expand_as(wide)
    out = wide.new_ones(sets.num_sets, *x.shape[1:]).scatter_reduce(0, where, wide, "prod")
    return out.to(x.dtype)


def vectors(count: Tensor, like: Tensor) -> Tensor:
    """One number a set ``[R]`` shaped to go with ``[R, ...]``, at least float32."""
    return count.to(accumulate_dtype(like.dtype)).reshape(-1, *[1] * (like.dim() - 1))


def is_aggregation(module: Any) -> bool:
    """Whether a module is called as aggregations are, ours or those of PyG."""
    if isinstance(module, Aggregation):
        return True
    if not isinstance(module, nn.Module):
        return False
    return {"index", "ptr", "dim_size"} <= set(inspect.signature(module.forward).parameters)


def over(aggr: nn.Module, x: Tensor, sets: Sets) -> Tensor:
    """Apply an aggregation to rows of elements ``[N, ...]``, each of which may lie in several sets.

    One that reads elements in place gets them as they are; another one, a copy for each membership.
    """
    if isinstance(aggr, Aggregation) and in_place(aggr):
        return aggr.aggregate(x, sets)
    rows = sets.take(x)
    if isinstance(aggr, Aggregation):
        out: Tensor = aggr(rows, ptr=sets.indptr, dim=0)
    else:
        out = aggr(rows, sets.adj.rows, sets.indptr, sets.num_sets, 0)
    return out


def in_place(aggr: nn.Module) -> bool:
    """Whether ``aggregate`` may be called with rows that lie in several sets, in place of the module."""
    own_forward = type(aggr).forward is not Aggregation.forward
    return bool(getattr(aggr, "reads_in_place", False)) and not own_forward and not watched(aggr)


def watched(module: nn.Module) -> bool:
    """Whether somebody's hook wants to see the calls of a module."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def over_neighbours(aggr: nn.Module, adj: CSR, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Apply an aggregation to the messages w_ij x_j of each target: x ``[C, F]`` -> ``[R, F']``.

    Weights are in the caller's order of the edges. A message is formed on each edge (E x F) unless there are
    no weights and the aggregation reads in place.
    """
    sets = Sets(adj, in_order=False)
    if weight is None:
        return over(aggr, x, sets)
    return over(aggr, sets.take(x) * adj.to_slots(weight)[:, None], sets.of_slots())
