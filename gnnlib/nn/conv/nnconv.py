"""Convolution whose map is made by a network of the edge features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Channels, Conv, FlowOptions, Pair, Size
from gnnlib.nn.init import reset, zeros
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, segment_reduce, spmm

Network = Callable[[Tensor], Tensor]


class NNConv(Conv):
    r"""Each neighbour through a map of its own, made from the features of the edge.

    .. math:: x'_i = \Theta x_i + \sum_{j \to i} x_j\, h(e_{ij}) + b, \qquad
        h(e) = \operatorname{reshape}(z(e)\, W + c) \;\Rightarrow\;
        \sum_j x_j h(e_{ij}) = \sum_k \Big(\sum_j z_k(e_{ij})\, x_j\Big) W_k + \Big(\sum_j x_j\Big) C

    Gilmer et al., Neural Message Passing for Quantum Chemistry, ICML 2017, Sec. 5.1; Simonovsky and
    Komodakis, Dynamic Edge-Conditioned Filters in Convolutional Neural Networks on Graphs, CVPR 2017, Eq. 1
    (with ``aggr="mean"``). Gilmer et al. update a recurrent cell with the result; that belongs to the model.

    Args:
        in_channels: width of x, or of (sources, targets); -1 for the targets takes theirs from the
            first call.
        out_channels: width of the output.
        nn: the network h, ``[E, edge_dim] -> [E, in * out]``. Where it is, or ends in, a linear map (in an
            ``nn.Sequential``), that map is applied after the sum over neighbours, as on the right above.
        aggr: ``"add"`` (or ``"sum"``), ``"mean"``, ``"max"`` or ``"min"``.
        root_weight: add :math:`\Theta x_i`.
        bias: learn b.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]`` or (``[N_src, in_src]``, ``[N_dst, in_dst]`` or None), edge_index ``[2, E]`` or any
        form that :func:`as_csr` takes (the values of a sparse matrix have no part in it), edge_attr
        ``[E, edge_dim]``, size ``(N_src, N_dst)`` -> ``[N_dst, out]``.
    Cost: with K the width of z: O(N K in out + E K min(in, out)) time and O(N K min(in, out) + E K) memory,
        against O(E K in out) and O(E in out) of the definition. Max and min, and a network that ends in
        anything but a linear map, take the definition.
    Raises: ValueError when x, edge_index, edge_attr and size do not fit.
    """

    def __init__(
        self,
        in_channels: Channels,
        out_channels: int,
        nn: Network,
        aggr: str = "add",
        root_weight: bool = True,
        bias: bool = True,
        **kwargs: Unpack[FlowOptions],
    ) -> None:
        super().__init__(aggr, **kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.nn = nn
        self.root_weight = root_weight
        src, dst = (in_channels, in_channels) if isinstance(in_channels, int) else in_channels
        self.in_channels_l = src
        if root_weight:
            self.lin = Linear(dst, out_channels, bias=False)
        self.bias = torch.nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters, those of the network too."""
        reset(self.nn)
        if self.root_weight:
            self.lin.reset_parameters()
        zeros(self.bias)

    def forward(
        self, x: Tensor | Pair, edge_index: Adj, edge_attr: Tensor | None = None, size: Size = None
    ) -> Tensor:
        """Convolve x over the graph -> ``[N_dst, out]``."""
        x_src, x_dst = self._pair(x)
        if self.in_channels_l > 0 and x_src.size(1) != self.in_channels_l:
            raise ValueError(
                f"{self._who}: x has {x_src.size(1)} features but the layer was built for "
                f"in_channels={self.in_channels_l}; pass that many"
            )
        adj = self._graph(edge_index, x_src, x_dst, size)
        if edge_attr is None:
            raise ValueError(
                f"{self._who}: no edge_attr came; the maps are made from it, so pass [E, edge_dim]"
            )
        edge_attr = edge_attr.reshape(-1, 1) if edge_attr.dim() == 1 else edge_attr
        if edge_attr.size(0) != adj.num_values:
            raise ValueError(
                f"{self._who}: edge_attr has {edge_attr.size(0)} rows but the graph has {adj.num_values} "
                "edges; pass one row an edge"
            )
        before, last = _last_map(self.nn)
        if last is None or self.aggr in ("max", "min"):
            out = self._by_edge(adj, x_src, edge_attr)
        else:
            out = self._factored(adj, x_src, edge_attr, before, last)
        if x_dst is not None and self.root_weight:
            out = out + self.lin(x_dst)
        return out if self.bias is None else out + self.bias

    def _factored(
        self, adj: CSR, x: Tensor, edge_attr: Tensor, before: Iterable[nn.Module], last: nn.Module
    ) -> Tensor:
        z = edge_attr
        for module in before:
            z = module(z)
        if isinstance(last, Linear):
            last.expect(z.size(1))
        weight, bias = last.weight, last.bias
        assert isinstance(weight, Tensor)
        if bias is not None:  # one more unit that is always 1
            assert isinstance(bias, Tensor)
            z, weight = torch.cat([z, z.new_ones(z.size(0), 1)], 1), torch.cat([weight, bias[:, None]], 1)
        maps = weight.view(x.size(1), self.out_channels, -1)  # [in, out, K]
        slots, score, units = adj.slot_order, adj.to_slots(z), z.size(1)
        if adj.num_rows * x.size(1) <= adj.num_cols * self.out_channels:
            held = spmm(slots, x[:, None].expand(-1, units, -1), score, self.aggr)  # [N_dst, K, in]
            return held.flatten(1) @ maps.permute(2, 0, 1).flatten(0, 1)
        mapped = (x @ maps.permute(0, 2, 1).flatten(1)).view(-1, units, self.out_channels)  # [N_src, K, out]
        return spmm(slots, mapped, score, self.aggr).sum(1)

    def _by_edge(self, adj: CSR, x: Tensor, edge_attr: Tensor) -> Tensor:
        maps = self.nn(edge_attr).view(-1, x.size(1), self.out_channels)
        message = torch.bmm(x.index_select(0, adj.indices)[:, None], adj.to_slots(maps)).squeeze(1)
        return segment_reduce(message, adj.indptr, self.aggr)

    def __repr__(self) -> str:
        return f"{self._who}({self.in_channels}, {self.out_channels}, aggr={self.aggr}, nn={self.nn})"


class ECConv(NNConv):
    """:class:`NNConv` under its name in the paper of Simonovsky and Komodakis, edge-conditioned convolution.

    Args: see :class:`NNConv`.
    Shapes: see :class:`NNConv`.
    Cost: see :class:`NNConv`.
    Raises: see :class:`NNConv`.
    """


def _last_map(network: Network) -> tuple[list[nn.Module], nn.Module | None]:
    """The parts of a network before its last linear map, and that map; None where it ends otherwise.

    A part that someone watches through a hook is left to be called.
    """
    if not isinstance(network, nn.Module) or _hooked(network):
        return [], None
    if isinstance(network, nn.Sequential) and len(network) > 0:
        parts = list(network)
        before, last = _last_map(parts[-1])
        return [*parts[:-1], *before], last
    linear = isinstance(network, (nn.Linear, Linear)) or _is_pyg_linear(network)
    return [], network if linear else None


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def _is_pyg_linear(module: nn.Module) -> bool:
    kind = type(module)
    if (kind.__module__, kind.__qualname__) != ("torch_geometric.nn.dense.linear", "Linear"):
        return False
    return not isinstance(module.weight, nn.parameter.UninitializedParameter)
