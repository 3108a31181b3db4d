"""The UniGNN family: graph layers whose neighbours are hyperedges."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gnnlib.nn.check import check_choice, check_share
from gnnlib.nn.hyper.base import HyperConv, Incidences, apply_linear, inverse_root, two_stage
from gnnlib.nn.init import glorot
from gnnlib.nn.linear import Linear
from gnnlib.sparse import Hypergraph, edge_attention, spmm

FirstAggr = Literal["mean", "sum"]
Aggr = Literal["sum", "mean", "max", "min"]


class _UniConv(HyperConv):
    """A linear map, the members of each hyperedge aggregated, and what each member makes of that."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        first_aggr: FirstAggr = "mean",
        normalize: bool = False,
    ) -> None:
        super().__init__()
        if first_aggr not in ("mean", "sum"):
            raise ValueError(f"{self._who}: first_aggr={first_aggr!r} is unknown; choose 'mean' or 'sum'")
        self.in_channels, self.out_channels, self.heads = in_channels, out_channels, heads
        self.first_aggr: FirstAggr = first_aggr
        self.normalize = normalize
        self.lin = Linear(in_channels, heads * out_channels, bias=False)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin.reset_parameters()

    def forward(self, x: Tensor, hyperedge_index: Incidences, num_hyperedges: int | None = None) -> Tensor:
        """Convolve x over the hypergraph -> ``[N, heads * out]``."""
        h = self._hypergraph(x, hyperedge_index, num_hyperedges)
        out = self._spread(h, apply_linear(self.lin, x))
        return detached_norm(out) if self.normalize else out

    def _spread(self, h: Hypergraph, y: Tensor) -> Tensor:
        raise NotImplementedError

    def _members(self, h: Hypergraph, y: Tensor) -> Tensor:
        return spmm(h.v2e, y, None, self.first_aggr)


class UniGCNConv(_UniConv):
    r"""GCN on hypergraphs.

    .. math:: x'_i = \frac{1}{\sqrt{d_i}} \sum_{e \ni i} \frac{1}{\sqrt{\tilde d_e}} h_e, \qquad
        h_e = \operatorname{mean}_{j \in e} x_j W, \quad \tilde d_e = \operatorname{mean}_{j \in e} d_j

    Huang and Yang, UniGNN: a Unified Framework for Graph and Hypergraph Neural Networks, IJCAI 2021;
    :math:`d_i` counts the hyperedges of i. A node in none gives 0.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of one head.
        heads: heads, concatenated; without attention only a factor of the width.
        first_aggr: ``"mean"`` or ``"sum"`` over the members; ``"sum"`` also makes :math:`\tilde d_e` a sum,
            as in the authors' code.
        normalize: divide each row by its L2 norm, through which no gradient flows.

    Shapes: x ``[N, in]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph` ->
        ``[N, heads * out]``.
    Cost: one product over nodes and two SpMMs.
    Raises: ValueError when x and hypergraph disagree or an option is unknown or outside its range;
        NotImplementedError for weighted hypergraphs.
    """

    def _spread(self, h: Hypergraph, y: Tensor) -> Tensor:
        return unigcn_step(h, y, self.first_aggr)


class UniGINConv(_UniConv):
    r"""GIN on hypergraphs.

    .. math:: x'_i = (1 + \epsilon)\, x_i W + \sum_{e \ni i} h_e, \qquad
        h_e = \operatorname{mean}_{j \in e} x_j W

    Huang and Yang, UniGNN, IJCAI 2021; :math:`\epsilon` is learned and starts at 0.

    Args:
        in_channels, out_channels, heads, first_aggr, normalize: as in :class:`UniGCNConv`.
        eps: initial epsilon.

    Shapes: x ``[N, in]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph` ->
        ``[N, heads * out]``.
    Cost: one product over nodes and two SpMMs.
    Raises: as :class:`UniGCNConv`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        heads: int = 1,
        first_aggr: FirstAggr = "mean",
        normalize: bool = False,
        eps: float = 0.0,
    ) -> None:
        super().__init__(in_channels, out_channels, heads, first_aggr, normalize)
        self.init_eps = eps
        self.eps = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        super().reset_parameters()
        nn.init.constant_(self.eps, self.init_eps)

    def _spread(self, h: Hypergraph, y: Tensor) -> Tensor:
        return (1 + self.eps) * y + spmm(h.e2v, self._members(h, y))


class UniSAGEConv(_UniConv):
    r"""GraphSAGE on hypergraphs.

    .. math:: x'_i = x_i W + \operatorname{aggr}_{e \ni i} h_e, \qquad
        h_e = \operatorname{mean}_{j \in e} x_j W

    Huang and Yang, UniGNN, IJCAI 2021.

    Args:
        in_channels, out_channels, heads, first_aggr, normalize: as in :class:`UniGCNConv`.
        second_aggr: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"`` over the hyperedges of a node.

    Shapes: x ``[N, in]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph` ->
        ``[N, heads * out]``.
    Cost: one product over nodes and two SpMMs.
    Raises: as :class:`UniGCNConv`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        heads: int = 1,
        first_aggr: FirstAggr = "mean",
        second_aggr: Aggr = "sum",
        normalize: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, heads, first_aggr, normalize)
        check_choice("UniSAGEConv", ("sum", "mean", "max", "min"), second_aggr=second_aggr)
        self.second_aggr: Aggr = second_aggr

    def _spread(self, h: Hypergraph, y: Tensor) -> Tensor:
        return y + spmm(h.e2v, self._members(h, y), None, self.second_aggr)


class UniGATConv(_UniConv):
    r"""GAT on hypergraphs: attention over the hyperedges of a node.

    .. math:: x'_i = \Big\Vert_k \sum_{e \ni i} \alpha_{ie} h_e, \qquad
        \alpha_{ie} = \operatorname{softmax}_{e \ni i} \mathrm{LeakyReLU}(a^\top h_e), \quad
        h_e = \operatorname{mean}_{j \in e} x_j W

    Huang and Yang, UniGNN, IJCAI 2021. The paper's score is :math:`a^\top [x_i W \Vert h_e]`; the
    authors' code, behind the published numbers, leaves out the node's part. It would cancel in the softmax
    but for the LeakyReLU. ``node_term=True`` is the paper's form.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of one head.
        heads: number of heads, concatenated.
        first_aggr: ``"mean"`` or ``"sum"`` over the members.
        normalize: divide each row by its L2 norm, through which no gradient flows.
        negative_slope: slope of the LeakyReLU below 0.
        dropout: probability in [0, 1) of dropping an attention weight in training.
        node_term: score with the node as well.
        skip: add :math:`x_i W`.

    Shapes: x ``[N, in]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph` ->
        ``[N, heads * out]``.
    Cost: one product over nodes, an SpMM and one attention op; no array of nnz x out.
    Raises: as :class:`UniGCNConv`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        heads: int = 1,
        first_aggr: FirstAggr = "mean",
        normalize: bool = False,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        node_term: bool = False,
        skip: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, heads, first_aggr, normalize)
        check_share("UniGATConv", below_one=True, dropout=dropout)
        self.negative_slope, self.dropout, self.skip = negative_slope, dropout, skip
        self.att = nn.Parameter(torch.empty(1, heads, out_channels))
        self.att_node = nn.Parameter(torch.empty(1, heads, out_channels)) if node_term else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        super().reset_parameters()
        glorot(self.att)
        glorot(self.att_node)

    def _spread(self, h: Hypergraph, y: Tensor) -> Tensor:
        heads = y.view(-1, self.heads, self.out_channels)
        z = self._members(h, heads)
        of_node = y.new_zeros(h.num_nodes, self.heads)
        if self.att_node is not None:
            of_node = (heads * self.att_node).sum(-1)
        rate = self.dropout if self.training else 0.0
        seed = torch.randint(2**62, (1,), device=y.device) if rate else None
        out = edge_attention(
            h.e2v,
            of_node,
            (z * self.att).sum(-1),
            z,
            negative_slope=self.negative_slope,
            dropout=rate,
            seed=seed,
        ).flatten(1)
        return out + y if self.skip else out


class UniGCNIIConv(HyperConv):
    r"""GCNII on hypergraphs: one layer of the deep model, with initial residual and identity map.

    .. math:: x' = \big((1 - \beta) I + \beta W\big)\big((1 - \alpha) \hat x + \alpha x^0\big)

    with :math:`\hat x` the propagation of :class:`UniGCNConv` without its map. Huang and Yang, UniGNN, IJCAI
    2021; in layer l :math:`\beta = \ln(\theta / l + 1)`. The activation belongs to the model.

    Args:
        channels: width of x and of the output.
        alpha: weight of the input in [0, 1].
        beta: weight of the map in [0, 1].
        normalize: divide each row of :math:`\hat x` by its L2 norm, through which no gradient flows.

    Shapes: x and x_0 ``[N, channels]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph`
        -> ``[N, channels]``.
    Cost: two SpMMs and one product over nodes.
    Raises: as :class:`UniGCNConv`.
    """

    def __init__(
        self, channels: int, *, alpha: float = 0.1, beta: float = 0.5, normalize: bool = False
    ) -> None:
        super().__init__()
        check_share("UniGCNIIConv", alpha=alpha)
        self.in_channels = self.out_channels = channels
        self.alpha, self.beta, self.normalize = alpha, beta, normalize
        self.lin = Linear(channels, channels, bias=False)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin.reset_parameters()

    def forward(
        self, x: Tensor, x_0: Tensor, hyperedge_index: Incidences, num_hyperedges: int | None = None
    ) -> Tensor:
        """One layer from x and the input x_0 of the first one -> ``[N, channels]``."""
        h = self._hypergraph(x, hyperedge_index, num_hyperedges)
        y = unigcn_step(h, x, "mean")
        y = detached_norm(y) if self.normalize else y
        mixed = torch.lerp(y, self._first(x, x_0).to(y.dtype), self.alpha)
        mapped = self.lin(mixed)
        return torch.lerp(mixed.to(mapped.dtype), mapped, self.beta)  # the map is shorter under autocast


def unigcn_step(h: Hypergraph, y: Tensor, first_aggr: FirstAggr) -> Tensor:
    """UniGCN's propagation of y ``[N, F]``."""
    wide = torch.promote_types(y.dtype, torch.float32)

    def make(h: Hypergraph) -> tuple[Tensor | None, Tensor, Tensor]:
        degree = h.node_degree.to(wide)
        inner = None if first_aggr == "sum" else h.hyperedge_size.clamp(min=1).to(wide).reciprocal()
        of_hyperedge = spmm(h.v2e, degree[:, None], None, first_aggr)[:, 0]
        return inner, inverse_root(of_hyperedge), inverse_root(degree)

    inner, weight, out = h.derive(("unigcn", first_aggr, wide), make)
    return two_stage(h, y, hyperedge=inner, weight=weight, out=out)


def detached_norm(x: Tensor) -> Tensor:
    """Rows divided by their L2 norm, taken as a constant; rows of zeros stay."""
    norm = x.detach().norm(dim=1, keepdim=True)
    return x / torch.where(norm > 0, norm, 1)
