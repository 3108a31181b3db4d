"""Learnable commutative monoids: a learned binary operation over a balanced tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from gnnlib.nn.aggr.base import Aggregation
from gnnlib.nn.init import reset
from gnnlib.sparse.sets import Sets

Operation = Callable[[Tensor, Tensor], Tensor]


class LCMAggregation(Aggregation):
    r"""A learned commutative operation that folds the elements over a balanced binary tree.

    .. math:: a \oplus b = \tfrac12 \big(\mathrm{op}(a, b) + \mathrm{op}(b, a)\big), \qquad
        r = (\cdots (x_1 \oplus x_2) \oplus (x_3 \oplus x_4) \cdots)

    Ong and Velickovic, Learnable Commutative Monoids for Graph Neural Networks, LoG 2022. At each level the
    elements at places 2i and 2i + 1 are joined and an odd last one goes up as it is: :math:`\lceil \log_2 n
    \rceil` operations deep, n - 1 of them, those of all sets of a level together. The order of the elements
    is that of the index; the result depends on it as far as the operation is not associative, which
    :func:`monoid_regulariser` pushes it to be.

    PyG pads all sets to the largest one of the batch and folds the padding in, so that the same set gives
    another result in another batch; for sets of one size the two are equal.

    Args:
        in_channels: width of x.
        out_channels: width of the output.
        project: map x by a linear layer and ReLU first; without it both widths are the same.
        op: ``"gru"``, a GRU cell of input a and state b; or a function or module of two ``[M, out]``.
        empty: what an empty set gives: ``"zeros"``, or ``"learned"`` for a vector that
            :func:`monoid_regulariser` makes neutral.
        shuffle: in training, put the elements of each set in a new order at every call.

    Shapes: x ``[N, in]`` -> ``[R, out]``.
    Cost: at most N operations of 2 evaluations each, in :math:`\log_2` of the largest set steps; memory of
        order N x out. Reads the sizes of the sets, so it does not compile into one graph.
    Raises: ValueError for different widths without ``project``, an unknown operation, or elements that are
        not vectors of width ``in_channels``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        project: bool = True,
        *,
        op: Literal["gru"] | Operation = "gru",
        empty: Literal["zeros", "learned"] = "zeros",
        shuffle: bool = False,
    ) -> None:
        super().__init__()
        if in_channels != out_channels and not project:
            raise ValueError(
                f"LCMAggregation: in_channels={in_channels} and out_channels={out_channels} differ, which "
                "needs project=True"
            )
        if empty not in ("zeros", "learned"):
            raise ValueError(f"LCMAggregation: empty={empty!r} is unknown; choose 'zeros' or 'learned'")
        if op != "gru" and not callable(op):
            raise ValueError(f"LCMAggregation: op={op!r} is unknown; choose 'gru', or pass a function of two")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.project = project
        self.shuffle = shuffle
        self.lin = nn.Linear(in_channels, out_channels) if project else None
        self.gru_cell = nn.GRUCell(out_channels, out_channels) if op == "gru" else None
        self.op = None if isinstance(op, str) else op
        self.neutral = nn.Parameter(torch.zeros(out_channels)) if empty == "learned" else None

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in self.children():
            reset(part)
        if self.neutral is not None:
            nn.init.zeros_(self.neutral)

    def combine(self, a: Tensor, b: Tensor) -> Tensor:
        """The operation, which does not see the order of the two: two of ``[M, out]`` -> ``[M, out]``."""
        op = self.gru_cell if self.op is None else self.op
        assert op is not None
        both: Tensor = op(torch.cat([a, b]), torch.cat([b, a]))
        one, other = both.chunk(2)
        return (one + other) / 2

    def projected(self, x: Tensor) -> Tensor:
        """The elements as the operation sees them: ``[N, in]`` -> ``[N, out]``."""
        return x if self.lin is None else self.lin(x).relu()

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Fold x ``[N, in]`` set by set -> ``[R, out]``."""
        if self._matrix(x).shape[1] != self.in_channels:
            raise ValueError(
                f"{self._who}: x has {x.shape[1]} features but in_channels={self.in_channels}; pass "
                f"{self.in_channels} features"
            )
        rows = sets.take(self.projected(x))
        if self.shuffle and self.training:
            rows = rows[shuffled(sets)]
        filled = (sets.count > 0).nonzero()[:, 0]
        blank = rows.new_zeros(self.out_channels) if self.neutral is None else self.neutral.to(rows.dtype)
        out = blank.expand(sets.num_sets, -1) + 0 * x[:0].sum()  # x in its history as always
        return out.index_copy(0, filled, self._fold(rows, sets.adj.rows, sets.count))

    def _fold(self, rows: Tensor, of: Tensor, count: Tensor) -> Tensor:
        """The tree over rows that lie set by set: rows ``[E, out]`` of sets ``[E]`` -> one row each."""
        for _ in range(int(count.max() - 1).bit_length() if rows.shape[0] else 0):
            place = torch.arange(rows.shape[0], device=of.device) - (count.cumsum(0) - count)[of]
            stays = (place % 2 == 0).nonzero()[:, 0]
            paired = place[stays] + 1 < count[of[stays]]
            left = stays[paired]
            joined = self.combine(rows[left], rows[left + 1])
            rows = rows[stays].index_copy(0, paired.nonzero()[:, 0], joined)
            of, count = of[stays], (count + 1) // 2
        return rows

    def __repr__(self) -> str:
        return f"{self._who}({self.in_channels}, {self.out_channels}, project={self.project})"


def shuffled(sets: Sets) -> Tensor:
    """Slots in a new order within each set, ``[E]``, from torch's generator, as dropout's."""
    draw = torch.randperm(sets.adj.num_edges, device=sets.indptr.device)
    return draw[sets.adj.rows[draw].argsort(stable=True)]


def monoid_regulariser(
    op: Operation, samples: Tensor, neutral: Tensor | None = None, *, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    r"""How far an operation is from that of a commutative monoid, on random triples of samples.

    .. math:: \mathbb{E} \lVert (a \oplus b) \oplus c - a \oplus (b \oplus c) \rVert^2, \quad
        \mathbb{E} \lVert a \oplus b - b \oplus a \rVert^2, \quad \mathbb{E} \lVert a \oplus e - a \rVert^2

    Ong and Velickovic, LoG 2022. Add their weighted sum to the loss.

    Args:
        op: the operation, for example ``aggr.combine`` of :class:`LCMAggregation`.
        samples: vectors as they occur, elements or partial results.
        neutral: the neutral element e, for the third term.
        generator: of the triples; torch's own if None.

    Shapes: samples ``[M, F]``, neutral ``[F]`` -> the scalars ``associativity``, ``commutativity`` and, with
        ``neutral``, ``identity``; 0 without samples.
    Cost: seven evaluations of the operation on M rows.
    """
    m = samples.shape[0]
    if m == 0:
        zero = samples.sum()
        return dict.fromkeys(
            ("associativity", "commutativity", *(() if neutral is None else ("identity",))), zero
        )
    a, b, c = (samples[torch.randperm(m, generator=generator).to(samples.device)] for _ in range(3))
    ab = op(a, b)
    out = {
        "associativity": (op(ab, c) - op(a, op(b, c))).square().sum(-1).mean(),
        "commutativity": (ab - op(b, a)).square().sum(-1).mean(),
    }
    if neutral is not None:
        out["identity"] = (op(a, neutral.expand_as(a)) - a).square().sum(-1).mean()
    return out


def commutativity_regulariser(
    cell: Callable[[Tensor, Tensor], Tensor],
    samples: Tensor,
    state: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""How far the result of a recurrent cell depends on the order of its last two inputs.

    .. math:: \mathbb{E} \lVert \mathrm{cell}(b, \mathrm{cell}(a, s)) - \mathrm{cell}(a, \mathrm{cell}(b, s))
        \rVert^2

    Ong and Velickovic, LoG 2022, for recurrent aggregators.

    Args:
        cell: from an input and a state to the next state, such as :class:`torch.nn.GRUCell`.
        samples: inputs as they occur.
        state: a state for each.
        generator: of the pairs; torch's own if None.

    Shapes: samples ``[M, F]``, state ``[M, H]`` -> a scalar; 0 without samples.
    """
    m = samples.shape[0]
    if m == 0:
        return samples.sum()
    a, b = (samples[torch.randperm(m, generator=generator).to(samples.device)] for _ in range(2))
    return (cell(b, cell(a, state)) - cell(a, cell(b, state))).square().sum(-1).mean()
