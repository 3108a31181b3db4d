"""Convolution with a weight matrix for each degree, for molecular fingerprints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Unpack, cast

import torch
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Channels, Conv, ConvOptions, Pair, Size
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, segment_reduce


class MFConv(Conv):
    r"""The sum of the neighbours and their bonds through the weights of the node's degree, and the node.

    .. math:: x'_i = W_1^{(\deg i)} \sum_{j \to i} [x_j \,\Vert\, e_{ji}] + W_2^{(\deg i)} x_i + b^{(\deg i)}

    Duvenaud et al., Convolutional Networks on Graphs for Learning Molecular Fingerprints, NeurIPS 2015,
    Algorithm 2. A degree above ``max_degree`` takes the weights of ``max_degree``. PyG's layer is the one
    without bonds and with ``root="degree"``.

    Args:
        in_channels: width of x, or of (sources, targets); -1 takes it from the first call.
        out_channels: width of the output.
        max_degree: largest degree with weights of its own, at least 0.
        bias: learn b.
        edge_dim: width of the bond features e, or None.
        root: how the node enters: ``"degree"``, through weights of its degree; ``"shared"``, through one map
            for all (as in the authors' code); ``"summed"``, added to its neighbours (as in the paper).
        **kwargs: ``aggr`` (sum, mean, max, min) and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]`` or (``[N_src, in_src]``, ``[N_dst, in_dst]`` or None), edge_index ``[2, E]`` or any
        form that :func:`as_csr` takes, size ``(N_src, N_dst)``, edge_attr ``[E, edge_dim]`` -> ``[N_dst,
        out]``.
    Cost: one SpMM, nodes sorted by degree once for a graph, and a dense product for each degree; no array of
        E x in.
    Raises: ValueError when x, edge_index, edge_attr and size do not fit, or for another ``root``.
    """

    def __init__(
        self,
        in_channels: Channels,
        out_channels: int,
        max_degree: int = 10,
        bias: bool = True,
        *,
        edge_dim: int | None = None,
        root: Literal["degree", "shared", "summed"] = "degree",
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        kwargs.setdefault("aggr", "sum")
        super().__init__(**kwargs)
        if root not in ("degree", "shared", "summed"):
            raise ValueError(f"MFConv: root={root!r} is unknown; choose 'degree', 'shared' or 'summed'")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.max_degree = max_degree
        self.edge_dim = edge_dim
        self.root = root
        src, dst = (in_channels, in_channels) if isinstance(in_channels, int) else in_channels
        degrees = range(max_degree + 1)
        own = bias and root != "shared"
        self.lins_l = nn.ModuleList(Linear(src, out_channels, bias=own) for _ in degrees)
        self.lins_r: nn.ModuleList | None = None
        if root == "degree":
            self.lins_r = nn.ModuleList(Linear(dst, out_channels, bias=False) for _ in degrees)
        self.lins_e: nn.ModuleList | None = None
        if edge_dim is not None:
            self.lins_e = nn.ModuleList(Linear(edge_dim, out_channels, bias=False) for _ in degrees)
        self.lin_root = Linear(dst, out_channels, bias=bias) if root == "shared" else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        super().reset_parameters()
        for lins in (self.lins_l, self.lins_r, self.lins_e):
            for lin in lins or ():
                cast(Linear, lin).reset_parameters()
        if self.lin_root is not None:
            self.lin_root.reset_parameters()

    def forward(
        self,
        x: Tensor | Pair,
        edge_index: Adj,
        size: Size = None,
        edge_attr: Tensor | None = None,
    ) -> Tensor:
        """Convolve x over the graph -> ``[N_dst, out]``."""
        x_src, x_dst = self._pair(x)
        adj = self._graph(edge_index, x_src, x_dst, size)
        near = self._aggregate(adj, x_src)
        if self.root == "summed" and x_dst is not None:
            near = near + x_dst
        order, counts = adj.derive(("by degree", self.max_degree), self._by_degree)
        parts = [_mapped(self.lins_l, torch.split(near[order], counts), near.size(-1))]
        if self.lins_r is not None and x_dst is not None:
            parts.append(_mapped(self.lins_r, torch.split(x_dst[order], counts), x_dst.size(-1)))
        if (self.lins_e is None) != (edge_attr is None):
            raise ValueError(
                f"MFConv: edge_dim={self.edge_dim} but edge_attr "
                f"{'did not come' if edge_attr is None else 'came'}; pass both or neither"
            )
        if self.lins_e is not None and edge_attr is not None:
            bonds = segment_reduce(adj.to_slots(edge_attr.to(near.dtype)), adj.indptr)
            parts.append(_mapped(self.lins_e, torch.split(bonds[order], counts), bonds.size(-1)))
        out = torch.zeros_like(parts[0]).index_copy(0, order, torch.stack(parts).sum(0))
        return out if self.lin_root is None or x_dst is None else out + self.lin_root(x_dst)

    def _by_degree(self, adj: CSR) -> tuple[Tensor, list[int]]:
        """Nodes by degree, and how many there are of each."""
        degree = adj.degree.clamp(max=self.max_degree)
        return degree.argsort(stable=True), degree.bincount(minlength=self.max_degree + 1).tolist()


def _mapped(lins: Iterable[nn.Module], rows: Iterable[Tensor], width: int) -> Tensor:
    """Each part of the rows through a map of its own."""
    out = []
    for lin, part in zip(lins, rows, strict=True):
        cast(Linear, lin).expect(width)
        out.append(lin(part))
    return torch.cat(out)
