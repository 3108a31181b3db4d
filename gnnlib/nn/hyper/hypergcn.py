"""HyperGCN: each hyperedge becomes a few edges of a graph, between the members that differ most."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gnnlib.nn.hyper.base import HyperConv, Incidences, OutLinear, apply_linear, inverse_root
from gnnlib.nn.hyper.pairs import member_pairs
from gnnlib.sparse import CSR, Hypergraph, as_csr, scatter, spmm
from gnnlib.sparse.hypergraph import as_hypergraph

Farthest = Literal["projection", "exact"]


class HyperGCNConv(HyperConv):
    r"""Graph convolution over an edge between the two farthest members of each hyperedge.

    .. math:: X' = \hat A X W + b, \qquad \hat A = D^{-1/2} (A + I) D^{-1/2}, \qquad
        (i_e, j_e) = \operatorname{argmax}_{i, j \in e} \|s_i - s_j\|

    with A from :func:`hypergcn_graph`. Yadati et al., HyperGCN: A New Method of Training Graph Convolutional
    Networks on Hypergraphs, NeurIPS 2019. Weight and bias start uniform in ±1/sqrt(out); the
    activation belongs to the model.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        bias: learn b.
        mediators: join the other members of a hyperedge to both; without it the pair alone (1-HyperGCN).
        fast: choose the pairs by x, as FastHyperGCN does by the input features: hand the graph of the first
            layer to all of them. Otherwise by :math:`X W`, in each layer and call, without a gradient.
        farthest: how pairs are found, see :func:`hypergcn_graph`.
        generator: draws the projections; None: the same one for the same width.

    Shapes: x ``[N, in]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph` -> ``[N,
        out]``.
    Cost: the graph in O(nnz F), with at most 2 nnz edges, and one SpMM.
    Raises: ValueError when x and hypergraph disagree; NotImplementedError for weighted hypergraphs.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bias: bool = True,
        mediators: bool = True,
        fast: bool = True,
        farthest: Farthest = "projection",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.mediators, self.fast, self.generator = mediators, fast, generator
        self.farthest: Farthest = farthest
        self.lin = OutLinear(in_channels, out_channels, bias=bias)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin.reset_parameters()

    def forward(
        self,
        x: Tensor,
        hyperedge_index: Incidences,
        num_hyperedges: int | None = None,
        graph: CSR | None = None,
    ) -> Tensor:
        """Convolve x over the hypergraph -> ``[N, out]``.

        Args:
            x: node features.
            hyperedge_index: the incidences.
            num_hyperedges: M, where the last hyperedges are empty.
            graph: what :func:`hypergcn_graph` made before, in place of the layer's own.
        """
        h = self._hypergraph(x, hyperedge_index, num_hyperedges)
        y = apply_linear(self.lin, x, bias=False)
        if graph is None:
            signal = x if self.fast else y.detach()
            graph = hypergcn_graph(
                signal, h, mediators=self.mediators, farthest=self.farthest, generator=self.generator
            )
        wide = torch.promote_types(y.dtype, torch.float32)
        assert graph.value is not None
        weight = graph.value.to(wide)
        ones = weight.new_ones(graph.num_cols, 1)
        side = inverse_root(spmm(graph, ones, weight)[:, 0] + 1)  # the degree counts the loop
        # Half precision meets weights in single: the sum comes back to the width of the features.
        spread = spmm(graph, y, weight, row_scale=side, col_scale=side).to(y.dtype)
        out = spread + (side * side).to(y.dtype)[:, None] * y
        return out if self.lin.bias is None else out + self.lin.bias


def hypergcn_graph(
    signal: Tensor,
    hyperedge_index: Incidences,
    *,
    mediators: bool = True,
    farthest: Farthest = "projection",
    generator: torch.Generator | None = None,
) -> CSR:
    r"""The graph of HyperGCN for a signal on the nodes.

    A hyperedge e of two or more members gives its pair :math:`(i_e, j_e)` an edge of weight :math:`1/|e|`
    each way; with mediators that pair, and each of the two with each other member, an edge of weight
    :math:`1/(2|e| - 3)` each way. Weights of several hyperedges add up. Hyperedges of one member give none.
    Of equally far members those with the smallest numbers are taken, and always two different ones. A member
    whose signal is NaN counts as the nearest, and is taken where nothing else is there.

    Args:
        signal: s.
        hyperedge_index: the incidences.
        mediators: with mediators.
        farthest: ``"projection"`` takes the largest and the smallest :math:`\langle s_v, r \rangle` with r
            uniform in [0, 1], as the authors' code does; ``"exact"`` compares all pairs.
        generator: draws r; None: the same r for the same width.

    Shapes: signal ``[N, F]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph` ->
        CSR ``[N, N]`` with float64 values.
    Cost: O(nnz F); exact: :math:`O(\sum_e |e|^2 F)` time and :math:`O(\sum_e |e|^2)` memory.
    Raises: ValueError for an unknown ``farthest``.
    """
    if farthest not in ("projection", "exact"):
        raise ValueError(f"hypergcn_graph: farthest={farthest!r} is unknown; choose 'projection' or 'exact'")
    signal = signal.detach()
    h = as_hypergraph(hyperedge_index, signal.size(0))
    if farthest == "exact":
        first, second = _farthest_exact(h, signal)
    else:
        first, second = _farthest_projected(h, signal, generator)
    return _graph(h, first, second, mediators)


def _farthest_projected(
    h: Hypergraph, signal: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Slots of the members with the largest and the smallest projection, ``[M']`` each, for sizes from 2."""
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    r = torch.rand(signal.size(1), generator=generator, device=generator.device, dtype=torch.float64)
    p = signal.double() @ r.to(signal.device)  # [N]; in double, so that no precision makes new ties
    p = p[h.v2e.indices.long()]
    row = h.v2e.rows
    lowest = torch.finfo(p.dtype).min  # for NaN and minus infinity: above what is left out below
    first = _first_extreme(torch.nan_to_num(p, nan=lowest), row, h.num_hyperedges)
    rest = torch.nan_to_num(-p, nan=lowest)
    rest[first[h.hyperedge_size > 0]] = -torch.inf  # the second is another member
    second = _first_extreme(rest, row, h.num_hyperedges)
    big = h.hyperedge_size >= 2
    return first[big], second[big]


def _first_extreme(p: Tensor, row: Tensor, num_rows: int) -> Tensor:
    """The first slot of each row that attains the row's maximum, ``[R]``; E for an empty row."""
    best = p.new_full((num_rows,), -torch.inf).scatter_reduce(0, row, p, "amax")
    slot = torch.arange(p.numel(), device=p.device)
    slot = torch.where(p == best[row], slot, p.numel())
    return slot.new_full((num_rows,), p.numel()).scatter_reduce(0, row, slot, "amin")


def _farthest_exact(h: Hypergraph, signal: Tensor) -> tuple[Tensor, Tensor]:
    a, b, hyperedge = member_pairs(h)
    node = h.v2e.indices.long()
    distance = torch.cat(
        [
            (signal[node[i]] - signal[node[j]]).square().sum(1)
            for i, j in zip(torch.split(a, 1 << 16), torch.split(b, 1 << 16), strict=True)
        ]
        or [signal.new_empty(0)]
    )
    distance = torch.where(distance.isnan(), -1, distance)
    pair = _first_extreme(distance, hyperedge, h.num_hyperedges)[h.hyperedge_size >= 2]
    return a[pair], b[pair]


def _graph(h: Hypergraph, first: Tensor, second: Tensor, mediators: bool) -> CSR:
    node, size = h.v2e.indices.long(), h.hyperedge_size
    i, j = node[first], node[second]
    big = size[size >= 2]
    if not mediators:
        src, dst, weight = i, j, big.double().reciprocal()
    else:
        pairs = torch.zeros(h.num_hyperedges, 2, dtype=torch.int64, device=h.device)
        pairs[size >= 2] = torch.stack([first, second], dim=1)
        row = h.v2e.rows
        slot = torch.arange(h.num_incidences, device=h.device)
        third = (size[row] >= 2) & (slot != pairs[row, 0]) & (slot != pairs[row, 1])
        of = pairs[row[third]]
        src = torch.cat([i, node[of[:, 0]], node[of[:, 1]]])
        dst = torch.cat([j, node[third], node[third]])
        other = (2 * size[row[third]] - 3).double().reciprocal()
        weight = torch.cat([(2 * big - 3).double().reciprocal(), other, other])
    index = torch.stack([torch.cat([src, dst]), torch.cat([dst, src])])
    key, place = torch.unique(index[1] * h.num_nodes + index[0], return_inverse=True)
    value = scatter(torch.cat([weight, weight]), place, key.numel())
    merged = torch.stack([key % max(h.num_nodes, 1), key // max(h.num_nodes, 1)])
    return as_csr(merged, h.num_nodes).with_value(value)
