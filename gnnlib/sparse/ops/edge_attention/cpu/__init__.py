"""Attention on a CPU: prepares the arrays and launches the compiled passes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnlib.sparse.native.launch import array, optional
from gnnlib.sparse.native.memory import empty
from gnnlib.sparse.native.rows import RUNS, hub_pieces
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.edge_attention.cpu import additive, forward, pull, weigh
from gnnlib.sparse.ops.edge_attention.cpu.score import drop_args, flat
from gnnlib.sparse.registry import FLOATS, kernel, needs

__all__ = ["additive"]  # its kernels register themselves


def _scored(
    x_dst: Tensor, x_src: Tensor, att: Tensor | None, edge: Tensor | None, edge_map: Tensor | None,
    factor: float, dtype: torch.dtype,
) -> tuple[Any, ...]:  # fmt: skip
    """What the score of an edge is made of, as numpy arrays."""
    dst = flat(x_dst, dtype)
    return (
        dst,
        flat(x_src, dtype),
        optional(None if att is None else att.reshape(1, att.numel()), dtype, 2),
        optional(None if edge is None else edge.flatten(1), dtype, 2),
        optional(None, dtype, 2) if edge_map is None else flat(edge_map, dtype),
        dst.dtype.type(factor),
    )


@kernel("edge_attention", "cpu", refuse=needs("cpu", FLOATS))
def edge_attention(
    indptr: Tensor,
    indices: Tensor,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor,
    att: Tensor | None,
    edge: Tensor | None,
    edge_map: Tensor | None,
    seed: Tensor | None,
    score: str,
    factor: float,
    dropout: float,
    weights: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = accumulate_dtype(value.dtype)
    num_rows, heads, depth = indptr.shape[0] - 1, *value.shape[1:]
    out = empty(num_rows, heads * depth, dtype=dtype)
    top, total = torch.empty(2, num_rows, heads, dtype=dtype)
    alpha = torch.empty(indices.shape[0] if weights else 0, heads, dtype=dtype)
    alpha[int(indptr[-1]) :] = 0  # slots past the last offset belong to no row
    offsets = array(indptr)
    hub = hub_pieces(offsets, indices.shape[0])
    kind = out.numpy().dtype.type
    pieces = hub.shape[1]
    forward.LAUNCH[score](
        (indices.shape[0] + num_rows) * heads * depth,
        offsets,
        np.empty(0, np.int64),
        (offsets[:-1], offsets[1:], array(indices)),
        hub,
        _scored(x_dst, x_src, att, edge, edge_map, factor, dtype),
        flat(value, dtype),
        drop_args(seed, dropout, kind),
        (out.numpy(), top.numpy(), total.numpy()),
        (np.empty((pieces, heads * depth), kind), *np.empty((2, pieces, heads), kind)),
        alpha.numpy(),
    )
    lse = top + total.log()
    return out.view(num_rows, heads, depth).to(value.dtype), lse, alpha.to(value.dtype)


@kernel("edge_attention_grad", "cpu", refuse=needs("cpu", FLOATS))
def edge_attention_grad(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    t_slots: Tensor,
    x_dst: Tensor,
    x_src: Tensor,
    value: Tensor,
    att: Tensor | None,
    edge: Tensor | None,
    edge_map: Tensor | None,
    seed: Tensor | None,
    out: Tensor,
    lse: Tensor,
    through_weights: Tensor | None,
    grad: Tensor,
    grad_alpha: Tensor | None,
    score: str,
    factor: float,
    dropout: float,
) -> tuple[Tensor, ...]:
    dtype = accumulate_dtype(value.dtype)
    num_edges, (num_cols, heads, depth) = indices.shape[0], value.shape
    width, num_rows = heads * depth, x_dst.shape[0]
    channels = 0 if edge_map is None else edge_map.shape[0]
    scored = _scored(x_dst, x_src, att, edge, edge_map, factor, dtype)
    upstream = flat(grad, dtype)
    none = np.empty(0, np.int64)
    pair = empty(num_edges, 2 * heads, dtype=dtype)
    pair[int(indptr[-1]) :] = 0  # slots past the last offset belong to no row
    d_dst = empty(num_rows, math.prod(x_dst.shape[1:]), dtype=dtype)
    d_att = torch.zeros(RUNS, 0 if att is None else width, dtype=dtype)
    of_edges = edge.flatten(1).shape[1] if score == "gatv2" and edge is not None else 0
    d_edge = empty(num_edges, of_edges, dtype=dtype)
    d_edge[int(indptr[-1]) :] = 0
    d_map = torch.zeros(RUNS * channels, width, dtype=dtype)
    offsets = array(indptr)
    hub = hub_pieces(offsets, num_edges)
    weigh.LAUNCH[score](
        2 * (num_edges + num_rows) * width * (1 + channels),
        offsets,
        none,
        (offsets[:-1], offsets[1:], array(indices)),
        hub,
        scored,
        flat(value, dtype),
        drop_args(seed, dropout, upstream.dtype.type),
        (
            upstream,
            flat(out, dtype),
            array(lse, dtype),
            optional(through_weights, dtype, 2),
            optional(grad_alpha, dtype, 2),
        ),
        pair.numpy(),
        d_dst.numpy(),
        np.empty((hub.shape[1], d_dst.shape[1]), upstream.dtype),
        d_att.numpy(),
        d_edge.numpy(),
        d_map.numpy(),
    )
    d_value = empty(num_cols, width, dtype=dtype)
    d_src = empty(num_cols, 0 if score == "gatv2" else math.prod(x_src.shape[1:]), dtype=dtype)
    offsets = array(t_indptr)
    hub = hub_pieces(offsets, num_edges)
    pull.LAUNCH[score](
        2 * (num_edges + num_cols) * width * (1 + channels),
        offsets,
        none,
        (offsets[:-1], offsets[1:], array(t_indices), array(t_slots)),
        hub,
        scored,
        upstream,
        pair.numpy(),
        d_value.numpy(),
        d_src.numpy(),
        np.empty((hub.shape[1], width), upstream.dtype),
        np.empty((hub.shape[1], d_src.shape[1]), upstream.dtype),
    )
    found = {"x_dst": d_dst.view(x_dst.shape), "value": d_value.view(value.shape)}
    if score == "gatv2":
        found |= {"x_src": found.pop("value"), "att": d_att[0].view(heads, depth)}
        if edge is not None:
            found["edge"] = d_edge.view(edge.shape)
        if edge_map is not None:
            found["edge_map"] = d_map[:channels].view(channels, heads, depth)
    else:
        found |= {
            "x_src": d_src.view(x_src.shape),
            "edge": pair[:, heads:].clone(memory_format=torch.contiguous_format),
        }
    return tuple(
        found[name].to(value.dtype) if name in found else value.new_empty(0)
        for name in ("x_dst", "x_src", "value", "att", "edge", "edge_map")
    )
