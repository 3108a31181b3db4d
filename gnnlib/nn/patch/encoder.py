"""Codes of patches: convolutions within patches, between which nodes and patches exchange their means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from torch import Tensor, nn

from gnnlib.names import choose
from gnnlib.nn.conv.gcn import GCNConv
from gnnlib.nn.conv.gin import GINConv
from gnnlib.nn.conv.gine import GINEConv
from gnnlib.nn.conv.res_gated import ResGatedGraphConv
from gnnlib.nn.conv.transformer import TransformerConv
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear
from gnnlib.nn.patch.structure import GraphPatches
from gnnlib.sparse import CSR, spmm
from gnnlib.sparse.dropout import dropout

PatchConv: TypeAlias = Literal["gine", "gcn", "gated", "transformer"]


class PatchEncoder(nn.Module):
    r"""A code of each patch from the states of its nodes; a node has a copy in each of its patches.

    .. math:: x_{v, s} \leftarrow \operatorname{mean}_{r \ni v}
        \big(x_{v, r} + U_l(\operatorname{mean}_{u \in r} x_{u, r})\big), \quad
        x_{v, s} \leftarrow W_l\big(x_{v, s} + \mathrm{ReLU}(\mathrm{BN}(\mathrm{conv}_l(x_{\cdot, s})))\big),
        \quad t_s = \operatorname{mean}_{v \in s} x_{v, s}

    He et al., A Generalization of ViT/MLP-Mixer to Graphs, ICML 2023. The first layer has no exchange. U is a
    linear map, batch normalisation and a rectifier; its statistics count each patch once, and no empty one,
    where the authors' code counts a patch once for each of its nodes.

    Args:
        channels: width of x and of the codes.
        num_layers: number of layers, 1 or more.
        conv: ``"gine"`` (without edge features GIN), ``"gcn"``, ``"gated"`` or ``"transformer"``.
        edge_dim: width of edge features, which gcn does not look at; None for none. GINE takes those of width
            ``channels`` as they are, and brings others to it by a linear map in each layer.
        dropout: probability in [0, 1) of dropping a state after a convolution.

    Shapes: x ``[N, channels]``, patches with K copies and S patches that are not empty, edge_attr
        ``[E, edge_dim]`` -> ``[S, channels]``.
    Cost: a convolution over the K copies and their edges each layer; exchanges are sparse products.
    Raises: ValueError for x of another width, edge features that are missing or not expected, or options
        out of range.
    """

    def __init__(
        self,
        channels: int,
        num_layers: int = 4,
        conv: PatchConv = "gine",
        *,
        edge_dim: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"PatchEncoder: num_layers={num_layers}; pass 1 or more")
        self.channels, self.dropout = channels, dropout
        self.conv = choose("conv", conv, _CONVS)
        self.edge_dim = None if self.conv == "gcn" else edge_dim
        self.convs = nn.ModuleList(_CONVS[self.conv](channels, self.edge_dim) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(num_layers))
        self.lins = nn.ModuleList(Linear(channels, channels) for _ in range(num_layers))
        self.exchanges = nn.ModuleList(_exchange(channels) for _ in range(num_layers - 1))

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in (*self.convs, *self.norms, *self.lins, *self.exchanges):
            reset(part)

    def forward(self, x: Tensor, patches: GraphPatches, edge_attr: Tensor | None = None) -> Tensor:
        """Codes of the patches that are not empty, ``[S, channels]``."""
        if x.dim() != 2 or x.shape[1] != self.channels:
            raise ValueError(
                f"PatchEncoder: x has shape {list(x.shape)}, {x.shape[-1]} features, but "
                f"channels={self.channels}; pass x [N, {self.channels}]"
            )
        if (edge_attr is None) != (self.edge_dim is None) and self.conv != "gcn":
            raise ValueError(
                f"PatchEncoder: edge_attr is {'missing' if edge_attr is None else 'given'} but "
                f"edge_dim={self.edge_dim}; build the encoder with the width of the edge features"
            )
        edges = () if edge_attr is None or self.edge_dim is None else (edge_attr[patches.edge],)
        of_node, of_patch = patches.of_node, patches.of_patch
        x = spmm(of_node, x)
        for i, (conv, norm, lin) in enumerate(zip(self.convs, self.norms, self.lins, strict=True)):
            if i:
                told = self.exchanges[i - 1](_mean(of_patch, x))
                x = spmm(of_node, _mean(of_node, x + spmm(of_patch, told)))
            h = norm(conv(x, patches.adj, *edges)).relu()
            x = lin(x + dropout(h, self.dropout, self.training))
        return _mean(of_patch, x)

    def __repr__(self) -> str:
        return f"PatchEncoder({self.channels}, num_layers={len(self.convs)}, conv={self.conv!r})"


def _mean(of: CSR, x: Tensor) -> Tensor:
    """The mean of the copies of each node or patch."""
    return spmm(of.transposed, x, None, "mean")


def _exchange(channels: int) -> nn.Module:
    return nn.Sequential(Linear(channels, channels), nn.BatchNorm1d(channels), nn.ReLU())


def _gine(channels: int, edge_dim: int | None) -> nn.Module:
    network = nn.Sequential(Linear(channels, channels), nn.ReLU(), Linear(channels, channels))
    if edge_dim is None:
        return GINConv(network)
    return GINEConv(network, edge_dim=None if edge_dim == channels else edge_dim)


def _gcn(channels: int, edge_dim: int | None) -> nn.Module:
    return GCNConv(channels, channels)


def _gated(channels: int, edge_dim: int | None) -> nn.Module:
    return ResGatedGraphConv(channels, channels, edge_dim=edge_dim)


def _transformer(channels: int, edge_dim: int | None) -> nn.Module:
    return TransformerConv(channels, channels, edge_dim=edge_dim)


_CONVS: dict[str, Callable[[int, int | None], nn.Module]] = {
    "gine": _gine,
    "gcn": _gcn,
    "gated": _gated,
    "transformer": _transformer,
}
