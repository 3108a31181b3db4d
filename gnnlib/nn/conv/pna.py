"""Principal neighbourhood aggregation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.act import Activation, activation
from gnnlib.nn.aggr.base import over
from gnnlib.nn.aggr.scaler import DegreeScalerAggregation
from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.conv.messages import edge_features, maps_first
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, multi_reduce, sddmm
from gnnlib.sparse.ops.multi_reduce.names import MOMENTS, Moment
from gnnlib.sparse.sets import Sets


class PNAConv(Conv):
    r"""Principal neighbourhood aggregation: several reductions, each scaled by functions of the degree.

    .. math:: x'_i = U\Big(x_i, \begin{bmatrix} 1 \\ S(d_i, 1) \\ S(d_i, -1) \end{bmatrix} \otimes
        \begin{bmatrix} \mu \\ \sigma \\ \max \\ \min \end{bmatrix}_{j \to i} M(x_i, x_j, e_{ij}) \Big),
        \qquad S(d, \alpha) = \Big(\frac{\log(d + 1)}{\delta}\Big)^{\alpha}

    Corso et al., Principal Neighbourhood Aggregation for Graph Nets, NeurIPS 2020, Eqs. 5, 8 and 9. The
    standard deviation is 0 where the variance is at most 1e-5, as in PyG; the paper's code adds an epsilon.

    With one pre-layer the map M is linear and moves to the nodes: its parts of the target and of the source
    are two products over nodes, and its part of the edge is applied inside the reduction. The scalers are
    applied after the first map of U, which is linear as well, so that no tensor holds all scaled blocks.

    Args:
        in_channels: width of x.
        out_channels: width of the output.
        aggregators: names among ``"sum"``, ``"mean"``, ``"min"``, ``"max"``, ``"var"``, ``"std"``; or other
            aggregations of :mod:`gnnlib.nn.aggr`, which see a message on each edge.
        scalers: names among ``"identity"``, ``"amplification"``, ``"attenuation"``, ``"linear"``,
            ``"inverse_linear"``.
        deg: histogram of the in-degrees of the training graphs, from :meth:`get_degree_histogram`.
        edge_dim: width of edge features; None for none.
        towers: number of towers, each with maps of its own.
        pre_layers: maps in M.
        post_layers: maps in U.
        divide_input: split x among the towers instead of giving all of it to each.
        act: activation between the maps of M and of U.
        act_kwargs: its arguments.
        train_norm: learn delta and the mean degree.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_attr
        ``[E, edge_dim]`` -> ``[N, out]``. The values of a sparse matrix are left out.
    Cost: with one pre-layer, products over nodes and one pass over the gathered neighbours for all
        aggregators; node-sized memory, and E x towers x F for edge features of 16 channels or more that are
        at least a quarter as wide. With more, or another aggregator, a message on each edge: E x towers x F.
    Raises: ValueError when channels and towers, or x, edge_index and edge_attr, do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        aggregators: Sequence[str | nn.Module],
        scalers: Sequence[str],
        deg: Tensor,
        edge_dim: int | None = None,
        towers: int = 1,
        pre_layers: int = 1,
        post_layers: int = 1,
        divide_input: bool = False,
        act: Activation = "relu",
        act_kwargs: dict[str, Any] | None = None,
        train_norm: bool = False,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if "aggr" in kwargs:
            raise TypeError(f"PNAConv: aggr={kwargs['aggr']!r} has no use here; name the aggregators")
        for name, channels in (("out_channels", out_channels), ("in_channels", in_channels)):
            if channels % towers and (name == "out_channels" or divide_input):
                raise ValueError(f"PNAConv: {name}={channels} is not divisible by towers={towers}")
        self.aggr_module = DegreeScalerAggregation(list(aggregators), scalers, deg, train_norm)
        self.aggr = str(self.aggr_module)  # type: ignore[assignment]  # no reduction of the core
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.aggregators = list(aggregators)
        self.edge_dim = edge_dim
        self.towers = towers
        self.divide_input = divide_input
        self.F_in = in_channels // towers if divide_input else in_channels
        self.F_out = out_channels // towers
        if edge_dim is not None:
            self.edge_encoder = Linear(edge_dim, self.F_in)
        ends = 2 if edge_dim is None else 3
        blocks = len(self.aggregators) * len(self.aggr_module.scaler) + 1

        def stack(first: int, width: int, layers: int) -> nn.Sequential:
            maps: list[nn.Module] = [Linear(first, width)]
            for _ in range(layers - 1):
                maps += [_module(act, act_kwargs), Linear(width, width)]
            return nn.Sequential(*maps)

        self.pre_nns, self.post_nns = nn.ModuleList(), nn.ModuleList()
        for _ in range(towers):
            self.pre_nns.append(stack(ends * self.F_in, self.F_in, pre_layers))
            self.post_nns.append(stack(blocks * self.F_in, self.F_out, post_layers))
        self.lin = Linear(out_channels, out_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters; set delta and the mean degree back."""
        super().reset_parameters()
        if self.edge_dim is not None:
            self.edge_encoder.reset_parameters()
        for part in (*self.pre_nns, *self.post_nns):
            reset(part)
        self.lin.reset_parameters()

    def forward(self, x: Tensor, edge_index: Adj, edge_attr: Tensor | None = None) -> Tensor:
        """Convolve x over the graph -> ``[N, out]``."""
        x = self._one(x)
        if x.size(1) != self.in_channels:
            raise ValueError(
                f"PNAConv: x has {x.size(1)} features but in_channels={self.in_channels}; pass "
                f"{self.in_channels} features"
            )
        adj = self._graph(edge_index, x, x)
        own, source, edge, edge_map = self._parts(adj, x, edge_attr)
        names = self._moments()
        if names is None:
            out = self._scaled_then_mapped(adj, x, self._messages(adj, own, source, edge, edge_map))
        else:
            if len(self._tower(self.pre_nns, 0)) > 1:
                message = self._messages(adj, own, source, edge, edge_map).flatten(1)
                found = multi_reduce(Sets(adj, in_order=False).of_slots().adj, message, names)
            else:
                found = multi_reduce(adj, source, names, edge=edge, edge_map=edge_map, target=own)
            out = self._mapped_then_scaled(adj, x, found)
        mapped: Tensor = self.lin(out)
        return mapped

    def _moments(self) -> list[Moment] | None:
        """The aggregators by name if the core reduces all of them."""
        names = ["sum" if a == "add" else a for a in self.aggregators]
        return names if all(n in MOMENTS for n in names) else None  # type: ignore[return-value]

    @staticmethod
    def _tower(parts: nn.ModuleList, t: int) -> nn.Sequential:
        tower = parts[t]
        assert isinstance(tower, nn.Sequential)
        return tower

    def _first(self, parts: nn.ModuleList) -> list[Linear]:
        """The first map of each tower."""
        return [self._tower(parts, t)[0] for t in range(self.towers)]  # type: ignore[misc]

    def _of_towers(self, x: Tensor) -> list[Tensor]:
        """The input of each tower, ``[N, F_in]``."""
        if not self.divide_input:
            return [x] * self.towers
        return list(x.view(-1, self.towers, self.F_in).unbind(1))

    def _parts(
        self, adj: CSR, x: Tensor, edge_attr: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """The first map of M by what it reads: target ``[N, T F]``, source, and edges with what maps them."""
        first, width = self._first(self.pre_nns), self.F_in
        of_target = [m.weight[:, :width] for m in first]
        of_source = [m.weight[:, width : 2 * width] for m in first]
        bias = torch.cat([m.bias for m in first if m.bias is not None])
        edge = edge_map = None
        if (edge_attr is None) != (self.edge_dim is None):
            raise ValueError(
                f"PNAConv: edge_attr is {'missing' if edge_attr is None else 'given'} but "
                f"edge_dim={self.edge_dim}; pass edge features of the width that the layer is built with"
            )
        if edge_attr is not None and self.edge_dim is not None:
            # W3 (E e + c) = (W3 E) e + W3 c: the edges keep their narrow features.
            edge = edge_features("PNAConv", adj, edge_attr, self.edge_dim)
            edge = edge if edge.is_floating_point() else edge.to(x.dtype)
            of_edge = torch.cat([m.weight[:, 2 * width :] for m in first])  # [T F, F]
            edge_map = (of_edge @ self.edge_encoder.weight).t()
            bias = bias + of_edge @ self.edge_encoder.bias  # type: ignore[operator]  # it has a bias
            if maps_first(self.edge_dim, edge_map.size(1)):
                edge, edge_map = edge @ edge_map, None
        if self.divide_input and self.towers > 1:
            inputs = self._of_towers(x)
            own = torch.cat([F.linear(h, w) for h, w in zip(inputs, of_target, strict=True)], dim=1) + bias
            source = torch.cat([F.linear(h, w) for h, w in zip(inputs, of_source, strict=True)], dim=1)
        else:
            own, source = F.linear(x, torch.cat(of_target), bias), F.linear(x, torch.cat(of_source))
        return own, source, edge, edge_map

    def _messages(
        self, adj: CSR, own: Tensor, source: Tensor, edge: Tensor | None, edge_map: Tensor | None
    ) -> Tensor:
        """M on each edge, in slot order, ``[E, T, F_in]``."""
        h = sddmm(adj.slot_order, own, source, "add")
        if edge is not None:
            e = adj.to_slots(edge)
            h = h + (e if edge_map is None else e @ edge_map).to(h.dtype)
        towers = h.view(-1, self.towers, self.F_in).unbind(1)
        return torch.stack([self._tower(self.pre_nns, t)[1:](part) for t, part in enumerate(towers)], dim=1)

    def _mapped_then_scaled(self, adj: CSR, x: Tensor, found: Tensor) -> Tensor:
        """U of the reductions ``[N, K, T F_in]``: each scaler goes onto its own part of the first map."""
        assert isinstance(self.aggr_module, DegreeScalerAggregation)
        num_scalers, width = len(self.aggr_module.scaler), self.F_in
        # Without towers nothing is taken apart: the gradient of that would be put together in a copy.
        blocks = [found]
        if self.towers > 1:
            blocks = list(found.view(found.shape[0], found.shape[1], self.towers, width).unbind(2))
        scale = self._scales(adj, found.dtype)
        outs = []
        for t, own in enumerate(self._of_towers(x)):
            tower = self._tower(self.post_nns, t)
            first: Linear = tower[0]  # type: ignore[assignment]
            out = F.linear(own, first.weight[:, :width], first.bias)
            maps = first.weight[:, width:].view(self.F_out, num_scalers, -1).transpose(0, 1)
            each = F.linear(blocks[t].flatten(1), maps.flatten(0, 1)).view(-1, num_scalers, self.F_out)
            out = out + (each[:, 0] if scale is None else (each * scale.to(each.dtype)).sum(1))
            outs.append(tower[1:](out))
        return outs[0] if self.towers == 1 else torch.cat(outs, dim=1)

    def _scales(self, adj: CSR, dtype: torch.dtype) -> Tensor | None:
        """The scalers of each node, ``[N, S, 1]``; None if there is nothing but the identity."""
        assert isinstance(self.aggr_module, DegreeScalerAggregation)
        names = self.aggr_module.scaler
        if names == ["identity"]:
            return None
        count = adj.degree.to(torch.promote_types(dtype, torch.float32))
        one = torch.ones_like(count)
        scales = [one if n == "identity" else self.aggr_module._scale(n, count) for n in names]
        return torch.stack(scales, dim=1).unsqueeze(-1)

    def _scaled_then_mapped(self, adj: CSR, x: Tensor, message: Tensor) -> Tensor:
        """U of any aggregation of messages ``[E, T, F_in]``."""
        assert self.aggr_module is not None
        found = over(self.aggr_module, message, Sets(adj, in_order=False).of_slots())
        outs = []
        for t, own in enumerate(self._of_towers(x)):
            outs.append(self._tower(self.post_nns, t)(torch.cat([own, found[:, t]], dim=-1)))
        return torch.cat(outs, dim=1)

    @staticmethod
    def get_degree_histogram(loader: Iterable[Any]) -> Tensor:
        """Number of nodes of each in-degree over the batches of a loader, int64 ``[largest + 1]``."""
        found = torch.zeros(1, dtype=torch.int64)
        for data in loader:
            degree = torch.bincount(data.edge_index[1], minlength=data.num_nodes)
            counts = torch.bincount(degree, minlength=found.numel())
            counts[: found.numel()] += found.to(counts.device)
            found = counts
        return found

    def __repr__(self) -> str:
        sizes = f"{self.in_channels}, {self.out_channels}, towers={self.towers}"
        return f"PNAConv({sizes}, edge_dim={self.edge_dim})"


def _module(act: Activation, kwargs: dict[str, Any] | None) -> nn.Module:
    """An activation as a module, so that it takes a place among the maps."""
    found = activation(act, **(kwargs or {}))
    if found is None:
        return nn.Identity()
    if not isinstance(found, nn.Module):
        raise TypeError(f"PNAConv: act={act!r} is a function; pass a name or a module")
    return found
