"""Float64 results on the very input that is timed, and the bounds within which ours must agree with them.

They go through a block of features at a time, so that a graph of millions of edges needs little memory,
and through no code of the sparse core.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnlib.bench.graphs import Graph

_BLOCK = 16  # features at a time
_EPS = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Expected:
    """A float64 ``value`` and, for each entry, how far a float32 result may be from it."""

    name: str
    value: Tensor
    bound: Tensor

    def rounded_to(self, dtype: torch.dtype) -> Expected:
        """The same for a result that is rounded once to a shorter type."""
        return Expected(self.name, self.value, self.bound + torch.finfo(dtype).eps * self.value.abs())

    def disagreement(self, got: Tensor) -> str | None:
        """A sentence about the worst entry of ``got``, or None when all are within their bounds."""
        if got.shape != self.value.shape:
            return f"{self.name} has shape {list(got.shape)}, expected {list(self.value.shape)}"
        error = (got.detach().double() - self.value).abs()
        wrong = ~(error <= self.bound)  # a NaN is wrong too
        if not bool(wrong.any()):
            return None
        ratio = torch.where(wrong, (error / self.bound).nan_to_num(nan=torch.inf), 0)
        worst = int(ratio.argmax())
        return (
            f"{self.name}: {int(wrong.sum())} of {wrong.numel()} entries are off, at worst "
            f"{float(got.flatten()[worst]):.9g} where float64 gives {float(self.value.flatten()[worst]):.9g}"
        )


def _sum_bound(terms: Tensor, magnitude: Tensor) -> Tensor:
    """Rounding of a float32 sum in any order: it walks as the root of the number of terms."""
    return _EPS * (8 + terms.double().sqrt()) * magnitude + torch.finfo(torch.float32).tiny


def neighbor_sum(graph: Graph, x: Tensor, name: str = "out") -> Expected:
    """sum_j x_j over the edges j -> i, ``[N, F]``."""
    src, dst = graph.edge_index
    value = torch.zeros(x.shape, dtype=torch.float64)
    magnitude = torch.zeros_like(value)
    for f in range(0, x.size(1), _BLOCK):
        message = x[:, f : f + _BLOCK].double()[src]
        value[:, f : f + _BLOCK].index_add_(0, dst, message)
        magnitude[:, f : f + _BLOCK].index_add_(0, dst, message.abs_())
    degree = torch.bincount(dst, minlength=graph.num_nodes)
    return Expected(name, value, _sum_bound(degree[:, None], magnitude))


def neighbor_max(graph: Graph, x: Tensor, grad: Tensor) -> tuple[Expected, Expected]:
    """max_j x_j (0 without neighbours) and its gradient: all of it to the first edge that attains it."""
    src, dst = graph.edge_index
    order = torch.argsort(dst, stable=True)
    src, dst = src[order], dst[order]
    place = torch.arange(src.numel())
    value = torch.zeros(x.shape, dtype=torch.float64)
    dx, magnitude = torch.zeros_like(value), torch.zeros_like(value)
    fan_out = torch.bincount(src, minlength=graph.num_nodes)
    for f in range(0, x.size(1), _BLOCK):
        part = slice(f, f + _BLOCK)
        message = x[:, part].double()[src]
        best = torch.full_like(value[:, part], -torch.inf)
        best.scatter_reduce_(0, dst[:, None].expand_as(message), message, "amax")
        candidate = torch.where(message == best[dst], place[:, None], src.numel())
        first = torch.full(best.shape, src.numel())
        first.scatter_reduce_(0, dst[:, None].expand_as(candidate), candidate, "amin")
        reached = first < src.numel()  # not for empty rows
        value[:, part] = torch.where(reached, best, 0)
        winner = torch.cat([src, src.new_zeros(1)])[first]
        share = torch.where(reached, grad[:, part].double(), 0)
        dx[:, part] = torch.zeros_like(best).scatter_add_(0, winner, share)
        magnitude[:, part] = torch.zeros_like(best).scatter_add_(0, winner, share.abs())
    exact = torch.zeros_like(value)
    return Expected("out", value, exact), Expected("grad", dx, _sum_bound(fan_out[:, None], magnitude))


#: A training step sums over N rows and through several layers; its gradients are held to this share of
#: their largest entry. Float32 PyG stays within 3e-5 of float64 on these graphs.
STEP_TOLERANCE = 1e-4
#: A gradient that is zero in exact arithmetic (a bias before a batch norm) is noise of its neighbours'
#: size: no tensor is held to less than this share of the largest gradient of all.
_FLOOR = 1e-2


def gradients(exact: dict[str, Tensor]) -> dict[str, Expected]:
    """The loss and gradients of a step, each to :data:`STEP_TOLERANCE` of its largest entry."""
    peaks = {name: float(g.abs().max()) if g.numel() else 0.0 for name, g in exact.items()}
    floor = _FLOOR * max(peaks.values())
    return {
        name: Expected(
            name, g.double(), torch.full(g.shape, STEP_TOLERANCE * max(peaks[name], floor)).double()
        )
        for name, g in exact.items()
    }


def mean_power(graph: Graph, x: Tensor, steps: int) -> Expected:
    """``steps`` means over neighbours (0 without any), ``[N, F]``.

    A mean never exceeds the largest entry, and roundings of one step are averaged by the next ones, so that
    they add up over the steps at most.
    """
    src, dst = graph.edge_index
    degree = torch.bincount(dst, minlength=graph.num_nodes)[:, None]
    value = torch.empty(x.shape, dtype=torch.float64)
    bound = torch.empty_like(value)
    for f in range(0, x.size(1), _BLOCK):
        h = x[:, f : f + _BLOCK].double()
        spread = torch.zeros_like(h)  # the bound so far, carried along
        for _ in range(steps):
            size = torch.zeros_like(h).index_add_(0, dst, h.abs()[src]) / degree.clamp(min=1)
            spread = torch.zeros_like(h).index_add_(0, dst, spread[src]) / degree.clamp(min=1)
            spread += _sum_bound(degree, size) + 4 * _EPS * size
            h = torch.zeros_like(h).index_add_(0, dst, h[src]) / degree.clamp(min=1)
        value[:, f : f + _BLOCK], bound[:, f : f + _BLOCK] = h, spread
    return Expected("out", value, bound)
