"""Forecasts of series on the nodes of a graph: DCRNN, STGCN and Graph WaveNet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.models.configs import ModelConfig
from gnnlib.models.entry import Entry
from gnnlib.nn import (
    DCGRUCell,
    GatedTemporalConv,
    GraphWaveNetLayer,
    Linear,
    STGCNBlock,
    adaptive_adjacency,
)
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.init import reset
from gnnlib.nn.norm import BatchNorm
from gnnlib.nn.temporal.diffusion import Walks
from gnnlib.nn.temporal.series import fold, unfold
from gnnlib.sparse.dropout import dropout

__all__ = ["DCRNN", "DCRNNConfig", "GraphWaveNet", "GraphWaveNetConfig", "MODELS", "STGCN", "STGCNConfig"]

FORECAST: frozenset[str] = frozenset({"forecast"})


@dataclass(frozen=True, kw_only=True)
class ForecastConfig(ModelConfig):
    """What the forecasting models have in common.

    Args:
        hidden_channels: width of the hidden layers.
        dropout: probability in [0, 1) of dropping a hidden feature.
        K: terms of each walk or polynomial, the identity included, at least 1.
    """

    dropout: float = 0.0
    K: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("K", self.K >= 1, "1 or more")


@dataclass(frozen=True, kw_only=True)
class DCRNNConfig(ForecastConfig):
    """Diffusion convolutional recurrent network.

    Args:
        num_layers: recurrent layers of the encoder, and of the decoder.
        sampling_decay: how many training steps scheduled sampling takes to leave the true values; 0 for never
            showing them.
    """

    num_layers: int = 2
    sampling_decay: float = 2000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("sampling_decay", self.sampling_decay >= 0, "0 or more")


@dataclass(frozen=True, kw_only=True)
class STGCNConfig(ForecastConfig):
    """Spatio-temporal graph convolutional network.

    Args:
        num_layers: blocks.
        spatial_channels: width of the graph convolution in a block.
        kernel_size: steps that each convolution along time sees.
        history: steps of the input; each block takes ``2 (kernel_size - 1)`` of them.
        first_order: take GCN's filter and not Chebyshev's of K terms.
    """

    num_layers: int = 2
    spatial_channels: int = 16
    kernel_size: int = 3
    history: int = 12
    first_order: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("kernel_size", self.kernel_size >= 1, "1 or more")
        least = 2 * self.num_layers * (self.kernel_size - 1) + 1
        self._require("history", self.history >= least, f"{least} or more for these blocks")


@dataclass(frozen=True, kw_only=True)
class GraphWaveNetConfig(ForecastConfig):
    """Graph WaveNet.

    Args:
        num_layers: rounds through the dilations.
        dilations: dilation of each layer of a round.
        kernel_size: steps that a convolution along time sees.
        skip_channels: width of the sum of skip connections.
        end_channels: width of the last hidden layer.
        adaptive: learn a graph from embeddings of the nodes beside the given one.
        rank: width of these embeddings.
    """

    hidden_channels: int = 32
    num_layers: int = 4
    dropout: float = 0.3
    dilations: tuple[int, ...] = (1, 2)
    kernel_size: int = 2
    skip_channels: int = 256
    end_channels: int = 512
    adaptive: bool = True
    rank: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("kernel_size", "skip_channels", "end_channels", "rank"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        fits = len(self.dilations) > 0 and all(d >= 1 for d in self.dilations)
        self._require("dilations", fits, "numbers of 1 or more")


class DCRNN(nn.Module):
    r"""Encoder and decoder of recurrent cells over a graph; the decoder reads its own last forecast.

    In training it reads the true value instead with probability :math:`\tau / (\tau + e^{i / \tau})` at the
    i-th step, one draw for each horizon. Li et al., Diffusion Convolutional Recurrent Neural Network, ICLR
    2018.

    Args:
        config: its options.
        in_channels: features of a node at a step.
        horizon: steps to forecast.

    Shapes: x ``[*, T, N, in]``, edge_index ``[2, E]``, edge_weight ``[E]``, target ``[*, horizon, N]`` in the
        units of the output -> ``[*, horizon, N]``.
    """

    reads_target = True

    def __init__(self, config: DCRNNConfig, in_channels: int, horizon: int) -> None:
        super().__init__()
        self.config, self.horizon = config, horizon
        width, layers = config.hidden_channels, config.num_layers
        self.encoder = nn.ModuleList(
            DCGRUCell(width if i else in_channels, width, config.K) for i in range(layers)
        )
        self.decoder = nn.ModuleList(DCGRUCell(width if i else 1, width, config.K) for i in range(layers))
        self.out = Linear(width, 1)
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def reset_parameters(self) -> None:
        """Draw new parameters and begin scheduled sampling anew."""
        for child in self.children():
            reset(child)
        self.seen.zero_()

    @property
    def truth(self) -> float:
        """The probability of reading the true value at this step of training."""
        tau = self.config.sampling_decay
        return 0.0 if tau == 0 else tau / (tau + math.exp(min(int(self.seen) / tau, 700.0)))

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        edge_weight: Tensor | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        """Forecasts ``[*, horizon, N]``."""
        h = fold(x, "DCRNN", steps=True)
        series = h.view(h.shape[0], -1, x.shape[-3], h.shape[-1])  # [N, B, T, in]
        walks = cast(DCGRUCell, self.encoder[0]).walks(h, edge_index, edge_weight)
        states: list[Tensor | None] = [None] * len(self.encoder)
        for t in range(series.shape[2]):
            self._step(self.encoder, series[:, :, t], states, walks)
        truth = None
        if self.training and target is not None:
            truth = fold(target.unsqueeze(-1), "DCRNN").view(h.shape[0], -1, self.horizon)
            shown = (torch.rand(self.horizon) < self.truth).tolist()
            self.seen += 1
        value = series.new_zeros(*series.shape[:2], 1)
        forecasts = []
        for t in range(self.horizon):
            value = self.out(self._step(self.decoder, value, states, walks))
            forecasts.append(value)
            if truth is not None and shown[t]:
                value = truth[:, :, t, None].to(value.dtype)
        out = torch.stack(forecasts, dim=2).flatten(1, 2)  # [N, B horizon, 1]
        return unfold(out, (*x.shape[:-3], self.horizon)).squeeze(-1)

    def _step(self, cells: nn.ModuleList, value: Tensor, states: list[Tensor | None], walks: Walks) -> Tensor:
        for i, cell in enumerate(cells):
            value = cast(DCGRUCell, cell).step(value, states[i], walks)
            states[i] = value
            if i + 1 < len(cells):
                value = dropout(value, self.config.dropout, self.training)
        return value


class STGCN(nn.Module):
    """Blocks of convolutions along time and over the graph, one over all steps left, and a hidden layer.

    Yu et al., Spatio-Temporal Graph Convolutional Networks, IJCAI 2018; all horizons come at once, where the
    paper forecasts one step and repeats.

    Args:
        config: its options.
        in_channels: features of a node at a step.
        horizon: steps to forecast.

    Shapes: x ``[*, history, N, in]``, edge_index ``[2, E]``, edge_weight ``[E]`` -> ``[*, horizon, N]``.
    """

    def __init__(self, config: STGCNConfig, in_channels: int, horizon: int) -> None:
        super().__init__()
        self.config = config
        width, kernel = config.hidden_channels, config.kernel_size
        K = None if config.first_order else config.K
        self.blocks = nn.ModuleList(
            STGCNBlock(width if i else in_channels, config.spatial_channels, width, kernel, K)
            for i in range(config.num_layers)
        )
        left = config.history - 2 * config.num_layers * (kernel - 1)
        self.last = GatedTemporalConv(width, width, left)
        self.norm = nn.LayerNorm(width)
        self.hidden = Linear(width, width)
        self.out = Linear(width, horizon)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for child in self.children():
            reset(child)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Forecasts ``[*, horizon, N]``."""
        if x.dim() < 3 or x.shape[-3] != self.config.history:
            raise ValueError(
                f"STGCN: x has shape {list(x.shape)}; expected [*, {self.config.history}, N, F], or "
                "build the model with another history"
            )
        for block in self.blocks:
            x = dropout(block(x, edge_index, edge_weight), self.config.dropout, self.training)
        h = self.norm(self.last(x)).squeeze(-3)  # one step is left
        out: Tensor = self.out(self.hidden(h).relu())
        return out.transpose(-1, -2)


class GraphWaveNet(nn.Module):
    """Dilated gated convolutions with diffusion, skip connections from each, and all horizons at once.

    Wu et al., Graph WaveNet for Deep Spatial-Temporal Graph Modeling, IJCAI 2019. A series that is shorter
    than the field of view is led by zeros. The last layer has no diffusion: nothing would read it.

    Args:
        config: its options.
        in_channels: features of a node at a step.
        horizon: steps to forecast.
        num_nodes: nodes that have embeddings, where the graph is learned too.

    Shapes: x ``[*, T, N, in]``, edge_index ``[2, E]``, edge_weight ``[E]`` -> ``[*, horizon, N]``.
    """

    def __init__(self, config: GraphWaveNetConfig, in_channels: int, horizon: int, num_nodes: int) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_channels
        dilations = config.dilations * config.num_layers
        self.first = Linear(in_channels, width)
        self.layers = nn.ModuleList(
            GraphWaveNetLayer(
                width,
                kernel_size=config.kernel_size,
                dilation=dilation,
                K=config.K,
                adaptive=config.adaptive,
                dropout=config.dropout,
            )
            for dilation in dilations[:-1]
        )
        self.norms = nn.ModuleList(BatchNorm(width) for _ in self.layers)
        self.last = GatedTemporalConv(width, width, config.kernel_size, dilation=dilations[-1], form="tanh")
        self.skips = nn.ModuleList(Linear(width, config.skip_channels) for _ in dilations)
        self.hidden = Linear(config.skip_channels, config.end_channels)
        self.out = Linear(config.end_channels, horizon)
        self.field = 1 + (config.kernel_size - 1) * sum(dilations)
        shape = (num_nodes, config.rank)
        self.source = nn.Parameter(torch.empty(shape)) if config.adaptive else None
        self.target = nn.Parameter(torch.empty(shape)) if config.adaptive else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for child in self.children():
            reset(child)
        if self.source is not None and self.target is not None:
            nn.init.normal_(self.source)
            nn.init.normal_(self.target)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Forecasts ``[*, horizon, N]``."""
        adaptive = None
        if self.source is not None and self.target is not None:
            adaptive = adaptive_adjacency(self.source, self.target)
        if x.dim() < 3:
            raise ValueError(f"GraphWaveNet: x has shape {list(x.shape)}; expected [*, T, N, F]")
        h = self.first(F.pad(x, (0, 0, 0, 0, max(0, self.field - x.shape[-3]), 0)))
        skip: Tensor | int = 0
        for layer, norm, lin in zip(self.layers, self.norms, self.skips, strict=False):
            h, z = layer(h, edge_index, edge_weight, adaptive)
            h = norm(h.flatten(0, -2)).view_as(h)
            skip = skip + lin(z[..., -1, :, :])
        skip = skip + self.skips[-1](self.last(h)[..., -1, :, :])
        out: Tensor = self.out(self.hidden(cast(Tensor, skip).relu()).relu())
        return out.transpose(-1, -2)


def _dcrnn(config: DCRNNConfig, in_channels: int, horizon: int, sizes: Sequence[int]) -> nn.Module:
    return DCRNN(config, in_channels, horizon)


def _stgcn(config: STGCNConfig, in_channels: int, horizon: int, sizes: Sequence[int]) -> nn.Module:
    return STGCN(config, in_channels, horizon)


def _wavenet(config: GraphWaveNetConfig, in_channels: int, horizon: int, sizes: Sequence[int]) -> nn.Module:
    if len(sizes) != 1:
        raise ValueError(f"graph-wavenet: sizes={list(sizes)}; pass the number of nodes")
    return GraphWaveNet(config, in_channels, horizon, sizes[0])


MODELS: dict[str, Entry] = {
    "dcrnn": Entry(DCRNNConfig, sized=_dcrnn, tasks=FORECAST),
    "graph-wavenet": Entry(GraphWaveNetConfig, sized=_wavenet, tasks=FORECAST),
    "stgcn": Entry(STGCNConfig, sized=_stgcn, tasks=FORECAST),
}
