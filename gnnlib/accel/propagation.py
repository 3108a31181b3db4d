"""Layers that propagate over the normalised graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from gnnlib import nn as ours
from gnnlib.accel.gate import StockError, plain_edges
from gnnlib.accel.view import View
from gnnlib.sparse import as_csr


class Normalised:
    """What layers share that normalise the graph first: PyG's ways with matrices, and PyG's cache."""

    _cached = None  # ours would keep its own form of the normalised graph
    cached = False

    def _check_graph(self: Any, edge_index: Any) -> None:
        super()._check_graph(edge_index)  # type: ignore[misc]  # View's
        adds = getattr(self, "add_self_loops", False) and getattr(self, "normalize", True)
        if adds and edge_index.layout is not torch.strided and has_loops(edge_index):
            raise StockError("the matrix has a diagonal, to which PyG adds 1")

    def takes_csc(self: Any) -> bool:
        """PyG's normalisation does not."""
        return not getattr(self, "normalize", True)

    def run(self: Any, x: Tensor, edge_index: Any, edge_weight: Tensor | None = None) -> Any:
        """Ours, on the graph of PyG's cache where that is on."""
        edge_index, edge_weight = self.cache(x, edge_index, edge_weight)
        return self.ours.forward(self, x, edge_index, edge_weight)

    def cache(self: Any, x: Tensor, edge_index: Any, edge_weight: Tensor | None) -> Any:
        """The normalised graph of the first call, kept where PyG looks for it; without cache, the graph."""
        layer = self._layer
        if not getattr(layer, "cached", False) or not layer.normalize:
            return edge_index, edge_weight
        object.__setattr__(self, "normalize", False)
        object.__setattr__(self, "add_self_loops", False)
        if not isinstance(edge_index, Tensor):
            raise StockError(f"the graph is a {type(edge_index).__name__}")
        if layer._cached_edge_index is None:
            self._check_features(x)
            layer._cached_edge_index = gcn_norm(
                edge_index,
                edge_weight,
                x.size(layer.node_dim),
                getattr(layer, "improved", False),
                layer.add_self_loops,
                layer.flow,
                x.dtype,
            )
        return layer._cached_edge_index


def has_loops(adj: Tensor) -> bool:
    """Whether a sparse matrix has an entry on its diagonal."""
    if torch.compiler.is_compiling():
        raise StockError("compiled code cannot look for the diagonal of a matrix")
    return as_csr(adj).derive("has_loops", lambda a: bool((a.indices == a.rows).any()))


class GCN(Normalised, View, theirs=pyg.GCNConv, ours=ours.GCNConv):
    """GCNConv."""

    maps = ("lin",)


class APPNP(Normalised, View, theirs=pyg.APPNP, ours=ours.APPNP):
    """APPNP."""

    def why_stock(self) -> str | None:
        """Also: PyG's masks of dropped edges pile up from step to step, ours are fresh."""
        if self._layer.dropout > 0 and self._layer.training:
            return "edge dropout: PyG's masks pile up over the steps, the core's are fresh"
        return super().why_stock()


class SG(Normalised, View, theirs=pyg.SGConv, ours=ours.SGConv):
    """SGConv, whose cache of propagated features is kept as PyG keeps it."""

    maps = ("lin",)
    writes = ("_cached_x",)

    @property
    def cached(self) -> bool:  # type: ignore[override]
        """PyG's own option: what ours caches is what PyG caches."""
        return bool(self._layer.cached)

    def run(self, x: Tensor, edge_index: Any, edge_weight: Tensor | None = None) -> Any:
        """Ours, as it is."""
        return self.ours.forward(self, x, edge_index, edge_weight)


class SSG(Normalised, View, theirs=pyg.SSGConv, ours=ours.SSGConv):
    """SSGConv, whose cache of filtered features is kept as PyG keeps it."""

    maps = ("lin",)
    writes = ("_cached_h",)

    @property
    def cached(self) -> bool:  # type: ignore[override]
        """PyG's own option: what ours caches is what PyG caches."""
        return bool(self._layer.cached)

    def run(self, x: Tensor, edge_index: Any, edge_weight: Tensor | None = None) -> Any:
        """Ours, as it is."""
        return self.ours.forward(self, x, edge_index, edge_weight)


class LG(Normalised, View, theirs=pyg.LGConv, ours=ours.LGConv):
    """LGConv."""


class TAG(Normalised, View, theirs=pyg.TAGConv, ours=ours.TAGConv):
    """TAGConv."""

    maps = ("lins",)

    def _maps(self) -> Iterator[Any]:
        yield from self.lins


class MixHop(Normalised, View, theirs=pyg.MixHopConv, ours=ours.MixHopConv):
    """MixHopConv, whose maps are called as they are."""


class GCN2(Normalised, View, theirs=pyg.GCN2Conv, ours=ours.GCN2Conv):
    """GCN2Conv."""

    def run(  # type: ignore[override]  # the first features come second
        self, x: Tensor, x_0: Tensor, edge_index: Any, edge_weight: Tensor | None = None
    ) -> Any:
        """Ours, on the graph of PyG's cache where that is on."""
        edge_index, edge_weight = self.cache(x, edge_index, edge_weight)
        return self.ours.forward(self, x, x_0, edge_index, edge_weight)


class FA(Normalised, View, theirs=pyg.FAConv, ours=ours.FAConv):
    """FAConv, whose maps are called as they are."""

    def run(  # type: ignore[override]  # the first features come second
        self,
        x: Tensor,
        x_0: Tensor,
        edge_index: Any,
        edge_weight: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Any:
        """Ours, for plain edges and without the weights."""
        plain_edges(edge_index)
        if return_attention_weights is not None:
            raise StockError("the attention weights are asked for")
        edge_index, edge_weight = self.cache(x, edge_index, edge_weight)
        return self.ours.forward(self, x, x_0, edge_index, edge_weight)


class Cheb(View, theirs=pyg.ChebConv, ours=ours.ChebConv):
    """ChebConv."""

    maps = ("lins",)

    def why_stock(self) -> str | None:
        """Also: PyG's Laplacian does not turn with the flow."""
        if self._layer.flow != "source_to_target":
            return f"flow={self._layer.flow!r}"
        return super().why_stock()

    def run(self, x: Tensor, edge_index: Any, *args: Any, **kwargs: Any) -> Any:
        """Ours, for plain edges."""
        plain_edges(edge_index)
        return self.ours.forward(self, x, edge_index, *args, **kwargs)

    def _maps(self) -> Iterator[Any]:
        yield from self.lins


class ClusterGCN(View, theirs=pyg.ClusterGCNConv, ours=ours.ClusterGCNConv):
    """ClusterGCNConv."""

    maps = ("lin_out", "lin_root")

    def why_stock(self) -> str | None:
        """Also: PyG counts the edges into edge_index[1] whatever the flow."""
        if self._layer.flow != "source_to_target":
            return f"PyG divides by the degrees at edge_index[1] for flow={self._layer.flow!r} too"
        return super().why_stock()

    def run(self, x: Tensor, edge_index: Any) -> Any:
        """Ours, for plain edges."""
        plain_edges(edge_index)
        return self.ours.forward(self, x, edge_index)


PROPAGATION = (GCN, APPNP, SG, SSG, LG, TAG, MixHop, GCN2, FA, Cheb, ClusterGCN)
