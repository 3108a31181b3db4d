"""Jumping knowledge: one representation of a node out of those of all layers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

_MODES = ("cat", "max", "lstm")


class JumpingKnowledge(nn.Module):
    r"""Combine the outputs of all layers of a network, node by node.

    .. math:: h_v = \big\Vert_l h_v^{(l)} \quad\text{or}\quad \max_l h_v^{(l)} \quad\text{or}\quad
        \sum_l s_v^{(l)} h_v^{(l)},\;\; s_v = \operatorname{softmax}_l(\mathrm{Linear}(\text{bi-LSTM}(h_v)))

    Xu et al., Representation Learning on Graphs with Jumping Knowledge Networks, ICML 2018, Section 4.

    Args:
        mode: ``"cat"``, ``"max"`` or ``"lstm"``.
        channels: width of each representation; lstm only.
        num_layers: number of representations; lstm only.

    Shapes: a list of L tensors ``[N, F]`` -> ``[N, L F]`` for cat, else ``[N, F]``.
    Cost: O(N L F); lstm runs N sequences of length L.
    Raises: ValueError for an unknown mode, or lstm without its sizes.
    """

    def __init__(
        self, mode: Literal["cat", "max", "lstm"], channels: int | None = None, num_layers: int | None = None
    ) -> None:
        super().__init__()
        self.mode = mode.lower()
        if self.mode not in _MODES:
            raise ValueError(f"JumpingKnowledge: mode={mode!r} is unknown; choose one of {', '.join(_MODES)}")
        self.lstm: nn.LSTM | None = None
        self.att: nn.Linear | None = None
        self.channels: int | None = None
        self.num_layers: int | None = None
        if self.mode == "lstm":
            if channels is None or num_layers is None:
                raise ValueError(
                    f"JumpingKnowledge: mode='lstm' came with channels={channels} and "
                    f"num_layers={num_layers}; pass both"
                )
            width = (num_layers * channels) // 2
            self.lstm = nn.LSTM(channels, width, bidirectional=True, batch_first=True)
            self.att = nn.Linear(2 * width, 1)
            self.channels = channels
            self.num_layers = num_layers
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in (self.lstm, self.att):
            if part is not None:
                part.reset_parameters()

    def forward(self, xs: list[Tensor]) -> Tensor:
        """Combine the representations ``[N, F]`` of the layers, first layer first."""
        if self.mode == "cat":
            return torch.cat(xs, dim=-1)
        if self.mode == "max":
            return torch.stack(xs, dim=-1).max(dim=-1)[0]
        assert self.lstm is not None
        assert self.att is not None
        x = torch.stack(xs, dim=1)  # [N, L, F]
        score = self.att(self.lstm(x)[0])  # [N, L, 1]
        return (x * torch.softmax(score, dim=1)).sum(dim=1)

    def __repr__(self) -> str:
        sizes = f", channels={self.channels}, layers={self.num_layers}" if self.mode == "lstm" else ""
        return f"{type(self).__name__}({self.mode}{sizes})"
