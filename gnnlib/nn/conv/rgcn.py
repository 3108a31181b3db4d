"""Relational graph convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Channels, Conv, FlowOptions
from gnnlib.nn.init import glorot, zeros
from gnnlib.sparse import CSR, as_csr, spmm
from gnnlib.sparse.autograd import traced
from gnnlib.sparse.ops.scatter import gather_rows
from gnnlib.sparse.relations import (
    Segments,
    apply_map,
    derive_by_type,
    inverse_counts,
    relational_sum,
    segments_of,
    unknown_type,
)

Nodes = Tensor | None

#: Cost of a multiplication and addition in a dense product, in gathered numbers (two-core EPYC Milan).
_PRODUCT = 1 / 6


class RGCNConv(Conv):
    r"""A map for each relation, with the mean of its neighbours in it.

    .. math:: x'_i = W_0 x_i + \sum_r \frac{1}{|N_r(i)|} \sum_{j \in N_r(i)} W_r x_j + b

    Schlichtkrull et al., Modeling Relational Data with Graph Convolutional Networks, ESWC 2018, Eq. 2; basis
    form :math:`W_r = \sum_b a_{rb} V_b` (Eq. 3), block form :math:`W_r = \operatorname{diag}(Q_{r1}, \dots)`
    (Eq. 4). Any other ``aggr`` takes the place of the mean over :math:`N_r(i)`; the sum over relations stays.
    Where pyg-lib is installed, PyG's layer without bases may take the mean over the neighbours of all
    relations together; this one never does.

    Args:
        in_channels: width of x, or of (sources, targets); the number of nodes where x is None.
        out_channels: width of the output.
        num_relations: number of relations.
        num_bases: number of bases, for the basis form.
        num_blocks: number of blocks, which divides both widths, for the block form.
        aggr: ``"mean"``, ``"add"`` (or ``"sum"``), ``"max"`` or ``"min"``.
        root_weight: add :math:`W_0 x_i`.
        is_sorted: PyG's promise that edges are sorted by type; of no use here.
        bias: learn b.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, or node numbers ``[N]``, whose features are then learned, or None for all
        ``in_channels`` of them, or a pair of these for sources and targets; edge_index ``[2, E]`` or any form
        that :func:`as_csr` takes; edge_type ``[E]``, or the values of a sparse matrix -> ``[N_dst, out]``.
    Cost: with S the number of (target, relation) pairs that have edges, or of (source, relation) pairs where
        that is cheaper: O(E in + S in out), memory of nodes and of W. With B bases O(B (E min(in, out) +
        N in out)) where that is less, and O(B N min(in, out) + E B) memory. No array of E x in or E x out but
        for max and min, which keep the S rows, and for compiled code, which has a row for every target and
        relation.
    Raises: ValueError when x, edge_index and edge_type do not fit, a type is outside ``[0, num_relations)``,
        or bases and blocks are asked for at once.
    """

    def __init__(
        self,
        in_channels: Channels,
        out_channels: int,
        num_relations: int,
        num_bases: int | None = None,
        num_blocks: int | None = None,
        aggr: str = "mean",
        root_weight: bool = True,
        is_sorted: bool = False,
        bias: bool = True,
        **kwargs: Unpack[FlowOptions],
    ) -> None:
        super().__init__(aggr, **kwargs)
        if num_bases is not None and num_blocks is not None:
            raise ValueError(
                f"{self._who}: num_bases={num_bases} and num_blocks={num_blocks} are two forms of the same "
                "maps; pass one of them"
            )
        src, dst = (in_channels, in_channels) if isinstance(in_channels, int) else in_channels
        if num_blocks is not None and (src % num_blocks or out_channels % num_blocks):
            raise ValueError(
                f"{self._who}: num_blocks={num_blocks} does not divide in_channels={src} and "
                f"out_channels={out_channels}; choose a common divisor"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_relations = num_relations
        self.num_bases = num_bases
        self.num_blocks = num_blocks
        self.is_sorted = is_sorted
        self.in_channels_l = src
        shape: Sequence[int] = (num_relations if num_bases is None else num_bases, src, out_channels)
        if num_blocks is not None:
            shape = (num_relations, num_blocks, src // num_blocks, out_channels // num_blocks)
        self.weight = nn.Parameter(torch.empty(shape))
        self.comp = None if num_bases is None else nn.Parameter(torch.empty(num_relations, num_bases))
        self.root = nn.Parameter(torch.empty(dst, out_channels)) if root_weight else None
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for weight in (self.weight, self.comp, self.root):
            glorot(weight)
        zeros(self.bias)

    def forward(
        self,
        x: Nodes | tuple[Nodes, Tensor],
        edge_index: Adj,
        edge_type: Tensor | None = None,
    ) -> Tensor:
        """Convolve x over the graph -> ``[N_dst, out]``."""
        x_src, x_dst = self._nodes(x)
        adj = self._graph(edge_index, x_src, x_dst)
        edge_type = self._types(adj, edge_type)
        if x_src.is_floating_point():
            out = self._features(adj, x_src, edge_type)
        else:
            out = self._embeddings(adj, x_src, edge_type, every=x is None)
        if self.root is not None:
            out = out + (x_dst @ self.root if x_dst.is_floating_point() else self.root[x_dst])
        return out if self.bias is None else out + self.bias

    # -- inputs -----------------------------------------------------------------------------------

    def _nodes(self, x: Any) -> tuple[Tensor, Tensor]:
        if isinstance(x, (tuple, list)):
            if self.flow == "target_to_source":
                self._pair(x)  # type: ignore[arg-type]  # says why not
            x_src, x_dst = x
        else:
            x_src = x_dst = x
        if x_src is None:
            x_src = torch.arange(self.in_channels_l, device=self.weight.device)
        x_dst = x_src if x_dst is None and not isinstance(x, (tuple, list)) else x_dst
        for t, width in ((x_src, self.in_channels_l), (x_dst, self._dst_width)):
            if not isinstance(t, Tensor):
                raise TypeError(
                    f"{self._who}: x is {type(t).__name__}; pass features, node numbers, None or a pair "
                    "of them"
                )
            if t.is_floating_point():
                self._check_features(t)
                if t.size(1) != width:
                    raise ValueError(
                        f"{self._who}: x has {t.size(1)} features but the layer was built for "
                        f"in_channels={width}; pass that many"
                    )
            elif t.dim() != 1 or t.dtype == torch.bool:
                raise ValueError(
                    f"{self._who}: x is {t.dtype} of shape {list(t.shape)}; expected floating features "
                    "[N, in] or node numbers [N]"
                )
        return x_src, x_dst

    @property
    def _dst_width(self) -> int:
        return self.in_channels if isinstance(self.in_channels, int) else self.in_channels[1]

    def _types(self, adj: CSR, edge_type: Tensor | None) -> Tensor:
        if edge_type is None:
            edge_type = adj.value
            if edge_type is None:
                raise ValueError(
                    f"{self._who}: no edge_type came; pass one relation an edge, or a sparse matrix that has "
                    "them as values"
                )
        if edge_type.shape != (adj.num_values,):
            raise ValueError(
                f"{self._who}: edge_type has shape {list(edge_type.shape)} but the graph has "
                f"{adj.num_values} edges; pass one relation an edge, [{adj.num_values}]"
            )
        key = ("unknown", self.num_relations)
        unknown = derive_by_type(adj, edge_type, key, lambda _, t: unknown_type(t, self.num_relations))
        if unknown is not None:
            raise ValueError(
                f"{self._who}: edge_type names relation {unknown} but the layer has "
                f"num_relations={self.num_relations}, 0 to {self.num_relations - 1}"
            )
        return edge_type

    # -- sums -------------------------------------------------------------------------------------

    def _features(self, adj: CSR, x: Tensor, edge_type: Tensor) -> Tensor:
        linear = self.aggr in ("sum", "mean")
        if traced(x, adj.indptr):
            by_basis = linear and self.comp is not None
            return self._by_basis(adj, x, edge_type) if by_basis else self._by_pair(adj, x, edge_type)
        segments = self._segments(adj, edge_type, x.dtype, by_target=True)
        if not linear:
            return segments.forward(x, self._maps(), self.aggr)
        if self.out_channels < self.in_channels_l:
            turned = self._segments(adj, edge_type, x.dtype, by_target=False)
            if self._cost(adj, turned) < self._cost(adj, segments):
                segments = turned
        if self.comp is not None and self._basis_cost(adj) < self._cost(adj, segments):
            return self._by_basis(adj, x, edge_type)
        return relational_sum(segments, x, self._maps())

    def _segments(self, adj: CSR, edge_type: Tensor, dtype: torch.dtype, *, by_target: bool) -> Segments:
        def make(adj: CSR, edge_type: Tensor) -> Segments:
            scale = self._scale(adj, edge_type, dtype)
            return segments_of(adj, edge_type, self.num_relations, scale, by_target=by_target)

        key = ("segments", self.num_relations, self.aggr, dtype == torch.float64, by_target)
        found: Segments = derive_by_type(adj, edge_type, key, make)
        return found

    def _cost(self, adj: CSR, segments: Segments) -> float:
        gathered = self.in_channels_l if segments.by_target else self.out_channels
        product = self.in_channels_l * self.out_channels / (self.num_blocks or 1)
        build = 0 if self.num_bases is None else self.num_relations * self.num_bases
        moved = adj.num_edges * gathered + segments.num_segments * (self.in_channels_l + self.out_channels)
        return moved + (segments.num_segments + build) * product * _PRODUCT

    def _basis_cost(self, adj: CSR) -> float:
        narrow = min(self.in_channels_l, self.out_channels)
        product = self.in_channels_l * self.out_channels * _PRODUCT
        return (self.num_bases or 0) * (adj.num_edges * (narrow + 1) + adj.num_cols * product)

    def _maps(self) -> Tensor:
        if self.comp is None:
            return self.weight
        return (self.comp @ self.weight.flatten(1)).view(-1, *self.weight.shape[1:])

    def _scale(self, adj: CSR, edge_type: Tensor, dtype: torch.dtype) -> Tensor | None:
        """1 / |N_r(i)| for each slot; None for a plain sum."""
        if self.aggr != "mean":
            return None
        dtype = torch.float64 if dtype == torch.float64 else torch.float32

        def make(adj: CSR, edge_type: Tensor) -> Tensor:
            return inverse_counts(adj, adj.to_slots(edge_type).long(), self.num_relations, dtype)

        found: Tensor = derive_by_type(adj, edge_type, ("scale", self.num_relations, dtype), make)
        return found

    def _edge_bases(self, adj: CSR, edge_type: Tensor, dtype: torch.dtype) -> Tensor:
        """Weight of each basis on each slot, ``[E, B]``."""
        assert self.comp is not None
        weight = gather_rows(adj.to_slots(edge_type).long(), self.comp)
        scale = self._scale(adj, edge_type, dtype)
        return weight if scale is None else weight * scale.to(weight.dtype)[:, None]

    def _by_basis(self, adj: CSR, x: Tensor, edge_type: Tensor) -> Tensor:
        r"""Sum over bases b of the weighted sums, :math:`\sum_b (\sum_j a_{rb} x_j / |N_r|) V_b`."""
        weight, bases = self._edge_bases(adj, edge_type, x.dtype), self.weight.shape[0]
        if self.in_channels_l <= self.out_channels:
            held = spmm(adj.slot_order, x[:, None].expand(-1, bases, -1), weight)  # [R, B, in]
            return held.flatten(1) @ self.weight.flatten(0, 1)
        mapped = x @ self.weight.transpose(0, 1).flatten(1)  # [C, B out]
        return spmm(adj.slot_order, mapped.view(-1, bases, self.out_channels), weight).sum(1)

    def _by_pair(self, adj: CSR, x: Tensor, edge_type: Tensor) -> Tensor:
        """A row for every target and relation: shapes that do not depend on the edges."""
        r, maps = self.num_relations, self._maps()
        held = spmm(self._pairs(adj, edge_type), x, reduce=self.aggr).view(adj.num_rows, r, -1)  # [R, r, in]
        if self.num_blocks is None:
            return held.flatten(1) @ maps.flatten(0, 1)
        out = [apply_map(held[:, k], maps[k]) for k in range(r)]
        return torch.stack(out).sum(0)

    def _pairs(self, adj: CSR, edge_type: Tensor, source: Tensor | None = None, num_cols: int = 0) -> CSR:
        """Sources by row ``target * num_relations + type``; other columns than the nodes by ``source``."""
        row = adj.rows * self.num_relations + adj.to_slots(edge_type).long()
        col = adj.indices.long() if source is None else source
        size = (adj.num_cols if source is None else num_cols, adj.num_rows * self.num_relations)
        return as_csr(torch.stack([col, row]), size).slot_order

    # -- learned features -------------------------------------------------------------------------

    def _embeddings(self, adj: CSR, nodes: Tensor, edge_type: Tensor, *, every: bool) -> Tensor:
        r"""Sum of the rows ``nodes`` of the maps: an edge reads one row of :math:`W_r`."""
        if self.num_blocks is not None:
            raise ValueError(
                f"{self._who}: num_blocks={self.num_blocks} needs floating features, x is {nodes.dtype}; "
                "pass features or build the layer with num_bases"
            )
        by_basis = self.comp is not None and self.aggr in ("sum", "mean")

        def make(adj: CSR, edge_type: Tensor) -> CSR:
            row = nodes.long().index_select(0, adj.indices)
            if by_basis:
                return CSR.trusted(adj.indptr, row, self.in_channels_l)
            row = adj.to_slots(edge_type).long() * self.in_channels_l + row
            if self.aggr in ("sum", "mean"):
                return CSR.trusted(adj.indptr, row, self.num_relations * self.in_channels_l)
            return self._pairs(adj, edge_type, row, self.num_relations * self.in_channels_l)

        key = ("rows", self.num_relations, self.in_channels_l, by_basis, self.aggr)
        rows: CSR = derive_by_type(adj, edge_type, key, make) if every else make(adj, edge_type)
        if by_basis:
            weight = self._edge_bases(adj, edge_type, self.weight.dtype)
            return spmm(rows, self.weight.transpose(0, 1), weight).sum(1)
        table = self._maps().flatten(0, 1)  # [relations * in, out]
        if self.aggr in ("sum", "mean"):
            return spmm(rows, table, self._scale(adj, edge_type, table.dtype))
        return spmm(rows, table, reduce=self.aggr).view(-1, self.num_relations, self.out_channels).sum(1)

    def __repr__(self) -> str:
        sizes = f"{self.in_channels}, {self.out_channels}, num_relations={self.num_relations}"
        return f"{self._who}({sizes})"


class FastRGCNConv(RGCNConv):
    """:class:`RGCNConv` under the name of PyG's second form of it, which knows sums and means alone.

    In PyG this form trades memory for time; here both names run the same computation. For node numbers PyG's
    form reads the row of the source's place instead of its number; this one reads its number.

    Args: see :class:`RGCNConv`.
    Shapes: see :class:`RGCNConv`.
    Cost: see :class:`RGCNConv`.
    Raises: NotImplementedError for another ``aggr`` than mean and add.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.aggr not in ("sum", "mean"):
            raise NotImplementedError(
                f"FastRGCNConv: aggr={self.aggr!r} is not offered; choose 'mean' or 'add', or take RGCNConv"
            )
