"""What layers do with edge features, and with a message on each edge where they cannot do without."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gnnlib.nn.aggr.base import over
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, spmm
from gnnlib.sparse.sets import Sets

__all__ = ["edge_features", "hooked", "maps_first", "reduce_messages"]

#: From this width on, a matrix product over all edges is faster than a loop over channels inside a kernel
#: (of GINE and PNA with 32 and 96 features; 8 to 16 channels take about as long either way).
_WIDE = 16


def reduce_messages(adj: CSR, message: Tensor, aggr: Any, module: nn.Module | None) -> Tensor:
    """Reduce messages ``[E, F]`` in slot order by a plain reduction, or by a module -> ``[R, F']``."""
    sets = Sets(adj, in_order=False).of_slots()
    return spmm(sets.adj, message, None, aggr) if module is None else over(module, message, sets)


def edge_features(who: str, adj: CSR, edge_attr: Tensor, width: int) -> Tensor:
    """Edge features as rows ``[E, width]``, or an error that names the layer."""
    rows = edge_attr.reshape(-1, 1) if edge_attr.dim() == 1 else edge_attr
    if rows.shape != (adj.num_values, width):
        raise ValueError(
            f"{who}: edge_attr has shape {list(edge_attr.shape)}; expected [{adj.num_values}, {width}], "
            "one row an edge"
        )
    return rows


def maps_first(channels: int, width: int) -> bool:
    """Whether edge features are mapped to ``width`` by one product before the edges are passed over.

    Narrow ones are mapped inside the kernel instead, which keeps nothing of edges x width. Those mapped first
    take at most four times the memory of the features that came.
    """
    return channels >= _WIDE and 4 * channels >= width


def hooked(module: nn.Module) -> bool:
    """Whether someone watches or alters the calls of a linear map, so that it cannot be taken apart."""
    if isinstance(module, Linear):
        return module.hooked
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
