"""Neural common neighbours, plain and with completion."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gnnlib.nn.dropout import Dropout
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear
from gnnlib.nn.link.neighbours import dropped_entries, neighbor_sets, sampled_rows
from gnnlib.nn.mlp import MLP
from gnnlib.sparse import as_csr, common_neighbors, spmm
from gnnlib.sparse.convert import Adj
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.long_rows import summed
from gnnlib.sparse.ops.common_neighbors import sorted_rows

MakeNorm = Callable[[int], nn.Module]

#: Entries of the rows of both ends of the pairs that are completed at once, and what a pair counts beside.
ENTRIES, A_PAIR = 1 << 24, 64
#: Scores of all pairs of nodes that may be kept while pairs are completed.
MOST_KNOWN = 1 << 28


class NCN(nn.Module):
    r"""Neural common neighbour: scores of node pairs from their codes and those of their common neighbours.

    .. math:: s_{ij} = g\Big(\beta\, f_{cn}\big(\textstyle\sum_{u \in N(i) \cap N(j)} \tilde h_u\big)
        + f_{ij}(h_i \circ h_j)\Big), \qquad \tilde h = h + f_x(h)

    Wang, Yang and Zhang, Neural Common Neighbor with Completion for Link Prediction, ICLR 2024, as their code
    has it. :math:`\beta` is learned. With L linear, N norm, D dropout and R ReLU the maps are
    :math:`f_x`: L D R L N D R, :math:`f_{cn}`: L D R L N D R L, :math:`f_{ij}`: L N D R L and :math:`g`:
    L N D R L, or L N D R L N D R L with ``two_layers``. Dropping entries of the graph does not scale those
    that stay, since a common neighbour counts once or not at all.

    Args:
        in_channels: width of h.
        hidden_channels: width of the maps.
        dropout: probability in [0, 1) of dropping a feature inside the maps.
        edge_dropout: probability in [0, 1) of dropping an entry of the graph where neighbours are looked up.
        norm: makes the normalisation N from its width; None: there is none.
        use_xlin: add f_x(h) to the codes that are summed.
        tail_act: leave the last L of f_cn and f_ij out.
        two_layers: a second hidden layer in g.
        beta: initial value.

    Shapes: h ``[N, in]``, adj ``[N, N]`` in any form that :func:`~gnnlib.sparse.as_csr` takes (the neighbours
        of a node are the sources in its row), pairs ``[2, P]`` -> scores ``[P]``, logits.
    Cost: O(P (d in + hidden^2)) time for rows of d entries, and the common neighbours as a CSR; no tensor of
        all common neighbours times features.
    Raises: ValueError when h and the graph disagree on N, or a pair names a node outside the graph.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        dropout: float = 0.0,
        edge_dropout: float = 0.0,
        norm: MakeNorm | None = nn.LayerNorm,
        use_xlin: bool = False,
        tail_act: bool = False,
        two_layers: bool = False,
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        for name, value in (("dropout", dropout), ("edge_dropout", edge_dropout)):
            if not 0 <= value < 1:
                raise ValueError(f"{type(self).__name__}: {name}={value}; pass a number from 0 to below 1")
        self.in_channels, self.hidden_channels = in_channels, hidden_channels
        self.edge_dropout, self.init_beta = edge_dropout, beta

        def layer(i: int, o: int, normed: bool = True) -> list[nn.Module]:
            inside = [norm(o)] if normed and norm is not None else []
            return [Linear(i, o), *inside, Dropout(dropout), nn.ReLU()]

        def last() -> list[nn.Module]:
            return [] if tail_act else [Linear(width, width)]

        i, width = in_channels, hidden_channels
        self.xlin = nn.Sequential(*layer(i, i, False), *layer(i, i)) if use_xlin else None
        self.xcnlin = nn.Sequential(*layer(i, width, False), *layer(width, width), *last())
        self.xijlin = nn.Sequential(*layer(i, width), *last())
        second = layer(width, width) if two_layers else []
        self.lin = nn.Sequential(*layer(width, width), *second, Linear(width, 1))
        self.beta = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for child in self.children():
            reset(child)
        nn.init.constant_(self.beta, self.init_beta)

    def forward(self, h: Tensor, adj: Adj, pairs: Tensor) -> Tensor:
        """Scores ``[P]`` of pairs ``[2, P]`` from codes h ``[N, in]``."""
        return self._scores(h, sorted_rows(as_csr(adj, h.size(0))), pairs)

    def _scores(self, h: Tensor, adj: CSR, pairs: Tensor) -> Tensor:
        return self._joined(h, pairs, self._summed(h, common_neighbors(self._dropped(adj), pairs)))

    def _dropped(self, adj: CSR) -> CSR:
        if not self.training or self.edge_dropout == 0:
            return adj
        return dropped_entries(adj, self.edge_dropout)

    def _summands(self, h: Tensor) -> Tensor:
        return h if self.xlin is None else h + self.xlin(h)

    def _summed(self, h: Tensor, common: CSR) -> Tensor:
        """The sums over rows of nodes; f_x takes the nodes in them alone where they are few."""
        used = torch.zeros(h.size(0), dtype=torch.bool, device=h.device)
        used[common.indices.long()] = True
        nodes = used.nonzero().view(-1)
        if self.xlin is None or 2 * nodes.numel() > h.size(0):
            return summed(common, self._summands(h))
        place = (used.cumsum(0) - 1).to(common.indices.dtype)[common.indices.long()]
        rows = CSR.trusted(common.indptr, place, nodes.numel())
        return summed(rows, self._summands(h.index_select(0, nodes)))

    def _joined(self, h: Tensor, pairs: Tensor, pooled: Tensor) -> Tensor:
        product = h.index_select(0, pairs[0]) * h.index_select(0, pairs[1])
        out: Tensor = self.lin(self.beta * self.xcnlin(pooled) + self.xijlin(product))
        return out.squeeze(-1)


class NCNC(NCN):
    r"""Neural common neighbour with completion: neighbours of one end count by how likely the other has them.

    .. math:: s_{ij} = g\Big(\beta\, f_{cn}\big(\textstyle\sum_{u \in N(i) \cap N(j)} \tilde h_u
        + \sum_{u \in N(i) \setminus N(j)} P_{ju} \tilde h_u
        + \sum_{u \in N(j) \setminus N(i)} P_{iu} \tilde h_u\big) + f_{ij}(h_i \circ h_j)\Big)

    .. math:: P = \alpha\, \frac{p_t\, p_0}{p_t\, p_0 + 1 - p_0}, \qquad
        p_0 = \mathrm{sigmoid}(\text{scale} \cdot (s - \text{offset}))

    Wang, Yang and Zhang, Neural Common Neighbor with Completion for Link Prediction, ICLR 2024, as their code
    has it: s is this predictor's own score of the pair that would complete the triangle, of one step less
    (of none it is :class:`NCN`), without gradient. It is given :math:`\tilde h` for h, so that f_x is applied
    once more inside, and it drops entries of the graph again.

    Args:
        in_channels, hidden_channels: as in :class:`NCN`.
        weight: :math:`\alpha`.
        prior: :math:`p_t`, in (0, 1]; None: learned, the sigmoid of an MLP of h_i ∘ h_j.
        scale, offset: of the score.
        depth: steps of completion, at least 0.
        train_degree, test_degree: how many neighbours of one end are completed at most, drawn with
            replacement and weighted so that the sum keeps its mean; None: all.
        split_size: pairs that are scored at once for their probability; only memory depends on it.
        dropout, edge_dropout, norm, use_xlin, tail_act, two_layers, beta: as in :class:`NCN`.

    Shapes: h ``[N, in]``, adj ``[N, N]``, pairs ``[2, P]`` -> scores ``[P]``, logits.
    Cost: O(P d (d in + hidden^2)) time for rows of d entries and one step; in evaluation at most
        O(N^2) scores for its P d missing edges. Memory is bounded: pairs are completed some at a time.
    Raises: ValueError for a depth, degree, split size or prior that is out of range, and as :class:`NCN`.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        weight: float = 1.0,
        prior: float | None = 0.5,
        scale: float = 5.0,
        offset: float = 3.0,
        depth: int = 1,
        train_degree: int | None = None,
        test_degree: int | None = None,
        split_size: int = 1 << 17,
        dropout: float = 0.0,
        edge_dropout: float = 0.0,
        norm: MakeNorm | None = nn.LayerNorm,
        use_xlin: bool = False,
        tail_act: bool = False,
        two_layers: bool = False,
        beta: float = 1.0,
    ) -> None:
        super().__init__(
            in_channels,
            hidden_channels,
            dropout=dropout,
            edge_dropout=edge_dropout,
            norm=norm,
            use_xlin=use_xlin,
            tail_act=tail_act,
            two_layers=two_layers,
            beta=beta,
        )
        bounds = {"depth": (depth, 0), "split_size": (split_size, 1)}
        most = {"train_degree": train_degree, "test_degree": test_degree}
        bounds |= {name: (value, 1) for name, value in most.items() if value is not None}
        for name, (value, least) in bounds.items():
            if value < least:
                raise ValueError(f"NCNC: {name}={value}; pass {least} or more")
        if prior is not None and not 0 < prior <= 1:
            raise ValueError(f"NCNC: prior={prior}; pass a number above 0, at most 1, or None")
        self.weight, self.prior, self.scale, self.offset = weight, prior, scale, offset
        self.depth, self.split_size = depth, split_size
        self.train_degree, self.test_degree = train_degree, test_degree
        self.priorlin: MLP | None = None
        if prior is None:
            self.priorlin = MLP([in_channels, hidden_channels, 1], norm=None)

    def _scores(self, h: Tensor, adj: CSR, pairs: Tensor, depth: int | None = None) -> Tensor:
        depth = self.depth if depth is None else depth
        if depth == 0:
            return super()._scores(h, adj, pairs)
        adj = self._dropped(adj)
        summands = self._summands(h)
        known = self._known(summands, adj, pairs, depth - 1)
        runs = _runs(adj, pairs)
        if self.training:  # a norm over the batch takes all pairs
            pooled = [self._completed(h, summands, adj, part, depth, known) for part in runs]
            return self._joined(h, pairs, torch.cat(pooled))
        return torch.cat(
            [self._joined(h, part, self._completed(h, summands, adj, part, depth, known)) for part in runs]
        )

    def _completed(
        self, h: Tensor, summands: Tensor, adj: CSR, pairs: Tensor, depth: int, known: Tensor | None
    ) -> Tensor:
        """The sums over common neighbours and over those that would be common, ``[P, in]``."""
        common, *alone = neighbor_sets(adj, pairs)
        weights: list[Tensor | None] = [None, None]
        if (most := self._most) is not None:
            alone, weights = map(list, zip(*(sampled_rows(only, most) for only in alone), strict=True))
        rows = [only.rows for only in alone]
        # what would complete the triangles: an edge of the other end for each neighbour of one alone
        others = torch.cat([end[row] for end, row in zip(pairs.flip(0), rows, strict=True)])
        missing = torch.stack([others, torch.cat([only.indices for only in alone]).long()])
        score = self._inner(summands, adj, missing, depth - 1) if known is None else known[*missing]
        scores = torch.split(score, [row.numel() for row in rows])
        pooled = summed(common, summands)
        for only, row, part, weight in zip(alone, rows, scores, weights, strict=True):
            probability = self._probability(part, h, pairs, row)
            if weight is not None:
                probability = probability * weight.to(probability.dtype)
            pooled = pooled + spmm(only, summands, probability)
        return pooled

    @property
    def _most(self) -> int | None:
        return self.train_degree if self.training else self.test_degree

    @torch.no_grad()
    def _inner(self, summands: Tensor, adj: CSR, pairs: Tensor, depth: int) -> Tensor:
        """Scores of the edges that are missing, some pairs at a time."""
        chunks = torch.split(pairs, self.split_size, dim=1)
        return torch.cat([self._scores(summands, adj, chunk, depth) for chunk in chunks])

    def _known(self, summands: Tensor, adj: CSR, pairs: Tensor, depth: int) -> Tensor | None:
        """Scores ``[N, N]`` of all pairs, where the pairs ask for more than so many and none is random."""
        n = adj.num_rows
        if self.training or n * n > MOST_KNOWN:
            return None
        ends = adj.degree if self._most is None else adj.degree.clamp(max=self._most)
        if int(ends[pairs].sum()) < n * n:
            return None
        upper = torch.triu_indices(n, n, device=pairs.device)
        score = self._inner(summands, adj, upper, depth)
        table = score.new_empty(n, n)
        table[*upper] = score
        table[*upper.flip(0)] = score
        return table

    def _probability(self, score: Tensor, h: Tensor, pairs: Tensor, row: Tensor) -> Tensor:
        prior: float | Tensor
        if self.priorlin is None:
            assert self.prior is not None
            prior = self.prior
        else:
            product = h.index_select(0, pairs[0]) * h.index_select(0, pairs[1])
            prior = self.priorlin(product).squeeze(-1).sigmoid()[row]
        odds = torch.sigmoid(self.scale * (score - self.offset))
        return self.weight * prior * odds / (prior * odds + 1 - odds)


def _runs(adj: CSR, pairs: Tensor) -> tuple[Tensor, ...]:
    """The pairs in runs of about ENTRIES neighbours of their ends."""
    cost = adj.degree[pairs].sum(0) + A_PAIR
    sizes = (cost.cumsum(0) // ENTRIES).bincount()
    return torch.split(pairs, sizes[sizes > 0].tolist(), dim=1) if cost.numel() else (pairs,)
