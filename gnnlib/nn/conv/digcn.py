"""Convolutions of directed graphs by personalised PageRank and by common neighbours."""

from __future__ import annotations

import math
from typing import Any, Literal, Unpack, cast

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, ConvOptions
from gnnlib.nn.conv.directed_norm import degrees, power_of
from gnnlib.nn.conv.gcn_norm import Propagation, gcn_norm, inverse_sqrt
from gnnlib.nn.conv.sums import SumConv
from gnnlib.nn.init import reset, zeros
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, propagate, sddmm, segment_reduce, spgemm
from gnnlib.sparse.symmetric import from_keys, keys, symmetrized

#: More products than these in a second-order graph are refused: the result would not fit in memory.
MAX_PRODUCTS = 500_000_000
_MAX_STEPS = 20_000


class DiGCNConv(SumConv):
    r"""Graph convolution over the directed Laplacian of a personalised PageRank.

    .. math:: X' = \hat A X W + b, \qquad \hat A = \operatorname{norm} \tfrac12 \big(
        \Pi^{1/2} P \Pi^{-1/2} + \Pi^{-1/2} P^\top \Pi^{1/2} \big), \quad P = \tilde D_{out}^{-1} \tilde A

    Tong et al., Digraph Inception Convolutional Networks, NeurIPS 2020. :math:`\Pi` holds the
    stationary distribution of the chain that leaves for an auxiliary node with probability alpha and returns
    from it anywhere. On the real nodes that is the PageRank of P with damping 1 - alpha, so it comes from
    power iterations in double precision and no eigenproblem. norm divides by the roots of both row sums.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        alpha: teleport probability in (0, 1); under 0.002 the iterations end at 20,000, enough for graphs
            that mix in that time.
        bias: learn b.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, out]``. The values of a sparse matrix are its edge weights.
    Cost: one SpMM; the operator once a graph, kept while the graph lives and its edges have no weights.
    Raises: ValueError for an alpha outside (0, 1), when x, edge_index and edge_weight do not fit, or x is a
        pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        alpha: float = 0.1,
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < alpha < 1:
            raise ValueError(f"{self._who}: alpha={alpha}; pass a number between 0 and 1")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.alpha = alpha
        self.lin = Linear(in_channels, out_channels, bias=False, weight_initializer="glorot")
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin.reset_parameters()
        zeros(self.bias)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Convolve x ``[N, in]`` over the graph -> ``[N, out]``."""
        x = self._one(x)
        self.lin.expect(x.size(1))
        adj = self._graph(edge_index, x, x)
        step = pagerank_step(adj, self._edge_weight(adj, edge_weight, x), x, self.alpha)
        out = mapped(step, self.lin, x)
        return out if self.bias is None else out + self.bias


class DiGCNInceptionConv(SumConv):
    r"""Inception block of DiGCN: the node, its PageRank neighbourhood and the nodes that it meets.

    .. math:: X' = \operatorname{fuse}\big(X W_0,\; \hat A X W_1,\; \hat A^{(2)} X W_2\big) + b

    Tong et al., Digraph Inception Convolutional Networks, NeurIPS 2020, Sect. 3.2. :math:`\hat A^{(2)}` holds
    the pairs with a common source and a common target, :math:`\tfrac12 (P^\top P + P P^\top)` where both are
    not 0, divided by the square roots of both row sums.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of each of the three terms.
        alpha: teleport probability in (0, 1).
        fuse: ``"sum"``, or ``"cat"`` for an output three times as wide.
        cap: leave out meeting points with more edges than this on the side where pairs meet, which are what
            makes the second order large.
        bias: learn b.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, out]`` or ``[N, 3 out]``. The values of a sparse matrix are its edge weights.
    Cost: an SpMM over the graph and one over the pairs that meet; the operators once a graph.
    Raises: ValueError for options out of range, a second order of more than 500 million products, when x,
        edge_index and edge_weight do not fit, or x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        alpha: float = 0.1,
        fuse: Literal["sum", "cat"] = "sum",
        cap: int | None = None,
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < alpha < 1:
            raise ValueError(f"DiGCNInceptionConv: alpha={alpha}; pass a number between 0 and 1")
        if fuse not in ("sum", "cat") or (cap is not None and cap < 1):
            raise ValueError(
                f"DiGCNInceptionConv: fuse={fuse!r}, cap={cap}; pass 'sum' or 'cat', and 1 or more"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.alpha = alpha
        self.fuse = fuse
        self.cap = cap
        self.lins = nn.ModuleList(
            Linear(in_channels, out_channels, bias=False, weight_initializer="glorot") for _ in range(3)
        )
        self.bias = (
            nn.Parameter(torch.empty(out_channels if fuse == "sum" else 3 * out_channels)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for lin in self.lins:
            reset(lin)
        zeros(self.bias)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Convolve x ``[N, in]`` over both orders of the graph -> ``[N, out]`` or ``[N, 3 out]``."""
        x = self._one(x)
        here, near, meet = self.lins
        assert isinstance(near, Linear)
        assert isinstance(meet, Linear)
        terms = [here(x)]
        near.expect(x.size(1))
        meet.expect(x.size(1))
        adj = self._graph(edge_index, x, x)
        weight = self._edge_weight(adj, edge_weight, x)
        terms.append(mapped(pagerank_step(adj, weight, x, self.alpha), near, x))
        terms.append(mapped(meeting_step(adj, weight, x, self.cap), meet, x))
        out = terms[0] + terms[1] + terms[2] if self.fuse == "sum" else torch.cat(terms, dim=1)
        return out if self.bias is None else out + self.bias


class DGCNConv(SumConv):
    r"""Graph convolution over the undirected graph, the common sources and the common targets.

    .. math:: X' = \big[ S(A_F) X W \,\Vert\, \beta_1\, S(A_{Sin}) X W \,\Vert\,
        \beta_2\, S(A_{Sout}) X W \big] + b, \qquad
        A_{Sin} = A^\top D_{out}^{-1} A, \quad A_{Sout} = A D_{in}^{-1} A^\top

    Tong et al., Directed Graph Convolutional Network, arXiv 2004.13970, 2020, Eqs. 4 to 9: A has the sources
    as rows, A_F the larger of two opposite weights, S is the symmetric normalisation of its argument plus I
    (also where the diagonal is not 0), and the betas are learned. Parallel edges add up; without weights each
    counts 1. Products are sparse; the widely used library loops over nodes and divides by the other degrees.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of each of the three terms.
        cap: leave out meeting points with more edges than this, see :class:`DiGCNInceptionConv`.
        bias: learn b.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, 3 out]``. The values of a sparse matrix are its edge weights.
    Cost: three SpMMs; the products once a graph, kept while it lives and its edges have no weights.
    Raises: ValueError for a cap under 1, products of more than 500 million terms, when x, edge_index and
        edge_weight do not fit, or x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        cap: int | None = None,
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if cap is not None and cap < 1:
            raise ValueError(f"DGCNConv: cap={cap}; pass 1 or more, or None")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.cap = cap
        self.lin = Linear(in_channels, out_channels, bias=False, weight_initializer="glorot")
        self.beta = nn.Parameter(torch.empty(2))
        self.bias = nn.Parameter(torch.empty(3 * out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin.reset_parameters()
        nn.init.ones_(self.beta)
        zeros(self.bias)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Convolve x ``[N, in]`` over the three graphs -> ``[N, 3 out]``."""
        x = self._one(x)
        h = self.lin(x)
        adj = self._graph(edge_index, x, x)
        weight = self._edge_weight(adj, edge_weight, x)
        dtype = _wide(x)
        if weight is None:
            name = ("second order", self.cap, dtype)
            graphs = adj.derive(name, lambda a: _three_graphs(a, None, self.cap, dtype))
        else:
            graphs = _three_graphs(adj, weight, self.cap, dtype)
        terms = [gcn_norm(g, v.to(h.dtype), h)(h) for g, v in graphs]
        out = torch.cat([terms[0], self.beta[0] * terms[1], self.beta[1] * terms[2]], dim=1)
        return out if self.bias is None else out + self.bias


def mapped(step: Propagation, lin: Linear, x: Tensor) -> Tensor:
    """``lin`` of the propagated x, on the narrower side of the map."""
    out: Tensor = step(lin(x)) if lin.out_channels < x.size(1) else lin(step(x))
    return out


# -- operators ----------------------------------------------------------------------------------------


def _wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


class _PageRank(torch.autograd.Function):
    r"""The fixed point of :math:`y = (1 - \alpha) A(w)\, y + \alpha x`; the transpose's is its gradient.

    Shapes: w ``[E]`` in slot order, x ``[N, F]`` -> ``[N, F]``.
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor, x: Tensor, adj: CSR, steps: int, alpha: float) -> Tensor:
        y = propagate(adj, x, steps, weight=w, restart=alpha)
        ctx.save_for_backward(w, y)
        ctx.options = adj, steps, alpha
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        w, y = ctx.saved_tensors
        adj, steps, alpha = ctx.options
        back: Tensor = _PageRank.apply(w, grads[0], adj.transposed, steps, alpha)  # type: ignore[no-untyped-call]
        return sddmm(adj, back, y) * ((1 - alpha) / alpha), back, None, None, None


def pagerank(adj: CSR, alpha: float, out: Tensor, weight: Tensor | None = None) -> Tensor:
    """PageRank of the walk along the edges of ``adj``, whose nodes send ``out`` in all; float64 ``[N]``.

    Iterations contract by 1 - alpha; as many run as double precision shows. The gradient of weights and
    ``out`` is that of the fixed point: as many iterations over the transpose, whatever their number.

    Shapes: out ``[N]``, weight ``[E]`` -> ``[N]``, summing to 1.
    """
    n = adj.num_rows
    steps = min(math.ceil(-math.log(2.0**-53) / -math.log1p(-alpha)), _MAX_STEPS)
    start = torch.full((n, 1), 1 / max(n, 1), dtype=torch.float64, device=adj.device)
    w = None if weight is None else weight.double()
    scale = power_of(out.double(), -1.0)
    if w is None or not (torch.is_grad_enabled() and (w.requires_grad or scale.requires_grad)):
        return propagate(adj, start, steps, weight=w, col_scale=scale, restart=alpha)[:, 0]
    share = adj.to_slots(w) * scale.index_select(0, adj.indices)
    found: Tensor = _PageRank.apply(share, start, adj.slot_order, steps, alpha)  # type: ignore[no-untyped-call]
    return found[:, 0]


def pagerank_step(adj: CSR, weight: Tensor | None, x: Tensor, alpha: float) -> Propagation:
    """DiGCN's operator, kept on ``adj`` for plain edges."""
    dtype = _wide(x)
    if weight is None:
        name = ("pagerank step", alpha, dtype)
        value, scale = adj.derive(name, lambda a: _pagerank_step(a, None, alpha, dtype))
    else:
        value, scale = _pagerank_step(adj, weight, alpha, dtype)
    return Propagation(symmetrized(adj.add_self_loops()).adj, value.to(x.dtype), scale)


def _with_loops(adj: CSR, weight: Tensor | None, dtype: torch.dtype) -> tuple[CSR, Tensor]:
    """The graph with its loops in slot order, and its weights; those of spare slots of traced code are 0."""
    looped = adj.add_self_loops()
    used = looped.filled
    if weight is None:
        return looped.slot_order, used.to(dtype)
    weight = torch.cat([weight.to(dtype), weight.new_ones(adj.num_rows).to(dtype)])
    return looped.slot_order, looped.to_slots(weight) * used


def _pagerank_step(
    adj: CSR, weight: Tensor | None, alpha: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    looped, w = _with_loops(adj, weight, dtype)
    _, out = degrees(looped, w, dtype)
    root = pagerank(looped, alpha, out, w).sqrt()
    both = symmetrized(adj.add_self_loops())
    # In rows of targets the weight over what its source sends is the transpose of P.
    share = w * power_of(out, -1.0).index_select(0, looped.indices)
    forward, backward = both.values(share)
    row, col = (root.index_select(0, node) for node in (both.adj.rows, both.adj.indices))
    value = (backward * (row / col).to(dtype) + forward * (col / row).to(dtype)) / 2
    return value, inverse_sqrt(segment_reduce(value, both.adj.indptr))


def meeting_step(adj: CSR, weight: Tensor | None, x: Tensor, cap: int | None) -> Propagation:
    """DiGCN's second order, kept on ``adj`` for plain edges."""
    dtype = _wide(x)
    if weight is None:
        step: Propagation = adj.derive(("meeting", cap, dtype), lambda a: _meeting(a, None, cap, dtype))
    else:
        step = _meeting(adj, weight, cap, dtype)
    weight = step.weight
    assert weight is not None
    return Propagation(step.adj, weight.to(x.dtype), step.scale)


def _meeting(adj: CSR, weight: Tensor | None, cap: int | None, dtype: torch.dtype) -> Propagation:
    looped, w = _with_loops(adj, weight, dtype)
    _, out = degrees(looped, w, dtype)
    share = w * power_of(out, -1.0).index_select(0, looped.indices)  # P^T, rows of targets
    sources = _product(looped, share, share, cap, over="col")  # P^T P: common sources
    targets = _product(looped, share, share, cap, over="row")  # P P^T: common targets
    a, b = keys(sources), keys(targets)
    in_b, in_a = torch.isin(a, b, assume_unique=True), torch.isin(b, a, assume_unique=True)
    assert sources.value is not None
    assert targets.value is not None
    value = (sources.value[in_b] + targets.value[in_a]) / 2
    pairs = from_keys(a[in_b], adj.num_rows, looped.indices.dtype)
    return Propagation(pairs, value, inverse_sqrt(segment_reduce(value, pairs.indptr)))


def _product(adj: CSR, left: Tensor, right: Tensor, cap: int | None, over: Literal["col", "row"]) -> CSR:
    """``M diag M^T`` summed over columns, or ``M^T M`` over rows, of weights in slot order, as a CSR."""
    middle = adj.indices.long() if over == "col" else adj.rows
    used = adj.filled
    count = middle.new_zeros(adj.num_rows).index_add(0, middle, used.long())
    if cap is not None:
        keep = used & (count.index_select(0, middle) <= cap)
        adj, left, right = _kept(adj, keep), left[keep], right[keep]
        count = torch.where(count <= cap, count, 0)
    products = int(count.square().sum())
    if products > MAX_PRODUCTS:
        raise ValueError(
            f"the second order of this graph has {products:,} products, through a node of "
            f"{int(count.max()):,} edges; pass cap to leave out meeting points with more edges than that"
        )
    m, m_t = adj.with_value(left), adj.transposed.with_value(right)
    return spgemm(m, m_t) if over == "col" else spgemm(m_t, m)


def _kept(adj: CSR, keep: Tensor) -> CSR:
    """The slots of ``adj`` that ``keep`` names, in slot order."""
    rows = adj.rows[keep]
    count = torch.bincount(rows, minlength=adj.num_rows)
    return CSR.trusted(torch.cat([count.new_zeros(1), count.cumsum(0)]), adj.indices[keep], adj.num_cols)


def _three_graphs(
    adj: CSR, weight: Tensor | None, cap: int | None, dtype: torch.dtype
) -> list[tuple[CSR, Tensor]]:
    """The undirected graph, common sources and common targets, plus I where they have a diagonal: a loop of
    weight 1 is still to come where they have none.
    """
    slots = adj.slot_order
    one = torch.ones(adj.num_edges, dtype=dtype, device=adj.device)
    w = one if weight is None else adj.to_slots(weight.to(dtype))
    comes, goes = degrees(slots, w, dtype)
    by_out = w * power_of(goes, -1.0).index_select(0, slots.indices)
    by_in = w * power_of(comes, -1.0).index_select(0, slots.rows)
    sources = _product(slots, by_out, w, cap, over="col")
    targets = _product(slots, by_in, w, cap, over="row")
    both = symmetrized(adj)
    graphs = [both.adj.with_value(torch.maximum(*both.values(w))), sources, targets]
    return [(g.slot_order, cast(Tensor, g.value) + (g.rows == g.indices)) for g in graphs]
