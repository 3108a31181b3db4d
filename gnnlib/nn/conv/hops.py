"""Several steps of one propagation, for the layers that map what they pass through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

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
        lin.expect(x.size(-1))
    linear = reduce in ("sum", "mean") and not any(lin.hooked for lin in lins)
    return linear and all(lin.out_channels < x.size(-1) for lin in lins)


def chebyshev(
    step: Callable[[Tensor], Tensor],
    maps: Sequence[Callable[[Tensor], Tensor]],
    x: Tensor,
    *,
    narrow: bool,
) -> Tensor:
    r"""The sum of mapped Chebyshev polynomials, :math:`\sum_k \mathrm{map}_k(T_k(L) x)`, L one step.

    With ``narrow`` the maps run first and the recurrence over their outputs, from the last on (Clenshaw).

    Shapes: x ``[N, F]`` -> ``[N, F']``.
    """
    out = maps[0](x)
    if not narrow:
        before, term = x, x
        for k, map_k in enumerate(maps[1:]):
            after = step(term)
            before, term = term, after if k == 0 else 2 * after - before
            out = out + map_k(term)
        return out
    later: Tensor | None = None
    last: Tensor | None = None
    for map_k in maps[:0:-1]:
        term = map_k(x)
        term = term if last is None else term + 2 * step(last)
        term = term if later is None else term - later
        later, last = last, term
    out = out if last is None else out + step(last)
    return out if later is None else out - later
