"""GATv2's score on a GPU: the gradients of the weights that all edges share.

The slots are cut into shares by their number alone. A program adds up its share in order, and the sums of the
shares are added in order.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.gpu.blocks import source_of
from gnnlib.sparse.gpu.heads import head_tile, tile_columns, tile_heads
from gnnlib.sparse.gpu.launch import launch
from gnnlib.sparse.ops.edge_attention.gpu.score import combine, leaky, load_att, load_target, slope

#: Slots taken at a time, and the most shares: enough programs for any device. Not measured on one.
_SLOTS = 8
_SHARES = 1024


@triton.jit
def _maps_bwd_kernel(
    rows, indices, x_dst, x_src, att, edge, edge_map, pair, d_att, d_map, used, share_size,
    HEADS: tl.constexpr, INNER: tl.constexpr, CHANNELS: tl.constexpr, FACTOR: tl.constexpr, ACC: tl.constexpr,
    BLOCK_E: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    share = tl.program_id(0).to(tl.int64)
    first = share * share_size
    end = tl.minimum(first + share_size, used)
    head, column = tile_heads(BLOCK_H), tile_columns(BLOCK_D)
    inside = (head < HEADS) & (column < INNER)
    w = load_att(att, head, column, "gatv2", HEADS, INNER, ACC)
    own = tl.zeros((1, BLOCK_H, BLOCK_D), ACC)
    for begin in range(0, share_size, BLOCK_E):
        slot = first + begin + tl.arange(0, BLOCK_E)[:, None, None]
        live = slot < end
        row = tl.load(rows + slot, mask=live, other=0).to(tl.int64)
        a = load_target(x_dst, row, live, head, column, "gatv2", HEADS, INNER, ACC)
        source = source_of(indices, slot, live, True)
        b = load_target(x_src, source, live, head, column, "gatv2", HEADS, INNER, ACC)
        z = combine(a, b, w, edge, edge_map, slot, live, head, column, "gatv2", HEADS, INNER, CHANNELS, ACC)
        d = tl.load(pair + slot * (2 * HEADS) + HEADS + head, mask=live & (head < HEADS), other=0)
        own += tl.sum(d * leaky(z, FACTOR), axis=0)[None, :, :]
        if CHANNELS > 0:
            for c in range(CHANNELS):
                amount = tl.load(edge + slot * CHANNELS + c, mask=live, other=0).to(ACC)
                part = tl.sum(tl.where(live, amount * d * w * slope(z, FACTOR, ACC), 0.0), axis=0)[None, :, :]
                at = d_map + (share * CHANNELS + c) * (HEADS * INNER) + head * INNER + column
                tl.store(at, tl.load(at, mask=inside, other=0) + part, mask=inside)
    tl.store(d_att + share * (HEADS * INNER) + head * INNER + column, own, mask=inside)


def map_gradients(
    indptr: Tensor, indices: Tensor, given: tuple[Tensor | None, ...], pair: Tensor, fixed: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Gradients of the score's weights ``[H, D]`` and of the edge map ``[K, H, D]``."""
    heads, inner, channels = fixed["HEADS"], fixed["INNER"], fixed["CHANNELS"]
    num_slots = indices.shape[0]
    size = max(triton.cdiv(triton.cdiv(num_slots, _SHARES), _SLOTS) * _SLOTS, 16 * _SLOTS)
    shares = triton.cdiv(num_slots, size)
    d_att = pair.new_zeros(shares, heads, inner)
    d_map = pair.new_zeros(shares, channels, heads, inner)
    if heads * inner > 0:
        tile = head_tile(heads, inner)
        launch(
            _maps_bwd_kernel,
            (shares,),
            pair,
            row_of_slot(indptr, num_slots),
            indices,
            *given,
            pair,
            d_att,
            d_map,
            num_slots,
            size,
            HEADS=heads,
            INNER=inner,
            CHANNELS=channels,
            FACTOR=fixed["FACTOR"],
            ACC=fixed["ACC"],
            BLOCK_E=_SLOTS,
            BLOCK_H=tile.heads,
            BLOCK_D=tile.columns,
            num_warps=tile.warps,
        )
    return d_att.sum(0), d_map.sum(0)
