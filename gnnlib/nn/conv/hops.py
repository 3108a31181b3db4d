"""Several steps of one propagation, for the layers that map what they pass through."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gnnlib.nn.conv.gcn_norm import Propagation
from gnnlib.nn.linear import Linear
from gnnlib.sparse import propagate
from gnnlib.sparse.ops.spmm import Reduce


def repeat(
    step: Propagation,
    x: Tensor,
    steps: int,
    reduce: Reduce = "sum",
    *,
    restart: float = 0.0,
    decay: float | None = None,
    every: bool = False,
) -> Tensor:
    """:func:`gnnlib.sparse.propagate` of x ``[N, F]``; a reduction that is no sum goes step by step."""
    if reduce == "sum":
        scales = {"row_scale": step.scale, "col_scale": step.scale}
        return propagate(
            step.adj, x, steps, weight=step.weight, **scales, restart=restart, decay=decay, every=every
        )
    decay = 1.0 - restart if decay is None else decay
    hops = [x]
    for _ in range(steps):
        h = decay * step(hops[-1], reduce)
        hops.append(h if restart == 0 else h + restart * x)
    return torch.stack(hops) if every else hops[-1]


def narrower(lins: Iterable[Linear], x: Tensor, reduce: Reduce) -> bool:
    """Check the width of x; whether the maps may run before the reduction, where they are narrower."""
    lins = list(lins)
    for lin in lins:
        lin.expect(x.size(1))
    linear = reduce in ("sum", "mean") and not any(lin.hooked for lin in lins)
    return linear and all(lin.out_channels < x.size(1) for lin in lins)
