"""The blocks of the Set Transformer, with the parameter names of PyG's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnlib.nn.init import reset


class Attention(nn.Module):
    """The block MAB: queries x ``[R, L, F]`` over y ``[R, M, F]``."""

    def __init__(self, channels: int, heads: int, layer_norm: bool, dropout: float) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(channels, heads, batch_first=True, dropout=dropout)
        self.lin = nn.Linear(channels, channels)
        self.layer_norm1 = nn.LayerNorm(channels) if layer_norm else None
        self.layer_norm2 = nn.LayerNorm(channels) if layer_norm else None

    def reset_parameters(self) -> None:
        for part in (self.attn, self.lin, self.layer_norm1, self.layer_norm2):
            if part is not None:
                reset(part)

    def forward(self, x: Tensor, y: Tensor, seen: Tensor | None) -> Tensor:
        hidden = None if seen is None else ~seen
        attended: Tensor = self.attn(x, y, y, hidden, need_weights=False)[0]
        return self.after(x, attended)

    def after(self, x: Tensor, attended: Tensor) -> Tensor:
        """What follows the attention of queries x, both ``[R, L, F]``."""
        out: Tensor = x + attended
        if self.layer_norm1 is not None:
            out = self.layer_norm1(out)
        out = out + self.lin(out).relu()
        return out if self.layer_norm2 is None else self.layer_norm2(out)


class SelfAttention(nn.Module):
    """The block SAB; ``seen`` ``[R, L]`` marks the elements that may be attended to."""

    def __init__(self, channels: int, heads: int, layer_norm: bool, dropout: float) -> None:
        super().__init__()
        self.mab = Attention(channels, heads, layer_norm, dropout)

    def reset_parameters(self) -> None:
        self.mab.reset_parameters()

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        out: Tensor = self.mab(x, x, seen)
        return out


class Seeds(nn.Module):
    """The block PMA: k learned queries; ``mapped``: a linear map and ReLU of the elements before."""

    def __init__(
        self,
        num_seeds: int,
        channels: int,
        heads: int,
        layer_norm: bool,
        dropout: float,
        *,
        mapped: bool = True,
    ) -> None:
        super().__init__()
        self.lin = nn.Linear(channels, channels) if mapped else None
        self.seed = nn.Parameter(torch.empty(1, num_seeds, channels))
        self.mab = Attention(channels, heads, layer_norm, dropout)
        nn.init.xavier_uniform_(self.seed)

    def reset_parameters(self) -> None:
        if self.lin is not None:
            self.lin.reset_parameters()
        nn.init.xavier_uniform_(self.seed)
        self.mab.reset_parameters()

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        y = x if self.lin is None else self.lin(x).relu()
        out: Tensor = self.mab(self.seed.expand(x.size(0), -1, -1), y, seen)
        return out
