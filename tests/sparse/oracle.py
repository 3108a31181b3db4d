"""What the ops mean, written apart from the package: plain torch, a row at a time.

Every function is differentiable, so that its gradients are an oracle too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tests.sparse.graphs import Graph


def _rows(index: Tensor, num_rows: int, values: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The edges row by row, and the values of each row; in a row, the caller's order."""
    order = torch.as_tensor(np.argsort(index.numpy(), kind="stable"))
    counts = np.bincount(index.numpy(), minlength=num_rows).tolist()
    return order, list(values.index_select(0, order).split(counts)) if num_rows else []


def _first_extreme(values: Tensor, largest: bool) -> Tensor:
    """The largest or smallest along dim 0: the first NaN if there is one, else the first among equals."""
    found = values.detach().numpy()
    first = np.argmax(found, axis=0) if largest else np.argmin(found, axis=0)
    return values.gather(0, torch.as_tensor(first)[None])[0]


_REDUCE: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda v: v.sum(0),
    "mean": lambda v: v.sum(0) / v.shape[0],
    "max": lambda v: _first_extreme(v, True),
    "min": lambda v: _first_extreme(v, False),
}


def reduce(index: Tensor, num_rows: int, values: Tensor, how: str) -> Tensor:
    """Reduce the values ``[E, ...]`` that share an index; 0 where there are none."""
    rows = [
        _REDUCE[how](v) if v.shape[0] else v.new_zeros(v.shape[1:]) for v in _rows(index, num_rows, values)[1]
    ]
    return torch.stack(rows) if rows else values.new_zeros(0, *values.shape[1:])


def spmm(
    graph: Graph,
    x: Tensor,
    weight: Tensor | None = None,
    how: str = "sum",
    row_scale: Tensor | None = None,
    col_scale: Tensor | None = None,
) -> Tensor:
    source, target = graph.edge_index
    message = x[source]
    if col_scale is not None:
        message = message * col_scale[source].reshape(-1, *[1] * (x.dim() - 1))
    if weight is not None:
        message = message * weight.reshape(*weight.shape, *[1] * (x.dim() - weight.dim()))
    out = reduce(target, graph.num_rows, message, how)
    if row_scale is None:
        return out
    return out * row_scale.reshape(-1, *[1] * (x.dim() - 1))


def sddmm(graph: Graph, x_dst: Tensor, x_src: Tensor, op: str) -> Tensor:
    source, target = graph.edge_index
    a, b = x_dst[target], x_src[source]
    if op == "dot":
        return (a * b).sum(-1)
    return a + b if op == "add" else a - b


def softmax(graph: Graph, score: Tensor) -> Tensor:
    order, rows = _rows(graph.edge_index[1], graph.num_rows, score)
    return torch.cat([score[:0], *(_softmax(s) for s in rows)]).index_select(0, order.argsort())


def _softmax(score: Tensor) -> Tensor:
    if score.shape[0] == 0:
        return score
    top = score.detach().amax(0)
    value = (score - torch.where(top == -torch.inf, 0, top)).exp()
    total = value.sum(0)
    return value / torch.where(total == 0, 1, total)
