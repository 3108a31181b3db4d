"""Frequency adaptive graph convolution."""

from __future__ import annotations

from typing import Unpack, overload

import torch
from torch import Tensor

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.conv.gcn_norm import Propagation, gcn_norm
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, sddmm
from gnnlib.sparse.dropout import dropout


class FAConv(Conv):
    r"""Neighbours with signed weights, between smoothing (+1) and sharpening (-1).

    .. math:: x'_i = \epsilon\, x^{(0)}_i + \sum_{j \to i} \frac{\alpha_{ij}}{\sqrt{d_i d_j}}\, x_j, \qquad
        \alpha_{ij} = \tanh(a_r^\top x_i + a_l^\top x_j)

    Bo et al., Beyond Low-Frequency Information in Graph Convolutional Networks, AAAI 2021, Eqs. 7 and 8. The
    paper sums over neighbours alone; the default adds loops, as PyG does, and ``add_self_loops=False`` is the
    paper's layer.

    Args:
        channels: width of x; -1 takes it from the first call.
        eps: factor :math:`\epsilon` of the initial features.
        dropout: probability in [0, 1] of dropping a coefficient :math:`\alpha_{ij}` in training.
        cached: keep the normalised graph of the first call for all later ones, whatever graph comes.
        add_self_loops: give each node that has none a loop; needs ``normalize``.
        normalize: divide by the degrees; otherwise ``edge_weight`` stands in their place.
        **kwargs: ``aggr`` (``"add"``) and ``flow`` of PyG's base class.

    Shapes: x and x_0 ``[N, F]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight
        ``[E]`` with ``normalize=False`` only -> ``[N, F]``. The values of a sparse matrix are its edge
        weights.
    Cost: one coefficient an edge and one SpMM.
    Raises: ValueError when x, x_0, edge_index and edge_weight do not fit, or a weight comes where none may.
    """

    def __init__(
        self,
        channels: int,
        eps: float = 0.1,
        dropout: float = 0.0,
        cached: bool = False,
        add_self_loops: bool = True,
        normalize: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.eps = eps
        self.dropout = dropout
        self.cached = cached
        self.add_self_loops = add_self_loops
        self.normalize = normalize
        self._cached: Propagation | None = None
        self.att_l = Linear(channels, 1, bias=False)
        self.att_r = Linear(channels, 1, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters and forget the cached graph."""
        self.att_l.reset_parameters()
        self.att_r.reset_parameters()
        self._cached = None

    @overload
    def forward(
        self,
        x: Tensor,
        x_0: Tensor,
        edge_index: Adj,
        edge_weight: Tensor | None = None,
        return_attention_weights: None = None,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        x: Tensor,
        x_0: Tensor,
        edge_index: Adj,
        edge_weight: Tensor | None = None,
        *,
        return_attention_weights: bool,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]: ...

    def forward(
        self,
        x: Tensor,
        x_0: Tensor,
        edge_index: Adj,
        edge_weight: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """Convolve x over the graph -> ``[N, F]``.

        Args:
            x: node features.
            x_0: initial node features, of the same shape.
            edge_index: the graph.
            edge_weight: edge weights, without ``normalize`` only.
            return_attention_weights: any value but None also returns ``(edge_index, alpha)``: the edges,
                loops last, and their coefficients ``[E']`` before dropout.
        """
        x = self._one(x)
        if x_0.shape != x.shape:
            raise ValueError(
                f"FAConv: x_0 has shape {list(x_0.shape)} but x {list(x.shape)}; pass the first layer's x"
            )
        step = self._cached or self._propagation(x, edge_index, edge_weight)
        slots = step.adj.slot_order
        alpha = sddmm(slots, self.att_r(x).squeeze(1), self.att_l(x).squeeze(1), "add").tanh()
        weight = dropout(alpha, self.dropout, self.training)
        if step.weight is not None:
            weight = weight * step.adj.to_slots(step.weight)
        out = Propagation(slots, weight, step.scale)(x, self.aggr)
        if self.eps != 0:
            out = out + self.eps * x_0
        return out if return_attention_weights is None else (out, self._attention(step.adj, alpha))

    def _propagation(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None) -> Propagation:
        adj = self._graph(edge_index, x, x)
        if not self.normalize:
            weight = self._edge_weight(adj, edge_weight, x)
            if weight is None:
                raise ValueError("FAConv: normalize=False needs edge_weight; pass it, for example ones")
            return Propagation(adj, weight)
        if edge_weight is not None:
            raise ValueError(
                "FAConv: edge_weight came with normalize=True, which makes the weights itself; leave it out "
                "or build the layer with normalize=False"
            )
        step = gcn_norm(adj, self._edge_weight(adj, None, x), x, add_self_loops=self.add_self_loops)
        if self.cached:
            self._cached = step
        return step

    def _attention(self, adj: CSR, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """The edges without loops in the caller's order, the loops by node, as PyG lists them."""
        source, target = adj.indices.long(), adj.rows
        order = torch.arange(adj.num_edges, device=adj.device) if adj.perm is None else adj.perm
        if self.normalize and self.add_self_loops:
            order = torch.where(source == target, adj.num_values + source, order)
        order = order.argsort()
        edges = torch.stack([source, target] if self.flow == "source_to_target" else [target, source])
        return edges[:, order], alpha[order]

    def __repr__(self) -> str:
        return f"FAConv({self.channels}, eps={self.eps})"
