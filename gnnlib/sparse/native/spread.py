"""Loops over ``prange``, divided among the threads of numba's pool.

numba compiles a function with such a loop once for one thread and again for several. Here the loop becomes a
function of its first and last turn, compiled once, which runs in the calling thread or is handed to the pool
that the caller names.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gnnlib.sparse.native.helper import helper

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_BYTES = _I8.as_pointer()
#: What numba's pool calls: places of the arguments, sizes, steps from one share to the next, nothing.
_SHARE = ir.FunctionType(ir.VoidType(), [_BYTES.as_pointer(), _I64.as_pointer(), _I64.as_pointer(), _BYTES])
#: The pool itself: a share, its arguments, sizes, steps, nothing, inner dimensions, arguments, threads.
_POOL = ir.FunctionType(
    ir.VoidType(),
    [_BYTES, _BYTES.as_pointer(), _I64.as_pointer(), _I64.as_pointer(), _BYTES, _I64, _I64, _I32],
)


@intrinsic
def spread(typingctx: Any, pool: Any, threads: Any, turns: Any, loop: Any, given: Any) -> Any:
    """``loop(0, turns, *given)``, as one call or as one for each of ``threads``.

    Args:
        pool: address of numba's ``parallel_for``, read where there are two threads or more.
        threads: among how many to divide the turns, in order and evenly.
        loop: compiled function of the first turn, the one after the last, and ``given``.
    """
    plain = [types.unliteral(t) for t in given.types]
    called = loop.get_call_type(typingctx, (types.int64, types.int64, *plain), {})

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        compiled = loop.dispatcher.get_compile_result(called)
        context.add_linking_libs([compiled.library])
        work = _Work(context, builder, compiled.fndesc, called, plain)
        values = [
            _lent(context, builder, new, context.cast(builder, builder.extract_value(args[4], k), old, new))
            for k, (old, new) in enumerate(zip(given.types, plain, strict=True))
        ]
        address, count, end = (
            context.cast(builder, a, t, types.int64) for a, t in zip(args[:3], sig.args[:3], strict=True)
        )
        with builder.if_else(builder.icmp_signed(">", count, _I64(1))) as (many, one):
            with many:
                work.divide(address, count, end, values)
            with one:
                status, _ = work.call(builder, _I64(0), end, values)
                with cgutils.if_unlikely(builder, status.is_error):
                    context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(pool, threads, turns, loop, given), codegen


def _lent(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """The value; an array without its owner, who outlives the loop.

    numba counts the references to an owner, in memory that all threads would write at every call.
    """
    if not isinstance(kind, types.Array):
        return value
    view = context.make_array(kind)(context, builder, value)
    for name in ("meminfo", "parent"):
        setattr(view, name, ir.Constant(getattr(view, name).type, None))
    return view._getvalue()


class _Work:
    """Code that calls a loop, here or in another thread."""

    def __init__(self, context: Any, builder: Any, fndesc: Any, signature: Any, given: list[Any]) -> None:
        self.context, self.builder = context, builder
        self.function = context.declare_function(builder.module, fndesc)
        self.signature, self.given = signature, given
        #: Threads, turns, whether a share failed, and what the loop is given.
        self.record = ir.LiteralStructType([_I64, _I64, _I64, *map(context.get_data_type, given)])

    def call(self, builder: Any, first: Any, last: Any, values: list[Any]) -> Any:
        sig = self.signature
        return self.context.call_conv.call_function(
            builder, self.function, sig.return_type, sig.args, [first, last, *values]
        )

    def divide(self, address: Any, threads: Any, turns: Any, values: list[Any]) -> None:
        builder = self.builder
        record = cgutils.alloca_once(builder, self.record)
        for k, value in enumerate((threads, turns, _I64(0))):
            builder.store(value, cgutils.gep_inbounds(builder, record, 0, k))
        for k, (kind, value) in enumerate(zip(self.given, values, strict=True), start=3):
            self.context.pack_value(builder, kind, value, cgutils.gep_inbounds(builder, record, 0, k))
        # Of the two arguments the record stays where it is; the other one begins at address 0 and moves by 1,
        # so that it is the number of the share.
        places = cgutils.alloca_once(builder, _BYTES, size=_I64(2))
        steps = cgutils.alloca_once(builder, _I64, size=_I64(2))
        sizes = cgutils.alloca_once_value(builder, threads)
        for k, (place, step) in enumerate(
            ((builder.bitcast(record, _BYTES), _I64(0)), (ir.Constant(_BYTES, None), _I64(1)))
        ):
            builder.store(place, builder.gep(places, [_I64(k)]))
            builder.store(step, builder.gep(steps, [_I64(k)]))
        share, nothing = builder.bitcast(self._share(), _BYTES), ir.Constant(_BYTES, None)
        pool = builder.inttoptr(address, _POOL.as_pointer())
        number = builder.trunc(threads, _I32)
        builder.call(pool, [share, places, sizes, steps, nothing, _I64(0), _I64(2), number])
        failed = builder.load(cgutils.gep_inbounds(builder, record, 0, 2))
        with cgutils.if_unlikely(builder, cgutils.is_not_null(builder, failed)):
            self.context.call_conv.return_user_exc(
                builder, RuntimeError, ("a kernel failed in a thread; run it with one for the reason",)
            )

    def _share(self) -> Any:
        """The function that a thread runs: some shares, one after another."""
        module = self.builder.module
        function = ir.Function(module, _SHARE, module.get_unique_name("gnnlib.share"))
        function.linkage = "internal"
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        places, sizes, _, _ = function.args
        record = builder.bitcast(builder.load(places), self.record.as_pointer())
        start = builder.ptrtoint(builder.load(builder.gep(places, [_I64(1)])), _I64)
        threads, turns = (builder.load(cgutils.gep_inbounds(builder, record, 0, k)) for k in range(2))
        values = [
            self.context.unpack_value(builder, kind, cgutils.gep_inbounds(builder, record, 0, k))
            for k, kind in enumerate(self.given, start=3)
        ]
        with cgutils.for_range(builder, builder.load(sizes), intp=_I64) as each:
            share = builder.add(start, each.index)
            first, last = (
                builder.sdiv(builder.mul(turns, s), threads) for s in (share, builder.add(share, _I64(1)))
            )
            status, _ = self.call(builder, first, last, values)
            with cgutils.if_unlikely(builder, status.is_error):
                builder.store(_I64(1), cgutils.gep_inbounds(builder, record, 0, 2))
        builder.ret_void()
        return function


def lifted(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function with two arguments more, ``pool`` and ``threads``, and its ``prange`` loops lifted out.

    What a loop assigns is its own; no value of it may be read afterwards. The loops join the globals of the
    function's module, where numba looks for what compiled code calls.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    (definition,) = tree.body
    assert isinstance(definition, ast.FunctionDef)
    definition.name = name
    definition.args.args[:0] = [ast.arg("_pool"), ast.arg("_threads")]
    loops: list[ast.FunctionDef] = []
    _Lift(name, set(function.__code__.co_varnames), loops).visit(definition)
    space, made = function.__globals__, dict[str, Any]()
    module = ast.fix_missing_locations(ast.Module([*loops, definition], []))
    exec(compile(module, function.__code__.co_filename, "exec"), space, made)
    space[f"{name}_spread"] = spread
    for loop in loops:
        made[loop.name].__module__ = function.__module__
        space[loop.name] = helper(made[loop.name])
    result: Callable[..., Any] = made[name]
    result.__module__, result.__doc__ = function.__module__, function.__doc__
    return result


class _Lift(ast.NodeTransformer):
    """Turns a loop over ``prange(n)`` into ``spread(_pool, _threads, n, loop, (what its body reads))``."""

    def __init__(self, name: str, known: set[str], loops: list[ast.FunctionDef]) -> None:
        self.name, self.known, self.loops = name, known, loops

    def visit_For(self, node: ast.For) -> ast.AST:
        call, turn = node.iter, node.target
        if not (isinstance(call, ast.Call) and getattr(call.func, "id", None) == "prange"):
            return self.generic_visit(node)
        assert isinstance(turn, ast.Name), "a loop over prange has one variable"
        names = [n for part in node.body for n in ast.walk(part) if isinstance(n, ast.Name)]
        own = {turn.id, *(n.id for n in names if isinstance(n.ctx, ast.Store))}
        given = sorted({n.id for n in names} & self.known - own)
        loop = f"{self.name}_loop{len(self.loops)}"
        call.func = ast.Name("range", ast.Load())
        ends: list[ast.expr] = [ast.Name("_first", ast.Load()), ast.Name("_last", ast.Load())]
        (turns,), call.args = call.args, ends
        (definition,) = ast.parse(f"def {loop}({', '.join(['_first', '_last', *given])}): ...").body
        assert isinstance(definition, ast.FunctionDef)
        for part in ast.walk(definition):
            ast.copy_location(part, node)
        definition.body = [node]
        self.loops.append(definition)
        passed: list[ast.expr] = [
            ast.Name("_pool", ast.Load()),
            ast.Name("_threads", ast.Load()),
            turns,
            ast.Name(loop, ast.Load()),
            ast.Tuple([ast.Name(g, ast.Load()) for g in given], ast.Load()),
        ]
        spread_call = ast.Expr(ast.Call(ast.Name(f"{self.name}_spread", ast.Load()), passed, []))
        return ast.copy_location(spread_call, node)


__all__ = ["lifted", "spread"]
