"""Convolution over a sheaf whose maps are given."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, ConvOptions
from gnnlib.nn.conv.sums import SumConv
from gnnlib.nn.init import glorot
from gnnlib.nn.topo.sheaf import SheafLaplacian, laplacian, sheaf_laplacian, undirected
from gnnlib.sparse import CSR


def stalks(x: Tensor, d: int, channels: int, who: str) -> Tensor:
    """x ``[N, d f]`` as ``[N, d, f]``, the coordinates of each node's space one after another.

    Raises: ValueError for another width than ``channels``.
    """
    if x.size(1) != channels:
        raise ValueError(
            f"{who}: x has {x.size(1)} features but in_channels={channels}; pass {channels}, which is "
            f"{d} coordinates of {channels // d} channels"
        )
    return x.view(x.size(0), d, channels // d)


def check_width(who: str, name: str, channels: int, d: int) -> None:
    """Raise ValueError when ``channels`` is no multiple of the dimension of a stalk."""
    if d < 1 or channels < 1 or channels % d:
        raise ValueError(f"{who}: {name}={channels} is not divisible by stalk_dim={d}; pass a multiple")


class SheafConv(SumConv):
    r"""Sheaf neural network layer with fixed restriction maps.

    .. math:: X' = (I - \Delta_F)\, (I_N \otimes B)\, X W, \qquad
        \Delta_F = (D + I)^{-1/2} L_F (D + I)^{-1/2}

    Hansen and Gebhart, Sheaf Neural Networks, arXiv 2012.06333, 2020, with the sheaf Laplacian
    :math:`L_F` of :class:`SheafLaplacian` and D its diagonal blocks. With identity maps, d = 1 and B = W = 1
    this is the normalised adjacency of GCN; with d = 1 and the signs of the edges as maps, a signed graph.

    Args:
        in_channels: width of x, d coordinates of f channels each.
        out_channels: width of the output, likewise.
        stalk_dim: d, dimension of the space at each node and edge.
        **kwargs: ``flow`` of PyG's base class, which changes nothing: the graph is taken as undirected.

    Shapes: x ``[N, in]``, coordinate by coordinate; edge_index ``[2, E]`` or any form that :func:`as_csr`
        takes; maps ``[E, d, d]`` or ``[E, d]`` for their diagonals, the map of each entry's target, for a
        graph that holds both directions of each edge once; without maps they are identities, and loops,
        parallel edges and directions do not count -> ``[N, out]``.
    Cost: d SpMMs, one for diagonal maps and for none; d^2 numbers an edge.
    Raises: ValueError for widths that stalk_dim does not divide, maps that do not fit the graph, or x that
        is a pair.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stalk_dim: int = 2, **kwargs: Unpack[ConvOptions]
    ) -> None:
        super().__init__(**kwargs)
        check_width("SheafConv", "in_channels", in_channels, stalk_dim)
        check_width("SheafConv", "out_channels", out_channels, stalk_dim)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stalk_dim = stalk_dim
        self.left = nn.Parameter(torch.empty(stalk_dim, stalk_dim))
        self.right = nn.Parameter(torch.empty(in_channels // stalk_dim, out_channels // stalk_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start B from the identity and draw W."""
        with torch.no_grad():
            self.left.copy_(torch.eye(self.stalk_dim))
        glorot(self.right)

    def forward(self, x: Tensor, edge_index: Adj, maps: Tensor | None = None) -> Tensor:
        """Convolve x ``[N, in]`` over the sheaf -> ``[N, out]``."""
        x = self._one(x)
        h = stalks(x, self.stalk_dim, self.in_channels, "SheafConv")
        adj = self._graph(edge_index, x, x)
        h = self.left @ (h @ self.right)
        return (h - self._laplacian(adj, maps, x)(h)).flatten(1)

    def _laplacian(self, adj: CSR, maps: Tensor | None, x: Tensor) -> SheafLaplacian:
        if maps is not None:
            if maps.size(-1) != self.stalk_dim:
                raise ValueError(
                    f"SheafConv: maps has shape {list(maps.shape)} but stalk_dim={self.stalk_dim}; its last "
                    "dimensions are stalk_dim"
                )
            return sheaf_laplacian(adj, maps.to(x.dtype), x.size(0), normalised=True)
        graph = undirected(adj)
        one = x.new_ones(graph.num_edges, self.stalk_dim)
        return laplacian(graph, one, normalised=True)

    def __repr__(self) -> str:
        return f"SheafConv({self.in_channels}, {self.out_channels}, stalk_dim={self.stalk_dim})"
