"""Layers that reduce the features of neighbours, all alike or by relation."""

from __future__ import annotations

from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor

from gnnlib import nn as ours
from gnnlib.accel.gate import StockError, plain_edges
from gnnlib.accel.view import View


class SAGE(View, theirs=pyg.SAGEConv, ours=ours.SAGEConv):
    """SAGEConv."""

    maps = ("lin", "lin_l", "lin_r")


class Graph(View, theirs=pyg.GraphConv, ours=ours.GraphConv):
    """GraphConv."""

    maps = ("lin_rel", "lin_root")


class GIN(View, theirs=pyg.GINConv, ours=ours.GINConv):
    """GINConv; its network is called as it is."""


class RGCN(View, theirs=pyg.RGCNConv, ours=ours.RGCNConv):
    """RGCNConv."""

    def run(self, x: Any, edge_index: Any, edge_type: Tensor | None = None) -> Any:
        """Ours, for a graph of edges with their types."""
        plain_edges(edge_index)
        out: Tensor = self.ours.forward(self, x, edge_index, edge_type)
        return out.to(self.dtype(out))

    @staticmethod
    def dtype(out: Tensor) -> torch.dtype:
        """The precision of PyG's result, which it sums up in the default one."""
        return torch.promote_types(out.dtype, torch.get_default_dtype())


class FastRGCN(RGCN, theirs=pyg.FastRGCNConv, ours=ours.FastRGCNConv):
    """FastRGCNConv."""

    def run(self, x: Any, edge_index: Any, edge_type: Tensor | None = None) -> Any:
        """Ours, but for node numbers: PyG's form goes by their places."""
        given = x[0] if isinstance(x, tuple) else x
        if given is not None and not given.is_floating_point():
            raise StockError("PyG's fast form looks up the places of node numbers, not the numbers")
        return super().run(x, edge_index, edge_type)

    @staticmethod
    def dtype(out: Tensor) -> torch.dtype:
        """As it is."""
        return out.dtype


class GatedGraph(View, theirs=pyg.GatedGraphConv, ours=ours.GatedGraphConv):
    """GatedGraphConv; its recurrent cell is called as it is."""


NEIGHBOURS = (SAGE, Graph, GIN, RGCN, FastRGCN, GatedGraph)
