"""What hypergraph layers share: the door for the hypergraph, its checks, and the scaled two-stage step."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from gnnlib.nn.linear import Linear
from gnnlib.sparse import Hypergraph, spmm
from gnnlib.sparse.features import feature_linear
from gnnlib.sparse.hypergraph import Incidences, as_hypergraph, inverse

__all__ = ["apply_linear", "HyperConv", "Incidences", "inverse", "inverse_root", "OutLinear", "two_stage"]


class HyperConv(nn.Module):
    """Base of the hypergraph layers."""

    takes_weights = False  # whether hyperedge weights and incidence values have a place in the equation

    @property
    def _who(self) -> str:
        return type(self).__name__

    def _hypergraph(
        self, x: Tensor, incidences: Incidences, num_hyperedges: int | None, **values: Any
    ) -> Hypergraph:
        """The one place where incidences become a hypergraph."""
        self._check_features(x)
        h = as_hypergraph(incidences, x.size(0), num_hyperedges, **values)
        if not self.takes_weights and (h.hyperedge_weight is not None or h.incidence_value is not None):
            raise NotImplementedError(
                f"{self._who}: the hypergraph has weights or incidence values, for which its equation has no "
                "place; pass one without, or take HGNNConv, HGNNPlusConv or HypergraphConv"
            )
        return h

    def _first(self, x: Tensor, x_0: Tensor | None) -> Tensor:
        """The input of the first step beside x, x itself where none came."""
        if x_0 is None:
            return x
        if x_0.shape != x.shape:
            raise ValueError(
                f"{self._who}: x_0 has shape {list(x_0.shape)} but x has {list(x.shape)}; pass the input of "
                "the first step, of the same shape"
            )
        return x_0

    def _check_features(self, x: Any) -> None:
        if not isinstance(x, Tensor):
            raise TypeError(f"{self._who}: x is {type(x).__name__}; pass node features [N, F]")
        if x.dim() != 2:
            raise ValueError(f"{self._who}: x has shape {list(x.shape)}; expected [N, F], one row a node")
        if not x.is_floating_point():
            raise TypeError(f"{self._who}: x is {x.dtype}; pass floating features, for example x.float()")

    def __repr__(self) -> str:
        sizes = [str(getattr(self, n)) for n in ("in_channels", "out_channels") if hasattr(self, n)]
        return f"{self._who}({', '.join(sizes)})"


class OutLinear(Linear):
    """A linear map whose weight and bias start uniform in ±1/sqrt(out), as the first hypergraph codes do."""

    def reset_parameters(self) -> None:
        """Draw new parameters; nothing to do before the width is known."""
        if self.in_channels <= 0:
            return
        bound = 1 / math.sqrt(self.out_channels)
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)


def apply_linear(lin: Linear, x: Tensor, bias: bool = True) -> Tensor:
    """``lin(x)``, over the non-zero entries alone where x holds constant features that are mostly zero."""
    lin.expect(x.size(-1))
    if lin.hooked:
        out: Tensor = lin(x)
        return out if bias or lin.bias is None else out - lin.bias
    return feature_linear(x, lin.weight, lin.bias if bias else None)


def inverse_root(x: Tensor) -> Tensor:
    """``x ** -1/2`` with 0 where x is 0."""
    return inverse(x, 0.5)


def two_stage(
    h: Hypergraph,
    x: Tensor,
    *,
    node: Tensor | None = None,
    hyperedge: Tensor | None = None,
    weight: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    r"""The step of every linear layer: members to hyperedges and back, each with scales.

    .. math:: Y = \operatorname{diag}(o)\, H \operatorname{diag}(w) \operatorname{diag}(s)\, H^\top
        \operatorname{diag}(n)\, X

    Shapes: x ``[N, F]``, node and out ``[N]``, hyperedge and weight ``[M]`` -> ``[N, F]``.
    """
    value = h.incidence_value
    z = spmm(h.v2e, x, value, row_scale=hyperedge, col_scale=node)
    return spmm(h.e2v, z, value, row_scale=out, col_scale=weight)
