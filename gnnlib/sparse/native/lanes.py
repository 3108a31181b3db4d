"""Tiles that may end in the middle of a vector, and arithmetic between tiles.

Like :mod:`gnnlib.sparse.native.tile`, numba intrinsics that are callable only inside compiled code. The four
ways to memory take ``width``, the number of features that are left: the whole forms pass it over, the part
forms touch no more than the first ``width`` lanes of a tile of one vector and read 0 in the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gnnlib.sparse.native.tile import (
    TileType,
    _address,
    _fma,
    _join,
    _lanes,
    _load,
    _splat,
    _tile_of,
    _vectors,
)

_I1, _I32 = ir.IntType(1), ir.IntType(32)


def _suffix(ty: Any) -> str:
    return f"v{ty.count}{'i32' if isinstance(ty.element, ir.IntType) else _FLOAT[type(ty.element)]}"


_FLOAT = {ir.FloatType: "f32", ir.DoubleType: "f64"}


def _mask(builder: Any, width: Any, lanes: int) -> Any:
    """The lanes below ``width``."""
    numbers = ir.Constant(ir.VectorType(width.type, lanes), list(range(lanes)))
    return builder.icmp_signed("<", numbers, _splat(builder, width, lanes))


def _pointer(context: Any, builder: Any, ty: Any, args: Any, lanes: int) -> tuple[Any, Any]:
    """Where ``array[row, col:]`` begins, and the type of a vector there."""
    vector = ir.VectorType(context.get_data_type(ty.dtype), lanes)
    return builder.bitcast(_address(context, builder, ty, *args), vector.as_pointer()), vector


@intrinsic(prefer_literal=True)
def get(typingctx: Any, x: Any, row: Any, col: Any, like: Any, count: Any, width: Any) -> Any:
    """``x[row, col:]`` as a tile with the lanes of ``like``, another array."""
    tile = TileType(x.dtype, count.literal_value, _lanes(like.dtype))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vectors = _load(context, builder, sig.args[0], args[0], args[1], args[2], tile)
        return _join(context, builder, vectors, tile)

    return tile(x, types.int64, types.int64, like, count, types.int64), codegen


@intrinsic(prefer_literal=True)
def get_part(typingctx: Any, x: Any, row: Any, col: Any, like: Any, count: Any, width: Any) -> Any:
    """The first ``width`` lanes of ``x[row, col:]``, 0 in the others."""
    tile = TileType(x.dtype, 1, _lanes(like.dtype))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer, vector = _pointer(context, builder, sig.args[0], args[:3], tile.lanes)
        mask = _mask(builder, args[5], tile.lanes)
        kind = ir.FunctionType(vector, [pointer.type, _I32, mask.type, vector])
        name = f"llvm.masked.load.{_suffix(vector)}.p0"
        fn = cgutils.get_or_insert_function(builder.module, kind, name)
        align = _I32(tile.dtype.bitwidth // 8)
        loaded = builder.call(fn, [pointer, align, mask, ir.Constant(vector, None)])
        return _join(context, builder, [loaded], tile)

    return tile(x, types.int64, types.int64, like, count, types.int64), codegen


@intrinsic
def put(typingctx: Any, tile: Any, x: Any, row: Any, col: Any, width: Any) -> Any:
    """``x[row, col:] = tile``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base, _ = _pointer(context, builder, sig.args[1], args[1:4], tile.lanes)
        for k, vector in enumerate(_vectors(builder, args[0], tile)):
            written = builder.store(vector, builder.gep(base, [ir.Constant(ir.IntType(64), k)]))
            written.align = tile.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(tile, x, types.int64, types.int64, types.int64), codegen


@intrinsic
def put_part(typingctx: Any, tile: Any, x: Any, row: Any, col: Any, width: Any) -> Any:
    """``x[row, col:] = tile`` in the first ``width`` lanes."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer, vector = _pointer(context, builder, sig.args[1], args[1:4], tile.lanes)
        mask = _mask(builder, args[4], tile.lanes)
        kind = ir.FunctionType(ir.VoidType(), [vector, pointer.type, _I32, mask.type])
        name = f"llvm.masked.store.{_suffix(vector)}.p0"
        fn = cgutils.get_or_insert_function(builder.module, kind, name)
        align = _I32(tile.dtype.bitwidth // 8)
        builder.call(fn, [_vectors(builder, args[0], tile)[0], pointer, align, mask])
        return context.get_dummy_value()

    return types.void(tile, x, types.int64, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def fill(typingctx: Any, x: Any, count: Any, value: Any) -> Any:
    """A tile of x's dtype with ``value`` in every lane."""
    tile = _tile_of(x, count)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _join(context, builder, [_splat(builder, args[2], tile.lanes)] * tile.count, tile)

    return tile(x, count, x.dtype), codegen


def _each(ty: TileType, make: Callable[..., Any]) -> Callable[..., Any]:
    """Code that joins the vectors of its tile arguments, one by one."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        tiles = [_vectors(builder, a, t) for a, t in zip(args, sig.args, strict=True)]
        return _join(context, builder, [make(builder, *v) for v in zip(*tiles, strict=True)], ty)

    return codegen


@intrinsic
def plus(typingctx: Any, a: Any, b: Any) -> Any:
    """``a + b``."""
    return a(a, b), _each(a, lambda builder, u, v: builder.fadd(u, v))


@intrinsic
def minus(typingctx: Any, a: Any, b: Any) -> Any:
    """``a - b``."""
    return a(a, b), _each(a, lambda builder, u, v: builder.fsub(u, v))


@intrinsic
def times(typingctx: Any, a: Any, b: Any) -> Any:
    """``a * b``."""
    return a(a, b), _each(a, lambda builder, u, v: builder.fmul(u, v))


@intrinsic
def over(typingctx: Any, a: Any, b: Any) -> Any:
    """``a / b``."""
    return a(a, b), _each(a, lambda builder, u, v: builder.fdiv(u, v))


@intrinsic
def fused(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """``a + b * c``."""
    return a(a, b, c), _each(a, lambda builder, u, v, w: _fma(builder, v, w, u))


@intrinsic
def root(typingctx: Any, a: Any) -> Any:
    """Square root."""

    def make(builder: Any, u: Any) -> Any:
        kind = ir.FunctionType(u.type, [u.type])
        fn = cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.{_suffix(u.type)}")
        return builder.call(fn, [u])

    return a(a), _each(a, make)


def _flags(ty: TileType) -> TileType:
    return TileType(types.boolean, ty.count, ty.lanes)


@intrinsic
def falls(typingctx: Any, best: Any, value: Any) -> Any:
    """Lanes where ``value`` replaces ``best`` as the smallest: less, or the first NaN."""

    def make(builder: Any, old: Any, new: Any) -> Any:
        less = builder.fcmp_unordered("<", new, old)
        return builder.and_(less, builder.fcmp_ordered("ord", old, old))

    mask = _flags(best)
    return mask(best, value), _each(mask, make)


@intrinsic
def above(typingctx: Any, a: Any, b: Any) -> Any:
    """Lanes where ``a > b``, or either is NaN."""
    mask = _flags(a)
    return mask(a, b), _each(mask, lambda builder, u, v: builder.fcmp_unordered(">", u, v))


@intrinsic
def greater(typingctx: Any, a: Any, b: Any) -> Any:
    """Lanes where ``a > b``, none where either is NaN."""
    mask = _flags(a)
    return mask(a, b), _each(mask, lambda builder, u, v: builder.fcmp_ordered(">", u, v))


@intrinsic
def broken(typingctx: Any, a: Any) -> Any:
    """Whether any lane is NaN."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        found = ir.Constant(_I1, 0)
        for u in _vectors(builder, args[0], sig.args[0]):
            bits = builder.bitcast(builder.fcmp_unordered("uno", u, u), ir.IntType(sig.args[0].lanes))
            found = builder.or_(found, builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0)))
        return context.cast(builder, found, types.boolean, types.boolean)

    return types.boolean(a), codegen


@intrinsic
def equal(typingctx: Any, a: Any, b: Any) -> Any:
    """Lanes where two tiles of integers agree."""
    mask = _flags(a)
    return mask(a, b), _each(mask, lambda builder, u, v: builder.icmp_signed("==", u, v))


@intrinsic
def finite(typingctx: Any, a: Any) -> Any:
    """The tile with 0 for what is not finite."""

    def make(builder: Any, u: Any) -> Any:
        zero = ir.Constant(u.type, None)
        return builder.select(builder.fcmp_ordered("==", builder.fsub(u, u), zero), u, zero)

    return a(a), _each(a, make)


__all__ = [
    "above", "broken", "equal", "falls", "fill", "finite", "fused", "get", "get_part", "greater", "minus",
    "over", "plus", "put", "put_part", "root", "times",
]  # fmt: skip
