"""Graphs by the mixtures of their nodes."""

from __future__ import annotations

from typing import Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, ConvOptions
from gnnlib.nn.gspn.model import GSPN, Kind
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear
from gnnlib.nn.readout import global_add_pool, global_max_pool, global_mean_pool

Readout = Literal["mean", "sum", "max"]
_POOLS = {"mean": global_mean_pool, "sum": global_add_pool, "max": global_max_pool}


class GSPNReadout(nn.Module):
    r"""One more sum unit: the posteriors of all layers of a node mixed to those of its graph, then pooled.

    .. math:: g_v(k) = \sum_\ell \omega_\ell \sum_i R^\ell_{ki}\, h_v^\ell(i), \qquad
        g = \operatorname{pool}_v g_v

    Errica and Niepert, Graph-Induced Sum-Product Networks, ICLR 2024. The columns of R and the weights
    :math:`\omega` of the layers are softmax-normalised, so each :math:`g_v` is a distribution; that all
    layers are mixed is our reading.

    Args:
        num_mixtures: components of a node C.
        num_layers: layers L.
        graph_mixtures: components of a graph M, at least 1.
        readout: how the nodes of a graph are pooled: ``"mean"``, ``"sum"`` or ``"max"``.

    Shapes: h ``[N, L C]``, batch ``[N]`` or None for one graph, B graphs -> ``[B, M]``.
    Cost: one product of N x L C and L C x M.
    Raises: ValueError for an unknown readout or a number under 1.
    """

    def __init__(
        self, num_mixtures: int, num_layers: int, graph_mixtures: int = 32, readout: Readout = "mean"
    ) -> None:
        super().__init__()
        if readout not in _POOLS or graph_mixtures < 1:
            raise ValueError(
                f"GSPNReadout: readout={readout!r}, graph_mixtures={graph_mixtures}; choose 'mean', 'sum' or "
                "'max', and pass 1 or more"
            )
        self.readout = readout
        self.layer_logits = nn.Parameter(torch.empty(num_layers))
        self.logits = nn.Parameter(torch.empty(graph_mixtures, num_layers, num_mixtures))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new, sharp logits; all layers weigh the same."""
        nn.init.zeros_(self.layer_logits)
        nn.init.normal_(self.logits, std=3.0)

    def forward(self, h: Tensor, batch: Tensor | None = None, batch_size: int | None = None) -> Tensor:
        """Codes of graphs ``[B, M]`` from posteriors ``[N, L C]``."""
        width = self.logits[0].numel()
        if h.size(1) != width:
            raise ValueError(
                f"GSPNReadout: h has {h.size(1)} features but L x C, the in_channels={width}, are expected; "
                "pass the posteriors of all layers"
            )
        weight = F.softmax(self.layer_logits, dim=0)[:, None] * F.softmax(self.logits, dim=0)
        return _POOLS[self.readout](h @ weight.flatten(1).t(), batch, batch_size)


class GSPNClassifier(nn.Module):
    """Scores of graphs: a GSPN of the nodes, a sum unit of the graph, and a linear map without bias.

    Errica and Niepert, Graph-Induced Sum-Product Networks, ICLR 2024.

    Args:
        in_channels: width of x.
        out_channels: number of scores.
        num_mixtures: components of a node.
        num_layers: layers of the GSPN.
        emission: ``"categorical"`` or ``"gaussian"``, see :class:`GSPN`.
        graph_mixtures: components of a graph.
        readout: how the nodes of a graph are pooled: ``"mean"``, ``"sum"`` or ``"max"``.
        sizes, avg_emission, min_scale, **kwargs: as in :class:`GSPN`.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, batch ``[N]`` or None for one graph, observed ``[N, A]`` ->
        ``[B, out]``.
    Cost: that of :class:`GSPN`.
    Raises: ValueError as :class:`GSPN` and :class:`GSPNReadout`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_mixtures: int,
        num_layers: int,
        emission: Kind = "categorical",
        *,
        graph_mixtures: int = 32,
        readout: Readout = "mean",
        sizes: list[int] | None = None,
        avg_emission: bool = True,
        min_scale: float = 0.0,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__()
        self.gspn = GSPN(
            in_channels,
            num_mixtures,
            num_layers,
            emission,
            sizes=sizes,
            avg_emission=avg_emission,
            min_scale=min_scale,
            **kwargs,
        )
        self.readout = GSPNReadout(num_mixtures, num_layers, graph_mixtures, readout)
        self.lin = Linear(graph_mixtures, out_channels, bias=False)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in (self.gspn, self.readout, self.lin):
            reset(part)

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        batch: Tensor | None = None,
        batch_size: int | None = None,
        *,
        observed: Tensor | None = None,
    ) -> Tensor:
        """Scores ``[B, out]``."""
        out: Tensor = self.lin(self.embed(x, edge_index, batch, batch_size, observed=observed))
        return out

    def embed(
        self,
        x: Tensor,
        edge_index: Adj,
        batch: Tensor | None = None,
        batch_size: int | None = None,
        *,
        observed: Tensor | None = None,
    ) -> Tensor:
        """The pooled mixtures of the graphs, ``[B, graph_mixtures]``."""
        code: Tensor = self.readout(self.gspn(x, edge_index, observed), batch, batch_size)
        return code

    def __repr__(self) -> str:
        return f"GSPNClassifier({self.gspn.in_channels}, {self.lin.out_channels}, {self.gspn!r})"
