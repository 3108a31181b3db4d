"""What the passes of attention share: score of an edge, softmax of a row, dropout, arrays for kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from gnnlib.sparse.native import counter, tile, vector
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import array
from gnnlib.sparse.ops.edge_attention.dropout import STEPS

#: Edges taken through all steps together: their gathered rows are read again while they are in cache.
CHUNK = 32
#: Room after the scores of a row, for the last vector.
PAD = 16

_TOP24 = np.uint64(40)


@njit(inline="always")
def kept(seed, threshold, boost, e, h, heads):
    """The factor of dropout for slot e and head h: 0, or ``boost``.

    The splitmix64 generator at place e * heads + h + 1, so that any pass finds the same number again.
    """
    z = counter.draw(seed, e * heads + h)
    return boost if (z >> _TOP24) >= threshold else boost - boost


@njit(inline="always")
def additive(dst, i, src, j, att, edge, edge_map, e, factor, out, k):
    """LeakyReLU(dst_i + src_j + edge_e) of each head, to column k of ``out``."""
    for h in range(dst.shape[1]):
        s = vector.at(dst, i, h) + vector.at(src, j, h)
        if edge.size > 0:
            s += vector.at(edge, e, h)
        vector.put(out, h, k, s if s > 0 else factor * s)


@njit(inline="always")
def dot(dst, i, src, j, att, edge, edge_map, e, factor, out, k):
    """factor <dst_i, src_j> + edge_e of each head, to column k of ``out``."""
    heads = out.shape[0]
    depth = dst.shape[1] // heads
    lanes = tile.lanes(dst)
    for h in range(heads):
        f, stop = h * depth, h * depth + depth
        wide = tile.zero(dst, 4)
        while stop - f >= 4 * lanes:
            wide = tile.multiply_add(wide, dst, i, src, j, f)
            f += 4 * lanes
        single = vector.fold(wide)
        while stop - f >= lanes:
            single = tile.multiply_add(single, dst, i, src, j, f)
            f += lanes
        s = vector.total(single)
        for g in range(f, stop):
            s += vector.at(dst, i, g) * vector.at(src, j, g)
        s *= factor
        if edge.size > 0:
            s += vector.at(edge, e, h)
        vector.put(out, h, k, s)


@njit(inline="always")
def gatv2(dst, i, src, j, att, edge, edge_map, e, factor, out, k):
    """<att, LeakyReLU(dst_i + src_j + edge_e edge_map)> of each head, to column k of ``out``.

    Where the map has no rows, edges come mapped.
    """
    heads = out.shape[0]
    terms = edge_map.shape[0]
    mapped = terms == 0 and edge.size > 0
    depth = dst.shape[1] // heads
    lanes = tile.lanes(dst)
    one = dst.dtype.type(1)
    for h in range(heads):
        f, stop = h * depth, h * depth + depth
        wide = tile.zero(dst, 4)
        while stop - f >= 4 * lanes:
            z4 = tile.add(tile.load(one, dst, i, f, 4), src, j, f)
            if mapped:
                z4 = tile.add(z4, edge, e, f)
            for c in range(terms):
                z4 = tile.axpy(z4, vector.at(edge, e, c), edge_map, c, f)
            wide = vector.plus(wide, vector.times(vector.leaky(z4, factor), att, 0, f), one)
            f += 4 * lanes
        single = vector.fold(wide)
        while stop - f >= lanes:
            z1 = tile.add(tile.load(one, dst, i, f, 1), src, j, f)
            if mapped:
                z1 = tile.add(z1, edge, e, f)
            for c in range(terms):
                z1 = tile.axpy(z1, vector.at(edge, e, c), edge_map, c, f)
            single = vector.plus(single, vector.times(vector.leaky(z1, factor), att, 0, f), one)
            f += lanes
        s = vector.total(single)
        for g in range(f, stop):
            z = vector.at(dst, i, g) + vector.at(src, j, g)
            if mapped:
                z += vector.at(edge, e, g)
            for c in range(terms):
                z += vector.at(edge, e, c) * vector.at(edge_map, c, g)
            s += vector.at(att, 0, g) * (z if z > 0 else factor * z)
        vector.put(out, h, k, s)


@njit(inline="always")
def soften(weight, n, top, total, p, pieces):
    """Turn the first n scores of each head into their softmax; row p of ``top`` and ``total`` keeps the
    maximum and the sum of the exponentials. The pieces of a hub row stay undivided until they are merged.
    """
    one, none = weight.dtype.type(1), weight.dtype.type(0)
    lowest = weight.dtype.type(-np.inf)
    lanes = tile.lanes(weight)
    for h in range(weight.shape[0]):
        most = lowest
        for k in range(n):
            s = vector.at(weight, h, k)
            if s > most or s != s:
                most = s
        vector.put(top, p, h, most)
        vector.put(total, p, h, none)
        if most == lowest:
            for k in range(n):
                vector.put(weight, h, k, none)
            continue
        for k in range(n, n + lanes):
            vector.put(weight, h, k, lowest)
        amount = tile.zero(weight, 1)
        for k in range(0, n, lanes):
            power = vector.exp(vector.shift(tile.load(one, weight, h, k, 1), -most))
            tile.store(power, weight, h, k)
            amount = tile.add(amount, weight, h, k)
        all_of = vector.total(amount)
        vector.put(total, p, h, all_of)
        if not pieces:
            for k in range(0, n, lanes):
                tile.store(tile.load(one / all_of, weight, h, k, 1), weight, h, k)


@helper
def join(hub, parts, whole):
    """Add up the pieces of each hub row in order."""
    for p in range(hub.shape[1]):
        i = hub[0, p]
        begins = p == 0 or hub[0, p - 1] != i
        for f in range(whole.shape[1]):
            if begins:
                whole[i, f] = 0
            whole[i, f] += parts[p, f]


def flat(x: Tensor, dtype: torch.dtype) -> Any:
    """The matrix ``[N, ...]`` with one row a node."""
    return array(x.reshape(x.shape[0], math.prod(x.shape[1:])), dtype)


def drop_args(seed: Tensor | None, dropout: float, kind: Any) -> tuple[Any, ...]:
    """Seed, threshold and factor of dropout; a threshold of 0 keeps every edge."""
    if seed is None:
        return np.uint64(0), np.uint64(0), kind(1)
    return np.uint64(int(seed) & (2**64 - 1)), np.uint64(round(dropout * STEPS)), kind(1 / (1 - dropout))


SCORES: dict[str, Callable[..., Any]] = {"additive": additive, "dot": dot, "gatv2": gatv2}
