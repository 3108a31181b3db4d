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


def _variance(values: Tensor) -> Tensor:
    return (values - values.mean(0)).square().mean(0)


def _deviation(values: Tensor) -> Tensor:
    """0 and flat where the variance is at most 1e-5, as in PyG."""
    var = _variance(values)
    flat = var <= 1e-5
    return torch.where(flat, 0, torch.where(flat, 1, var).sqrt())


_REDUCE: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda v: v.sum(0),
    "mean": lambda v: v.sum(0) / v.shape[0],
    "max": lambda v: _first_extreme(v, True),
    "min": lambda v: _first_extreme(v, False),
    "var": lambda v: _variance(v),
    "std": lambda v: _deviation(v),
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


def gated_sum(
    graph: Graph,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    edge: Tensor | None = None,
    gate_map: Tensor | None = None,
    value_map: Tensor | None = None,
) -> Tensor:
    source, target = graph.edge_index
    z, message = k[target] + q[source], v[source]
    if edge is not None:
        mapped = gate_map is not None and value_map is not None
        a, b = (edge @ gate_map, edge @ value_map) if mapped else edge.chunk(2, dim=1)
        z, message = z + a, message + b
    return reduce(target, graph.num_rows, z.sigmoid() * message, "sum")


def lstm_step(graph: Graph, *t: Tensor) -> Tensor:
    source, target = graph.edge_index
    gates = t[0][target] if len(t) == 1 else t[0][target] + t[1][source] + t[2][source]
    i, f, g, o = gates.tensor_split(4, 1)
    c = i.sigmoid() * g.tanh()
    if len(t) > 1:
        c = c + f.sigmoid() * t[3][source]
    return torch.cat([o.sigmoid() * c.tanh(), c], 1)


def propagate(
    graph: Graph,
    x: Tensor,
    steps: int,
    weight: Tensor | None = None,
    row_scale: Tensor | None = None,
    col_scale: Tensor | None = None,
    restart: float = 0.0,
    decay: float | None = None,
    every: bool = False,
) -> Tensor:
    n = x.shape[0]
    square = Graph(graph.name, graph.edge_index, n, n)
    decay = 1 - restart if decay is None else decay
    hops = [x]
    for _ in range(steps):
        step = spmm(square, hops[-1], weight, "sum", row_scale, col_scale)
        hops.append(decay * step + restart * x if restart else decay * step)
    return torch.stack(hops) if every else hops[-1]


def _messages(graph: Graph, x: Tensor, edge: Tensor | None, edge_map: Tensor | None) -> Tensor:
    message = x[graph.edge_index[0]]
    if edge is None:
        return message
    return message + (edge if edge_map is None else torch.tensordot(edge, edge_map, 1))


def multi_reduce(
    graph: Graph,
    names: tuple[str, ...],
    x: Tensor,
    edge: Tensor | None = None,
    edge_map: Tensor | None = None,
    target: Tensor | None = None,
) -> Tensor:
    message, index = _messages(graph, x, edge, edge_map), graph.edge_index[1]
    out = [reduce(index, graph.num_rows, message, name) for name in names]
    if target is not None:
        count = torch.as_tensor(np.bincount(index.numpy(), minlength=graph.num_rows))
        count = count.reshape(-1, *[1] * (x.dim() - 1))
        shift = torch.where(count > 0, target, 0)
        times = {"sum": count.clamp(min=1), "mean": 1, "max": 1, "min": 1}
        out = [o + times[n] * shift if n in times else o for n, o in zip(names, out, strict=True)]
    return torch.stack(out, dim=1)


def edge_relu_sum(
    graph: Graph, x: Tensor, edge: Tensor | None = None, edge_map: Tensor | None = None
) -> Tensor:
    return reduce(graph.edge_index[1], graph.num_rows, _messages(graph, x, edge, edge_map).relu(), "sum")


def attention(
    graph: Graph,
    score: str,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor,
    att: Tensor | None = None,
    edge: Tensor | None = None,
    edge_map: Tensor | None = None,
    factor: float = 0.2,
) -> Tensor:
    """Attention edge by edge; ``factor`` is the slope, or the scale of the dot product."""
    source, target = graph.edge_index
    a, b = x_dst[target], x_src[source]
    if score == "dot":
        s = factor * (a * b).sum(-1)
    else:
        s = a + b
    if edge is not None:
        s = s + (edge if edge_map is None else torch.einsum("ek,khd->ehd", edge, edge_map))
    if score != "dot":
        s = torch.where(s > 0, s, factor * s)
    if att is not None:
        s = (s * att).sum(-1)
    message = softmax(graph, s)[:, :, None] * value[source]
    return reduce(target, graph.num_rows, message, "sum")
