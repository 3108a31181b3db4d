"""The gradient of several reductions on a GPU: node-sized coefficients, then one pass for each gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.gpu.launch import needs_gpu
from gnnlib.sparse.gpu.messages import gradients
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.registry import FLOATS, kernel


@kernel("multi_reduce_grad", "gpu", refuse=needs_gpu(FLOATS))
def multi_reduce_grad(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_rows: Tensor,
    t_slots: Tensor,
    x: Tensor,
    edge: Tensor | None,
    edge_map: Tensor | None,
    perm: Tensor | None,
    target: Tensor | None,
    grad: Tensor,
    out: Tensor,
    mean: Tensor,
    arg: Tensor,
    reduces: str,
    need: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    names = reduces.split(",")
    degree = indptr.diff()[:, None]
    n = degree.clamp(min=1)
    of = {name: grad[:, k].to(accumulate_dtype(x.dtype)) for k, name in enumerate(names)}
    c = own = torch.zeros_like(grad[:, 0], dtype=accumulate_dtype(x.dtype))
    if "sum" in of:
        c, own = of["sum"], of["sum"] * degree
    if "mean" in of:
        c, own = c + of["mean"] / n, own + of["mean"]
    b = None
    if "var" in of or "std" in of:
        b = 2 * of["var"] if "var" in of else torch.zeros_like(c)
        if "std" in of:
            std = out[:, names.index("std")]
            b = b + torch.where(std == 0, 0, of["std"] / torch.where(std == 0, 1, std))
        b = b / n
        if "mean" in of and target is None:
            mean = out[:, names.index("mean")]
    extremes = [of[m] for m in ("max", "min") if m in of]
    own = torch.where(degree > 0, sum(extremes, own), 0)
    found = gradients(
        indptr,
        indices,
        t_indptr,
        t_rows,
        t_slots,
        x,
        edge,
        edge_map,
        perm,
        c,
        b,
        None if b is None else mean,
        arg if extremes else None,
        torch.stack(extremes, dim=1) if extremes else None,
        need,
        relu=False,
    )
    return (*found, own if need[3] else own[:0])
