"""The gradient of a sum of rectified messages on a GPU: sources pass over targets, rows over edges."""

from __future__ import annotations

from torch import Tensor

from gnnlib.sparse.gpu.launch import needs_gpu
from gnnlib.sparse.gpu.messages import gradients
from gnnlib.sparse.registry import FLOATS, kernel


@kernel("edge_relu_sum_grad", "gpu", refuse=needs_gpu(FLOATS))
def edge_relu_sum_grad(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_rows: Tensor,
    t_slots: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    grad: Tensor,
    need: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    none = None, None, None, None
    return gradients(
        indptr, indices, t_indptr, t_rows, t_slots, x, edge, edge_map, perm, grad, *none, need, relu=True
    )
