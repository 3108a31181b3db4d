"""Reduction over sorted segments by the torch-scatter package."""

from __future__ import annotations

import torch_scatter
from torch import Tensor

from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import FLOATS, kernel, needs

_accepts = needs("cpu", FLOATS)


def refuse_unordered(src: Tensor, reduce: str) -> str | None:
    """Why max and min cannot be taken: the package starts from the largest finite number, not infinity."""
    if reduce in ("max", "min") and not bool(src.isfinite().all()):
        return f"its {reduce} passes over NaN and infinities, and src has some"
    return None


def _refuse(indptr: Tensor, src: Tensor, reduce: str) -> str | None:
    return _accepts(indptr, src) or refuse_unordered(src, reduce)


@kernel("segment_reduce", "torch_scatter", refuse=_refuse)
def segment_reduce(indptr: Tensor, src: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    used = int(indptr[-1])
    value = src[:used].to(accumulate_dtype(src.dtype))  # sums of short types are float32 everywhere
    if reduce in ("max", "min"):
        extreme = torch_scatter.segment_max_csr if reduce == "max" else torch_scatter.segment_min_csr
        out, arg = extreme(value, indptr)
        return out.to(src.dtype), arg.masked_fill_(arg == used, -1)
    out = torch_scatter.segment_sum_csr(value, indptr)
    if reduce == "mean":
        out = out / indptr.diff().clamp(min=1)[:, None]
    return out.to(src.dtype), indptr.new_empty(0)
