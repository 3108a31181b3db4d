"""Layers that attend to neighbours."""

from __future__ import annotations

from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor

from gnnlib import nn as ours
from gnnlib.accel.gate import StockError
from gnnlib.accel.view import View


class Attention:
    """What they share: the features of added loops, and the weights that may be asked for."""

    def why_stock(self: Any) -> str | None:
        """Also: a reduction for the features of loops that ours does not know, or knows otherwise."""
        layer = self._layer
        fill = getattr(layer, "fill_value", "mean")
        if isinstance(fill, str) and fill not in ("add", "sum", "mean", "max", "min"):
            return f"fill_value={fill!r} is no reduction of the core"
        loops = self.add_self_loops and layer.lin_edge is not None and isinstance(fill, str)
        if loops and layer.flow != "source_to_target":
            return f"PyG reduces the features of loops over edge_index[1] for flow={layer.flow!r} too"
        return super().why_stock()  # type: ignore[misc,no-any-return]  # View's

    def check(self: Any, edge_index: Any, weights: bool | None) -> None:
        """Refuse what PyG makes of other forms of the graph than plain edges."""
        if type(edge_index) is not Tensor or edge_index.layout is not torch.strided:
            if weights is not None:
                raise StockError("the attention weights come back in the form of the graph")
            if self._layer.lin_edge is not None:
                raise StockError("PyG mixes the values of a matrix into its edge features")


class GAT(Attention, View, theirs=pyg.GATConv, ours=ours.GATConv):
    """GATConv."""

    maps = ("lin", "lin_src", "lin_dst", "lin_edge", "res")

    def run(
        self,
        x: Any,
        edge_index: Any,
        edge_attr: Tensor | None = None,
        size: Any = None,
        return_attention_weights: bool | None = None,
    ) -> Any:
        """Ours."""
        self.check(edge_index, return_attention_weights or None)
        return self.ours.forward(self, x, edge_index, edge_attr, size, return_attention_weights)


class GATv2(Attention, View, theirs=pyg.GATv2Conv, ours=ours.GATv2Conv):
    """GATv2Conv."""

    maps = ("lin_l", "lin_r", "lin_edge", "res")

    def run(
        self,
        x: Any,
        edge_index: Any,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Any:
        """Ours."""
        self.check(edge_index, return_attention_weights or None)
        return self.ours.forward(self, x, edge_index, edge_attr, return_attention_weights)


class Transformer(Attention, View, theirs=pyg.TransformerConv, ours=ours.TransformerConv):
    """TransformerConv."""

    maps = ("lin_key", "lin_query", "lin_value", "lin_edge", "lin_skip", "lin_beta")
    add_self_loops = False

    def why_not_reduced(self) -> str | None:
        """Also: with features of the edges ours is a sum."""
        if self.aggr != "sum" and self._layer.lin_edge is not None:
            return f"aggr={self._layer.aggr!r} with features of the edges"
        return super().why_not_reduced()

    def run(
        self,
        x: Any,
        edge_index: Any,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Any:
        """Ours; PyG gives the weights whenever a bool comes, even False, and the graph as it was."""
        asked = isinstance(return_attention_weights, bool)
        self.check(edge_index, True if asked else None)
        found = self.ours.forward(self, x, edge_index, edge_attr, asked)
        out, weights = found if asked else (found, (None, None))
        device = out.device.type
        if edge_attr is not None and torch.is_autocast_enabled(device) and out.dtype == torch.float32:
            out = out.to(torch.get_autocast_dtype(device))  # ours goes by float32 scores of the edges
        return (out, (edge_index, weights[1])) if asked else out


ATTENTION = (GAT, GATv2, Transformer)
