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
    if edge is not None:
        e = edge.to(dtype)[:used] if slot is None else edge.to(dtype)[slot[:used]]
        to_gate, to_value = _terms(e, gate_map, value_map)
        z = z + to_gate
        if second is None:
            message = message + to_value
        else:
            second = second + to_value
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
    gate_map: Tensor | None,
    value_map: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = accumulate_dtype(k.dtype)
    used = int(indptr[-1])
    row, column = row_of_slot(indptr, used), indices[:used].long()
    e = edge.to(dtype)[:used]
    to_gate, to_value = _terms(e, gate_map, value_map)
    gate = logistic(k.to(dtype)[row] + q.to(dtype)[column] + to_gate)  # [E, F]
    d_value = gate * grad.to(dtype)[row]
    d_gate = (1 - gate) * d_value * (v.to(dtype)[column] + to_value)
    spare = d_value.new_zeros(edge.shape[0] - used, edge.shape[1])
    if gate_map is None or value_map is None:
        d_edge = torch.cat([torch.cat([d_gate, d_value], 1), spare])
        return d_edge.to(k.dtype), k.new_empty(0), k.new_empty(0)
    maps = zip(gate_map.to(dtype), value_map.to(dtype), strict=True)
    spent = [(d_gate * g + d_value * u).sum(1) for g, u in maps]
    d_edge = torch.stack(spent, 1) if spent else e
    d_maps = [
        torch.stack([_over_edges(c[:, None] * d) for c in e.t()]) if spent else gate_map
        for d in (d_gate, d_value)
    ]
    return torch.cat([d_edge, spare]).to(k.dtype), d_maps[0].to(k.dtype), d_maps[1].to(k.dtype)


def _terms(edge: Tensor, gate_map: Tensor | None, value_map: Tensor | None) -> tuple[Tensor, Tensor]:
    """What edges add inside the gate and to the value, ``[E, F]`` each."""
    if gate_map is None or value_map is None:
        to_gate, to_value = edge.chunk(2, dim=1)
        return to_gate, to_value
    return _mapped(edge, gate_map.to(edge.dtype)), _mapped(edge, value_map.to(edge.dtype))


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
