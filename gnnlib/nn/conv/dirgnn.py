"""Convolutions of directed graphs: one for the edges that come in, another for those that go out."""

from __future__ import annotations

import copy
from typing import Literal, Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.conv.directed_norm import directed_norm
from gnnlib.nn.conv.faber import FaberConv
from gnnlib.nn.conv.gcn import GCNConv
from gnnlib.nn.conv.sums import SumConv
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR


class DirGCNConv(FaberConv):
    r"""Graph convolution over in-neighbours and over out-neighbours, normalised by both degrees.

    .. math:: X' = \alpha\, S^\top X W^{out} + (1 - \alpha)\, S X W^{in} + X W^{root} + b,
        \qquad S = D_{in}^{-1/2} A D_{out}^{-1/2}

    Rossi et al., Edge Directionality Improves Learning on Heterophilic Graphs, LoG 2023. There are no
    self-loops. PyG's ``DirGNNConv(GCNConv)`` scales both ends of an edge by in-degrees instead, which
    silences every source that nothing points to.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        alpha: share of the out-direction, in [0, 1]; a direction without a share has no map.
        learn_alpha: learn it; then both directions have maps.
        root_weight: add the term of the node itself, which the paper leaves out of Dir-GCN.
        bias: learn b.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, out]``. The values of a sparse matrix are its edge weights.
    Cost: one SpMM in each direction, on the narrower side of the maps.
    Raises: ValueError for an alpha outside [0, 1], when x, edge_index and edge_weight do not fit, or x is a
        pair.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        alpha: float = 0.5,
        learn_alpha: bool = False,
        root_weight: bool = False,
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            1,
            alpha=alpha,
            learn_alpha=learn_alpha,
            exponent=-0.5,
            bias=bias,
            **kwargs,
        )
        self.lin = Linear(in_channels, out_channels, bias=False) if root_weight else None

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        super().reset_parameters()
        reset(getattr(self, "lin", None))

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Convolve x ``[N, in]`` over both directions of the graph -> ``[N, out]``."""
        out = super().forward(x, edge_index, edge_weight)
        return out if self.lin is None else out + self.lin(x)


class DirGNNConv(SumConv):
    r"""Any convolution, once over the edges and once against them, with parameters of their own.

    .. math:: X' = X W + b + (1 - \alpha)\, \mathrm{conv}^{in}(X, A) + \alpha\, \mathrm{conv}^{out}(X, A^\top)

    Rossi et al., Edge Directionality Improves Learning on Heterophilic Graphs, LoG 2023. A
    :class:`GCNConv` inside gets the directed normalisation :math:`D_{in}^{-1/2} A D_{out}^{-1/2}` of the
    paper, where PyG scales by in-degrees alone.

    Args:
        conv: the convolution to copy, such as :class:`GCNConv`, :class:`SAGEConv` or :class:`GATConv`. Its
            self-loops and its root term are switched off.
        alpha: share of the out-direction, in [0, 1].
        root_weight: add the term of the node itself, X W + b.
        pyg_compat: normalise a GCNConv as PyG does.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        where the convolution knows it -> ``[N, out]``.
    Cost: twice that of the convolution; an array over edges for a GCNConv, see :class:`DirGCNConv`.
    Raises: TypeError for a conv that is no layer of gnnlib; ValueError for an alpha outside [0, 1], edge
        weights that the convolution does not know, or x that is a pair.
    """

    def __init__(
        self,
        conv: Conv,
        alpha: float = 0.5,
        root_weight: bool = True,
        *,
        pyg_compat: bool = False,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(conv, Conv):
            raise TypeError(
                f"DirGNNConv: conv is {type(conv).__name__}; pass a convolution of gnnlib.nn, such as GCNConv"
            )
        if not 0 <= alpha <= 1:
            raise ValueError(f"DirGNNConv: alpha={alpha}; pass a number from 0 to 1")
        self.alpha = alpha
        self.root_weight = root_weight
        self.directed = isinstance(conv, GCNConv) and conv.normalize and not pyg_compat
        self.conv_in, self.conv_out = copy.deepcopy(conv), copy.deepcopy(conv)
        for part in (self.conv_in, self.conv_out):
            for option in ("add_self_loops", "root_weight"):
                if hasattr(part, option):
                    setattr(part, option, False)
            if isinstance(part, GCNConv) and self.directed:
                part.normalize = False
        self.lin = Linear(_width(conv, "in_channels"), _out_width(conv)) if root_weight else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in (self.conv_in, self.conv_out, self.lin):
            reset(part)

    @property
    def takes_edge_weight(self) -> bool:  # type: ignore[override]  # of the convolution inside
        """Whether edge weights have a meaning here."""
        return self.conv_in.takes_edge_weight

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Convolve x ``[N, in]`` over both directions of the graph -> ``[N, out]``."""
        x = self._one(x)
        if self.lin is not None:
            self.lin.expect(x.size(1))
        adj = self._graph(edge_index, x, x)
        if edge_weight is not None and not self.takes_edge_weight:
            raise ValueError(
                f"DirGNNConv: edge_weight came but {type(self.conv_in).__name__} knows none; leave it out"
            )
        if self.directed:
            weight = self._edge_weight(adj, edge_weight, x)
            adj, edge_weight = self._normalised(adj, weight, x)
        forth = self._run(self.conv_in, x, adj, edge_weight)
        back = self._run(self.conv_out, x, adj.transposed, edge_weight)
        out = torch.lerp(forth, back, self.alpha)
        return out if self.lin is None else out + self.lin(x)

    def _normalised(self, adj: CSR, weight: Tensor | None, x: Tensor) -> tuple[CSR, Tensor]:
        """The graph without values of its own, and the directed factors of its edges."""
        if weight is None:
            name = ("directed factors", x.dtype)
            return adj, adj.derive(name, lambda a: directed_norm(a, None, x).factors.to(x.dtype))
        step = directed_norm(adj, weight, x)
        plain = step.adj.derive("without values", lambda a: CSR.trusted(*a.arrays, a.num_cols))
        return plain, step.factors.to(x.dtype)

    def _run(self, conv: nn.Module, x: Tensor, adj: CSR, weight: Tensor | None) -> Tensor:
        out: Tensor = conv(x, adj) if weight is None else conv(x, adj, weight)
        return out

    def __repr__(self) -> str:
        return f"DirGNNConv({self.conv_in}, alpha={self.alpha})"


def _width(conv: Conv, name: Literal["in_channels", "out_channels"]) -> int:
    width = getattr(conv, name, None)
    if not isinstance(width, int):
        raise TypeError(
            f"DirGNNConv: {type(conv).__name__} has {name}={width!r}; pass a convolution with one width, or "
            "root_weight=False"
        )
    return width


def _out_width(conv: Conv) -> int:
    heads = conv.heads if getattr(conv, "concat", False) else 1
    assert isinstance(heads, int)
    return _width(conv, "out_channels") * heads
