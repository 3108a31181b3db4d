"""Gated graph sequence network."""

from __future__ import annotations

from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Conv, FlowOptions
from gnnlib.sparse import spmm


class GatedGraphConv(Conv):
    r"""Steps of message passing that update a recurrent cell.

    .. math:: h_i^{(0)} = [x_i \Vert 0], \qquad m_i^{(l)} = \sum_{j \to i} e_{ji} \, h_j^{(l)} W_l, \qquad
        h_i^{(l + 1)} = \mathrm{GRU}\big(m_i^{(l)}, h_i^{(l)}\big)

    Li et al., Gated Graph Sequence Neural Networks, ICLR 2016, Eqs. 1 to 6. The paper has one W for each edge
    type and uses it in all steps, as :class:`GGNNConv` does; here each step has its own, as in PyG.

    Args:
        out_channels: width of the state, at least that of x.
        num_layers: number of steps.
        aggr: ``"add"`` (or ``"sum"``), ``"mean"``, ``"max"`` or ``"min"``.
        bias: learn the biases of the cell.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]`` with in <= out, edge_index ``[2, E]`` or any form that :func:`as_csr` takes,
        edge_weight ``[E]`` -> ``[N, out]``, all of x's dtype, which weights take. The values of a sparse
        matrix are its edge weights.
    Cost: a step takes one SpMM and the cell's products over nodes; no per-edge tensor.
    Raises: ValueError when x is wider than the state, is a pair, or does not fit edge_index and edge_weight.
    """

    takes_edge_weight = True

    def __init__(
        self,
        out_channels: int,
        num_layers: int,
        aggr: str = "add",
        bias: bool = True,
        **kwargs: Unpack[FlowOptions],
    ) -> None:
        super().__init__(aggr, **kwargs)
        self.out_channels = out_channels
        self.num_layers = num_layers
        self.weight = nn.Parameter(torch.empty(num_layers, out_channels, out_channels))
        self.rnn = nn.GRUCell(out_channels, out_channels, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        bound = self.out_channels**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        self.rnn.reset_parameters()

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Run the steps from x ``[N, in]`` -> ``[N, out]``."""
        x = self._one(x)
        if x.size(1) > self.out_channels:
            raise ValueError(
                f"GatedGraphConv: x has {x.size(1)} features but out_channels={self.out_channels}; x is "
                "filled up with zeros, so pass at most that many or map it first"
            )
        adj = self._graph(edge_index, x, x)
        weight = self._weight_like(x, adj, edge_weight)
        if weight is not None:
            weight, adj = adj.to_slots(weight), adj.slot_order  # once here, not at each step
        x = F.pad(x, (0, self.out_channels - x.size(1)))
        for step in self.weight:
            x = self.rnn(spmm(adj, x @ step, weight, self.aggr), x)
        return x

    def __repr__(self) -> str:
        return f"GatedGraphConv({self.out_channels}, num_layers={self.num_layers})"
