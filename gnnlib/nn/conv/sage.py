"""GraphSAGE convolution."""

from __future__ import annotations

from typing import Unpack

import torch.nn.functional as F
from torch import Tensor

from gnnlib.nn.aggr.multi import MultiAggregation
from gnnlib.nn.conv.base import Adj, Aggr, Channels, Conv, FlowOptions, Pair, Size
from gnnlib.nn.linear import Linear


class SAGEConv(Conv):
    r"""GraphSAGE convolution: a node and the reduction of its neighbours, each through its own map.

    .. math:: x'_i = W_2\, x_i + W_1 \operatorname{aggr}_{j \to i} x_j + b

    Hamilton et al., Inductive Representation Learning on Large Graphs, NeurIPS 2017, Algorithm 1 (whose
    one map of the concatenation is the two maps here).

    Args:
        in_channels: width of x, or of (sources, targets); -1 takes it from the first call.
        out_channels: width of the output.
        aggr: ``"mean"``, ``"sum"`` (or ``"add"``), ``"max"``, ``"min"``; or any other aggregation: a name, a
            module, or a list of them, whose results are concatenated before W1, see :class:`Conv`.
            ``"lstm"`` has the width of x if ``aggr_kwargs`` does not say otherwise.
        normalize: divide each output row by its L2 norm.
        root_weight: add the term of the node itself.
        project: map the neighbours by relu(W3 x + b3) first, Eq. 3 of the paper with any ``aggr``.
        bias: learn b.
        **kwargs: ``flow`` and ``aggr_kwargs`` of PyG's base class.

    Shapes: x ``[N, in]`` or (``[N_src, in_src]``, ``[N_dst, in_dst]`` or None), edge_index ``[2, E]`` or any
        form that :func:`as_csr` takes, size ``(N_src, N_dst)`` -> ``[N_dst, out]``. The values of a
        sparse matrix weigh its edges when there is one of the four reductions; other aggregations leave the
        values out, as in PyG.
    Cost: one SpMM, sum and mean on the narrower side of W1; a list of plain reductions is one pass over the
        neighbours. An aggregation that is not made of them sees a message on each edge, E x in.
    Raises: ValueError when x, edge_index and size do not fit, or for an unknown ``aggr``; TypeError for a
        module that is no aggregation.
    """

    takes_modules = True

    def __init__(
        self,
        in_channels: Channels,
        out_channels: int,
        aggr: Aggr = "mean",
        normalize: bool = False,
        root_weight: bool = True,
        project: bool = False,
        bias: bool = True,
        **kwargs: Unpack[FlowOptions],
    ) -> None:
        src, dst = (in_channels, in_channels) if isinstance(in_channels, int) else in_channels
        if aggr == "lstm":
            widths = {"in_channels": src, "out_channels": src}
            kwargs["aggr_kwargs"] = {**widths, **(kwargs.get("aggr_kwargs") or {})}
        super().__init__(aggr, **kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.normalize = normalize
        self.root_weight = root_weight
        self.project = project
        if project:
            if src <= 0:
                raise ValueError(
                    f"SAGEConv: project=True came with in_channels={in_channels}; the projection needs the "
                    "width of the sources, so pass it instead of -1"
                )
            self.lin = Linear(src, src, bias=True)
        module = self.aggr_module
        width = module.get_out_channels(src) if isinstance(module, MultiAggregation) else src
        self.lin_l = Linear(width, out_channels, bias=bias)
        if root_weight:
            self.lin_r = Linear(dst, out_channels, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        super().reset_parameters()
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
        weight = self._edge_weight(adj, None, x_src) if self.reduces else None
        root = self.lin_r if self.root_weight else None
        out = self._aggregate_then(self.lin_l, adj, x_src, weight, self.aggr, root, x_dst)
        return F.normalize(out, p=2.0, dim=-1) if self.normalize else out

    def __repr__(self) -> str:
        return f"SAGEConv({self.in_channels}, {self.out_channels}, aggr={self.aggr})"
