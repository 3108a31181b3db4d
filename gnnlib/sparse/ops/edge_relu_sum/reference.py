"""Sum of rectified messages in plain torch: the definition."""

from __future__ import annotations

from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.ops.multi_reduce.reference import messages
from gnnlib.sparse.registry import kernel


@kernel("edge_relu_sum", "reference")
def edge_relu_sum(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
) -> Tensor:
    message = messages(indptr, indices, x, edge, edge_map, perm).relu()  # [E, F]
    row = row_of_slot(indptr, message.shape[0])[:, None].expand_as(message)
    return message.new_zeros(indptr.shape[0] - 1, x.shape[1]).scatter_add_(0, row, message).to(x.dtype)
