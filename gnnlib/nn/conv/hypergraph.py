"""Hypergraph convolution and attention."""

from __future__ import annotations

from typing import Literal, TypedDict, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Conv
from gnnlib.nn.init import glorot, zeros
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, Hypergraph, as_csr, sddmm, segment_softmax, spmm
from gnnlib.sparse.dropout import dropout

Mode = Literal["node", "edge", "both"]
_MODES = ("node", "edge", "both")


class _Options(TypedDict, total=False):
    """PyG's options of the base class; the flow is fixed."""

    aggr: str
    node_dim: int
    decomposed_layers: int


class HypergraphConv(Conv):
    r"""Mean over the members of each hyperedge, then over the hyperedges of each node.

    .. math:: X' = D^{-1} H W B^{-1} H^\top X \Theta + b, \qquad D = \operatorname{diag}(H w), \;
        B = \operatorname{diag}(H^\top 1)

    Bai, Zhang and Torr, Hypergraph Convolution and Hypergraph Attention, Pattern Recognition 2021, Eqs. 8 and
    11 to 14, with :math:`W = \operatorname{diag}(w)` the hyperedge weights. Inverse degrees of 0 are 0.

    With attention, :math:`\alpha_{ve} = \operatorname{softmax} \mathrm{LeakyReLU}(a^\top [x_v \Theta \Vert
    g_e \Theta])` with hyperedge features g takes the place of a mean, so that the weights of each stage still
    add up to 1: in mode ``"node"`` the members of a hyperedge are weighed, :math:`z_e = \sum_v \alpha_{ve}
    x_v`; in mode ``"edge"`` the hyperedges of a node, :math:`x'_v = \sum_e w_e \alpha_{ve} z_e / \sum_e w_e
    \alpha_{ve}`; in mode ``"both"`` each stage has a softmax of the same scores. The paper puts
    :math:`\alpha` for H into the formula above and leaves open which softmax; this reading is ours.

    PyG's layer departs from the formula twice, and ``pyg_compat=True`` does as it does: hyperedge weights
    enter D alone, so it computes :math:`D^{-1} H B^{-1} H^\top X \Theta`; and with attention it multiplies by
    :math:`\alpha` in both stages and divides by both degrees as well. With weights of 1 and without attention
    both settings agree.

    Args:
        in_channels: width of x and hyperedge_attr; -1 takes it from the first call.
        out_channels: width of the output of one head.
        use_attention: learn the weights of incidences; needs ``hyperedge_attr``.
        attention_mode: ``"node"`` (over the members of each hyperedge), ``"edge"`` (over the hyperedges of
            each node) or ``"both"``, which ``pyg_compat`` does not have.
        heads: number of heads H, with attention.
        concat: concatenate the heads; otherwise average them.
        negative_slope: slope of the LeakyReLU below 0.
        dropout: probability in [0, 1] of dropping an attention weight in training.
        bias: learn b.
        pyg_compat: compute what PyG computes.
        **kwargs: options of PyG's base class; ``aggr`` is ``"sum"``.

    Shapes: x ``[N, in]``, hyperedge_index ``[2, nnz]`` with nodes in row 0 and hyperedges in row 1 (a
        repeated incidence counts twice), hyperedge_weight ``[M]``, hyperedge_attr ``[M, in]``, num_edges M ->
        ``[N, H out]``, or ``[N, out]`` without concat.
    Cost: two SpMMs, with attention O(nnz H) scores; no array of nnz x out. Both directions of the incidence
        are sorted once for an unchanged hyperedge_index.
    Raises: ValueError when the inputs do not fit each other.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        use_attention: bool = False,
        attention_mode: Mode = "node",
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0,
        bias: bool = True,
        *,
        pyg_compat: bool = False,
        **kwargs: Unpack[_Options],
    ) -> None:
        super().__init__(**kwargs)
        if self.aggr != "sum":
            raise NotImplementedError(
                f"HypergraphConv: aggr={self.aggr!r} is not offered; its two stages are sums with weights of "
                "their own, so leave aggr='sum'"
            )
        modes = _MODES[:2] if pyg_compat else _MODES
        if attention_mode not in modes:
            raise ValueError(
                f"HypergraphConv: attention_mode={attention_mode!r} is unknown; choose one of "
                f"{', '.join(modes)}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.use_attention = use_attention
        self.attention_mode: Mode = attention_mode
        self.heads = heads if use_attention else 1
        self.concat = concat if use_attention else True
        self.negative_slope = negative_slope
        self.dropout = dropout
        self.pyg_compat = pyg_compat
        self.lin = Linear(in_channels, self.heads * out_channels, bias=False, weight_initializer="glorot")
        self.att = nn.Parameter(torch.empty(1, heads, 2 * out_channels)) if use_attention else None
        width = out_channels * (self.heads if self.concat else 1)
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin.reset_parameters()
        glorot(self.att)
        zeros(self.bias)

    def forward(
        self,
        x: Tensor,
        hyperedge_index: Adj,
        hyperedge_weight: Tensor | None = None,
        hyperedge_attr: Tensor | None = None,
        num_edges: int | None = None,
    ) -> Tensor:
        """Convolve x over the hypergraph -> ``[N, H out]``.

        Args:
            x: node features.
            hyperedge_index: the incidences, a :class:`gnnlib.sparse.Hypergraph`, or their matrix with a row
                for each hyperedge.
            hyperedge_weight: a positive weight for each hyperedge.
            hyperedge_attr: hyperedge features, with attention only.
            num_edges: number of hyperedges; by default that of the weights or features, else the largest one
                named plus one.
        """
        x = self._one(x)
        if num_edges is None:
            given = hyperedge_attr if hyperedge_weight is None else hyperedge_weight
            num_edges = None if given is None else given.size(0)
        if isinstance(hyperedge_index, Hypergraph):
            hyperedge_weight, hyperedge_index = self._of(hyperedge_index, hyperedge_weight)
        members = as_csr(hyperedge_index, (x.size(0), num_edges))  # a row lists the nodes of a hyperedge
        self._check(members, hyperedge_weight, hyperedge_attr)
        h = self.lin(x).view(-1, self.heads, self.out_channels)
        alpha = None if self.att is None else self._alpha(members, h, hyperedge_attr)
        stages = self._pyg if self.pyg_compat else self._paper
        out = stages(members, h, hyperedge_weight, alpha)
        out = out.flatten(1) if self.concat else out.mean(1)
        return out if self.bias is None else out + self.bias

    def _of(self, h: Hypergraph, weight: Tensor | None) -> tuple[Tensor | None, CSR]:
        """The weights and the matrix of a view; its incidence values have no place in the equation."""
        if h.incidence_value is not None:
            raise NotImplementedError(
                "HypergraphConv: the hypergraph has incidence values, for which its equation has no place; "
                "pass one without, or take HGNNPlusConv"
            )
        return (h.hyperedge_weight if weight is None else weight), h.v2e

    def _paper(
        self, members: CSR, h: Tensor, weight: Tensor | None, alpha: dict[str, Tensor] | None
    ) -> Tensor:
        alpha = alpha or {}
        w = None if weight is None else weight.to(h.dtype)
        mean: Literal["sum", "mean"] = "sum" if "node" in alpha else "mean"
        z = spmm(members, h, alpha.get("node"), mean)  # [M, H, C]
        groups, over = members.transposed, alpha.get("edge")
        if w is None:
            return spmm(groups, z, over, "mean" if over is None else "sum")
        if over is None:
            return spmm(groups, z, row_scale=_inverse(spmm(groups, w[:, None])[:, 0]), col_scale=w)
        total = spmm(groups, w[:, None, None].expand(-1, self.heads, 1), over)  # [N, H, 1]
        return spmm(groups, z, over, col_scale=w) * _inverse(total)

    def _pyg(self, members: CSR, h: Tensor, weight: Tensor | None, alpha: dict[str, Tensor] | None) -> Tensor:
        over = None if alpha is None else next(iter(alpha.values()))
        z = spmm(members, h, over, "mean")
        groups = members.transposed
        if weight is None:
            return spmm(groups, z, over, "mean")
        degree = spmm(groups, weight.to(h.dtype)[:, None])[:, 0]
        return spmm(groups, z, over, row_scale=_inverse(degree))

    def _alpha(self, members: CSR, h: Tensor, hyperedge_attr: Tensor | None) -> dict[str, Tensor]:
        """Attention weights ``[nnz, H]`` in the order of the incidences, for each stage that has any."""
        if hyperedge_attr is None or self.att is None:
            raise ValueError("HypergraphConv: use_attention=True needs hyperedge_attr; pass [M, in] features")
        of_node, of_edge = torch.split(self.att[0], self.out_channels, dim=-1)
        g = self.lin(hyperedge_attr).view(-1, self.heads, self.out_channels)
        score = sddmm(members, (g * of_edge).sum(-1), (h * of_node).sum(-1), "add")
        score = F.leaky_relu(score, self.negative_slope)
        found = {}
        for mode, adj in (("node", members), ("edge", members.transposed)):
            if self.attention_mode in (mode, "both"):
                alpha = adj.from_slots(segment_softmax(adj.to_slots(score), adj.indptr))
                found[mode] = dropout(alpha, self.dropout, self.training)
        return found

    def _check(self, members: CSR, weight: Tensor | None, hyperedge_attr: Tensor | None) -> None:
        m = members.num_rows
        if weight is not None and weight.shape != (m,):
            raise ValueError(
                f"HypergraphConv: hyperedge_weight has shape {list(weight.shape)} but there are {m} "
                f"hyperedges; pass [{m}]"
            )
        if hyperedge_attr is not None and hyperedge_attr.shape[:1] != (m,):
            raise ValueError(
                f"HypergraphConv: hyperedge_attr has shape {list(hyperedge_attr.shape)} but there are {m} "
                f"hyperedges; pass [{m}, in]"
            )


def _inverse(degree: Tensor) -> Tensor:
    """1 / degree, 0 where it is 0, without NaN in the gradient there."""
    empty = degree == 0
    return torch.where(empty, 0, degree.masked_fill(empty, 1).reciprocal())
