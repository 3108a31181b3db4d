"""Dense products within each graph of a batch, without padding to the largest one."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.nn.aggr.recurrent import by_size
from gnnlib.sparse.sets import Sets


def gram(a: Tensor, b: Tensor, sets: Sets) -> Tensor:
    r"""The product :math:`A_g^\top B_g` of the rows of each set: ``[N, K]``, ``[N, F]`` -> ``[B, K, F]``.

    Sets of similar size go through one batched product, padded to the largest of them: at most 2 N rows.
    """
    a, b = sets.take(a), sets.take(b)
    if sets.num_sets == 1:
        return (a.t() @ b).unsqueeze(0)
    history = 0 * (a[:0].sum() + b[:0].sum())
    out = a.new_zeros(sets.num_sets, a.shape[1], b.shape[1]) + history
    a, b = _and_zero(a), _and_zero(b)
    for chosen in by_size(sets.count):
        slot = _places(chosen, sets)
        out = out.index_copy(0, chosen, _at(a, slot).transpose(1, 2) @ _at(b, slot))
    return out


def rows_times(a: Tensor, m: Tensor, sets: Sets) -> Tensor:
    r"""Each row times the matrix of its set, :math:`A_g M_g`: ``[N, K]``, ``[B, K, F]`` -> ``[N, F]``.

    Every row lies in one set.
    """
    if sets.num_sets == 1:
        return a @ m[0]
    rows = _and_zero(sets.take(a))
    out = rows.new_zeros(a.shape[0], m.shape[2]) + 0 * (a[:0].sum() + m[:0].sum())
    for chosen in by_size(sets.count):
        slot = _places(chosen, sets)
        real = slot < a.shape[0]
        out = out.index_copy(0, slot[real], (_at(rows, slot) @ m[chosen])[real])
    if sets.in_order:
        return out
    return torch.zeros_like(out).index_copy(0, sets.adj.indices.long(), out)


def _places(chosen: Tensor, sets: Sets) -> Tensor:
    """Slots of these sets, padded to the largest: ``[R, L]``, one past the last where there is none."""
    count, start = sets.count[chosen], sets.indptr[chosen]
    place = torch.arange(int(count.max()), device=count.device)
    return torch.where(place < count[:, None], start[:, None] + place, sets.adj.num_edges)


def _and_zero(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows.new_zeros(1, rows.shape[1])])


def _at(rows: Tensor, slot: Tensor) -> Tensor:
    """Rows at these slots ``[R, L]`` -> ``[R, L, F]``."""
    return rows.index_select(0, slot.reshape(-1)).reshape(*slot.shape, rows.shape[1])
