"""Colour refinement: nodes are alike when nothing that messages bring them can tell them apart."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ColourHash", "colour_of_codes", "colour_of_rows", "refine"]


class ColourHash:
    """Random numbers for colours, whose sum over a multiset stands for it.

    Equal multisets have equal sums; different ones have them with a chance of about 2^-128 a pair.

    Args:
        seed: of the numbers.

    Shapes: see each method.
    """

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def drawn(self, colour: Tensor) -> Tensor:
        """Two numbers of 64 bits for each colour that can occur, ``[C, 2]``."""
        count = int(colour.max()) + 1 if colour.numel() else 0
        numbers = torch.randint(-(2**63), 2**63 - 1, (count, 2), generator=self.generator)
        return numbers.to(colour.device)

    def of_sets(self, colour: Tensor, owner: Tensor, count: int) -> Tensor:
        """Sums of the numbers of the colours that belong to each owner, ``[count, 2]``."""
        table = self.drawn(colour)
        return table.new_zeros(count, 2).index_add_(0, owner, table[colour])

    def of_sequences(self, columns: Tensor) -> Tensor:
        """Colours of the rows of integers ``[P, L]``, equal where the rows are."""
        code = columns.new_zeros(columns.shape[0], 2)
        for column in columns.unbind(1):
            code += self.drawn(column)[column]
        return colour_of_codes(code)

    def split(self, colour: Tensor, code: Tensor) -> Tensor:
        """Colours that differ where ``colour`` or the codes ``[N, 2]`` do."""
        return colour_of_codes(code + self.drawn(colour)[colour])


def colour_of_codes(code: Tensor) -> Tensor:
    """A number from 0 for each different pair of integers, in ``[N, 2]``.

    Shapes: ``[N, 2]`` -> int64 ``[N]``.
    """
    first, second = code.unbind(1)
    colour = _numbered(first)
    if not colour.numel():
        return colour
    of_colour = torch.empty_like(second[: int(colour.max()) + 1])
    of_colour[colour] = second
    if torch.equal(of_colour[colour], second):  # as good as always where the numbers are random
        return colour
    other = _numbered(second)
    return _numbered(colour * (int(other.max()) + 1) + other)


def _numbered(code: Tensor) -> Tensor:
    number: Tensor = torch.unique(code, return_inverse=True)[1]
    return number


def colour_of_rows(rows: Tensor) -> Tensor:
    """A number from 0 for each different row, where rows count as equal when all their bits are.

    Different rows get one number with a chance of about 2^-80 a pair or less.

    Shapes: ``[N]`` or ``[N, F]`` of integers, floats of 2 to 8 bytes or complex numbers -> int64 ``[N]``.
    """
    rows = rows.reshape(rows.shape[0], -1) if rows.numel() else rows.new_zeros(rows.shape[0], 1)
    if rows.is_complex():
        rows = torch.view_as_real(rows).flatten(1)
    if rows.dtype == torch.bool:
        rows = rows.to(torch.uint8)
    if rows.is_floating_point():
        rows = rows.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[rows.element_size()])
    generator = torch.Generator().manual_seed(rows.shape[1])
    factor = torch.randint(-(2**62), 2**62 - 1, (rows.shape[1], 2), generator=generator) * 2 + 1
    code = torch.zeros(rows.shape[0], 2, dtype=torch.int64, device=rows.device)
    for column, pair in zip(rows.unbind(1), factor.to(rows.device), strict=True):
        code += column.long()[:, None] * pair
    return colour_of_codes(code)


def refine(
    source: Tensor,
    target: Tensor,
    colour: Tensor,
    numbers: ColourHash,
    *,
    rounds: int | None = None,
    edge_colour: Tensor | None = None,
) -> Tensor:
    r"""Colours after each node has seen those of its in-neighbours, so many times.

    .. math:: c'_v = \mathrm{hash}\big(c_v,\ \{\!\{ (c_u, e_{uv}) : u \to v \}\!\}\big)

    Args:
        source: the node that each edge comes from.
        target: the node that it goes to.
        colour: the first colours, numbers from 0.
        numbers: stand for the colours.
        rounds: of refinement; None: until no colour splits.
        edge_colour: colours of the edges, numbers from 0; all alike when omitted.

    Shapes: source and target int64 ``[E]``, colour int64 ``[N]``, edge_colour int64 ``[E]`` -> ``[N]``.
    """
    count = colour.shape[0]
    for _ in range(count if rounds is None else rounds):
        if edge_colour is None:
            around = numbers.of_sets(colour[source], target, count)
        else:
            pairs = numbers.of_sequences(torch.stack([colour[source], edge_colour], 1))
            around = numbers.of_sets(pairs, target, count)
        finer = numbers.split(colour, around)
        stable = not finer.numel() or bool(finer.max() == colour.max())
        colour = finer
        if rounds is None and stable:
            break
    return colour
