"""The logistic function and products of tiles, for kernels with a gate on each feature.

numba's ``math.exp`` is one call a number. The exponential here works on whole vectors:
:math:`e^x = 2^n e^r` with n the nearest integer to :math:`x / \\ln 2`, a Taylor polynomial for
:math:`|r| \\le \\ln(2) / 2`, and the power of two written into the exponent bits.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gnnlib.sparse.native.tile import _fma, _join, _load, _tile_of, _vectors

# Degree of the polynomial (the first term left out is under 1e-8 and 1e-17), ln 2 in two parts whose first
# has zeros at its end, so that its product with n is exact, the range of x in which n fits the exponent
# field (its upper end gives infinity, hence a gate of exactly 0), mantissa bits and exponent bias.
_FORMS = {
    32: (7, 0.693359375, -2.12194440e-4, (-87.0, 89.0), 23, 127),
    64: (13, 6.93147180369123816490e-01, 1.90821492927058770002e-10, (-708.0, 710.0), 52, 1023),
}


def _exp(builder: Any, x: Any) -> Any:
    """e^x of a vector; 0 to the smallest normal number and infinity outside the range, NaN for NaN."""
    kind, lanes = x.type, x.type.count
    width = 64 if isinstance(kind.element, ir.DoubleType) else 32
    degree, high, low, (least, most), mantissa, bias = _FORMS[width]
    whole = ir.VectorType(ir.IntType(width), lanes)

    def real(value: float) -> Any:
        return ir.Constant(kind, [value] * lanes)

    def integer(value: int) -> Any:
        return ir.Constant(whole, [value] * lanes)

    x = builder.select(builder.fcmp_ordered(">", x, real(most)), real(most), x)
    x = builder.select(builder.fcmp_ordered("<", x, real(least)), real(least), x)
    # Adding 1.5 * 2^mantissa rounds to an integer, which then stands in the lowest bits.
    magic = real(1.5 * 2.0**mantissa)
    shifted = builder.fadd(builder.fmul(x, real(1 / math.log(2))), magic)
    n = builder.fsub(shifted, magic)
    r = _fma(builder, n, real(-high), x)
    r = _fma(builder, n, real(-low), r)
    value = real(1 / math.factorial(degree))
    for k in range(degree - 1, -1, -1):
        value = _fma(builder, value, r, real(1 / math.factorial(k)))
    bits = builder.add(builder.bitcast(shifted, whole), integer(bias))
    power = builder.bitcast(builder.shl(bits, integer(mantissa)), kind)
    return builder.fmul(value, power)


def _same(v: Any, value: float) -> Any:
    return ir.Constant(v.type, [value] * v.type.count)


def _sigmoid(builder: Any, v: Any) -> Any:
    one = _same(v, 1.0)
    return builder.fdiv(one, builder.fadd(one, _exp(builder, builder.fsub(_same(v, -0.0), v))))


@intrinsic
def sigmoid(typingctx: Any, tile: Any) -> Any:
    """``1 / (1 + exp(-tile))``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _join(context, builder, [_sigmoid(builder, v) for v in _vectors(builder, args[0], tile)], tile)

    return tile(tile), codegen


@intrinsic
def tanh(typingctx: Any, tile: Any) -> Any:
    """``2 sigmoid(2 tile) - 1``, which is off by a rounding of 1 where it is small."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out = []
        for v in _vectors(builder, args[0], tile):
            half = _sigmoid(builder, builder.fadd(v, v))
            out.append(builder.fsub(builder.fadd(half, half), _same(v, 1.0)))
        return _join(context, builder, out, tile)

    return tile(tile), codegen


@intrinsic
def steepness(typingctx: Any, gate: Any) -> Any:
    """``gate * (1 - gate)``: the derivative of the logistic function where its value is ``gate``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out = []
        for v in _vectors(builder, args[0], gate):
            one = ir.Constant(v.type, [1.0] * v.type.count)
            out.append(builder.fmul(v, builder.fsub(one, v)))
        return _join(context, builder, out, gate)

    return gate(gate), codegen


@intrinsic
def times(typingctx: Any, a: Any, b: Any) -> Any:
    """``a * b``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pairs = zip(_vectors(builder, args[0], a), _vectors(builder, args[1], b), strict=True)
        return _join(context, builder, [builder.fmul(u, v) for u, v in pairs], a)

    return a(a, b), codegen


@intrinsic
def plus_product(typingctx: Any, total: Any, a: Any, b: Any) -> Any:
    """``total + a * b``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        triples = zip(*(_vectors(builder, t, total) for t in args), strict=True)
        return _join(context, builder, [_fma(builder, u, v, s) for s, u, v in triples], total)

    return total(total, a, b), codegen


@intrinsic(prefer_literal=True)
def row(typingctx: Any, x: Any, i: Any, col: Any, count: Any) -> Any:
    """The tile ``x[i, col:]``."""
    tile = _tile_of(x, count)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vectors = _load(context, builder, sig.args[0], args[0], args[1], args[2], tile)
        return _join(context, builder, vectors, tile)

    return tile(x, types.int64, types.int64, count), codegen
