"""Generalised aggregation layer of DeeperGCN."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.aggr.multi import MultiAggregation
from gnnlib.nn.conv.base import Adj, Aggr, Channels, Conv, FlowOptions, Pair, Size
from gnnlib.nn.conv.gine import rectified
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear


class GENConv(Conv):
    r"""Generalised graph convolution: positive messages, a softmax or power mean of them, and an MLP.

    .. math:: x'_i = \mathrm{MLP}\big(x_i + \operatorname{aggr}_{j \to i}
        (\max(0, x_j + e_{ij}) + \epsilon)\big)

    Li et al., DeeperGCN: All You Need to Train Deeper GCNs, 2020, Eqs. 2 to 6. With ``msg_norm`` the
    aggregation m becomes ``s |x_i| m / |m|``.

    Args:
        in_channels: width of x, or of (sources, targets); -1 takes it from the first call.
        out_channels: width of the output and of the messages.
        aggr: ``"softmax"``, ``"softmax_sg"`` (its weights get no gradient), ``"power"`` (or
            ``"powermean"``), or any other aggregation, see :class:`Conv`.
        t: initial inverse temperature of the softmax.
        learn_t: learn t.
        p: initial power of the power mean.
        learn_p: learn p.
        msg_norm: normalise the aggregation.
        learn_msg_scale: learn its scale s.
        norm: ``"batch"``, ``"layer"``, ``"instance"`` or None, inside the MLP.
        num_layers: maps in the MLP.
        expansion: width of its hidden layers over ``out_channels``.
        eps: epsilon, which keeps messages positive.
        bias: biases in all linear maps.
        edge_dim: width of edge features; None for those of the width ``out_channels``.
        **kwargs: ``aggr_kwargs`` and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]`` or (``[N_src, in_src]``, ``[N_dst, in_dst]`` or None), edge_index ``[2, E]`` or any
        form that :func:`as_csr` takes, edge_attr ``[E, edge_dim]``, size ``(N_src, N_dst)`` ->
        ``[N_dst, out]``. The values of a sparse matrix are left out.
    Cost: sum, mean, max and min make no message per edge. Softmax and power mean do, E x out a few times: a
        weight of its own for each edge and feature has to be kept for the gradient.
    Raises: ValueError when x, edge_index, edge_attr and size do not fit, or for an unknown norm.
    """

    takes_modules = True

    def __init__(
        self,
        in_channels: Channels,
        out_channels: int,
        aggr: Aggr = "softmax",
        t: float = 1.0,
        learn_t: bool = False,
        p: float = 1.0,
        learn_p: bool = False,
        msg_norm: bool = False,
        learn_msg_scale: bool = False,
        norm: str | None = "batch",
        num_layers: int = 2,
        expansion: int = 2,
        eps: float = 1e-7,
        bias: bool = False,
        edge_dim: int | None = None,
        **kwargs: Unpack[FlowOptions],
    ) -> None:
        semi_grad = aggr == "softmax_sg"
        name = (
            {"softmax_sg": "softmax", "power": "powermean"}.get(aggr, aggr) if isinstance(aggr, str) else aggr
        )
        if name == "softmax":
            kwargs.setdefault("aggr_kwargs", {"t": t, "learn": learn_t, "semi_grad": semi_grad})
        elif name == "powermean":
            kwargs.setdefault("aggr_kwargs", {"p": p, "learn": learn_p})
        super().__init__(name, **kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.eps = eps
        src, dst = (in_channels, in_channels) if isinstance(in_channels, int) else in_channels
        module = self.aggr_module
        found = (
            module.get_out_channels(out_channels) if isinstance(module, MultiAggregation) else out_channels
        )

        def matching(width: int | None) -> Linear | None:
            """A map to the width of the messages where it is another one."""
            same = width is None or width == out_channels
            return None if same or width is None else Linear(width, out_channels, bias=bias)

        self.lin_src = matching(src)
        self.lin_edge = matching(edge_dim)
        self.lin_aggr_out = matching(found)
        self.lin_dst = matching(dst)
        hidden = [out_channels * expansion] * (num_layers - 1)
        self.mlp = _MLP([out_channels, *hidden, out_channels], norm, bias)
        self.msg_norm = _MessageNorm(learn_msg_scale) if msg_norm else None

    def reset_parameters(self) -> None:
        """Draw new parameters; set t, p and the scale of messages back."""
        super().reset_parameters()
        reset(self.mlp)
        for part in (self.msg_norm, self.lin_src, self.lin_edge, self.lin_aggr_out, self.lin_dst):
            if part is not None:
                part.reset_parameters()

    def forward(
        self, x: Tensor | Pair, edge_index: Adj, edge_attr: Tensor | None = None, size: Size = None
    ) -> Tensor:
        """Convolve x over the graph -> ``[N_dst, out]``."""
        x_src, x_dst = self._pair(x)
        adj = self._graph(edge_index, x_src, x_dst, size)
        h = self._to_width(self.lin_src, x_src)
        if edge_attr is None:
            out = self._aggregate(adj, h.relu() + self.eps)
        else:
            out = rectified(self, adj, h, edge_attr, self.lin_edge, self.eps)
        if self.lin_aggr_out is not None:
            out = self.lin_aggr_out(out)
        if self.msg_norm is not None:
            out = self.msg_norm(h if x_dst is None else x_dst, out)
        if x_dst is not None:
            out = out + self._to_width(self.lin_dst, x_dst)
        mapped: Tensor = self.mlp(out)
        return mapped

    def _to_width(self, lin: Linear | None, x: Tensor) -> Tensor:
        if lin is not None:
            mapped: Tensor = lin(x)
            return mapped
        if x.size(1) != self.out_channels:
            raise ValueError(
                f"GENConv: x has {x.size(1)} features but in_channels={self.in_channels}; pass "
                f"{self.out_channels} features"
            )
        return x

    def __repr__(self) -> str:
        return f"GENConv({self.in_channels}, {self.out_channels}, aggr={self.aggr})"


class _MLP(nn.Sequential):
    """Linear maps with a norm, a rectifier and a dropout of nothing between them, at PyG's places."""

    def __init__(self, channels: Sequence[int], norm: str | None, bias: bool) -> None:
        norms = {
            "batch": nn.BatchNorm1d,
            "layer": nn.LayerNorm,
            "instance": nn.InstanceNorm1d,
        }
        if norm and norm not in norms:
            raise ValueError(
                f"GENConv: norm={norm!r} is unknown; choose 'batch', 'layer', 'instance' or None"
            )
        parts: list[nn.Module] = []
        for k, (before, after) in enumerate(pairwise(channels)):
            parts.append(Linear(before, after, bias=bias))
            if k < len(channels) - 2:
                parts += [norms[norm](after)] if norm else []
                parts += [nn.ReLU(), nn.Dropout(0.0)]
        super().__init__(*parts)


class _MessageNorm(nn.Module):
    """``s |x| m / |m|`` for each row, with one scale s."""

    def __init__(self, learn_scale: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(1), requires_grad=learn_scale)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.scale)

    def forward(self, x: Tensor, message: Tensor) -> Tensor:
        out: Tensor = F.normalize(message, dim=-1) * x.norm(dim=-1, keepdim=True) * self.scale
        return out
