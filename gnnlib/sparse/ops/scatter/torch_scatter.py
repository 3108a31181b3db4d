"""Scatter by the torch-scatter package."""

from __future__ import annotations

import torch
import torch_scatter
from torch import Tensor

from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.segment_reduce.torch_scatter import refuse_unordered
from gnnlib.sparse.registry import FLOATS, kernel, needs

_accepts = needs("cpu", FLOATS)


def _refuse(index: Tensor, src: Tensor, num_rows: int, reduce: str) -> str | None:
    return _accepts(index, src) or refuse_unordered(src, reduce)


@kernel("scatter", "torch_scatter", refuse=_refuse)
def scatter(index: Tensor, src: Tensor, num_rows: int, reduce: str) -> tuple[Tensor, Tensor]:
    where = index.long()[:, None].expand_as(src)
    value = src.to(accumulate_dtype(src.dtype))  # sums of short types are float32 everywhere
    if reduce in ("max", "min"):
        extreme = torch_scatter.scatter_max if reduce == "max" else torch_scatter.scatter_min
        out, arg = extreme(value, where, dim=0, dim_size=num_rows)
        return out.to(src.dtype), arg.masked_fill_(arg == src.shape[0], -1)
    out = torch_scatter.scatter_sum(value, where, dim=0, dim_size=num_rows)
    if reduce == "mean":
        out = out / index.long().bincount(minlength=num_rows).clamp(min=1)[:, None]
    return out.to(src.dtype), index.new_empty(0, dtype=torch.int64)
