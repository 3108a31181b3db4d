"""Set2Set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gnnlib.nn.aggr.base import Aggregation
from gnnlib.sparse import sddmm, segment_softmax, spmm
from gnnlib.sparse.sets import Sets


class Set2Set(Aggregation):
    r"""An LSTM that reads the set by attention at each of T steps.

    .. math:: q_t = \mathrm{LSTM}(q^*_{t-1}), \quad
        a_{i,t} = \operatorname{softmax}_i \langle x_i, q_t \rangle, \quad
        q^*_t = q_t \,\Vert \sum_i a_{i,t}\, x_i

    Vinyals et al., Order Matters: Sequence to Sequence for Sets, ICLR 2016.

    Args:
        in_channels: width of x.
        processing_steps: number of steps T.
        **kwargs: arguments of :class:`torch.nn.LSTM`.

    Shapes: x ``[N, in]`` -> ``[R, 2 in]``. An empty set has attention over nothing: the sum is 0.
    Cost: T steps of O(N in) with N scores each; no array of N x in.
    Raises: ValueError for elements that are not vectors of width ``in_channels``.
    """

    def __init__(self, in_channels: int, processing_steps: int, **kwargs: Any) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = 2 * in_channels
        self.processing_steps = processing_steps
        self.lstm = nn.LSTM(self.out_channels, in_channels, **kwargs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lstm.reset_parameters()

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Read x ``[N, in]`` T times -> ``[R, 2 in]``."""
        if self._matrix(x).shape[1] != self.in_channels:
            raise ValueError(
                f"Set2Set: x has {x.shape[1]} features but in_channels={self.in_channels}; pass "
                f"{self.in_channels} features"
            )
        adj = sets.adj.slot_order
        state = x.new_zeros(2, self.lstm.num_layers, sets.num_sets, self.in_channels).unbind(0)
        out = x.new_zeros(sets.num_sets, self.out_channels)
        for _ in range(self.processing_steps if sets.num_sets else 0):
            query, state = self.lstm(out.unsqueeze(0), state)
            query = query.squeeze(0)  # [R, in]
            alpha = segment_softmax(sddmm(adj, query, x), sets.indptr)  # [E]
            out = torch.cat([query, spmm(adj, x, alpha)], dim=-1)
        return out

    def __repr__(self) -> str:
        return f"Set2Set({self.in_channels}, {self.out_channels})"
