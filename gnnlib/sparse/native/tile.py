"""Tiles of SIMD registers for numba kernels.

A tile is a run of consecutive features held in vector registers while the edges of a row pass by. LLVM
cannot make one out of a plain loop, since it must assume that the output row and the gathered rows overlap
and so writes the row back after every edge. Tiles are values: each function returns the new one.

The functions are numba intrinsics, callable only inside compiled code. ``count`` is a literal number of
32-byte vectors, x a C-contiguous ``[N, F]`` array, and a tile covers ``lanes(x) * count`` features from
column f on.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel, register_default
from numba.extending import intrinsic

VECTOR_BYTES = 32  # one AVX2 register; LLVM splits or joins it on other machines
CACHE_LINE = 64

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_BYTES = ir.IntType(8).as_pointer()


class TileType(types.Type):
    """``count`` vectors of ``dtype``; a vector has as many lanes as ``width_of`` fits in 32 bytes."""

    def __init__(self, dtype: Any, count: int, lanes: int) -> None:
        self.dtype, self.count, self.lanes = dtype, count, lanes
        super().__init__(name=f"Tile({dtype}, {count}, {lanes})")


@register_default(TileType)
class _TileModel(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: TileType) -> None:
        vector = ir.VectorType(dmm.lookup(fe_type.dtype).get_value_type(), fe_type.lanes)
        super().__init__(dmm, fe_type, ir.ArrayType(vector, fe_type.count))


def _lanes(dtype: Any) -> int:
    return int(VECTOR_BYTES // (dtype.bitwidth // 8))


def _tile_of(array: Any, count: Any) -> TileType:
    return TileType(array.dtype, count.literal_value, _lanes(array.dtype))


def _vectors(builder: Any, tile: Any, ty: TileType) -> list[Any]:
    return [builder.extract_value(tile, k) for k in range(ty.count)]


def _join(context: Any, builder: Any, vectors: list[Any], ty: TileType) -> Any:
    tile = ir.Constant(context.get_value_type(ty), ir.Undefined)
    for k, vector in enumerate(vectors):
        tile = builder.insert_value(tile, vector, k)
    return tile


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    vector = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _I32(0))
    return builder.shuffle_vector(
        first, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    )


def _address(context: Any, builder: Any, ty: Any, array: Any, row: Any, col: Any) -> Any:
    """Pointer to ``array[row, col]``, whose rows are contiguous."""
    view = context.make_array(ty)(context, builder, array)
    width = cgutils.unpack_tuple(builder, view.shape, 2)[1]
    return builder.gep(view.data, [builder.add(builder.mul(row, width), col)])


def _load(
    context: Any, builder: Any, array_ty: Any, array: Any, row: Any, col: Any, ty: TileType
) -> list[Any]:
    element = context.get_data_type(array_ty.dtype)
    base = _address(context, builder, array_ty, array, row, col)
    base = builder.bitcast(base, ir.VectorType(element, ty.lanes).as_pointer())
    loaded = []
    for k in range(ty.count):
        vector = builder.load(builder.gep(base, [_I64(k)]))
        vector.align = array_ty.dtype.bitwidth // 8
        loaded.append(vector)
    return loaded


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.fadd(c, builder.fmul(a, b, flags=("contract",)), flags=("contract",))


@intrinsic
def item(typingctx: Any, array: Any, index: Any) -> Any:
    """``array[index]`` of a contiguous vector, without numba's test for an index counted from the end."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        view = context.make_array(sig.args[0])(context, builder, args[0])
        return builder.load(builder.gep(view.data, [args[1]]))

    return array.dtype(array, types.int64), codegen


def _ask(builder: Any, pointer: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [_BYTES, _I32, _I32, _I32])
    fn = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(fn, [pointer, _I32(0), _I32(3), _I32(1)])  # a read, to all caches, of data


@intrinsic
def prefetch(typingctx: Any, x: Any, row: Any, col: Any) -> Any:
    """Ask for the cache line of ``x[row, col]``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _ask(builder, builder.bitcast(_address(context, builder, sig.args[0], *args), _BYTES))
        return context.get_dummy_value()

    return types.void(x, types.int64, types.int64), codegen


@intrinsic
def prefetch_row(typingctx: Any, x: Any, row: Any) -> Any:
    """Ask for the cache lines of ``x[row]``, whose number a loop in Python would find by a division."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        ty, (array, row) = sig.args[0], args
        view = context.make_array(ty)(context, builder, array)
        columns = cgutils.unpack_tuple(builder, view.shape, 2)[1]
        first = builder.bitcast(_address(context, builder, ty, array, row, _I64(0)), _BYTES)
        size = builder.mul(columns, _I64(ty.dtype.bitwidth // 8))
        with cgutils.for_range_slice(builder, _I64(0), size, _I64(CACHE_LINE), _I64) as (place, _):
            _ask(builder, builder.gep(first, [place]))
        return context.get_dummy_value()

    return types.void(x, types.int64), codegen


@intrinsic
def lanes(typingctx: Any, x: Any) -> Any:
    """Features in one vector of x's dtype."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _I64(_lanes(sig.args[0].dtype))

    return types.int64(x), codegen


@intrinsic(prefer_literal=True)
def zero(typingctx: Any, x: Any, count: Any) -> Any:
    """A tile of zeros of x's dtype."""
    tile = _tile_of(x, count)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(tile), None)

    return tile(x, count), codegen


@intrinsic(prefer_literal=True)
def index(typingctx: Any, x: Any, count: Any, value: Any) -> Any:
    """A tile of int32, a lane for each feature of x, all of them ``value``."""
    tile = TileType(types.int32, count.literal_value, _lanes(x.dtype))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = _splat(builder, args[2], tile.lanes)
        return _join(context, builder, [vector] * tile.count, tile)

    return tile(x, count, types.int32), codegen


@intrinsic(prefer_literal=True)
def load(typingctx: Any, scale: Any, x: Any, row: Any, col: Any, count: Any) -> Any:
    """``scale * x[row, col:]``."""
    tile = _tile_of(x, count)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        factor = _splat(builder, args[0], tile.lanes)
        vectors = _load(context, builder, sig.args[1], args[1], args[2], args[3], tile)
        return _join(context, builder, [builder.fmul(factor, v) for v in vectors], tile)

    return tile(x.dtype, x, types.int64, types.int64, count), codegen


@intrinsic
def axpy(typingctx: Any, tile: Any, scale: Any, x: Any, row: Any, col: Any) -> Any:
    """``tile + scale * x[row, col:]``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        factor = _splat(builder, args[1], tile.lanes)
        vectors = _load(context, builder, sig.args[2], args[2], args[3], args[4], tile)
        sums = [
            _fma(builder, factor, v, s)
            for v, s in zip(vectors, _vectors(builder, args[0], tile), strict=True)
        ]
        return _join(context, builder, sums, tile)

    return tile(tile, x.dtype, x, types.int64, types.int64), codegen


@intrinsic
def add(typingctx: Any, tile: Any, x: Any, row: Any, col: Any) -> Any:
    """``tile + x[row, col:]``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vectors = _load(context, builder, sig.args[1], args[1], args[2], args[3], tile)
        sums = [builder.fadd(s, v) for v, s in zip(vectors, _vectors(builder, args[0], tile), strict=True)]
        return _join(context, builder, sums, tile)

    return tile(tile, x, types.int64, types.int64), codegen


@intrinsic
def multiply_add(typingctx: Any, tile: Any, a: Any, i: Any, b: Any, j: Any, col: Any) -> Any:
    """``tile + a[i, col:] * b[j, col:]``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left = _load(context, builder, sig.args[1], args[1], args[2], args[5], tile)
        right = _load(context, builder, sig.args[3], args[3], args[4], args[5], tile)
        sums = [
            _fma(builder, u, v, s)
            for u, v, s in zip(left, right, _vectors(builder, args[0], tile), strict=True)
        ]
        return _join(context, builder, sums, tile)

    return tile(tile, a, types.int64, b, types.int64, types.int64), codegen


@intrinsic
def total(typingctx: Any, tile: Any) -> Any:
    """Sum of all lanes, in an order that depends on the tile's size alone."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vectors = _vectors(builder, args[0], tile)
        while len(vectors) > 1:
            vectors = [
                builder.fadd(vectors[k], vectors[k + 1]) if k + 1 < len(vectors) else vectors[k]
                for k in range(0, len(vectors), 2)
            ]
        parts = [builder.extract_element(vectors[0], _I32(k)) for k in range(tile.lanes)]
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [builder.fadd(parts[k], parts[k + half]) for k in range(half)]
        return parts[0]

    return tile.dtype(tile), codegen


@intrinsic
def beats(typingctx: Any, best: Any, value: Any) -> Any:
    """Lanes where ``value`` replaces ``best``: greater, or the first NaN."""
    mask = TileType(types.boolean, best.count, best.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        masks = []
        pairs = zip(_vectors(builder, args[0], best), _vectors(builder, args[1], value), strict=True)
        for old, new in pairs:
            greater = builder.fcmp_unordered(">", new, old)
            masks.append(builder.and_(greater, builder.fcmp_ordered("ord", old, old)))
        return _join(context, builder, masks, mask)

    return mask(best, value), codegen


@intrinsic
def choose(typingctx: Any, mask: Any, yes: Any, no: Any) -> Any:
    """``yes`` in the lanes of the mask, else ``no``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        triples = zip(*(_vectors(builder, a, t) for a, t in zip(args, sig.args, strict=True)), strict=True)
        return _join(context, builder, [builder.select(m, y, n) for m, y, n in triples], yes)

    return yes(mask, yes, no), codegen


@intrinsic
def store(typingctx: Any, tile: Any, out: Any, row: Any, col: Any) -> Any:
    """``out[row, col:] = tile``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base = _address(context, builder, sig.args[1], *args[1:])
        element = context.get_data_type(tile.dtype)
        base = builder.bitcast(base, ir.VectorType(element, tile.lanes).as_pointer())
        for k, vector in enumerate(_vectors(builder, args[0], tile)):
            written = builder.store(vector, builder.gep(base, [_I64(k)]))
            written.align = tile.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(tile, out, types.int64, types.int64), codegen


@intrinsic
def store_scaled(typingctx: Any, tile: Any, scale: Any, out: Any, row: Any, col: Any) -> Any:
    """``out[row, col:] = scale * tile``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base = _address(context, builder, sig.args[2], *args[2:])
        element = context.get_data_type(tile.dtype)
        base = builder.bitcast(base, ir.VectorType(element, tile.lanes).as_pointer())
        factor = _splat(builder, args[1], tile.lanes)
        for k, vector in enumerate(_vectors(builder, args[0], tile)):
            written = builder.store(builder.fmul(vector, factor), builder.gep(base, [_I64(k)]))
            written.align = tile.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(tile, tile.dtype, out, types.int64, types.int64), codegen
