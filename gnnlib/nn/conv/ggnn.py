"""The gated graph network as it was published: one map an edge type, the same in every step."""

from __future__ import annotations

from typing import Unpack

import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, ConvOptions
from gnnlib.nn.conv.rgcn import RGCNConv
from gnnlib.nn.conv.sums import SumConv
from gnnlib.sparse import CSR, spmm


class GGNNConv(SumConv):
    r"""Steps of message passing that share a map for each edge type and a recurrent cell.

    .. math:: h_i^{(0)} = [x_i \Vert 0], \qquad m_i^{(t)} = \sum_{j \to i} W_{r(j, i)}\, h_j^{(t)}, \qquad
        h_i^{(t + 1)} = \mathrm{GRU}\big(m_i^{(t)}, h_i^{(t)}\big)

    Li et al., Gated Graph Sequence Neural Networks, ICLR 2016. :class:`GatedGraphConv` is PyG's form, with
    another map in each step and no types. For messages against the edges, as the paper has them beside those
    along the edges, add the reversed edges with types of their own.

    Args:
        out_channels: width of the state, at least that of x.
        num_steps: number of steps, at least 0.
        num_relations: number of edge types, at least 1.
        bias: learn the biases of the cell.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]`` with in <= out, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, whose
        values do not count; edge_type ``[E]`` integers, or ``[E, num_relations]``, the share of each type in
        an edge; None where there is one type -> ``[N, out]``.
    Cost: a step takes the relational sum of :class:`RGCNConv`, or with shares an SpMM of num_relations heads,
        and the cell's products over nodes.
    Raises: ValueError for sizes out of range, x wider than the state, types that do not fit the edges, or
        when x is a pair.
    """

    def __init__(
        self,
        out_channels: int,
        num_steps: int,
        num_relations: int = 1,
        *,
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if out_channels < 1 or num_steps < 0 or num_relations < 1:
            raise ValueError(
                f"GGNNConv: out_channels={out_channels}, num_steps={num_steps}, "
                f"num_relations={num_relations}; pass 1 or more, 0 or more, and 1 or more"
            )
        self.out_channels = out_channels
        self.num_steps = num_steps
        self.num_relations = num_relations
        self.relational = RGCNConv(
            out_channels, out_channels, num_relations, aggr="sum", root_weight=False, bias=False
        )
        self.rnn = nn.GRUCell(out_channels, out_channels, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.relational.reset_parameters()
        self.rnn.reset_parameters()

    def forward(self, x: Tensor, edge_index: Adj, edge_type: Tensor | None = None) -> Tensor:
        """Run the steps from x ``[N, in]`` -> ``[N, out]``."""
        x = self._one(x)
        if x.size(1) > self.out_channels:
            raise ValueError(
                f"GGNNConv: x has {x.size(1)} features but out_channels={self.out_channels}; x is filled up "
                "with zeros, so pass at most that many or map it first"
            )
        adj = self._graph(edge_index, x, x)
        if edge_type is None:
            if self.num_relations > 1:
                raise ValueError(
                    f"GGNNConv: no edge_type came but num_relations={self.num_relations}; pass one an edge"
                )
            edge_type = x.new_ones(adj.num_values, 1)
        h = F.pad(x, (0, self.out_channels - x.size(1)))
        if edge_type.dim() == 2:
            return self._steps_of_shares(adj, edge_type, h)
        for _ in range(self.num_steps):
            h = self.rnn(self.relational(h, adj, edge_type), h)
        return h

    def _steps_of_shares(self, adj: CSR, shares: Tensor, h: Tensor) -> Tensor:
        relations = self.num_relations
        if shares.shape != (adj.num_values, relations) or not shares.is_floating_point():
            raise ValueError(
                f"GGNNConv: edge_type is {shares.dtype} of shape {list(shares.shape)}; expected integers "
                f"[{adj.num_values}], or floating shares [{adj.num_values}, {relations}]"
            )
        shares, adj = adj.to_slots(shares.to(h.dtype)), adj.slot_order  # once here, not at each step
        maps = self.relational.weight.transpose(0, 1).flatten(1)  # [F, relations F]
        for _ in range(self.num_steps):
            mapped = (h @ maps).view(h.size(0), relations, self.out_channels)
            h = self.rnn(spmm(adj, mapped, shares).sum(1), h)
        return h

    def __repr__(self) -> str:
        return (
            f"GGNNConv({self.out_channels}, num_steps={self.num_steps}, num_relations={self.num_relations})"
        )
