"""The gradient of several reductions in plain torch, with a message per edge: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.ops.multi_reduce.reference import messages
from gnnlib.sparse.registry import kernel


@kernel("multi_reduce_grad", "reference")
def multi_reduce_grad(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_rows: Tensor,
    t_slots: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    target: Tensor | None,
    grad: Tensor,
    out: Tensor,
    mean: Tensor,
    arg: Tensor,
    reduces: str,
    need: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    names = reduces.split(",")
    message = messages(indptr, indices, x, edge, edge_map, perm)  # [E, F]
    used = message.shape[0]
    row, degree = row_of_slot(indptr, used), indptr.diff()[:, None]
    n = degree.clamp(min=1)
    of = {name: (grad[:, k].to(message.dtype), out[:, k]) for k, name in enumerate(names)}
    zero = message.new_zeros(grad.shape[0], grad.shape[2])
    c, b, own = zero, zero, zero
    if "sum" in of:
        c, own = of["sum"][0], of["sum"][0] * degree
    if "mean" in of:
        c, own = c + of["mean"][0] / n, own + of["mean"][0]
    if "var" in of:
        b = 2 * of["var"][0] / n
    if "std" in of:
        g, std = of["std"]
        b = b + torch.where(std == 0, 0, g / std) / n
    d = c.index_select(0, row)
    if "var" in of or "std" in of:
        if "mean" in of and target is None:
            mean = of["mean"][1]
        d = d + b.index_select(0, row) * (message - mean.index_select(0, row))
    for k, name in enumerate(m for m in ("max", "min") if m in of):
        place = torch.arange(used, device=x.device)[:, None] == arg[:, k].long().index_select(0, row)
        d = d + torch.where(place, of[name][0].index_select(0, row), 0)
        own = own + of[name][0]
    own = torch.where(degree > 0, own, 0)
    return (*from_messages(indices, x, edge, edge_map, perm, d, need), own if need[3] else own[:0])


def from_messages(
    indices: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    d: Tensor,
    need: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, edge and edge_map from that of the messages, d ``[E, F]``."""
    used = d.shape[0]
    d_x = d.new_zeros(x.shape[0] if need[0] else 0, d.shape[1])
    if need[0]:
        d_x.index_add_(0, indices[:used].long(), d)
    d_edge = d.new_zeros(edge.shape if need[1] and edge is not None else (0, 0))
    d_map = d.new_zeros(0 if edge_map is None else edge_map.shape[0], d.shape[1])
    if edge is not None:
        place = torch.arange(used, device=d.device) if perm is None else perm[:used]
        if need[1]:
            d_edge[place] = d if edge_map is None else d @ edge_map.to(d.dtype).t()
        if need[2] and edge_map is not None:
            d_map = edge[place].to(d.dtype).t() @ d
    return d_x.to(x.dtype), d_edge, d_map
