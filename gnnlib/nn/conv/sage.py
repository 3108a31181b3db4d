"""GraphSAGE convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnlib.nn.conv.base import Adj, Channels, Conv, FlowOptions, Pair, Size
from gnnlib.nn.linear import Linear
from gnnlib.sparse import spmm


class SAGEConv(Conv):
    r"""GraphSAGE convolution: a node and the reduction of its neighbours, each through its own map.

    .. math:: x'_i = W_2\, x_i + W_1 \operatorname{aggr}_{j \to i} x_j + b

    Hamilton et al., Inductive Representation Learning on Large Graphs, NeurIPS 2017, Algorithm 1 (whose
    one map of the concatenation is the two maps here).

    Args:
        in_channels: width of x, or of (sources, targets); -1 takes it from the first call.
        out_channels: width of the output.
        aggr: ``"mean"``, ``"sum"`` (or ``"add"``), ``"max"``, ``"min"``, or a list of them, whose results
            are concatenated before W1.
        normalize: divide each output row by its L2 norm.
        root_weight: add the term of the node itself.
        project: map the neighbours by relu(W3 x + b3) first, Eq. 3 of the paper with any ``aggr``.
        bias: learn b.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]`` or (``[N_src, in_src]``, ``[N_dst, in_dst]`` or None), edge_index ``[2, E]`` or any
        form that :func:`as_csr` takes, size ``(N_src, N_dst)`` -> ``[N_dst, out]``. The values of a
        sparse matrix weigh its edges when there is one reduction; a list of them leaves the values out,
        as in PyG.
    Cost: one SpMM for each reduction; sum and mean run on the narrower side of W1.
    Raises: ValueError when x, edge_index and size do not fit; NotImplementedError for another ``aggr``.
    """

    def __init__(
        self,
        in_channels: Channels,
        out_channels: int,
        aggr: str | Sequence[str] = "mean",
        normalize: bool = False,
        root_weight: bool = True,
        project: bool = False,
        bias: bool = True,
        **kwargs: Unpack[FlowOptions],
    ) -> None:
        names = [aggr] if isinstance(aggr, str) or not isinstance(aggr, Sequence) else list(aggr)
        super().__init__(names[0] if names else "", **kwargs)
        self.aggrs = [self._reduction(name) for name in names]
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.normalize = normalize
        self.root_weight = root_weight
        self.project = project
        src, dst = (in_channels, in_channels) if isinstance(in_channels, int) else in_channels
        if project:
            if src <= 0:
                raise ValueError(
                    f"SAGEConv: project=True came with in_channels={in_channels}; the projection needs the "
                    "width of the sources, so pass it instead of -1"
                )
            self.lin = Linear(src, src, bias=True)
        self.lin_l = Linear(src * len(self.aggrs) if src > 0 else -1, out_channels, bias=bias)
        if root_weight:
            self.lin_r = Linear(dst, out_channels, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        if self.project:
            self.lin.reset_parameters()
        self.lin_l.reset_parameters()
        if self.root_weight:
            self.lin_r.reset_parameters()

    def forward(self, x: Tensor | Pair, edge_index: Adj, size: Size = None) -> Tensor:
        """Convolve x over the graph -> ``[N_dst, out]``."""
        x_src, x_dst = self._pair(x)
        adj = self._graph(edge_index, x_src, x_dst, size)
        if self.project:
            x_src = self.lin(x_src).relu()
        if len(self.aggrs) == 1:
            weight = self._edge_weight(adj, None, x_src)
            out = self._aggregate_then(self.lin_l, adj, x_src, weight, self.aggrs[0])
        else:
            out = self.lin_l(torch.cat([spmm(adj, x_src, None, a) for a in self.aggrs], dim=-1))
        if self.root_weight and x_dst is not None:
            out = out + self.lin_r(x_dst)
        return F.normalize(out, p=2.0, dim=-1) if self.normalize else out

    def __repr__(self) -> str:
        aggr = self.aggrs[0] if len(self.aggrs) == 1 else self.aggrs
        return f"SAGEConv({self.in_channels}, {self.out_channels}, aggr={aggr})"
