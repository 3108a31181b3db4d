"""What encodings of a node's place share: computed once for a graph, then mapped to the width of features."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear
from gnnlib.sparse.graphs import GraphCache, Graphs


class PlaceEncoding(nn.Module):
    r"""Base of the encodings: adds :math:`\mathrm{ReLU}(\mathrm{BN}(W p + b))` of the numbers p of each node.

    The numbers of a graph are computed when it is first seen and kept by its content, so that they are not
    computed again when it comes back in another batch.

    Args:
        channels: width of x.
        width: how many numbers a node has.

    Shapes: x ``[N, channels]``, edge_index ``[2, E]``, batch ``[N]`` -> ``[N, channels]``.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.lin = Linear(width, channels)
        self.norm = nn.BatchNorm1d(channels)
        self._known: dict[torch.dtype, GraphCache] = {}

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        reset(self.lin)
        reset(self.norm)

    def forward(
        self, x: Tensor, edge_index: Adj, batch: Tensor | None = None, *, graphs: Graphs | None = None
    ) -> Tensor:
        """Add the encoding to x; ``graphs`` are those of the batch where they are sorted already."""
        if x.dim() != 2 or x.shape[1] != self.channels:
            raise ValueError(
                f"{type(self).__name__}: x has shape {list(x.shape)}, {x.shape[-1]} features, but "
                f"channels={self.channels}; pass x [N, {self.channels}]"
            )
        graphs = Graphs.of(edge_index, x.shape[0], batch) if graphs is None else graphs
        # float32 at least: the numbers themselves do not suffer from narrow weights
        dtype = torch.promote_types(self.lin.weight.dtype, torch.float32)
        known = self._known.setdefault(dtype, GraphCache())
        rows = graphs.in_callers_order(known.rows(graphs, lambda some: self.numbers(some).to(dtype)))
        mapped = self.lin(self._varied(rows.to(device=x.device, dtype=x.dtype)))
        return x + cast(Tensor, self.norm(mapped)).relu()

    def numbers(self, graphs: Graphs) -> Tensor:
        """The numbers of each node, ``[N, width]``."""
        raise NotImplementedError(f"{type(self).__name__}: override numbers(graphs)")

    def _varied(self, rows: Tensor) -> Tensor:
        """The numbers as this call sees them."""
        return rows


def checked(who: str, name: str, value: int) -> int:
    """A number of columns, 1 or more."""
    if value < 1:
        raise ValueError(f"{who}: {name}={value}; pass 1 or more")
    return value


def rows_of(edge_index: Tensor, num_nodes: int, batch: Tensor | None) -> Graphs:
    """The graphs of a batch, at the door of a function."""
    if not isinstance(edge_index, Tensor) or edge_index.dim() != 2 or edge_index.shape[0] != 2:
        kind = list(edge_index.shape) if isinstance(edge_index, Tensor) else type(edge_index).__name__
        raise ValueError(f"edge_index is {kind}; pass sources and targets [2, E]")
    return Graphs.of(edge_index, num_nodes, batch)


__all__ = ["PlaceEncoding", "checked", "rows_of"]
