"""Encoders of paths: from the sequence of a path's nodes to one vector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.names import choose
from gnnlib.nn.init import glorot, reset
from gnnlib.sparse import lstm_step

#: Features ``[M, F]`` and, for each place of each path, the row that stands there ``[P, L]``.
Part: TypeAlias = tuple[Tensor, Tensor]


class PathEncoder(nn.Module):
    """Base of the encoders.

    What stands at a place of a path is the concatenation of a row of each part. Its first linear map is taken
    of the rows of the parts, before they are spread over the paths.

    Args:
        in_channels: width of all parts together.
        out_channels: width of the code.

    Shapes: parts, pairs of features ``[M, F]`` and integers ``[P, L]``, far end first -> ``[P, out]``.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for child in self.children():
            reset(child)

    def forward(self, parts: Sequence[Part]) -> Tensor:
        """Codes ``[P, out]``."""
        raise NotImplementedError

    def _maps(self, parts: Sequence[Part], weight: Tensor, bias: Tensor | None) -> list[Tensor]:
        """W x + b for the rows of each part, the bias in the first."""
        widths = [x.shape[1] for x, _ in parts]
        if sum(widths) != self.in_channels:
            raise ValueError(
                f"{type(self).__name__}: the parts have {sum(widths)} features but "
                f"in_channels={self.in_channels}; build the encoder for the width of all parts together"
            )
        blocks = torch.split(weight, widths, dim=1)
        return [
            F.linear(x, w, bias if i == 0 else None)
            for i, ((x, _), w) in enumerate(zip(parts, blocks, strict=True))
        ]

    @staticmethod
    def _rows(maps: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
        """These rows of the mapped parts, added up."""
        found = [m.index_select(0, r) for m, r in zip(maps, rows, strict=True)]
        return sum(found[1:], found[0])

    def _at(self, maps: Sequence[Tensor], parts: Sequence[Part], place: int) -> Tensor:
        """The mapped rows at one place of all paths, added up."""
        return self._rows(maps, [index[:, place] for _, index in parts])


class _Recurrent(PathEncoder):
    """Encoders whose state at a place depends on the places before it alone.

    Paths that begin alike share their states until they part: the beginnings of the paths from one far end
    are a tree, and a state is computed once for each of its nodes.
    """

    @staticmethod
    def _beginnings(parts: Sequence[Part]) -> Iterator[tuple[list[Tensor], Tensor | None]]:
        """For each place the rows of the parts ``[T]`` there, for each beginning once, and which of the
        beginnings before it goes on; each path is an end of its own, in the order given."""
        indices = [index for _, index in parts]
        count, length = indices[0].shape
        path = torch.arange(count, device=indices[0].device)
        before: Tensor | None = None
        for place in range(length - 1):
            number = path.new_zeros(count) if before is None else before
            size = 0
            for (x, _), index in zip(parts, indices, strict=True):
                kinds, number = torch.unique(number * x.shape[0] + index[:, place], return_inverse=True)
                size = kinds.shape[0]
            some = path.new_empty(size)
            some[number] = path  # any of the paths that begin so
            yield [index[some, place] for index in indices], None if before is None else before[some]
            before = number
        yield [index[:, -1] for index in indices], before


class PathLSTM(_Recurrent):
    r"""Last state of an LSTM that reads a path from its far end to its centre.

    .. math:: z_p = \mathrm{LSTM}(x_{p_k}, \dots, x_{p_1}, x_{p_0})

    Michel et al., Path Neural Networks, ICML 2023. ``rnn`` holds the parameters of
    :class:`torch.nn.LSTM`, whose result this equals.

    Args:
        in_channels: width of all parts together.
        out_channels: width of the code.

    Shapes: parts, pairs of ``[M, F]`` and ``[P, L]`` -> ``[P, out]``.
    Cost: the input map once a row, one recurrent product for each different beginning of a path, and no gates
        in memory; torch's own takes both products at every step.
    Raises: ValueError when the parts have another width.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.rnn = nn.LSTM(in_channels, out_channels, batch_first=True)

    def forward(self, parts: Sequence[Part]) -> Tensor:
        """Codes ``[P, out]``."""
        rnn: Any = self.rnn
        maps = self._maps(parts, rnn.weight_ih_l0, rnn.bias_ih_l0 + rnn.bias_hh_l0)
        h: Tensor = maps[0].new_empty(0)
        c = hidden = None
        for rows, parent in self._beginnings(parts):
            if parent is not None:
                hidden = F.linear(h, rnn.weight_hh_l0)
            h, c = lstm_step(maps, rows, hidden, c, parent)
        return h


class PathGRU(_Recurrent):
    r"""Last state of a GRU that reads a path from its far end to its centre.

    .. math:: z_p = \mathrm{GRU}(x_{p_k}, \dots, x_{p_1}, x_{p_0})

    The library's own, in the place of the LSTM of :class:`PathLSTM`; ``rnn`` holds the parameters of
    :class:`torch.nn.GRU`, whose result this equals.

    Args:
        in_channels: width of all parts together.
        out_channels: width of the code.

    Shapes: parts, pairs of ``[M, F]`` and ``[P, L]`` -> ``[P, out]``.
    Cost: the input map once a row, one recurrent product for each different beginning of a path.
    Raises: ValueError when the parts have another width.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.rnn = nn.GRU(in_channels, out_channels, batch_first=True)

    def forward(self, parts: Sequence[Part]) -> Tensor:
        """Codes ``[P, out]``."""
        rnn: Any = self.rnn
        maps = self._maps(parts, rnn.weight_ih_l0, rnn.bias_ih_l0)
        h: Tensor = maps[0].new_zeros(1, self.out_channels)
        for rows, parent in self._beginnings(parts):
            r, z, n = self._rows(maps, rows).chunk(3, dim=1)
            hr, hz, hn = F.linear(h, rnn.weight_hh_l0, rnn.bias_hh_l0).chunk(3, dim=1)
            if parent is not None:
                h, hr, hz, hn = (t.index_select(0, parent) for t in (h, hr, hz, hn))
            z = (z + hz).sigmoid()
            h = (1 - z) * (n + (r + hr).sigmoid() * hn).tanh() + z * h
        return h


class PathCNN(PathEncoder):
    r"""Sum over a path of a rectified convolution of three places.

    .. math:: z_p = \sum_i \mathrm{ReLU}(W_{-1} x_{p_{i + 1}} + W_0 x_{p_i} + W_1 x_{p_{i - 1}} + b)

    The library's own, in the place of the LSTM of :class:`PathLSTM`.

    Args:
        in_channels: width of all parts together.
        out_channels: width of the code.

    Shapes: parts, pairs of ``[M, F]`` and ``[P, L]`` -> ``[P, out]``; nothing stands beyond the ends.
    Cost: three maps a row; no product over paths.
    Raises: ValueError when the parts have another width.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.conv = nn.Conv1d(in_channels, out_channels, 3, padding=1)

    def forward(self, parts: Sequence[Part]) -> Tensor:
        """Codes ``[P, out]``."""
        taps = [
            self._maps(parts, self.conv.weight[:, :, t], self.conv.bias if t == 1 else None) for t in range(3)
        ]
        index = parts[0][1]
        out = taps[1][0].new_zeros(index.shape[0], self.out_channels)
        for place in range(index.shape[1]):
            near = [t for t in range(3) if 0 <= place + t - 1 < index.shape[1]]
            terms = [self._at(taps[t], parts, place + t - 1) for t in near]
            out = out + sum(terms[1:], terms[0]).relu()
        return out


class PathSum(PathEncoder):
    r"""Weighted sum over a path, with learned weights for each number of steps to its centre.

    .. math:: z_p = \sum_i w_i \odot (W x_{p_i} + b)

    The library's own, in the place of the LSTM of :class:`PathLSTM`.

    Args:
        in_channels: width of all parts together.
        out_channels: width of the code.
        length: the most edges of a path.

    Shapes: parts, pairs of ``[M, F]`` and ``[P, L]`` -> ``[P, out]``.
    Cost: one map a row; no product over paths.
    Raises: ValueError when the parts have another width, or paths are longer.
    """

    def __init__(self, in_channels: int, out_channels: int, length: int = 8) -> None:
        super().__init__(in_channels, out_channels)
        self.lin = nn.Linear(in_channels, out_channels)
        self.position = nn.Parameter(torch.empty(length + 1, out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        reset(self.lin)
        glorot(self.position)

    def forward(self, parts: Sequence[Part]) -> Tensor:
        """Codes ``[P, out]``."""
        maps = self._maps(parts, self.lin.weight, self.lin.bias)
        position = _positions(self.position, parts, self)
        terms = [self._at(maps, parts, place) * w for place, w in enumerate(position)]
        out: Tensor = sum(terms[1:], terms[0])
        return out


class PathTransformer(PathEncoder):
    r"""What a transformer block, with positions counted from the centre, says at the centre of a path.

    .. math:: z_p = \mathrm{block}(W x_{p_k} + b + e_k, \dots, W x_{p_0} + b + e_0)_0

    The library's own, in the place of the LSTM of :class:`PathLSTM`.

    Args:
        in_channels: width of all parts together.
        out_channels: width of the code, a multiple of ``heads``.
        length: the most edges of a path.
        heads: attention heads.

    Shapes: parts, pairs of ``[M, F]`` and ``[P, L]`` -> ``[P, out]``.
    Cost: O(P L^2 out) for attention within each path.
    Raises: ValueError when the parts have another width, or paths are longer.
    """

    def __init__(self, in_channels: int, out_channels: int, length: int = 8, heads: int = 1) -> None:
        super().__init__(in_channels, out_channels)
        self.lin = nn.Linear(in_channels, out_channels)
        self.position = nn.Parameter(torch.empty(length + 1, out_channels))
        self.block = nn.TransformerEncoderLayer(
            out_channels, heads, 2 * out_channels, dropout=0.0, batch_first=True
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        reset(self.lin)
        glorot(self.position)
        reset(self.block)

    def forward(self, parts: Sequence[Part]) -> Tensor:
        """Codes ``[P, out]``."""
        maps = self._maps(parts, self.lin.weight, self.lin.bias)
        position = _positions(self.position, parts, self)
        if not parts[0][1].shape[0]:
            return self._at(maps, parts, 0)  # attention takes no empty batch
        tokens = torch.stack([self._at(maps, parts, place) + e for place, e in enumerate(position)], 1)
        out: Tensor = self.block(tokens)
        return out[:, -1]


def _positions(table: Tensor, parts: Sequence[Part], who: PathEncoder) -> Tensor:
    """The row of each place of a path, the centre's, row 0, last."""
    places = parts[0][1].shape[1]
    if places > table.shape[0]:
        raise ValueError(
            f"{type(who).__name__}: paths of {places - 1} edges came but length={table.shape[0] - 1}; build "
            "the encoder for longer paths"
        )
    return table[:places].flip(0)


_ENCODERS: dict[str, type[PathEncoder]] = {"cnn": PathCNN, "gru": PathGRU, "lstm": PathLSTM}
_BOUNDED: dict[str, type[PathSum | PathTransformer]] = {"sum": PathSum, "transformer": PathTransformer}


def path_encoder(name: str, in_channels: int, out_channels: int, length: int) -> PathEncoder:
    """The encoder of this name: ``cnn``, ``gru``, ``lstm``, ``sum`` or ``transformer``.

    Raises: ValueError for another name.
    """
    name = choose("path encoder", name, [*_ENCODERS, *_BOUNDED])
    if name in _BOUNDED:
        return _BOUNDED[name](in_channels, out_channels, length)
    return _ENCODERS[name](in_channels, out_channels)
