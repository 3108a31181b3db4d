"""Attention out of the other ops: the form that is differentiated twice, and by ``torch.func``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.edge_attention.dropout import keep_factor
from gnnlib.sparse.ops.sddmm import sddmm_slots
from gnnlib.sparse.ops.segment_softmax import segment_softmax
from gnnlib.sparse.ops.spmm import weighted_sum


def composed(
    adj: CSR,
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
) -> tuple[Tensor, Tensor]:
    """Result ``[R, H, D]`` and attention weights ``[E, H]``; GATv2's score takes an array of E x H x D."""
    if score == "gatv2":
        z = sddmm_slots(adj, x_dst, x_src, "add")
        if edge is not None:
            z = z + (edge if edge_map is None else torch.einsum("ek,khd->ehd", edge, edge_map))
        assert att is not None
        s = (F.leaky_relu(z, factor) * att).sum(-1)
    elif score == "dot":
        s = factor * sddmm_slots(adj, x_dst, x_src, "dot")
        s = s if edge is None else s + edge
    else:
        s = sddmm_slots(adj, x_dst.unsqueeze(1), x_src.unsqueeze(1), "add").squeeze(1)
        s = F.leaky_relu(s if edge is None else s + edge, factor)
    alpha = segment_softmax(s, adj.indptr)
    if seed is not None:
        alpha = alpha * keep_factor(seed, adj.num_edges, s.shape[1], dropout, s.dtype)
    return weighted_sum(adj, value, alpha, None, None), alpha


def gradients(
    adj: CSR,
    inputs: Sequence[Tensor | None],
    seed: Tensor | None,
    score: str,
    factor: float,
    dropout: float,
    grad: Tensor,
    grad_alpha: Tensor | None = None,
) -> list[Tensor | None]:
    """Gradients to x_dst, x_src, value, att, edge and edge_map that can be differentiated again."""
    same = score == "gatv2"
    with torch.enable_grad():
        # Views, so that each place has a tensor of its own even where the caller passed one twice.
        own: list[Any] = [None if t is None else t.view_as(t) for t in inputs]
        if same:
            own[2] = own[1]
        x_dst, x_src, value, att, edge, edge_map = own
        out, alpha = composed(adj, x_dst, x_src, value, att, edge, edge_map, seed, score, factor, dropout)
        wanted = [k for k, t in enumerate(own) if t is not None and t.requires_grad and not (same and k == 2)]
        outputs, grads = [out], [grad]
        if grad_alpha is not None:
            outputs, grads = [out, alpha], [grad, grad_alpha]
        found = torch.autograd.grad(
            outputs, [own[k] for k in wanted], grads, create_graph=True, allow_unused=True
        )
    result: list[Tensor | None] = [None] * len(own)
    for k, g in zip(wanted, found, strict=True):
        result[k] = g
    return result
