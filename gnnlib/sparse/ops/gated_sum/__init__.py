"""Sum of the neighbours' values through a gate on each feature."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define, only_first
from gnnlib.sparse.convert import Adj, as_csr
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.scatter import scatter_rows
from gnnlib.sparse.registry import dispatch

__all__ = ["gated_sum"]


def gated_sum(
    adj: Adj,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    edge: Tensor | None = None,
    gate_map: Tensor | None = None,
    value_map: Tensor | None = None,
) -> Tensor:
    r"""Sum the neighbours' values, each feature weighed by a logistic gate, without a message per edge.

    .. math:: \mathrm{out}_i = \sum_{j \to i} \sigma(k_i + q_j + e_{ij} G) \odot (v_j + e_{ij} U)

    Args:
        adj: the graph, in any form that :func:`as_csr` takes.
        k: the target's part of the gate.
        q: the source's part of the gate.
        v: values of the sources.
        edge: edge features e in the caller's edge order; the maps are applied to them on the way. Without
            maps: e G and e U side by side, as one product gives them; wide features are faster so.
        gate_map: G, the map of edge features into the gate.
        value_map: U, the map of edge features into the values.

    Shapes: k ``[R, F]``, q and v ``[C, F]``, edge ``[E, K]``, gate_map and value_map ``[K, F]``, or edge
        ``[E, 2 F]`` without maps -> ``[R, F]``. A row without entries gives 0.
    Cost: O(E F (1 + K)) time, O(R F) memory in the forward, O((R + C) F + E K) in the backward, K = 2 F
        without maps, whose time is O(E F). A second derivative is taken of the plain formula and holds arrays
        of size E x F.
    Raises: ValueError when the shapes do not fit the graph or each other; TypeError when not floating.
    """
    csr = as_csr(adj, num_rows=k.shape[0], num_cols=q.shape[0])
    edges = (edge, gate_map, value_map)
    _check(csr, k, q, v, *edges)
    dtype = k.dtype
    for t in (q, v, *edges):
        dtype = dtype if t is None else torch.promote_types(dtype, t.dtype)
    k, q, v = k.to(dtype), q.to(dtype), v.to(dtype)
    edge, gate_map, value_map = (None if t is None else t.to(dtype) for t in edges)
    return gated_sum_slots(csr, k, q, v, None if edge is None else csr.to_slots(edge), gate_map, value_map)


def gated_sum_slots(
    adj: CSR,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    edge: Tensor | None = None,
    gate_map: Tensor | None = None,
    value_map: Tensor | None = None,
) -> Tensor:
    """:func:`gated_sum` of one dtype with edge features in slot order, unchecked."""
    slope = torch.is_grad_enabled() and k.requires_grad
    out: Tensor = _gated_sum(*adj.arrays, k, q, v, edge, gate_map, value_map, slope, adj=adj)[0]
    return out


def _check(
    adj: CSR,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    edge: Tensor | None,
    gate_map: Tensor | None,
    value_map: Tensor | None,
) -> None:
    named = {"k": k, "q": q, "v": v, "edge": edge, "gate_map": gate_map, "value_map": value_map}
    for name, t in named.items():
        if t is None:
            continue
        if not t.is_floating_point():
            raise TypeError(
                f"gated_sum: {name} is {t.dtype}; pass floating values, for example {name}.float()"
            )
        if t.device != adj.device:
            raise ValueError(
                f"gated_sum: {name} is on {t.device} but adj is on {adj.device}; move one of them"
            )
        if t.dim() != 2:
            raise ValueError(f"gated_sum: {name} has shape {list(t.shape)}; expected two dimensions")
    if q.shape != v.shape or q.shape[1] != k.shape[1]:
        raise ValueError(
            f"gated_sum: k has shape {list(k.shape)}, q {list(q.shape)} and v {list(v.shape)}; expected "
            "[R, F], [C, F] and [C, F]"
        )
    given = [t for t in (edge, gate_map, value_map) if t is not None]
    if not given:
        return
    if edge is not None and gate_map is None and value_map is None:
        if edge.shape[1] != 2 * k.shape[1]:
            raise ValueError(
                f"gated_sum: edge has shape {list(edge.shape)} and no maps; expected {2 * k.shape[1]} "
                "columns, twice those of k, or pass gate_map and value_map"
            )
        return
    if edge is None or gate_map is None or value_map is None:
        raise ValueError(
            "gated_sum: edge, gate_map and value_map belong together; pass all three, edge alone with both "
            "mapped, or none"
        )
    shape = [edge.shape[1], k.shape[1]]
    if list(gate_map.shape) != shape or list(value_map.shape) != shape:
        raise ValueError(
            f"gated_sum: gate_map has shape {list(gate_map.shape)} and value_map {list(value_map.shape)}; "
            f"expected {shape}, from the width of edge to that of k"
        )


def _forward(
    indptr: Tensor,
    indices: Tensor,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    edge: Tensor | None,
    gate_map: Tensor | None,
    value_map: Tensor | None,
    slope: bool,
) -> tuple[Tensor, Tensor]:
    maps = (None, None, None) if edge is None or edge.shape[1] == 0 else (edge, gate_map, value_map)
    out, rate = dispatch("gated_sum", indptr, indices, None, k, q, v, None, *maps, slope)
    return out, rate


def _fake(
    indptr: Tensor,
    indices: Tensor,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    edge: Tensor | None,
    gate_map: Tensor | None,
    value_map: Tensor | None,
    slope: bool,
) -> tuple[Tensor, Tensor]:
    return k.new_empty(k.shape), k.new_empty(k.shape if slope else 0)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.sloped = inputs[-1]
    only_first(ctx, output)
    ctx.save_for_backward(*inputs[:-1], output[1])


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    indptr, indices, k, q, v, edge, gate_map, value_map, rate = ctx.saved_tensors
    adj = getattr(ctx, "adj", None) or CSR.trusted(indptr, indices, q.shape[0])
    need = ctx.needs_input_grad[-9:]
    if torch.is_grad_enabled():
        found = _plain_gradients(adj, k, q, v, edge, gate_map, value_map, grad)
        return None, None, *(g if n else None for g, n in zip(found, need[2:8], strict=True)), None
    d_k = d_q = d_v = d_edge = d_gate = d_value = None
    if need[2]:
        if not ctx.sloped:
            rate = _gated_sum(indptr, indices, k, q, v, edge, gate_map, value_map, True, adj=adj)[1]
        # A NaN that comes back to an empty row has no edge to go to.
        d_k = torch.where(adj.degree[:, None] > 0, grad * rate, 0)
    if need[3] or need[4]:
        d_v, d_q = _to_sources(adj, k, q, v, edge, gate_map, value_map, grad)
    if any(need[5:8]):
        d_edge, d_gate, d_value = _gated_sum_edge(indptr, indices, k, q, v, grad, edge, gate_map, value_map)
        if gate_map is None:
            d_gate = d_value = None
    return None, None, d_k, d_q, d_v, d_edge, d_gate, d_value, None


def _terms(edge: Tensor, gate_map: Tensor | None, value_map: Tensor | None) -> tuple[Tensor, Tensor]:
    """What edges add inside the gate and to the value, ``[E, F]`` each."""
    if gate_map is None or value_map is None:
        to_gate, to_value = edge.chunk(2, dim=1)
        return to_gate, to_value
    return edge @ gate_map, edge @ value_map


def _to_sources(
    adj: CSR,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    edge: Tensor | None,
    gate_map: Tensor | None,
    value_map: Tensor | None,
    grad: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of v and q: the same sum over the transpose, where k and q have changed places."""
    back = adj.transposed
    d_v, d_q = _gated_back(*back.arrays, adj.transpose_perm, k, q, v, grad, edge, gate_map, value_map)
    return d_v, d_q


def _plain_gradients(
    adj: CSR,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    edge: Tensor | None,
    gate_map: Tensor | None,
    value_map: Tensor | None,
    grad: Tensor,
) -> list[Tensor | None]:
    """The gradients as torch computes them from messages, so that it can differentiate them again."""
    row, column = adj.rows, adj.indices.long()
    z, message = k.index_select(0, row) + q.index_select(0, column), v.index_select(0, column)  # [E, F]
    if edge is not None:
        to_gate, to_value = _terms(edge, gate_map, value_map)
        z, message = z + to_gate, message + to_value
    gate = z.sigmoid()
    real = torch.arange(adj.num_edges, device=adj.device) < adj.indptr[-1]  # slots of no row send nothing
    back = torch.where(real[:, None], grad.index_select(0, row), 0)
    d_message = gate * back
    d_z = (1 - gate) * d_message * message
    found: list[Tensor | None] = [
        scatter_rows(row, d_z, k.shape[0], "sum"),
        scatter_rows(column, d_z, q.shape[0], "sum"),
        scatter_rows(column, d_message, v.shape[0], "sum"),
    ]
    if edge is None:
        return [*found, None, None, None]
    if gate_map is None or value_map is None:
        return [*found, torch.cat([d_z, d_message], 1), None, None]
    d_edge = d_z @ gate_map.t() + d_message @ value_map.t()
    return [*found, d_edge, edge.t() @ d_z, edge.t() @ d_message]


_gated_sum = define(
    "gated_sum",
    "(Tensor indptr, Tensor indices, Tensor k, Tensor q, Tensor v, Tensor? edge, Tensor? gate_map,"
    " Tensor? value_map, bool slope) -> (Tensor, Tensor)",
    _forward,
    _fake,
    _setup,
    _backward,
)


def _back_forward(
    indptr: Tensor,
    indices: Tensor,
    slot: Tensor,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    grad: Tensor,
    edge: Tensor | None,
    gate_map: Tensor | None,
    value_map: Tensor | None,
) -> tuple[Tensor, Tensor]:
    maps = (None, None, None) if edge is None or edge.shape[1] == 0 else (edge, gate_map, value_map)
    d_v, d_q = dispatch("gated_sum", indptr, indices, slot, q, k, grad, v, *maps, True)
    return d_v, d_q


def _back_fake(
    indptr: Tensor,
    indices: Tensor,
    slot: Tensor,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    grad: Tensor,
    edge: Tensor | None,
    gate_map: Tensor | None,
    value_map: Tensor | None,
) -> tuple[Tensor, Tensor]:
    return v.new_empty(v.shape), q.new_empty(q.shape)


_gated_back = define(
    "gated_sum_back",
    "(Tensor indptr, Tensor indices, Tensor slot, Tensor k, Tensor q, Tensor v, Tensor grad, Tensor? edge,"
    " Tensor? gate_map, Tensor? value_map) -> (Tensor, Tensor)",
    _back_forward,
    _back_fake,
)


def _edge_forward(
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
    d_edge, d_gate, d_value = dispatch(
        "gated_sum_edge", indptr, indices, k, q, v, grad, edge, gate_map, value_map
    )
    return d_edge, d_gate, d_value


def _edge_fake(
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
    d_gate, d_value = (k.new_empty(0 if t is None else t.shape) for t in (gate_map, value_map))
    return edge.new_empty(edge.shape), d_gate, d_value


_gated_sum_edge = define(
    "gated_sum_edge",
    "(Tensor indptr, Tensor indices, Tensor k, Tensor q, Tensor v, Tensor grad, Tensor edge,"
    " Tensor? gate_map, Tensor? value_map) -> (Tensor, Tensor, Tensor)",
    _edge_forward,
    _edge_fake,
)
