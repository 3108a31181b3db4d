"""Set Transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnlib.nn.aggr.attention_blocks import Seeds, SelfAttention
from gnnlib.nn.aggr.base import Aggregation, nothing, pad
from gnnlib.nn.check import check_whole
from gnnlib.sparse.sets import Sets


class SetTransformerAggregation(Aggregation):
    r"""Attention among the elements, then by learned seeds over the elements, then among the seeds.

    .. math:: r = \mathrm{SAB}^{L'}\big(\mathrm{PMA}_k(\mathrm{SAB}^{L}(X))\big), \qquad
        \mathrm{SAB}(X) = \mathrm{MAB}(X, X), \quad
        \mathrm{PMA}_k(X) = \mathrm{MAB}(S, \mathrm{relu}(\mathrm{Linear}(X)))

    .. math:: \mathrm{MAB}(X, Y) = \mathrm{norm}(H + \mathrm{relu}(\mathrm{Linear}(H))), \quad
        H = \mathrm{norm}(X + \mathrm{Multihead}(X, Y, Y))

    Lee et al., Set Transformer, ICML 2019; as a readout, Buterez et al., Graph Neural
    Networks with Adaptive Readouts, NeurIPS 2022.

    Args:
        channels: width of x.
        num_seed_points: number of seeds k.
        num_encoder_blocks: number of blocks L among the elements.
        num_decoder_blocks: number of blocks L' among the seeds.
        heads: number of heads; divides ``channels``.
        concat: concatenate the seeds; otherwise average them.
        layer_norm: apply layer normalisation.
        dropout: probability in [0, 1] of dropping an attention weight in training.

    Shapes: x ``[N, channels]`` -> ``[R, k channels]``, or ``[R, channels]`` without concat. An empty set
        gives 0 and a gradient of 0; in PyG it gives what torch's attention over nothing makes of it.
    Cost: sets are padded to the largest one, L elements: O(R L^2) attention.
    Raises: ValueError for heads that do not divide channels, or elements that are not vectors of width
        ``channels``.
    """

    def __init__(
        self,
        channels: int,
        num_seed_points: int = 1,
        num_encoder_blocks: int = 1,
        num_decoder_blocks: int = 1,
        heads: int = 1,
        concat: bool = True,
        layer_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_whole(self._who, num_seed_points=num_seed_points, heads=heads)
        if channels % heads:
            raise ValueError(
                f"{self._who}: channels={channels} is not divisible by heads={heads}; choose a divisor"
            )
        self.channels = channels
        self.num_seed_points = num_seed_points
        self.heads = heads
        self.concat = concat
        self.layer_norm = layer_norm
        self.dropout = dropout
        block = (channels, heads, layer_norm, dropout)
        self.encoders = nn.ModuleList(SelfAttention(*block) for _ in range(num_encoder_blocks))
        self.pma = Seeds(num_seed_points, *block)
        self.decoders = nn.ModuleList(SelfAttention(*block) for _ in range(num_decoder_blocks))

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in (*self.encoders, self.pma, *self.decoders):
            part.reset_parameters()

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,
    ) -> Tensor:
        """Attend within each set; arguments as in :class:`Aggregation`."""
        rows, sets, dim = self._door(x, index, ptr, dim_size, dim)
        return self._attend(rows, sets, max_num_elements).movedim(0, dim)

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Attend over x ``[N, channels]`` set by set -> ``[R, out]``."""
        return self._attend(x, sets, None)

    def _attend(self, x: Tensor, sets: Sets, length: int | None) -> Tensor:
        if self._matrix(x).shape[1] != self.channels:
            raise ValueError(
                f"{self._who}: x has {x.shape[1]} features but channels={self.channels}; pass "
                f"{self.channels} features"
            )
        dense, valid = pad(sets, x, 0.0, length)
        if 0 in valid.shape:  # no set, or none with an element
            return nothing(x, sets.num_sets, self.channels * (self.num_seed_points if self.concat else 1))
        filled = valid[:, :1]  # [R, 1]
        seen = torch.cat([torch.ones_like(filled), valid[:, 1:]], dim=1)  # an empty set attends to padding
        for encoder in self.encoders:
            dense = encoder(dense, seen)
        seeds = self.pma(dense, seen)  # [R, k, channels]
        for decoder in self.decoders:
            seeds = decoder(seeds)
        out = seeds.flatten(1, 2) if self.concat else seeds.mean(dim=1)
        return torch.where(filled, out, 0)

    def __repr__(self) -> str:
        return (
            f"SetTransformerAggregation({self.channels}, num_seed_points={self.num_seed_points}, "
            f"heads={self.heads}, layer_norm={self.layer_norm}, dropout={self.dropout})"
        )
