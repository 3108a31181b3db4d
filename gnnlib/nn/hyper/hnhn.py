"""HNHN: hyperedges with neurons of their own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnlib.nn.check import check_whole
from gnnlib.nn.hyper.base import HyperConv, Incidences, OutLinear, apply_linear, inverse
from gnnlib.sparse import CSR, Hypergraph, spmm


class HNHNConv(HyperConv):
    r"""Degree-weighted means to hyperedges and back, with a linear map and a non-linearity on each side.

    .. math:: z_e = \sigma\Big(\sum_{v \in e} \frac{d_v^\beta}{\sum_{u \in e} d_u^\beta} (x_v W_E + b_E)\Big),
        \qquad x'_v = \sum_{e \ni v} \frac{\delta_e^\alpha}{\sum_{f \ni v} \delta_f^\alpha} (z_e W_V + b_V)

    Dong, Sawin and Bengio, HNHN: Hypergraph Networks with Hyperedge Neurons, 2020. The last
    activation belongs to the model. With :math:`\alpha < 0` large hyperedges weigh less. An isolated node
    gives 0.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        hidden_channels: width of the hyperedges; ``out_channels`` when omitted.
        alpha: exponent of the hyperedge sizes.
        beta: exponent of the node degrees.
        nonlinear: ReLU between the two stages.
        bias: learn both b.

    Shapes: x ``[N, in]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph` -> ``[N,
        out]``.
    Cost: two SpMMs and two products over nodes and hyperedges.
    Raises: ValueError when x and hypergraph disagree; NotImplementedError for weighted hypergraphs.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden_channels: int | None = None,
        alpha: float = -1.5,
        beta: float = -0.5,
        nonlinear: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.hidden_channels = out_channels if hidden_channels is None else hidden_channels
        check_whole("HNHNConv", hidden_channels=self.hidden_channels)
        self.alpha, self.beta, self.nonlinear = alpha, beta, nonlinear
        self.lin_hyperedge = OutLinear(in_channels, self.hidden_channels, bias=bias)
        self.lin_node = OutLinear(self.hidden_channels, out_channels, bias=bias)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin_hyperedge.reset_parameters()
        self.lin_node.reset_parameters()

    def forward(self, x: Tensor, hyperedge_index: Incidences, num_hyperedges: int | None = None) -> Tensor:
        """Convolve x over the hypergraph -> ``[N, out]``."""
        h = self._hypergraph(x, hyperedge_index, num_hyperedges)
        z = _power_mean(h, h.v2e, apply_linear(self.lin_hyperedge, x), h.node_degree, self.beta)
        z = F.relu(z) if self.nonlinear else z
        return _power_mean(h, h.e2v, apply_linear(self.lin_node, z), h.hyperedge_size, self.alpha)


def _power_mean(h: Hypergraph, adj: CSR, x: Tensor, degree: Tensor, exponent: float) -> Tensor:
    """Mean of the rows of x with weights degree ** exponent, over each row of adj."""
    wide = torch.promote_types(x.dtype, torch.float32)

    def make(h: Hypergraph) -> tuple[Tensor, Tensor]:
        column = inverse(degree.to(wide), -exponent)  # a column of degree 0 is in no row
        return inverse(spmm(adj, column[:, None])[:, 0]), column

    side = "v2e" if adj is h.v2e else "e2v"
    row, column = h.derive(("power mean", side, exponent, wide), make)
    return spmm(adj, x, row_scale=row, col_scale=column)
