"""Spectral filters of directed graphs: Faber polynomials of the scaled adjacency and of its reverse."""

from __future__ import annotations

from typing import Literal, Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, ConvOptions
from gnnlib.nn.conv.complex import ComplexMap, complex_columns
from gnnlib.nn.conv.directed_norm import DirectedStep, directed_norm
from gnnlib.nn.conv.sums import SumConv
from gnnlib.nn.init import reset, zeros
from gnnlib.nn.linear import Linear

Penalty = Literal["exp", "lin"]


class FaberConv(SumConv):
    r"""Filters that need no Fourier transform: powers of a directed operator, with and against the edges.

    .. math:: X' = \alpha \sum_k c_k\, (T^\top)^k X W_k^{out} + (1 - \alpha) \sum_k c_k\, T^k X W_k^{in} + b,
        \qquad T = D_{in}^{e} A D_{out}^{e}, \quad c_k = 2^{1-k}

    Koke and Cremers, HoloNets: Spectral Convolutions do extend to Directed Graphs, ICLR 2024, Sect. 3. The
    powers of each direction are of that direction's operator, as in the paper; the authors' code feeds the
    reverse chain with forward iterates. As in PyG's ``DirGNNConv``, alpha is the share of the direction that
    collects from the nodes an edge points **to**. K = 1, e = -1/2 and no zero order is Dir-GCN.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        K: highest power, at least 1.
        alpha: share of the out-direction, in [0, 1]; a direction without a share has no maps.
        learn_alpha: learn it; then both directions have maps.
        exponent: e of both degrees.
        zero_order: begin at k = 0.
        penalty: ``"exp"`` for the c_k above; ``"lin"`` for 1, 1, 1/1, 1/2, 1/3, ...
        bias: learn b.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, out]``. The values of a sparse matrix are its edge weights.
    Cost: K SpMMs in each direction, on the narrower side of the maps.
    Raises: ValueError for K under 1, an alpha outside [0, 1], an unknown penalty, when x, edge_index and
        edge_weight do not fit, or x is a pair.
    """

    takes_edge_weight = True
    alpha: float | nn.Parameter

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int = 1,
        *,
        alpha: float = 0.5,
        learn_alpha: bool = False,
        exponent: float = -0.25,
        zero_order: bool = False,
        penalty: Penalty = "exp",
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if K < 1 or not 0 <= alpha <= 1:
            raise ValueError(f"{self._who}: K={K}, alpha={alpha}; pass K of 1 or more and alpha from 0 to 1")
        if penalty not in ("exp", "lin"):
            raise ValueError(f"{self._who}: penalty={penalty!r} is unknown; choose 'exp' or 'lin'")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.K = K
        self.init_alpha = alpha
        self.exponent = exponent
        self.zero_order = zero_order
        self.penalty = penalty
        self.alpha = nn.Parameter(torch.tensor(float(alpha))) if learn_alpha else alpha
        terms = range(0 if zero_order else 1, K + 1)
        self.lins_out = nn.ModuleList(self._map() for _ in terms if learn_alpha or alpha > 0)
        self.lins_in = nn.ModuleList(self._map() for _ in terms if learn_alpha or alpha < 1)
        self.bias = nn.Parameter(torch.empty(self._width)) if bias else None
        self.reset_parameters()

    @property
    def _width(self) -> int:
        return self.out_channels

    def _map(self) -> nn.Module:
        return Linear(self.in_channels, self.out_channels, bias=False, weight_initializer="glorot")

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for lin in (*self.lins_out, *self.lins_in):
            reset(lin)
        zeros(self.bias)
        if isinstance(self.alpha, nn.Parameter):
            nn.init.constant_(self.alpha, self.init_alpha)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Filter x ``[N, in]`` over the graph -> ``[N, out]``."""
        x = self._features(x)
        adj = self._graph(edge_index, x, x)
        step = directed_norm(adj, self._edge_weight(adj, edge_weight, x), x, self.exponent)
        shares = ((self.alpha, self.lins_out, step.reversed), (1 - self.alpha, self.lins_in, step))
        branches = [
            share * self._branch(lins, direction, x) for share, lins, direction in shares if len(lins)
        ]
        out = torch.stack(branches).sum(0) if len(branches) > 1 else branches[0]
        return out if self.bias is None else out + self.bias

    def _features(self, x: Tensor) -> Tensor:
        x = self._one(x)
        for lin in (*self.lins_out, *self.lins_in):
            assert isinstance(lin, Linear)
            lin.expect(x.size(1))
        return x

    def _branch(self, lins: nn.ModuleList, step: DirectedStep, x: Tensor) -> Tensor:
        """The filter of one direction, by Horner's scheme where the output is narrower."""
        first = 0 if self.zero_order else 1
        scaled = [(self._scale(k), lin) for k, lin in enumerate(lins, first)]
        if self.out_channels < self._in_channels(scaled[0][1]):
            factor, lin = scaled[-1]
            out: Tensor = factor * lin(x)
            for factor, lin in scaled[-2::-1]:
                out = step(out) + factor * lin(x)
            return out if self.zero_order else step(out)
        hop = x if self.zero_order else step(x)
        out = scaled[0][0] * scaled[0][1](hop)
        for factor, lin in scaled[1:]:
            hop = step(hop)
            out = out + factor * lin(hop)
        return out

    def _in_channels(self, lin: nn.Module) -> int:
        assert isinstance(lin, (Linear, ComplexMap))
        return lin.in_channels

    def _scale(self, k: int) -> float:
        if self.penalty == "exp":
            return float(2.0 ** (1 - k))
        return 1.0 / max(k - 1, 1)


class ComplexFaberConv(FaberConv):
    r"""FaberConv with complex maps.

    .. math:: X' = \alpha \sum_k c_k\, (T^\top)^k X W_k^{out} + (1 - \alpha) \sum_k c_k\, T^k X W_k^{in} + b,
        \qquad W_k, b \text{ complex}

    Koke and Cremers, HoloNets: Spectral Convolutions do extend to Directed Graphs, ICLR 2024, Sect. 3. Each
    direction has maps and powers of its own, as in the paper; in the authors' code all powers are the first
    and the reverse direction takes the forward maps. A complex signal is a real tensor, real parts first and
    imaginary parts beside them, on which the real operator acts at once.

    Args:
        in_channels: complex width of x.
        out_channels: complex width of the output.
        K, alpha, learn_alpha, exponent, zero_order, penalty, bias: as in :class:`FaberConv`.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, 2 in]``, or real ones ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr`
        takes, edge_weight ``[E]`` -> ``[N, 2 out]``.
    Cost: K SpMMs of doubled width in each direction.
    Raises: ValueError as :class:`FaberConv`.
    """

    @property
    def _width(self) -> int:
        return 2 * self.out_channels

    def _map(self) -> nn.Module:
        return ComplexMap(self.in_channels, self.out_channels)

    def _features(self, x: Tensor) -> Tensor:
        x = self._one(x)
        if x.size(1) == self.in_channels:
            return x  # real columns stay narrow until they are mapped
        return complex_columns(x, self.in_channels, self._who)
