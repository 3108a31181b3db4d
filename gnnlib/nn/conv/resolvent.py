"""Filters of directed graphs by resolvents of the Laplacian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, ConvOptions
from gnnlib.nn.conv.directed_norm import degrees
from gnnlib.nn.conv.hops import narrower
from gnnlib.nn.conv.sums import SumConv
from gnnlib.nn.init import reset, zeros
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, spmm

MAX_ITERATIONS = 1000
_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}


class DirResolvConv(SumConv):
    r"""Powers of a resolvent of the directed Laplacian, with and against the edges.

    .. math:: X' = \alpha \sum_{k=1}^{K} R_{out}^k X W_k^{out}
        + (1 - \alpha) \sum_{k=1}^{K} R_{in}^k X W_k^{in} + b, \qquad
        R_{in} = (M^{-1} \Delta + I)^{-1}, \quad \Delta = D_{in} - A

    Koke and Cremers, HoloNets: Spectral Convolutions do extend to Directed Graphs, ICLR 2024, Sect. 4 and
    App. (Dir-ResolvNet), at y = -1; :math:`R_{out}` is that of the reversed graph, M holds node masses. R is
    not negative and its rows sum to 1, and where a weight goes to infinity it tends to the resolvent of the
    graph with the two nodes merged, so that outputs are stable under changes of scale. It is applied by
    solving :math:`(\Delta + M) z = M x` with BiCGSTAB, never inverted; the gradient solves the transpose.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        K: highest power, at least 1.
        alpha: share of the out-direction, in [0, 1]; a direction without a share has no maps.
        bias: learn b.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``,
        not negative, mass ``[N]``, positive, both without a gradient -> ``[N, out]``. The values of a sparse
        matrix are its edge weights.
    Cost: K solves in each direction, on the narrower side of the maps, of two SpMMs an iteration; iterations
        grow with the largest degree.
    Raises: ValueError for K under 1, an alpha outside [0, 1], when x, edge_index, edge_weight and mass do not
        fit, or x is a pair; NotImplementedError for weights or masses that ask for a gradient; RuntimeError
        when a solve does not converge.
    """

    takes_edge_weight = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int = 1,
        *,
        alpha: float = 0.5,
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if K < 1 or not 0 <= alpha <= 1:
            raise ValueError(
                f"DirResolvConv: K={K}, alpha={alpha}; pass K of 1 or more and alpha from 0 to 1"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.K = K
        self.alpha = alpha
        self.lins_out = nn.ModuleList(self._map() for _ in range(K) if alpha > 0)
        self.lins_in = nn.ModuleList(self._map() for _ in range(K) if alpha < 1)
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def _map(self) -> Linear:
        return Linear(self.in_channels, self.out_channels, bias=False, weight_initializer="glorot")

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for lin in (*self.lins_out, *self.lins_in):
            reset(lin)
        zeros(self.bias)

    def forward(
        self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None, mass: Tensor | None = None
    ) -> Tensor:
        """Filter x ``[N, in]`` over the graph -> ``[N, out]``."""
        x = self._one(x)
        adj = self._graph(edge_index, x, x)
        weight = self._edge_weight(adj, edge_weight, x)
        for name, value in (("edge_weight", weight), ("mass", mass)):
            if value is not None and value.requires_grad:
                raise NotImplementedError(
                    f"DirResolvConv: {name} asks for a gradient, which it does not have; detach it"
                )
        if mass is not None and mass.shape != (x.size(0),):
            raise ValueError(f"DirResolvConv: mass has shape {list(mass.shape)}; expected [{x.size(0)}]")
        out = None
        for share, lins, graph in (
            (self.alpha, self.lins_out, adj.transposed),
            (1 - self.alpha, self.lins_in, adj),
        ):
            if len(lins):
                term = share * self._branch(lins, Resolvent.of(graph, weight, mass, x.dtype), x)
                out = term if out is None else out + term
        assert out is not None
        return out if self.bias is None else out + self.bias

    def _branch(self, lins: nn.ModuleList, resolve: Resolvent, x: Tensor) -> Tensor:
        maps = [lin for lin in lins if isinstance(lin, Linear)]
        if narrower(maps, x, "sum"):
            narrow = resolve(maps[-1](x))
            for lin in maps[-2::-1]:
                narrow = resolve(narrow + lin(x))
            return narrow
        z = resolve(x)
        out: Tensor = maps[0](z)
        for lin in maps[1:]:
            z = resolve(z)
            out = out + lin(z)
        return out


@dataclass(frozen=True)
class Resolvent:
    r"""The linear map :math:`x \mapsto (\Delta + M)^{-1} M x`, or its transpose.

    Shapes: adj ``[N, N]``, weight ``[E]`` or None, diagonal and mass ``[N]``; x ``[N, F]`` -> ``[N, F]``.
    """

    adj: CSR
    weight: Tensor | None
    diagonal: Tensor
    mass: Tensor

    @staticmethod
    def of(adj: CSR, weight: Tensor | None, mass: Tensor | None, dtype: torch.dtype) -> Resolvent:
        """The resolvent of a graph with row = target; at least in float32."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        weight = None if weight is None else weight.to(wide)
        degree, _ = degrees(adj, weight, wide)
        mass = torch.ones_like(degree) if mass is None else mass.to(wide)
        return Resolvent(adj, weight, degree + mass, mass)

    def __call__(self, x: Tensor) -> Tensor:
        """Solve for every column of x ``[N, F]``."""
        out: Tensor = _Resolve.apply(x.to(self.mass.dtype), self, False)  # type: ignore[no-untyped-call]
        return out.to(x.dtype)

    def solve(self, x: Tensor, transposed: bool) -> Tensor:
        """The map or its transpose, without a gradient."""
        adj = self.adj.transposed if transposed else self.adj

        def apply(z: Tensor) -> Tensor:
            return self.diagonal[:, None] * z - spmm(adj, z, self.weight)

        if transposed:
            return self.mass[:, None] * bicgstab(apply, x, self.diagonal)
        return bicgstab(apply, self.mass[:, None] * x, self.diagonal)


class _Resolve(torch.autograd.Function):
    """A solve whose gradient is a solve of the transpose, and so on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, resolvent: Resolvent, transposed: bool) -> Tensor:
        ctx.resolvent, ctx.transposed = resolvent, transposed
        return resolvent.solve(x, transposed)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        back: Tensor = _Resolve.apply(grads[0], ctx.resolvent, not ctx.transposed)  # type: ignore[no-untyped-call]
        return back, None, None


def bicgstab(apply: Any, right: Tensor, diagonal: Tensor) -> Tensor:
    """Solve ``apply(z) = right`` for all columns at once, each with its own steps.

    van der Vorst, Bi-CGSTAB, SIAM J. Sci. Stat. Comput. 1992, with the diagonal as preconditioner. A column
    whose recurrence breaks down begins again from where it is.

    Shapes: right ``[N, F]``, diagonal ``[N]`` -> ``[N, F]``.
    Raises: RuntimeError when a column has not converged after 1000 iterations.
    """
    if right.numel() == 0:
        return right.clone()
    inverse = 1 / diagonal[:, None]
    z = inverse * right
    goal = _TOLERANCE[right.dtype] * right.norm(dim=0)
    r = right - apply(z)
    shadow, p = r.clone(), r.clone()
    rho = (shadow * r).sum(0)
    for _ in range(MAX_ITERATIONS):
        open_ = r.norm(dim=0) > goal
        if not bool(open_.any()):
            return z
        y = inverse * p
        v = apply(y)
        alpha = _quotient(rho, (shadow * v).sum(0)) * open_
        s = r - alpha * v
        t_in = inverse * s
        t = apply(t_in)
        omega = _quotient((t * s).sum(0), (t * t).sum(0)) * open_
        z = z + alpha * y + omega * t_in
        r = s - omega * t
        new = (shadow * r).sum(0)
        beta = _quotient(new, rho) * _quotient(alpha, omega)
        lost = open_ & ((beta == 0) | ~beta.isfinite() | (new.abs() < 1e-3 * goal * goal))
        r = torch.where(lost, right - apply(z), r) if bool(lost.any()) else r
        shadow = torch.where(lost, r, shadow)
        p = torch.where(lost, r, r + beta * (p - omega * v))
        rho = torch.where(lost, (r * r).sum(0), new)
    raise RuntimeError(
        f"bicgstab: {int(open_.sum())} of {right.size(1)} columns have not converged after {MAX_ITERATIONS} "
        "iterations; are edge weights negative or not finite?"
    )


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    """a / b, 0 where b is 0."""
    return torch.where(b == 0, 0, a / b.masked_fill(b == 0, 1))
