"""Cayley filters: rational functions of the Laplacian that zoom into a band of the spectrum."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, ConvOptions
from gnnlib.nn.conv.cheb import laplacian
from gnnlib.nn.conv.complex import ComplexMap, complex_columns, times_i
from gnnlib.nn.conv.sums import SumConv
from gnnlib.nn.init import reset, zeros
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, spmm
from gnnlib.sparse.features import feature_linear


class CayleyConv(SumConv):
    r"""Powers of the Cayley transform of the Laplacian, each with a complex matrix.

    .. math:: X' = X W_0 + 2 \operatorname{Re} \sum_{j=1}^{r} C(h L)^j X W_j + b, \qquad
        C(z) = (z - i) (z + i)^{-1}

    Levie, Monti, Bresson and Bronstein, CayleyNets: Graph Convolutional Neural Networks with Complex Rational
    Spectral Filters, IEEE Transactions on Signal Processing 2019. C puts the spectrum on the unit circle; the
    learned h > 0 says which band is spread over most of it. The inverse is never formed: as in the paper,
    :math:`(h L + i) y_j = (h L - i) y_{j-1}` takes K steps of Jacobi

    .. math:: z \leftarrow q + J z, \; J = -\operatorname{diag}(h L + i)^{-1} \operatorname{off}(h L), \quad
        q = \operatorname{diag}(h L + i)^{-1} (h L - i)\, y_{j-1}

    whose error shrinks by :math:`h / \sqrt{h^2 + 1}` a step for the normalised Laplacian of an undirected
    graph, and gradients pass through the steps. Degrees and loops are those of :class:`ChebConv`.

    Args:
        in_channels: width of x.
        out_channels: width of the output.
        r: highest power, at least 1; a real map and r complex ones.
        K: steps of Jacobi for each power, at least 0.
        h: the first value of the zoom, positive.
        normalization: ``"sym"`` for :math:`L = I - D^{-1/2} A D^{-1/2}`, None for :math:`L = D - A`.
        bias: learn b.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, out]``. The values of a sparse matrix are its edge weights.
    Cost: r (K + 1) SpMMs of complex columns on the narrower side of the maps, as many arrays of that width
        kept for the gradient, and an array over edges.
    Raises: ValueError for r under 1, a negative K, an h that is not positive, an unknown normalization, or x,
        edge_index and edge_weight that do not fit, or when x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        r: int = 1,
        K: int = 8,
        *,
        h: float = 1.0,
        normalization: Literal["sym"] | None = "sym",
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if r < 1 or K < 0 or not 0 < h < math.inf:
            raise ValueError(
                f"CayleyConv: r={r}, K={K}, h={h}; pass r of 1 or more, K of 0 or more and a positive h"
            )
        if normalization not in ("sym", None):
            raise ValueError(f"CayleyConv: normalization={normalization!r} is unknown; choose 'sym' or None")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.r = r
        self.K = K
        self.init_h = h
        self.normalization: Literal["sym"] | None = normalization
        self.lin = Linear(in_channels, out_channels, bias=False, weight_initializer="glorot")
        self.maps = nn.ModuleList(ComplexMap(in_channels, out_channels) for _ in range(r))
        self.log_h = nn.Parameter(torch.empty(()))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    @property
    def h(self) -> Tensor:
        """The zoom, a positive number."""
        return self.log_h.exp()

    def reset_parameters(self) -> None:
        """Draw new parameters, h its first value."""
        for part in (self.lin, *self.maps):
            reset(part)
        nn.init.constant_(self.log_h, math.log(self.init_h))
        zeros(self.bias)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Filter x ``[N, in]`` over the graph -> ``[N, out]``."""
        x = self._one(x)
        self.lin.expect(x.size(1))
        adj = self._graph(edge_index, x, x)
        transform = self._transform(adj, self._edge_weight(adj, edge_weight, x), x)
        narrow = self.out_channels < self.in_channels
        out = self._mapped_first(transform, x) if narrow else self._mapped_last(transform, x)
        return out if self.bias is None else out + self.bias

    def _mapped_first(self, transform: _Cayley, x: Tensor) -> Tensor:
        """All maps in one product, and Horner's scheme over the powers of their outputs."""
        weights: list[Tensor] = [self.lin.weight]
        for map_j in self._maps():
            weights += map_j.real, map_j.imag
        widths = [self.out_channels] + [2 * self.out_channels] * self.r
        own, *powers = torch.split(feature_linear(x, torch.cat(weights)), widths, dim=1)
        y = powers[-1]
        for mapped in powers[-2::-1]:
            y = transform(y) + mapped
        out: Tensor = own + 2 * transform(y)[:, : self.out_channels]
        return out

    def _mapped_last(self, transform: _Cayley, x: Tensor) -> Tensor:
        out: Tensor = self.lin(x)
        y = complex_columns(x, self.in_channels, self._who)
        for map_j in self._maps():
            y = transform(y)
            out = out + 2 * map_j.real_part(y)
        return out

    def _maps(self) -> Iterator[ComplexMap]:
        for map_j in self.maps:
            assert isinstance(map_j, ComplexMap)
            yield map_j

    def _transform(self, adj: CSR, weight: Tensor | None, x: Tensor) -> _Cayley:
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        entry = laplacian(adj, weight, dtype, self.normalization)
        off, diagonal = entry[: adj.num_values], entry[adj.num_values :]
        looped = adj.add_self_loops(remaining=False)
        off = looped.to_slots(torch.cat([off, off.new_zeros(adj.num_rows)]))
        return _Cayley(looped.slot_order, off.to(x.dtype), diagonal, self.h.to(dtype), self.K)

    def __repr__(self) -> str:
        return f"CayleyConv({self.in_channels}, {self.out_channels}, r={self.r}, K={self.K})"


class _Cayley:
    """C(h L) of complex columns ``[N, 2 F]``, with K steps of Jacobi."""

    def __init__(self, adj: CSR, off: Tensor, diagonal: Tensor, h: Tensor, steps: int) -> None:
        self.adj, self.off, self.steps = adj, off, steps
        self.h = h.to(off.dtype)
        self.diagonal = (h * diagonal).to(off.dtype)[:, None]
        size = 1 / (h * h * diagonal * diagonal + 1)
        # 1 / (h d + i) = (h d - i) / (h^2 d^2 + 1)
        self.inverse_real = (size * h * diagonal).to(off.dtype)[:, None]
        self.inverse_imag = (-size).to(off.dtype)[:, None]

    def __call__(self, y: Tensor) -> Tensor:
        right = self._divided(self.diagonal * y + self._off(y) - times_i(y))
        z = right
        for _ in range(self.steps):
            z = right - self._divided(self._off(z))
        return z

    def _off(self, y: Tensor) -> Tensor:
        return self.h * spmm(self.adj, y, self.off)

    def _divided(self, y: Tensor) -> Tensor:
        return self.inverse_real * y + self.inverse_imag * times_i(y)
