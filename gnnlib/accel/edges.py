"""Layers whose messages depend on both ends of an edge, or on its features."""

from __future__ import annotations

from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor

from gnnlib import nn as ours
from gnnlib.accel.aggregations import moment, stock_class
from gnnlib.accel.gate import hooked, not_plain, plain_edges
from gnnlib.accel.view import PLAIN, View


class GINE(View, theirs=pyg.GINEConv, ours=ours.GINEConv):
    """GINEConv; its network is called as it is."""

    maps = ("lin",)

    def run(self, x: Any, edge_index: Any, edge_attr: Tensor | None = None, size: Any = None) -> Any:
        """Ours, for plain edges."""
        plain_edges(edge_index)
        return self.ours.forward(self, x, edge_index, edge_attr, size)


class GEN(View, theirs=pyg.GENConv, ours=ours.GENConv):
    """GENConv; its network and its norm of messages are called as they are."""

    maps = ("lin_src", "lin_edge", "lin_aggr_out", "lin_dst")
    optional = (*maps, "msg_norm")

    def run(self, x: Any, edge_index: Any, edge_attr: Tensor | None = None, size: Any = None) -> Any:
        """Ours, for plain edges."""
        plain_edges(edge_index)
        if self.msg_norm is not None and isinstance(x, Tensor):
            x = (x, x.view_as(x))  # PyG's norm is that of x itself, ours of the mapped x where it is one
        return self.ours.forward(self, x, edge_index, edge_attr, size)


class PNA(View, theirs=pyg.PNAConv, ours=ours.PNAConv):
    """PNAConv, whose maps are taken apart."""

    optional = ("edge_encoder",)

    @property
    def aggregators(self) -> list[str | None]:
        """The reductions under the core's names, None for any other."""
        inner = self._layer.aggr_module.aggr
        parts = inner.aggrs if stock_class(inner) is pyg.MultiAggregation else [inner]
        return [moment(part) for part in parts]

    def why_stock(self) -> str | None:
        """Also: a first map of a tower that computes something else than its weights say."""
        layer = self._layer
        for name in ("pre_nns", "post_nns"):
            for tower in getattr(layer, name):
                if hooked(tower):
                    return f"{name} has hooks"
                if (why := not_plain(name, tower[0], PLAIN)) is not None:
                    return why
        if layer.edge_dim is not None and (why := not_plain("edge_encoder", layer.edge_encoder, PLAIN)):
            return why
        return super().why_stock()

    def why_not_reduced(self) -> str | None:
        """The core has to know all aggregators, and all scalers."""
        if None in self.aggregators or self.aggr_module is None:
            return f"aggr={self._layer.aggr!r} is no reduction of the core"
        return None

    def run(self, x: Any, edge_index: Any, edge_attr: Tensor | None = None) -> Any:
        """Ours, for plain edges."""
        plain_edges(edge_index)
        return self.ours.forward(self, x, edge_index, edge_attr)


class Edge(View, theirs=pyg.EdgeConv, ours=ours.EdgeConv):
    """EdgeConv; a network that begins with a linear map is taken apart there."""

    def why_stock(self) -> str | None:
        """Also: something that is called a linear map but is another one."""
        network = self._layer.nn
        first = network[0] if type(network) is torch.nn.Sequential and len(network) else network
        if type(first).__name__ == "Linear" and type(first) not in PLAIN:
            return "the network begins with a Linear that is not PyG's or torch's"
        return super().why_stock()


class ResGated(View, theirs=pyg.ResGatedGraphConv, ours=ours.ResGatedGraphConv):
    """ResGatedGraphConv."""

    maps = ("lin_key", "lin_query", "lin_value", "lin_skip")
    optional = ("lin_skip",)

    def run(self, x: Any, edge_index: Any, edge_attr: Tensor | None = None) -> Any:
        """Ours, for plain edges."""
        plain_edges(edge_index)
        return self.ours.forward(self, x, edge_index, edge_attr)


class NN(View, theirs=pyg.NNConv, ours=ours.NNConv):
    """NNConv; a network that ends with a linear map is taken apart there."""

    maps = ("lin",)

    def why_stock(self) -> str | None:
        """Also: something like a linear map that is another one."""
        last = self._layer.nn
        while isinstance(last, torch.nn.Sequential) and len(last):
            last = last[-1]
        alike = isinstance(last, PLAIN) or type(last).__name__ == "Linear"
        if alike and (why := not_plain("the end of the network", last, PLAIN)) is not None:
            return why
        return super().why_stock()

    def run(self, x: Any, edge_index: Any, edge_attr: Tensor | None = None, size: Any = None) -> Any:
        """Ours, for plain edges."""
        plain_edges(edge_index)
        return self.ours.forward(self, x, edge_index, edge_attr, size)


EDGES = (GINE, GEN, PNA, Edge, ResGated, NN)
