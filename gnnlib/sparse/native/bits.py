"""Sets of integers for numba kernels: bits of 64-bit words, and blocks of sorted entries.

Like :mod:`gnnlib.sparse.native.tile`, callable only inside compiled code.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gnnlib.sparse.native.tile import VECTOR_BYTES


@intrinsic
def lowest(typingctx: Any, word: Any) -> Any:
    """Number of the lowest bit that is set in a word other than 0."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))  # 1: it may not be asked of 0

    return types.int64(types.uint64), codegen


@intrinsic
def block(typingctx: Any, array: Any) -> Any:
    """Entries of the array in one block of :func:`meet`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(64), VECTOR_BYTES // (sig.args[0].dtype.bitwidth // 8))

    return types.int64(array), codegen


@intrinsic
def meet(typingctx: Any, array: Any, a: Any, b: Any) -> Any:
    """Which of the entries of the block from a on are in the block from b on, as bits.

    One block is compared with all rotations of the other.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        ty = sig.args[0]
        size = VECTOR_BYTES // (ty.dtype.bitwidth // 8)
        vector = ir.VectorType(context.get_data_type(ty.dtype), size)
        data = context.make_array(ty)(context, builder, args[0]).data

        def load(at: Any) -> Any:
            loaded = builder.load(builder.bitcast(builder.gep(data, [at]), vector.as_pointer()))
            loaded.align = ty.dtype.bitwidth // 8
            return loaded

        left, right = load(args[1]), load(args[2])
        found = builder.icmp_signed("==", left, right)
        for k in range(1, size):
            turn = ir.Constant(ir.VectorType(ir.IntType(32), size), [(i + k) % size for i in range(size)])
            turned = builder.shuffle_vector(right, ir.Constant(vector, ir.Undefined), turn)
            found = builder.or_(found, builder.icmp_signed("==", left, turned))
        mask = builder.bitcast(found, ir.IntType(size))
        return builder.zext(mask, ir.IntType(64))

    return types.uint64(array, types.int64, types.int64), codegen


__all__ = ["block", "lowest", "meet"]
