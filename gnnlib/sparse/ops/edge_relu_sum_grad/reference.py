"""The gradient of a sum of rectified messages in plain torch, with a message per edge: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.ops.multi_reduce.reference import messages
from gnnlib.sparse.ops.multi_reduce_grad.reference import from_messages
from gnnlib.sparse.registry import kernel


@kernel("edge_relu_sum_grad", "reference")
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
    message = messages(indptr, indices, x, edge, edge_map, perm)  # [E, F]
    own = grad.to(message.dtype).index_select(0, row_of_slot(indptr, message.shape[0]))
    return from_messages(indices, x, edge, edge_map, perm, torch.where(message <= 0, 0, own), need)
