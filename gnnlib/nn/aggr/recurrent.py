"""Aggregation by a recurrent network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gnnlib.nn.aggr.base import Aggregation, nothing
from gnnlib.sparse.sets import Sets


class LSTMAggregation(Aggregation):
    r"""The output of an LSTM after the last element of each set.

    .. math:: r = \mathrm{LSTM}(x_1, \dots, x_n)_n

    Hamilton et al., Inductive Representation Learning on Large Graphs, NeurIPS 2017. The result
    depends on the order of the elements, which is that of the index; shuffle them while training.

    Each sequence ends with its set. PyG pads all sets of a batch to the largest one and reads after the
    padding, so that its results change with what else is in the batch; the two are equal for sets of one
    size. An index need not be sorted here.

    Args:
        in_channels: width of x.
        out_channels: width of the hidden state.
        **kwargs: arguments of :class:`torch.nn.LSTM`.

    Shapes: x ``[N, in]`` -> ``[R, out]`` (twice as wide if bidirectional). An empty set gives 0.
    Cost: at most 2 N cells, and their outputs in memory: sets of similar size run together, padded to the
        largest of them. Reads the sizes of the sets, so it does not compile into one graph.
    Raises: ValueError for elements that are not vectors of width ``in_channels``.
    """

    def __init__(self, in_channels: int, out_channels: int, **kwargs: Any) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.lstm = nn.LSTM(in_channels, out_channels, batch_first=True, **kwargs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lstm.reset_parameters()

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Run over x ``[N, in]`` set by set -> ``[R, out]``."""
        return _last_output(self._who, self.lstm, self._matrix(x), sets)

    def __repr__(self) -> str:
        return f"LSTMAggregation({self.in_channels}, {self.out_channels})"


class GRUAggregation(Aggregation):
    r"""The output of a GRU after the last element of each set.

    .. math:: r = \mathrm{GRU}(x_1, \dots, x_n)_n

    Buterez et al., Graph Neural Networks with Adaptive Readouts, NeurIPS 2022. The result depends on the
    order of the elements, which is that of the index; and on nothing outside the set, unlike PyG's, see
    :class:`LSTMAggregation`.

    Args:
        in_channels: width of x.
        out_channels: width of the hidden state.
        **kwargs: arguments of :class:`torch.nn.GRU`.

    Shapes: x ``[N, in]`` -> ``[R, out]`` (twice as wide if bidirectional). An empty set gives 0.
    Cost: at most 2 N cells, and their outputs in memory: sets of similar size run together, padded to the
        largest of them. Reads the sizes of the sets, so it does not compile into one graph.
    Raises: ValueError for elements that are not vectors of width ``in_channels``.
    """

    def __init__(self, in_channels: int, out_channels: int, **kwargs: Any) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.gru = nn.GRU(in_channels, out_channels, batch_first=True, **kwargs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.gru.reset_parameters()

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Run over x ``[N, in]`` set by set -> ``[R, out]``."""
        return _last_output(self._who, self.gru, self._matrix(x), sets)

    def __repr__(self) -> str:
        return f"GRUAggregation({self.in_channels}, {self.out_channels})"


def _last_output(who: str, rnn: nn.RNNBase, x: Tensor, sets: Sets) -> Tensor:
    """The last output of each set's sequence, 0 for an empty one: ``[N, in]`` -> ``[R, out]``."""
    if x.shape[1] != rnn.input_size:
        raise ValueError(
            f"{who}: x has {x.shape[1]} features but in_channels={rnn.input_size}; pass {rnn.input_size} "
            "features"
        )
    width = (2 if rnn.bidirectional else 1) * (rnn.proj_size or rnn.hidden_size)
    rows = torch.cat([sets.take(x), x.new_zeros(1, x.shape[1])])  # the last one is padding
    groups = by_size(sets.count)
    if not groups:
        return nothing(x, sets.num_sets, width)
    run = _packed if rnn.bidirectional else _padded
    last = torch.cat([run(rnn, rows, sets.indptr[chosen], sets.count[chosen]) for chosen in groups])
    return last.new_zeros(sets.num_sets, width).index_copy(0, torch.cat(groups), last)


def by_size(count: Tensor) -> list[Tensor]:
    """The sets that are not empty, in groups whose sizes differ by less than a factor of two."""
    exponent = torch.where(count > 0, count.double().log2().floor(), -1)
    distinct = exponent.unique().tolist()  # type: ignore[no-untyped-call]  # torch has no annotation here
    return [(exponent == e).nonzero()[:, 0] for e in distinct if e >= 0]


def _padded(rnn: nn.RNNBase, rows: Tensor, start: Tensor, size: Tensor) -> Tensor:
    """The output at the last element, which does not know the padding behind it: ``[R]`` -> ``[R, out]``."""
    place = torch.arange(int(size.max()), device=rows.device)
    slot = torch.where(place < size[:, None], start[:, None] + place, rows.shape[0] - 1)  # [R, L]
    dense = rows.index_select(0, slot.reshape(-1)).reshape(*slot.shape, rows.shape[1])
    output: Tensor = rnn(dense)[0]  # [R, L, out]
    return output[torch.arange(size.shape[0], device=rows.device), size - 1]


def _packed(rnn: nn.RNNBase, rows: Tensor, start: Tensor, size: Tensor) -> Tensor:
    """The same of a network that also runs backwards, from the last element of each set."""
    size, order = size.sort(descending=True, stable=True)
    start = start[order]
    step = torch.arange(int(size[0]), device=rows.device)
    alive = torch.searchsorted(-size, -step)  # [L], the sets with more than that many elements come first
    first = alive.cumsum(0) - alive
    of_step = torch.repeat_interleave(step, alive)
    slot = start[torch.arange(of_step.shape[0], device=rows.device) - first[of_step]] + of_step
    output: Tensor = rnn(PackedSequence(rows.index_select(0, slot), alive.cpu()))[0].data  # [E, out]
    last = output[first[size - 1] + torch.arange(size.shape[0], device=rows.device)]
    return last[order.argsort()]
