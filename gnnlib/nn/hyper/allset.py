"""AllSet: multiset functions from nodes to hyperedges and back."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.check import check_share, check_whole
from gnnlib.nn.hyper.base import HyperConv, Incidences, apply_linear
from gnnlib.nn.hyper.mlp import Norm, SetMLP, widths_of
from gnnlib.nn.init import glorot
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, edge_attention, spmm
from gnnlib.sparse.dropout import dropout
from gnnlib.sparse.features import feature_linear

Aggr = Literal["sum", "mean"]


class _AllSet(HyperConv):
    """A multiset function over the members of each hyperedge, ReLU, dropout, one over those of each node."""

    def __init__(self, first: _Half, second: _Half, dropout: float) -> None:
        super().__init__()
        check_share(self._who, below_one=True, dropout=dropout)
        self.in_channels, self.out_channels = first.in_channels, second.out_channels
        self.v2e, self.e2v, self.dropout = first, second, dropout

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.v2e.reset_parameters()
        self.e2v.reset_parameters()

    def forward(self, x: Tensor, hyperedge_index: Incidences, num_hyperedges: int | None = None) -> Tensor:
        """Map x over the hypergraph -> ``[N, out]``."""
        h = self._hypergraph(x, hyperedge_index, num_hyperedges)
        if x.size(1) != self.in_channels:
            raise ValueError(
                f"{self._who}: x has {x.size(1)} features but in_channels={self.in_channels}; pass as many"
            )
        z = dropout(F.relu(self.v2e(x, h.v2e)), self.dropout, self.training)
        out: Tensor = self.e2v(z, h.e2v)
        return out


class _Half(nn.Module):
    """A multiset function of the rows of x over each row of a CSR."""

    in_channels: int
    out_channels: int

    def reset_parameters(self) -> None:
        raise NotImplementedError


class AllDeepSetsConv(_AllSet):
    r"""AllDeepSets: both directions are deep sets.

    .. math:: Z_e = f_{V \to E}(\{x_v : v \in e\}), \quad X'_v = f_{E \to V}(\{Z_e : e \ni v\}), \qquad
        f(S) = \sigma\Big(\mathrm{MLP}_{dec}\Big(\sum_{s \in S} \sigma(\mathrm{MLP}_{enc}(s))\Big)\Big)

    with :math:`\sigma` the ReLU. Chien et al., You are AllSet: A Multiset Function Framework for Hypergraph
    Neural Networks, ICLR 2022. A hyperedge without members, or a node in no hyperedge, is the
    function of the empty set, :math:`\sigma(\mathrm{MLP}_{dec}(0))`.

    Args:
        in_channels: width of x.
        out_channels: width of the output.
        hidden_channels: width of the hyperedges and inside the MLPs; ``out_channels`` when omitted.
        mlp_layers: linear maps of each of the four MLPs; 0: the identity.
        norm: ``"layer"``, ``"batch"`` or ``"none"``, after each ReLU inside an MLP.
        input_norm: normalise the input of each MLP too.
        dropout: probability in [0, 1) inside the MLPs, after the encoders and between the two directions.
        aggr: ``"sum"``, as the authors run it, or ``"mean"``.
        act: apply :math:`\sigma`; without it and with ``mlp_layers=0`` the layer is :math:`H H^\top X`.

    Shapes: x ``[N, in]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph` -> ``[N,
        out]``.
    Cost: two SpMMs, MLPs over nodes and hyperedges.
    Raises: ValueError when x and hypergraph disagree or an option is outside its range; NotImplementedError
        for weighted hypergraphs.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden_channels: int | None = None,
        mlp_layers: int = 2,
        norm: Norm = "layer",
        input_norm: bool = True,
        dropout: float = 0.5,
        aggr: Aggr = "sum",
        act: bool = True,
    ) -> None:
        hidden = out_channels if hidden_channels is None else hidden_channels
        if not mlp_layers and not in_channels == hidden == out_channels:
            raise ValueError(
                f"AllDeepSetsConv: mlp_layers=0 keeps the width, but in_channels={in_channels}, "
                f"hidden_channels={hidden} and out_channels={out_channels} differ; give them one width or "
                "take mlp_layers=1"
            )
        options = {"norm": norm, "input_norm": input_norm, "dropout": dropout}

        def half(i: int, o: int) -> _DeepSets:
            encode = SetMLP(widths_of(i, hidden, hidden, mlp_layers), **options)  # type: ignore[arg-type]
            decode = SetMLP(widths_of(hidden, hidden, o, mlp_layers), **options)  # type: ignore[arg-type]
            return _DeepSets(encode, decode, dropout, aggr, act)

        super().__init__(half(in_channels, hidden), half(hidden, out_channels), dropout)
        self.act = act

    def forward(self, x: Tensor, hyperedge_index: Incidences, num_hyperedges: int | None = None) -> Tensor:
        """Map x over the hypergraph -> ``[N, out]``."""
        if self.act:
            return super().forward(x, hyperedge_index, num_hyperedges)
        h = self._hypergraph(x, hyperedge_index, num_hyperedges)
        out: Tensor = self.e2v(dropout(self.v2e(x, h.v2e), self.dropout, self.training), h.e2v)
        return out


class _DeepSets(_Half):
    def __init__(self, encode: SetMLP, decode: SetMLP, dropout: float, aggr: Aggr, act: bool) -> None:
        super().__init__()
        if aggr not in ("sum", "mean"):
            raise ValueError(f"AllDeepSetsConv: aggr={aggr!r} is unknown; choose 'sum' or 'mean'")
        self.in_channels, self.out_channels = encode.widths[0], decode.widths[-1]
        self.encode, self.decode = encode, decode
        self.dropout, self.act = dropout, act
        self.aggr: Aggr = aggr

    def reset_parameters(self) -> None:
        self.encode.reset_parameters()
        self.decode.reset_parameters()

    def forward(self, x: Tensor, adj: CSR) -> Tensor:
        x = self.encode(x)
        x = dropout(F.relu(x) if self.act else x, self.dropout, self.training)
        y: Tensor = self.decode(spmm(adj, x, None, self.aggr))
        return F.relu(y) if self.act else y


class AllSetTransformerConv(_AllSet):
    r"""AllSetTransformer: both directions pool by attention with a learned seed.

    .. math:: a_s = \mathrm{LeakyReLU}(\langle s W_K + b_K, \theta \rangle), \quad
        o = \mathrm{LN}\Big(\theta + \Big\Vert_k \sum_{s \in S} \operatorname{softmax}_S(a)_s\,
        (s W_V + b_V)\Big), \quad f(S) = \mathrm{LN}(o + \sigma(\mathrm{MLP}(o)))

    with :math:`\theta` a seed vector for each head, in both directions, and ReLU and dropout between them.
    Chien et al., You are AllSet, ICLR 2022, with the score of the authors' code, which
    published the numbers: no scale :math:`1/\sqrt{C}`, and a LeakyReLU. The function of the empty set is
    that of :math:`o = \mathrm{LN}(\theta)`. The activation after the layer belongs to the model.

    Args:
        in_channels: width of x.
        out_channels: width of the output, a multiple of ``heads``.
        hidden_channels: width of the hyperedges, a multiple of ``heads``; ``out_channels`` when omitted.
        heads: number of heads.
        mlp_layers: linear maps of the feed-forward networks.
        negative_slope: slope of the scores' LeakyReLU below 0.
        dropout: probability in [0, 1) between the two directions.

    Shapes: x ``[N, in]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph` -> ``[N,
        out]``.
    Cost: the seed is shared, so scores are numbers of nodes and hyperedges: :math:`W_K \theta` is a map to
        ``heads`` columns, and a direction is one product, one attention op and its MLP; no array of nnz x
        out.
    Raises: ValueError when x and hypergraph disagree or heads do not divide a width; NotImplementedError
        for weighted hypergraphs.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden_channels: int | None = None,
        heads: int = 1,
        mlp_layers: int = 2,
        negative_slope: float = 0.2,
        dropout: float = 0.5,
    ) -> None:
        hidden = out_channels if hidden_channels is None else hidden_channels
        check_whole("AllSetTransformerConv", heads=heads)
        for name, width in (("hidden_channels", hidden), ("out_channels", out_channels)):
            if width % heads:
                raise ValueError(
                    f"AllSetTransformerConv: {name}={width} is not divisible by heads={heads}; "
                    "choose a multiple"
                )
        super().__init__(
            _SeedAttention(in_channels, hidden, heads, mlp_layers, negative_slope),
            _SeedAttention(hidden, out_channels, heads, mlp_layers, negative_slope),
            dropout,
        )
        self.heads = heads


class _SeedAttention(_Half):
    def __init__(
        self, in_channels: int, out_channels: int, heads: int, mlp_layers: int, negative_slope: float
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.heads, self.negative_slope = heads, negative_slope
        self.lin_key = Linear(in_channels, out_channels, weight_initializer="glorot")
        self.lin_value = Linear(in_channels, out_channels, weight_initializer="glorot")
        self.seed = nn.Parameter(torch.empty(1, heads, out_channels // heads))
        self.mlp = SetMLP(widths_of(out_channels, out_channels, out_channels, mlp_layers), norm="none")
        self.norm_first = nn.LayerNorm(out_channels)
        self.norm_last = nn.LayerNorm(out_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for part in (self.lin_key, self.lin_value, self.mlp, self.norm_first, self.norm_last):
            part.reset_parameters()
        glorot(self.seed)

    def forward(self, x: Tensor, adj: CSR) -> Tensor:
        score = self._score(x)  # [n, heads]
        value = apply_linear(self.lin_value, x).view(-1, self.heads, self.seed.size(2))
        none = score.new_zeros(adj.num_rows, self.heads)
        pooled = edge_attention(adj, none, score, value, negative_slope=self.negative_slope)
        o = self.norm_first((pooled + self.seed).flatten(1))
        out: Tensor = self.norm_last(o + F.relu(self.mlp(o)))
        return out

    def _score(self, x: Tensor) -> Tensor:
        """Inner products of keys and seeds; the keys themselves are not needed."""
        seed = self.seed[0]
        weight = self.lin_key.weight.view(self.heads, seed.size(1), -1)
        assert self.lin_key.bias is not None
        bias = (self.lin_key.bias.view_as(seed) * seed).sum(-1)
        return feature_linear(x, (weight * seed[:, :, None]).sum(1), bias)
