"""The layer of Graph WaveNet: gated dilated convolution along time, then diffusion over the graph."""

from __future__ import annotations

from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj
from gnnlib.nn.temporal.diffusion import DiffusionConv
from gnnlib.nn.temporal.gated import GatedTemporalConv
from gnnlib.sparse.dropout import dropout


class GraphWaveNetLayer(nn.Module):
    r"""Dilated gated convolution along time, diffusion over the graph, and the input added.

    .. math:: Z = \tanh(\Theta_1 * X) \odot \sigma(\Theta_2 * X), \qquad
        X' = \Theta \star_G Z + X

    where the first is a :class:`GatedTemporalConv`, the second a :class:`DiffusionConv`, and X is cut to the
    last steps. Wu et al., Graph WaveNet for Deep Spatial-Temporal Graph Modeling, IJCAI 2019. Skip
    connections read Z. The norm belongs to the model.

    Args:
        channels: width of x and of the output.
        hidden_channels: width of Z; ``channels`` when omitted.
        kernel_size: steps that an output sees.
        dilation: how far apart they are.
        K: number of terms of each walk, the identity included.
        adaptive: take a dense learned walk in ``forward`` as well.
        dropout: probability of dropping a feature that comes from the graph, before the input is added.

    Shapes: x ``[*, T, N, C]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight
        ``[E]``, adaptive ``[N, N]`` -> the output ``[*, T', N, C]`` and Z ``[*, T', N, hidden]``, with
        ``T' = T - dilation (kernel_size - 1)``.
    Cost: that of the two convolutions.
    Raises: ValueError for too few steps, or for what :class:`DiffusionConv` refuses.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int | None = None,
        *,
        kernel_size: int = 2,
        dilation: int = 1,
        K: int = 3,
        adaptive: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        hidden = channels if hidden_channels is None else hidden_channels
        self.channels = channels
        self.dropout = dropout
        self.temporal = GatedTemporalConv(channels, hidden, kernel_size, dilation=dilation, form="tanh")
        self.spatial = DiffusionConv(hidden, channels, K, adaptive=adaptive)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.temporal.reset_parameters()
        self.spatial.reset_parameters()

    @property
    def shortens(self) -> int:
        """By how many steps the output is shorter."""
        return self.temporal.shortens

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        edge_weight: Tensor | None = None,
        adaptive: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The output ``[*, T', N, C]`` and what skip connections read, ``[*, T', N, hidden]``."""
        z = self.temporal(x)
        out = self.spatial(z, edge_index, edge_weight, adaptive)
        out = dropout(out, self.dropout, self.training)
        return out + x.narrow(-3, self.shortens, z.shape[-3]), z

    def __repr__(self) -> str:
        return f"GraphWaveNetLayer({self.channels}, dilation={self.temporal.dilation}, K={self.spatial.K})"
