"""Element-wise work on tiles: exponential, leaky rectifier, products with a row.

Like :mod:`gnnlib.sparse.native.tile`, numba intrinsics that are callable only inside compiled code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gnnlib.sparse.native.tile import (
    TileType,
    _address,
    _fma,
    _join,
    _load,
    _splat,
    _vectors,
)

_LOG2_E = 1 / math.log(2)
_ROUND = 12582912.0  # 1.5 * 2^23: adding it rounds to an integer in the low bits of the mantissa
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # their sum is ln 2, the first has few bits
# exp(r) on |r| <= ln(2) / 2 by its Taylor series to the seventh power: under 2^-24 of the value.
_SERIES = [1 / math.factorial(k) for k in range(7, -1, -1)]
_LOWEST = -87.0  # below it the result would be subnormal; it is 0


@intrinsic
def at(typingctx: Any, x: Any, row: Any, col: Any) -> Any:
    """``x[row, col]`` of a contiguous matrix, without numba's tests for indices counted from the end."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, sig.args[0], *args))

    return x.dtype(x, types.int64, types.int64), codegen


@intrinsic
def put(typingctx: Any, x: Any, row: Any, col: Any, value: Any) -> Any:
    """``x[row, col] = value`` of a contiguous matrix."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[3], _address(context, builder, sig.args[0], *args[:3]))
        return context.get_dummy_value()

    return types.void(x, types.int64, types.int64, x.dtype), codegen


def _each(make: Callable[[Any, Any, TileType], Any]) -> Callable[..., Any]:
    """Code that maps each vector of the first argument, a tile."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        ty = sig.args[0]
        extra = [_splat(builder, a, ty.lanes) for a in args[1:]]
        vectors = [make(builder, (v, *extra), ty) for v in _vectors(builder, args[0], ty)]
        return _join(context, builder, vectors, ty)

    return codegen


def _constant(ty: TileType, value: float) -> Any:
    element = ir.FloatType() if ty.dtype == types.float32 else ir.DoubleType()
    return ir.Constant(ir.VectorType(element, ty.lanes), [value] * ty.lanes)


def _exp(builder: Any, args: Any, ty: TileType) -> Any:
    (x,) = args
    if ty.dtype != types.float32:
        exp = builder.module.declare_intrinsic("llvm.exp", [ir.DoubleType()])
        for k in range(ty.lanes):
            lane = ir.Constant(ir.IntType(32), k)
            x = builder.insert_element(x, builder.call(exp, [builder.extract_element(x, lane)]), lane)
        return x
    integers = ir.VectorType(ir.IntType(32), ty.lanes)
    shifted = _fma(builder, x, _constant(ty, _LOG2_E), _constant(ty, _ROUND))
    power = builder.fsub(shifted, _constant(ty, _ROUND))
    rest = _fma(builder, power, _constant(ty, -_LN2_HIGH), x)
    rest = _fma(builder, power, _constant(ty, -_LN2_LOW), rest)
    value = _constant(ty, _SERIES[0])
    for coefficient in _SERIES[1:]:
        value = _fma(builder, value, rest, _constant(ty, coefficient))
    # 2^power: the integer stands in the low bits of ``shifted``; the exponent of a float begins at bit 23.
    bits = builder.shl(builder.bitcast(shifted, integers), ir.Constant(integers, [23] * ty.lanes))
    one = builder.bitcast(_constant(ty, 1.0), integers)
    scale = builder.bitcast(builder.add(bits, one), x.type)
    small = builder.fcmp_ordered("<", x, _constant(ty, _LOWEST))
    return builder.select(small, _constant(ty, 0.0), builder.fmul(value, scale))


@intrinsic
def exp(typingctx: Any, tile: Any) -> Any:
    """``exp(tile)`` for arguments up to 88; float32 to about one unit in the last place."""
    return tile(tile), _each(_exp)


@intrinsic
def shift(typingctx: Any, tile: Any, value: Any) -> Any:
    """``tile + value``."""
    return tile(tile, tile.dtype), _each(lambda builder, args, ty: builder.fadd(*args))


@intrinsic
def scale(typingctx: Any, tile: Any, value: Any) -> Any:
    """``value * tile``."""
    return tile(tile, tile.dtype), _each(lambda builder, args, ty: builder.fmul(*args))


def _positive(builder: Any, x: Any, ty: TileType) -> Any:
    return builder.fcmp_ordered(">", x, _constant(ty, 0.0))


def _leaky(builder: Any, args: Any, ty: TileType) -> Any:
    x, slope = args
    return builder.select(_positive(builder, x, ty), x, builder.fmul(x, slope))


def _leaky_slope(builder: Any, args: Any, ty: TileType) -> Any:
    x, slope = args
    return builder.select(_positive(builder, x, ty), _constant(ty, 1.0), slope)


@intrinsic
def leaky(typingctx: Any, tile: Any, slope: Any) -> Any:
    """LeakyReLU of the tile."""
    return tile(tile, tile.dtype), _each(_leaky)


@intrinsic
def leaky_slope(typingctx: Any, tile: Any, slope: Any) -> Any:
    """Derivative of the LeakyReLU at the tile, ``slope`` at 0."""
    return tile(tile, tile.dtype), _each(_leaky_slope)


def _with_row(ty: TileType, make: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    """Code that joins each vector of a tile with that of ``x[row, col:]``: arguments tile, x, row, col."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        loaded = _load(context, builder, sig.args[1], args[1], args[2], args[3], ty)
        pairs = zip(_vectors(builder, args[0], ty), loaded, strict=True)
        return _join(context, builder, [make(builder, a, b) for a, b in pairs], ty)

    return codegen


@intrinsic
def times(typingctx: Any, tile: Any, x: Any, row: Any, col: Any) -> Any:
    """``tile * x[row, col:]``."""
    code = _with_row(tile, lambda builder, a, b: builder.fmul(a, b))
    return tile(tile, x, types.int64, types.int64), code


@intrinsic
def plus(typingctx: Any, tile: Any, other: Any, factor: Any) -> Any:
    """``tile + factor * other``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        splat = _splat(builder, args[2], tile.lanes)
        pairs = zip(_vectors(builder, args[0], tile), _vectors(builder, args[1], tile), strict=True)
        return _join(context, builder, [_fma(builder, splat, b, a) for a, b in pairs], tile)

    return tile(tile, tile, tile.dtype), codegen


@intrinsic
def fold(typingctx: Any, tile: Any) -> Any:
    """A tile of one vector, the sum of all vectors, in an order that depends on their number alone."""
    one = TileType(tile.dtype, 1, tile.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vectors = _vectors(builder, args[0], tile)
        while len(vectors) > 1:
            pairs = range(0, len(vectors), 2)
            vectors = [
                builder.fadd(*vectors[k : k + 2]) if k + 1 < len(vectors) else vectors[k] for k in pairs
            ]
        return _join(context, builder, vectors, one)

    return one(tile), codegen


@intrinsic
def total(typingctx: Any, tile: Any) -> Any:
    """Sum of the lanes of a tile of one vector: halves are added until one lane is left."""
    if tile.count != 1:
        raise TypeError("vector.total takes one vector; fold the tile first")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        (vector,) = _vectors(builder, args[0], tile)
        lanes = tile.lanes
        while lanes > 1:
            lanes //= 2
            halves = [
                builder.shuffle_vector(
                    vector,
                    ir.Constant(vector.type, ir.Undefined),
                    ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(first, first + lanes))),
                )
                for first in (0, lanes)
            ]
            vector = builder.fadd(*halves)
        return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    return tile.dtype(tile), codegen


__all__ = ["at", "exp", "fold", "leaky", "leaky_slope", "plus", "put", "scale", "shift", "times", "total"]
