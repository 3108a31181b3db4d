"""gated_sum in plain torch: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.numerics import accumulate_dtype, logistic
from gnnlib.sparse.registry import kernel


@kernel("gated_sum", "reference")
def gated_sum(
    indptr: Tensor,
    indices: Tensor,
    slot: Tensor | None,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    factor: Tensor | None,
    edge: Tensor | None,
    gate_map: Tensor | None,
    value_map: Tensor | None,
    slope: bool,
) -> tuple[Tensor, Tensor]:
    dtype = accumulate_dtype(k.dtype)
    used = int(indptr[-1])
    row, column = row_of_slot(indptr, used), indices[:used].long()
    z, message = k.to(dtype)[row] + q.to(dtype)[column], v.to(dtype)[column]  # [E, F]
    second = None if factor is None else factor.to(dtype)[row]
    if edge is not None and gate_map is not None and value_map is not None:
        e = edge.to(dtype)[:used] if slot is None else edge.to(dtype)[slot[:used]]
        z = z + _mapped(e, gate_map.to(dtype))
        if second is None:
            message = message + _mapped(e, value_map.to(dtype))
        else:
            second = second + _mapped(e, value_map.to(dtype))
    gate = logistic(z)
    out = z.new_zeros(k.shape).index_add(0, row, gate * message)
    if not slope:
        return out.to(k.dtype), k.new_empty(0)
    rate = gate * (1 - gate) * message
    rate = rate if second is None else rate * second
    return out.to(k.dtype), z.new_zeros(k.shape).index_add(0, row, rate).to(k.dtype)


@kernel("gated_sum_edge", "reference")
def gated_sum_edge(
    indptr: Tensor,
    indices: Tensor,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    grad: Tensor,
    edge: Tensor,
    gate_map: Tensor,
    value_map: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = accumulate_dtype(k.dtype)
    used = int(indptr[-1])
    row, column = row_of_slot(indptr, used), indices[:used].long()
    e, to_gate, to_value = edge.to(dtype)[:used], gate_map.to(dtype), value_map.to(dtype)
    gate = logistic(k.to(dtype)[row] + q.to(dtype)[column] + _mapped(e, to_gate))  # [E, F]
    d_value = gate * grad.to(dtype)[row]
    d_gate = (1 - gate) * d_value * (v.to(dtype)[column] + _mapped(e, to_value))
    spent = [(d_gate * g + d_value * u).sum(1) for g, u in zip(to_gate, to_value, strict=True)]
    d_edge = torch.stack(spent, 1) if spent else e
    spare = d_edge.new_zeros(edge.shape[0] - used, edge.shape[1])
    d_maps = [
        torch.stack([_over_edges(c[:, None] * d) for c in e.t()]) if spent else to_gate
        for d in (d_gate, d_value)
    ]
    return torch.cat([d_edge, spare]).to(k.dtype), d_maps[0].to(k.dtype), d_maps[1].to(k.dtype)


# A matrix product sums in an order that depends on the number of threads; these do not.


def _mapped(edge: Tensor, to: Tensor) -> Tensor:
    """``edge @ to``."""
    out = edge.new_zeros(edge.shape[0], to.shape[1])
    for c, row in zip(edge.t(), to, strict=True):
        out = out + c[:, None] * row
    return out


def _over_edges(value: Tensor) -> Tensor:
    """The sum of all rows."""
    one = torch.zeros(value.shape[0], dtype=torch.int64, device=value.device)
    return value.new_zeros(1, value.shape[1]).index_add(0, one, value)[0]
