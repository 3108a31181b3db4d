"""What the passes of attention share on a GPU: the score of an edge, its softmax, its dropout."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse.gpu import random
from gnnlib.sparse.gpu.heads import over_columns
from gnnlib.sparse.gpu.tiles import accumulator
from gnnlib.sparse.ops.edge_attention.dropout import STEPS


@triton.jit
def keep(
    seed, slot, head, HEADS: tl.constexpr, THRESHOLD: tl.constexpr, BOOST: tl.constexpr, ACC: tl.constexpr
):
    """0 where the weight of a slot and head is dropped, else ``BOOST``; its place in the stream decides."""
    z = random.draw(tl.load(seed), slot * HEADS + head)
    return tl.where(random.shift(z, 40) >= THRESHOLD, tl.full((1, 1, 1), BOOST, ACC), 0.0)


@triton.jit
def leaky(z, FACTOR: tl.constexpr):
    """LeakyReLU."""
    return tl.where(z > 0, z, FACTOR * z)


@triton.jit
def slope(z, FACTOR: tl.constexpr, ACC: tl.constexpr):
    """Derivative of the LeakyReLU, ``factor`` at 0."""
    return tl.where(z > 0, tl.full((1, 1, 1), 1.0, ACC), FACTOR)


@triton.jit
def load_target(
    x,
    row,
    live,
    head,
    column,
    KIND: tl.constexpr,
    HEADS: tl.constexpr,
    INNER: tl.constexpr,
    ACC: tl.constexpr,
):
    """One end's part of the score: a number a head for additive scores, else the columns of each head."""
    if KIND == "additive":
        at, mask = x + row * HEADS + head, live & (head < HEADS)
    else:
        at = x + row * (HEADS * INNER) + head * INNER + column
        mask = live & (head < HEADS) & (column < INNER)
    return tl.load(at, mask=mask, other=0).to(ACC)


@triton.jit
def combine(
    a,
    b,
    att,
    edge,
    edge_map,
    slot,
    live,
    head,
    column,
    KIND: tl.constexpr,
    HEADS: tl.constexpr,
    INNER: tl.constexpr,
    CHANNELS: tl.constexpr,
    ACC: tl.constexpr,
):
    """What both ends and the edge make before the nonlinearity: a + b + e for additive and GATv2 scores, the
    source's part for products."""
    if KIND == "dot":
        z = b
    else:
        z = a + b
        if edge is not None:
            if KIND == "additive":
                z += tl.load(edge + slot * HEADS + head, mask=live & (head < HEADS), other=0).to(ACC)
            elif CHANNELS == 0:
                at = edge + slot * (HEADS * INNER) + head * INNER + column
                z += tl.load(at, mask=live & (head < HEADS) & (column < INNER), other=0).to(ACC)
            else:
                for c in range(CHANNELS):
                    inside = (head < HEADS) & (column < INNER)
                    by = tl.load(edge_map + c * (HEADS * INNER) + head * INNER + column, mask=inside, other=0)
                    z += tl.load(edge + slot * CHANNELS + c, mask=live, other=0).to(ACC) * by.to(ACC)
    return z


@triton.jit
def score(
    a, z, att, edge, slot, live, head,
    KIND: tl.constexpr, HEADS: tl.constexpr, FACTOR: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The score of each edge and head, ``[BLOCK_R, BLOCK_H, 1]``; -inf past the end of a row."""
    if KIND == "additive":
        s = leaky(z, FACTOR)
    else:
        if KIND == "dot":
            s = FACTOR * over_columns(a * z)
            if edge is not None:
                s += tl.load(edge + slot * HEADS + head, mask=live & (head < HEADS), other=0).to(ACC)
        else:
            s = over_columns(att * leaky(z, FACTOR))
    return tl.where(live & (head < HEADS), s, float("-inf"))


@triton.jit
def probability(s, norm):
    """``exp(s - norm)``, 0 in a row without a finite score."""
    empty = norm == float("-inf")
    return tl.where(empty, 0.0, tl.exp(s - tl.where(empty, 0.0, norm)))


@triton.jit
def load_att(
    att, head, column, KIND: tl.constexpr, HEADS: tl.constexpr, INNER: tl.constexpr, ACC: tl.constexpr
):
    """The weights of GATv2's score; nothing for the others."""
    if KIND == "gatv2":
        inside = (head < HEADS) & (column < INNER)
        w = tl.load(att + head * INNER + column, mask=inside, other=0).to(ACC)
    else:
        w = 0.0
    return w


def scored(
    x_dst: Tensor, x_src: Tensor, att: Tensor | None, edge: Tensor | None, edge_map: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The tensors of which a score is made, as kernels read them; a map without channels adds nothing."""
    if edge_map is not None and edge_map.shape[0] == 0:
        edge = edge_map = None
    given = (x_dst, x_src, att, edge, edge_map)
    return tuple(None if t is None else t.contiguous() for t in given)


def constants(
    score: str, x_dst: Tensor, value: Tensor, edge_map: Tensor | None, factor: float, dropout: float
) -> dict[str, Any]:
    """What the kernels are compiled with, beside the tile.

    Slope and dropout are among them, since Triton would round a number that it is passed to float32.
    """
    inner = 1 if score == "additive" else x_dst.shape[2]
    return {
        "FACTOR": float(factor),
        "THRESHOLD": round(dropout * STEPS),
        "BOOST": 1 / (1 - dropout),
        "KIND": score,
        "HEADS": value.shape[1],
        "DEPTH": value.shape[2],
        "INNER": inner,
        "BLOCK_I": triton.next_power_of_2(max(inner, 1)),
        "CHANNELS": 0 if edge_map is None else edge_map.shape[0],
        "ACC": accumulator(value.dtype)[1],
    }


def place_of(seed: Tensor | None) -> Tensor | None:
    """The seed as kernels read it."""
    return None if seed is None else seed.to(torch.int64).reshape(1)
