"""ED-HNN: hypergraph diffusion with messages that know their target."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gnnlib.nn.check import check_share
from gnnlib.nn.hyper.base import HyperConv, Incidences
from gnnlib.nn.hyper.mlp import Norm, SetMLP, widths_of
from gnnlib.nn.linear import Linear
from gnnlib.sparse import Hypergraph, sddmm, spmm
from gnnlib.sparse.ops.segment_reduce import segment_reduce

Aggr = Literal["mean", "sum"]


class _EDHNN(HyperConv):
    """The two directions of a step: means or sums of mapped members, and messages that know their target."""

    mlp1: SetMLP
    mlp2: SetMLP
    mlp3: SetMLP

    def __init__(self, channels: int, aggr: Aggr, dropout: float) -> None:
        super().__init__()
        check_share(self._who, below_one=True, dropout=dropout)
        self.in_channels = self.out_channels = channels
        self.aggr: Aggr = aggr

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for mlp in (self.mlp1, self.mlp2, self.mlp3):
            mlp.reset_parameters()

    def _graph(self, x: Tensor, incidences: Incidences, num_hyperedges: int | None) -> Hypergraph:
        h = self._hypergraph(x, incidences, num_hyperedges)
        if x.size(1) != self.in_channels:
            raise ValueError(
                f"{self._who}: x has {x.size(1)} features but channels={self.in_channels}; pass as many"
            )
        return h

    def _messages(self, h: Hypergraph, x: Tensor, z: Tensor) -> Tensor:
        """Aggregate of the messages of each node, ``[N, channels]``."""
        lins = self.mlp2.lins
        if not len(lins):
            return spmm(h.e2v, z, None, self.aggr)
        first, last = lins[0], lins[-1]
        assert isinstance(first, Linear)
        assert isinstance(last, Linear)
        of_node, of_hyperedge = torch.split(first.weight, [x.size(1), z.size(1)], dim=1)
        z = torch.nn.functional.linear(z, of_hyperedge, first.bias)
        x = torch.nn.functional.linear(x, of_node)
        count = h.node_degree[:, None].to(x.dtype)  # hyperedges whose message holds what is the same for all
        times = count.clamp(max=1) if self.aggr == "mean" else count
        if len(lins) == 1:
            return spmm(h.e2v, z, None, self.aggr) + times * x
        y = sddmm(h.e2v.slot_order, x, z, "add")  # [nnz, channels], those of a node next to each other
        for i in range(len(lins) - 1):
            y = self.mlp2.between(y if i == 0 else lins[i](y), i)
        y = segment_reduce(y, h.e2v.indptr, self.aggr)
        y = torch.nn.functional.linear(y, last.weight)
        return y if last.bias is None else y + times * last.bias


class EDHNNConv(_EDHNN):
    r"""Equivariant hypergraph diffusion: a hyperedge sends each member a message of its own.

    .. math:: z_e = \operatorname{aggr}_{v \in e} \varphi_1(x_v), \quad
        m_v = \operatorname{aggr}_{e \ni v} \varphi_2([x_v \Vert z_e]), \quad
        x'_v = \varphi_3\big((1 - \alpha)\, m_v + \alpha\, x^0_v\big)

    Wang et al., Equivariant Hypergraph Diffusion Neural Operators, ICLR 2023.
    The authors apply one such layer L times with shared weights. Without layers :math:`\varphi_1` and
    :math:`\varphi_3` are the identity and :math:`\varphi_2([x \Vert z]) = z`.

    Args:
        channels: width of x and of the output.
        mlp1_layers, mlp2_layers, mlp3_layers: linear maps of the MLPs.
        aggr: ``"mean"``, as in every published command, or ``"sum"``.
        alpha: weight of the input in [0, 1].
        norm: ``"layer"``, ``"batch"`` or ``"none"``, after each ReLU inside an MLP.
        dropout: probability in [0, 1) inside the MLPs.

    Shapes: x and x_0 ``[N, channels]``, hyperedge_index ``[2, nnz]`` or a
        :class:`gnnlib.sparse.Hypergraph` -> ``[N, channels]``.
    Cost: the first map of :math:`\varphi_2` acts on nodes and hyperedges, the last one after the
        aggregation: with at most one map no message is formed; with more, what lies between takes O(nnz
        channels) memory.
    Raises: ValueError when x, x_0 and hypergraph disagree or an option is outside its range;
        NotImplementedError for weighted hypergraphs.
    """

    def __init__(
        self,
        channels: int,
        *,
        mlp1_layers: int = 1,
        mlp2_layers: int = 1,
        mlp3_layers: int = 1,
        aggr: Aggr = "mean",
        alpha: float = 0.5,
        norm: Norm = "layer",
        dropout: float = 0.0,
    ) -> None:
        if aggr not in ("mean", "sum"):
            raise ValueError(f"EDHNNConv: aggr={aggr!r} is unknown; choose 'mean' or 'sum'")
        super().__init__(channels, aggr, dropout)
        check_share("EDHNNConv", alpha=alpha)
        self.alpha = alpha

        def mlp(width: int, layers: int) -> SetMLP:
            return SetMLP(widths_of(width, channels, channels, layers), norm=norm, dropout=dropout)

        self.mlp1, self.mlp3 = mlp(channels, mlp1_layers), mlp(channels, mlp3_layers)
        self.mlp2 = mlp(2 * channels, mlp2_layers)

    def forward(
        self,
        x: Tensor,
        x_0: Tensor | None,
        hyperedge_index: Incidences,
        num_hyperedges: int | None = None,
    ) -> Tensor:
        """One step from x and the first step's input x_0 (None: x itself) -> ``[N, channels]``."""
        h = self._graph(x, hyperedge_index, num_hyperedges)
        z = spmm(h.v2e, self.mlp1(x), None, self.aggr)
        m = self._messages(h, x, z)
        first = self._first(x, x_0).to(m.dtype)  # m is shorter under autocast
        out: Tensor = self.mlp3(torch.lerp(m, first, self.alpha))
        return out


class EDHNNIIConv(_EDHNN):
    r"""ED-HNN II: messages and states are told degrees, and nothing is mixed before the last map.

    .. math:: z_e = \operatorname{mean}_{v \in e} \varphi_1(x_v), \quad
        m_v = \operatorname{mean}_{e \ni v} \varphi_2([x_v \Vert z_e \Vert \log \delta_e]), \quad
        x'_v = \varphi_3([m_v \Vert x_v \Vert x^0_v \Vert \log d_v])

    with :math:`\delta_e` the members of a hyperedge and :math:`d_v` the hyperedges of a node. Wang et al.,
    Equivariant Hypergraph Diffusion Neural Operators, ICLR 2023, as the authors' code has it. The logarithm
    of a node in no hyperedge is taken as 0.

    Args:
        channels: width of x and of the output.
        mlp1_layers, mlp2_layers, mlp3_layers: linear maps of the MLPs, at least 1 of the last two.
        norm: ``"layer"``, ``"batch"`` or ``"none"``, after each ReLU inside an MLP; the authors have none.
        dropout: probability in [0, 1) inside the MLPs.

    Shapes: x and x_0 ``[N, channels]``, hyperedge_index ``[2, nnz]`` or a
        :class:`gnnlib.sparse.Hypergraph` -> ``[N, channels]``.
    Cost: as :class:`EDHNNConv`; the last map reads ``[N, 3 channels + 1]``.
    Raises: ValueError when x, x_0 and hypergraph disagree or a number of maps is too small;
        NotImplementedError for weighted hypergraphs.
    """

    def __init__(
        self,
        channels: int,
        *,
        mlp1_layers: int = 1,
        mlp2_layers: int = 1,
        mlp3_layers: int = 2,
        norm: Norm = "none",
        dropout: float = 0.0,
    ) -> None:
        if min(mlp2_layers, mlp3_layers) < 1:
            raise ValueError(
                f"EDHNNIIConv: mlp2_layers={mlp2_layers} and mlp3_layers={mlp3_layers}; pass 1 or more of "
                "both, which fit what is joined to the width"
            )
        super().__init__(channels, "mean", dropout)

        def mlp(width: int, layers: int) -> SetMLP:
            return SetMLP(widths_of(width, channels, channels, layers), norm=norm, dropout=dropout)

        self.mlp1, self.mlp2 = mlp(channels, mlp1_layers), mlp(2 * channels + 1, mlp2_layers)
        self.mlp3 = mlp(3 * channels + 1, mlp3_layers)

    def forward(
        self,
        x: Tensor,
        x_0: Tensor | None,
        hyperedge_index: Incidences,
        num_hyperedges: int | None = None,
    ) -> Tensor:
        """One step from x and the first step's input x_0 (None: x itself) -> ``[N, channels]``."""
        h = self._graph(x, hyperedge_index, num_hyperedges)
        z = spmm(h.v2e, self.mlp1(x), None, "mean")
        m = self._messages(h, x, torch.cat([z, _log(h.hyperedge_size, x)], 1))
        out: Tensor = self.mlp3(torch.cat([m, x, self._first(x, x_0), _log(h.node_degree, x)], 1))
        return out


def _log(count: Tensor, like: Tensor) -> Tensor:
    """Logarithms of counts as a column ``[n, 1]``, 0 of nothing."""
    return count.clamp(min=1).to(like.dtype).log()[:, None]
