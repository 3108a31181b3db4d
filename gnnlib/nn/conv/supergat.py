"""Graph attention that also learns which edges exist."""

from __future__ import annotations

import math
from typing import Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.init import glorot, zeros
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, as_csr, sddmm, segment_softmax, spmm
from gnnlib.sparse.dropout import dropout


class SuperGATConv(Conv):
    r"""Graph attention whose scores also predict edges.

    .. math:: x'_i = \Big\Vert_k \sum_{j \to i} \alpha^k_{ij} h^k_j + b, \qquad h = x \Theta, \qquad
        \alpha_{ij} = \operatorname{softmax}_j \mathrm{LeakyReLU}(s_{ij})

    .. math:: s^{MX}_{ij} = (a_r^\top h_i + a_l^\top h_j)\, \sigma(h_i^\top h_j), \qquad
        s^{SD}_{ij} = h_i^\top h_j / \sqrt{\text{out}}

    Kim and Oh, How to Find Your Friendly Neighborhood: Graph Attention Design with Self-Supervision, ICLR
    2021, Eqs. 1 to 7. In training a forward also draws pairs without an edge, and
    :meth:`get_attention_loss` returns the cross entropy of the dot products (those under the root for SD),
    averaged over heads, on edges and drawn pairs: the paper's self-supervised loss. In a batch the pairs are
    drawn within graphs and their number is that of the whole batch; PyG draws that many in each graph.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output of one head.
        heads: number of heads H.
        concat: concatenate the heads; otherwise average them.
        negative_slope: slope of the LeakyReLU below 0.
        dropout: probability in [0, 1] of dropping an attention weight in training.
        add_self_loops: drop the loops of the graph and give each node one.
        bias: learn b.
        attention_type: ``"MX"`` or ``"SD"``.
        neg_sample_ratio: pairs drawn for each edge that the loss sees, above 0.
        edge_sample_ratio: probability in (0, 1] with which the loss sees an edge.
        is_undirected: the edges come in both directions; otherwise a pair whose reverse is an edge is not
            drawn either.
        **kwargs: ``aggr`` (``"sum"``) and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes (the values of a sparse
        matrix have no part in it), neg_edge_index ``[2, E']``, batch ``[N]`` -> ``[N, H out]``, or
        ``[N, out]`` without concat.
    Cost: one product over nodes, O(E H) scores, one SpMM; in training a sort of the drawn pairs. No array of
        E x H x out.
    Raises: ValueError when x and edge_index do not fit, or an option is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        add_self_loops: bool = True,
        bias: bool = True,
        attention_type: Literal["MX", "SD"] = "MX",
        neg_sample_ratio: float = 0.5,
        edge_sample_ratio: float = 1.0,
        is_undirected: bool = False,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if attention_type not in ("MX", "SD"):
            raise ValueError(
                f"SuperGATConv: attention_type={attention_type!r} is unknown; choose 'MX' or 'SD'"
            )
        if neg_sample_ratio <= 0 or not 0 < edge_sample_ratio <= 1:
            raise ValueError(
                f"SuperGATConv: neg_sample_ratio={neg_sample_ratio}, edge_sample_ratio={edge_sample_ratio}; "
                "the first must be above 0, the second above 0 and at most 1"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads
        self.concat = concat
        self.negative_slope = negative_slope
        self.dropout = dropout
        self.add_self_loops = add_self_loops
        self.attention_type: Literal["MX", "SD"] = attention_type
        self.neg_sample_ratio = neg_sample_ratio
        self.edge_sample_ratio = edge_sample_ratio
        self.is_undirected = is_undirected
        self.lin = Linear(in_channels, heads * out_channels, bias=False, weight_initializer="glorot")
        mixed = attention_type == "MX"
        self.att_l = nn.Parameter(torch.empty(1, heads, out_channels)) if mixed else None
        self.att_r = nn.Parameter(torch.empty(1, heads, out_channels)) if mixed else None
        self.bias = nn.Parameter(torch.empty(out_channels * (heads if concat else 1))) if bias else None
        self.att_x: Tensor | None = None  # logits of the last training call, and whether each is an edge
        self.att_y: Tensor | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin.reset_parameters()
        glorot(self.att_l)
        glorot(self.att_r)
        zeros(self.bias)

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        neg_edge_index: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> Tensor:
        """Attend over the graph -> ``[N, H out]``.

        Args:
            x: node features.
            edge_index: the graph.
            neg_edge_index: pairs without an edge, for the loss; drawn when omitted.
            batch: graph of each node, sorted, so that pairs are drawn within graphs.
        """
        x = self._one(x)
        adj = self._graph(edge_index, x, x)
        if self.add_self_loops:
            adj = adj.add_self_loops(remaining=False)
        slots = adj.slot_order
        h = self.lin(x).view(-1, self.heads, self.out_channels)
        logit = self._logits(slots, h)
        score = logit
        if self.att_l is not None and self.att_r is not None:
            ends = sddmm(slots, (h * self.att_r).sum(-1), (h * self.att_l).sum(-1), "add")
            score = ends * logit.sigmoid()
        alpha = segment_softmax(F.leaky_relu(score, self.negative_slope), slots.indptr)
        out = spmm(slots, h, dropout(alpha, self.dropout, self.training), self.aggr)
        if self.training:
            self._keep_logits(slots, h, logit, neg_edge_index, batch)
        out = out.flatten(1) if self.concat else out.mean(1)
        return out if self.bias is None else out + self.bias

    def get_attention_loss(self) -> Tensor:
        """Cross entropy of edges and drawn pairs in the last training call; 0 outside training."""
        if not self.training:
            return torch.tensor([0], device=self.lin.weight.device)
        if self.att_x is None or self.att_y is None:
            raise ValueError(
                "SuperGATConv: no call in training has been made; call the layer, then ask for its loss"
            )
        return F.binary_cross_entropy_with_logits(self.att_x.mean(-1), self.att_y)

    def _logits(self, adj: CSR, h: Tensor) -> Tensor:
        logit = sddmm(adj, h, h)  # [E, H]
        return logit if self.attention_type == "MX" else logit / math.sqrt(self.out_channels)

    def _keep_logits(
        self, adj: CSR, h: Tensor, logit: Tensor, negative: Tensor | None, batch: Tensor | None
    ) -> None:
        if negative is None:
            count = int(self.neg_sample_ratio * self.edge_sample_ratio * adj.num_edges)
            negative = missing_pairs(adj, count, both_ways=not self.is_undirected, batch=batch)
        if self.edge_sample_ratio < 1:
            logit = logit[torch.rand(logit.size(0), device=logit.device) < self.edge_sample_ratio]
        # The loss does not see in which order the edges come.
        others = self._logits(as_csr(negative, h.size(0)), h)
        self.att_x = torch.cat([logit, others])
        self.att_y = torch.cat([torch.ones_like(logit[:, 0]), torch.zeros_like(others[:, 0])])

    def __repr__(self) -> str:
        return (
            f"SuperGATConv({self.in_channels}, {self.out_channels}, heads={self.heads}, "
            f"type={self.attention_type})"
        )


def missing_pairs(adj: CSR, count: int, *, both_ways: bool, batch: Tensor | None = None) -> Tensor:
    """Draw up to ``count`` different pairs of nodes that no edge joins.

    Args:
        adj: the graph.
        count: number of pairs; fewer come back where there are hardly so many.
        both_ways: leave out pairs whose reverse is an edge.
        batch: graph of each node, sorted; both nodes of a pair are then of one graph.

    Shapes: adj ``[N, N]``, batch ``[N]`` -> sources and targets ``[2, count]``.
    Cost: O((E + count) log(E + count)), a few times over in a dense graph.
    """
    n, device = adj.num_rows, adj.device
    if batch is None:
        low, size = torch.zeros(n, dtype=torch.int64, device=device), torch.full((n,), n, device=device)
    else:
        sizes = torch.bincount(batch)
        size = sizes[batch]
        low = (sizes.cumsum(0) - sizes)[batch]
    source, target = adj.indices.long(), adj.rows
    taken = source * n + target
    if both_ways:
        taken = torch.cat([taken, target * n + source])
    taken, found = torch.unique(taken), taken.new_empty(0)
    reach = size.cumsum(0)  # a source is drawn by the number of its possible targets
    for _ in range(3):
        if found.numel() >= count or n == 0:
            break
        wanted = 2 * (count - found.numel()) + 16
        place = torch.rand(wanted, device=device, dtype=torch.float64) * reach[-1]
        a = torch.searchsorted(reach, place.long(), right=True)
        b = low[a] + (torch.rand(wanted, device=device, dtype=torch.float64) * size[a]).long()
        drawn = torch.unique(torch.cat([found, a * n + b]))
        place = torch.searchsorted(taken, drawn).clamp(max=max(taken.numel() - 1, 0))
        found = drawn[taken[place] != drawn] if taken.numel() else drawn
    keep = torch.randperm(found.numel(), device=device)[:count]
    found = found[keep]
    return torch.stack([found // n, found % n]) if n else found.new_empty(2, 0)
