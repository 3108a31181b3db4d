"""A linear map of input features, which are often mostly zero."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gnnlib.sparse.autograd import traced
from gnnlib.sparse.dropout import known_zeros
from gnnlib.sparse.ops.spmm import spmm

__all__ = ["feature_linear"]


def feature_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""A linear map of rows, :math:`x W^\top + b`, over the non-zero entries alone where they are few.

    That is so for constant features on a CPU that are large and mostly zero, such as bags of words, and for
    what ``feature_dropout`` makes of them; anything else goes through ``torch.nn.functional.linear``.

    Args:
        x: rows.
        weight: W.
        bias: b.

    Shapes: x ``[N, in]``, weight ``[out, in]``, bias ``[out]`` -> ``[N, out]``.
    Cost: O(nnz out) instead of O(N in out).
    """
    adj = None if x.requires_grad or traced(x, weight) or x.dtype != weight.dtype else known_zeros(x)
    if adj is None:
        return F.linear(x, weight, bias)
    out = spmm(adj, weight.t().contiguous(), adj.value)
    return out if bias is None else out + bias.to(out.dtype)
