"""Neural fingerprints of molecules."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gnnlib.nn.check import check_whole
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.conv.mf import MFConv
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear
from gnnlib.nn.readout import global_add_pool

Variant = Literal["official", "paper", "pyg"]


class NeuralFingerprint(nn.Module):
    r"""A soft fingerprint of each graph: in every layer each node adds one to the places that its code names.

    .. math:: x^{l} = \sigma\big(\mathrm{conv}_l(x^{l-1}, A)\big), \qquad
        f = \sum_l \sum_i \operatorname{softmax}\big(W_l\, x^l_i\big)

    Duvenaud et al., Convolutional Networks on Graphs for Learning Molecular Fingerprints, NeurIPS 2015,
    Algorithm 2, in three variants:

    * ``"paper"``: the weights of the node's degree take the sum of the node and its neighbours beside the sum
      of its bonds; a sigmoid; no bias.
    * ``"official"``, the authors' code: a map for the node apart from those of its neighbours and bonds, a
      bias, batch normalisation, ReLU; the softmax has a bias, and the input writes too, so that there are L
      + 1 votes of each node.
    * ``"pyg"``: PyG's model and its parameters; weights of the degree for the node as well, a bias, a
      sigmoid, no bonds.

    Args:
        in_channels: width of x.
        hidden_channels: width of a layer.
        out_channels: length of the fingerprint.
        num_layers: number of layers L, at least 1.
        max_degree: largest degree with weights of its own; nodes of more neighbours share them.
        edge_dim: width of the bond features, or None; not with ``"pyg"``.
        variant: which of the three.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, batch ``[N]`` or None,
        edge_attr ``[E, edge_dim]`` -> ``[B, out]``, whose sum is the number of votes of the graph's nodes.
    Cost: an SpMM and a softmax of N x out a layer.
    Raises: ValueError for an unknown variant, no layers, bonds with ``"pyg"``, or inputs that do not fit each
        other.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int,
        max_degree: int = 10,
        *,
        edge_dim: int | None = None,
        variant: Variant = "pyg",
    ) -> None:
        super().__init__()
        if variant not in ("official", "paper", "pyg"):
            raise ValueError(
                f"NeuralFingerprint: variant={variant!r} is unknown; choose 'official', 'paper' or 'pyg'"
            )
        if variant == "pyg" and edge_dim is not None:
            raise ValueError(
                f"NeuralFingerprint: edge_dim={edge_dim} with variant='pyg', which has no bonds; choose "
                "'official' or 'paper'"
            )
        check_whole("NeuralFingerprint", num_layers=num_layers)
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels
        self.out_channels = out_channels
        self.num_layers = num_layers
        self.variant = variant
        root: Literal["degree", "shared", "summed"] = "degree"
        root = {"official": "shared", "paper": "summed", "pyg": root}[variant]  # type: ignore[assignment]
        official, bias = variant == "official", variant != "paper"
        widths = [in_channels] + [hidden_channels] * num_layers
        self.convs = nn.ModuleList(
            MFConv(widths[i], hidden_channels, max_degree, bias, edge_dim=edge_dim, root=root)
            for i in range(num_layers)
        )
        writers = widths if official else widths[1:]
        self.lins = nn.ModuleList(Linear(w, out_channels, bias=official) for w in writers)
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden_channels) for _ in self.convs if official)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in (*self.convs, *self.lins, *self.norms):
            reset(part)

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        batch: Tensor | None = None,
        batch_size: int | None = None,
        *,
        edge_attr: Tensor | None = None,
    ) -> Tensor:
        """The fingerprints ``[B, out]``."""
        codes = [x] if self.variant == "official" else []
        for i, conv in enumerate(self.convs):
            x = conv(x, edge_index, edge_attr=edge_attr)
            x = self.norms[i](x).relu() if self.variant == "official" else x.sigmoid()
            codes.append(x)
        votes = [lin(code).softmax(dim=-1) for lin, code in zip(self.lins, codes, strict=True)]
        return global_add_pool(torch.stack(votes).sum(0), batch, batch_size)

    def __repr__(self) -> str:
        return f"NeuralFingerprint({self.in_channels}, {self.out_channels}, num_layers={self.num_layers})"
