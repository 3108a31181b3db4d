"""Blocks that mix the codes of patches: an MLP over slots and one over channels, or attention."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from gnnlib.names import choose
from gnnlib.nn.dropout import Dropout
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear
from gnnlib.sparse.dropout import dropout

Attention: TypeAlias = Literal["standard", "graph", "hadamard"]


class MixerBlock(nn.Module):
    r"""Mixes the p tokens of a graph by an MLP over slots, then each by an MLP over channels.

    .. math:: T \leftarrow T + \big(W_2\, \mathrm{GELU}(W_1\, \mathrm{LN}(T))\big), \qquad
        T \leftarrow T + \mathrm{GELU}(\mathrm{LN}(T)\, W_3)\, W_4

    Tolstikhin et al., MLP-Mixer, NeurIPS 2021; for patches of graphs He et al., A Generalization of
    ViT/MLP-Mixer to Graphs, ICML 2023. The weights over slots belong to slots, so another order of the
    patches gives another result. Empty slots are 0 before the first product, so what they hold does not
    reach others; in the authors' code it does.

    Args:
        num_patches: number of slots p.
        channels: width d of a token.
        token_channels: width of the hidden layer over slots; 4 d when omitted.
        channel_channels: width of the hidden layer over channels; half of d, at least 1, when omitted.
        dropout: probability in [0, 1) of dropping a number after each linear map.

    Shapes: tokens ``[G, p, d]``, mask bool ``[G, p]`` or None (all slots are filled) -> ``[G, p, d]``.
    Cost: O(G d p (4 d)) for the default widths.
    Raises: ValueError for tokens of another shape.
    """

    def __init__(
        self,
        num_patches: int,
        channels: int,
        *,
        token_channels: int | None = None,
        channel_channels: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_patches, self.channels = num_patches, channels
        self.token_norm, self.channel_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.token_mlp = _mlp(num_patches, token_channels or 4 * channels, dropout)
        self.channel_mlp = _mlp(channels, channel_channels or max(channels // 2, 1), dropout)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in self.children():
            reset(part)

    def forward(self, tokens: Tensor, mask: Tensor | None = None, adjacency: Tensor | None = None) -> Tensor:
        """Mix the tokens; ``adjacency`` is not looked at, so that all blocks answer one call."""
        _check(self, tokens, self.channels, self.num_patches)
        seen = self.token_norm(tokens)
        seen = seen if mask is None else seen * mask[..., None]
        tokens = tokens + self.token_mlp(seen.transpose(1, 2)).transpose(1, 2)
        out: Tensor = tokens + self.channel_mlp(self.channel_norm(tokens))
        return out

    def __repr__(self) -> str:
        return f"MixerBlock({self.num_patches}, {self.channels})"


class PatchAttention(nn.Module):
    r"""Attention among the p tokens of a graph that may know which patches touch.

    .. math:: \text{standard: } \operatorname{softmax}\!\Big(\frac{Q K^\top}{\sqrt{d_h}}\Big) V, \qquad
        \text{graph: } \operatorname{softmax}\!\Big(\frac{A \odot Q K^\top}{\sqrt{d_h}}\Big) V, \qquad
        \text{hadamard: } \Big(A \odot \operatorname{softmax}\!\Big(\frac{Q K^\top}{\sqrt{d_h}}\Big)\Big) V

    He et al., A Generalization of ViT/MLP-Mixer to Graphs, ICML 2023. A is the number of shared nodes
    (:attr:`GraphPatches.adjacency`) or a random walk over them (:meth:`GraphPatches.walk`): with the walk
    ``"graph"`` is the paper's kernel attention.

    Args:
        channels: width d of a token, a multiple of ``heads``.
        heads: number of heads.
        kind: ``"standard"``, ``"graph"`` or ``"hadamard"``.
        dropout: probability in [0, 1) of dropping an attention weight.

    Shapes: tokens ``[G, p, d]``, mask bool ``[G, p]`` or None (all slots are filled), adjacency ``[G, p, p]``
        (not for standard) -> ``[G, p, d]``. Nothing attends to an empty slot.
    Cost: O(G p^2 d), dense: p is small.
    Raises: ValueError for heads that do not divide channels, an unknown kind, tokens of another shape, or a
        missing adjacency.
    """

    def __init__(
        self, channels: int, heads: int = 8, kind: Attention = "hadamard", dropout: float = 0.0
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(
                f"PatchAttention: channels={channels} is not divisible by heads={heads}; choose a divisor"
            )
        self.channels, self.heads, self.dropout = channels, heads, dropout
        self.kind = choose("attention", kind, ("standard", "graph", "hadamard"))
        self.inputs = Linear(channels, 3 * channels)
        self.out = Linear(channels, channels)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        reset(self.inputs)
        reset(self.out)

    def forward(self, tokens: Tensor, mask: Tensor | None = None, adjacency: Tensor | None = None) -> Tensor:
        """Attend -> ``[G, p, d]``."""
        _check(self, tokens, self.channels)
        if self.kind != "standard" and adjacency is None:
            raise ValueError(
                f"PatchAttention: kind={self.kind!r} needs the adjacency of the patches; pass it, or take "
                "kind='standard'"
            )
        q, k, v = self.inputs(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        score = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])  # [G, H, p, p]
        if self.kind == "graph" and adjacency is not None:
            score = score * adjacency[:, None].to(score.dtype)
        if mask is not None:  # no -inf: a graph without a patch has finite weights, which the mask makes 0
            score = score.masked_fill(~mask[:, None, None], torch.finfo(score.dtype).min)
        weight = score.softmax(-1)
        weight = weight if mask is None else weight * mask[:, None, None]
        if self.kind == "hadamard" and adjacency is not None:
            weight = weight * adjacency[:, None].to(weight.dtype)
        weight = dropout(weight, self.dropout, self.training)
        out: Tensor = self.out((weight @ v).transpose(1, 2).flatten(2))
        return out

    def __repr__(self) -> str:
        return f"PatchAttention({self.channels}, heads={self.heads}, kind={self.kind!r})"


class PatchTransformer(nn.Module):
    r"""A transformer block over the p tokens of a graph, with :class:`PatchAttention`.

    .. math:: T \leftarrow T + \mathrm{attention}(\mathrm{LN}(T), A), \qquad
        T \leftarrow T + \mathrm{GELU}(\mathrm{LN}(T)\, W_1)\, W_2

    He et al., A Generalization of ViT/MLP-Mixer to Graphs, ICML 2023: eight heads, a hidden layer of 2 d.

    Args:
        channels: width d of a token, a multiple of ``heads``.
        heads: number of heads.
        kind: of the attention.
        dropout: probability in [0, 1) of dropping a number after attention and after each linear map.

    Shapes: tokens ``[G, p, d]``, mask bool ``[G, p]`` or None, adjacency ``[G, p, p]`` -> ``[G, p, d]``.
    Cost: O(G p d (p + d)).
    Raises: ValueError as :class:`PatchAttention`.
    """

    def __init__(
        self, channels: int, heads: int = 8, kind: Attention = "hadamard", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.channels, self.dropout = channels, dropout
        self.attention = PatchAttention(channels, heads, kind)
        self.token_norm, self.channel_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.channel_mlp = _mlp(channels, 2 * channels, dropout)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in self.children():
            reset(part)

    def forward(self, tokens: Tensor, mask: Tensor | None = None, adjacency: Tensor | None = None) -> Tensor:
        """Attend and map -> ``[G, p, d]``."""
        _check(self, tokens, self.channels)
        heard = self.attention(self.token_norm(tokens), mask, adjacency)
        tokens = tokens + dropout(heard, self.dropout, self.training)
        out: Tensor = tokens + self.channel_mlp(self.channel_norm(tokens))
        return out

    def __repr__(self) -> str:
        return (
            f"PatchTransformer({self.channels}, heads={self.attention.heads}, kind={self.attention.kind!r})"
        )


def _mlp(width: int, hidden: int, dropout: float) -> nn.Module:
    maps = Linear(width, hidden), Linear(hidden, width)
    return nn.Sequential(maps[0], nn.GELU(), Dropout(dropout), maps[1], Dropout(dropout))


def _check(block: nn.Module, tokens: Tensor, channels: int, num_patches: int | None = None) -> None:
    slots = "p" if num_patches is None else num_patches
    if tokens.dim() != 3 or tokens.shape[2] != channels or num_patches not in (None, tokens.shape[1]):
        raise ValueError(
            f"{type(block).__name__}: tokens have shape {list(tokens.shape)}, {tokens.shape[-1]} features, "
            f"but channels={channels}; pass [G, {slots}, {channels}]"
        )
