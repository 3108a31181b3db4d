"""Compiles the GPU kernels for an H100 where there is none: ``python -m tests.gpu.compiling``.

The interpreter forgives what the compiler does not: types, layouts, what may be None. Each op's launcher runs
on CPU tensors, and the launch itself is replaced by a compilation. Prints what was compiled, as json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor
from torch.nn.functional import pad
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from gnnlib.sparse import registry
from gnnlib.sparse.gpu import launch
from gnnlib.sparse.ops.sample_neighbors.request import Relation, Request

TARGET = GPUTarget("cuda", 90, 32)
ROWS = 40
_POINTERS = {
    torch.float64: "*fp64",
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.bool: "*i1",
    torch.uint8: "*u8",
}
_OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion")

compiled: list[dict[str, Any]] = []


def _compile(kernel: Any, grid: Any, args: tuple[Any, ...], constants: dict[str, Any]) -> None:
    """In the place of a launch: compile the kernel for these arguments, specialised as a launch would."""
    options = {"enable_fp_fusion": True, **{k: v for k, v in constants.items() if k in _OPTIONS}}
    constants = {k: v for k, v in constants.items() if k not in _OPTIONS}
    given = dict(zip(kernel.arg_names, args, strict=False)) | constants
    signature, fixed, aligned = {}, {}, {}
    for place, name in enumerate(kernel.arg_names):
        value = given[name]
        if isinstance(value, Tensor):
            signature[name] = _POINTERS[value.dtype]
            aligned[place,] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[name] = "fp32"
        elif type(value) is int and name not in constants and value != 1:
            signature[name] = "i64" if value >= 2**31 else "i32"
        else:
            signature[name], fixed[name] = "constexpr", value
    source = ASTSource(kernel, signature, fixed, aligned)
    done = triton.compile(source, target=TARGET, options=options)
    compiled.append({"kernel": kernel.__name__, "wide": done.asm["ptx"].count("ld.global.v4")})


def _structure() -> tuple[Tensor, Tensor]:
    degree = torch.arange(ROWS) % 5
    degree[3] = 1500  # a hub
    indptr = pad(degree.cumsum(0), (1, 0))
    return indptr, (torch.arange(int(indptr[-1])) % ROWS).to(torch.int32)


def calls(dtype: torch.dtype, width: int, heads: int) -> dict[str, Callable[[], tuple[Any, ...]]]:
    """Arguments of each op's kernel; what it returns is never looked at."""
    p, j = _structure()
    edges = j.shape[0]

    def x(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    h, w, scale = x(ROWS, heads, width // heads), x(edges, heads), x(ROWS)
    arg = torch.zeros(ROWS, heads, width // heads, dtype=torch.int32)
    index = torch.zeros(edges, dtype=torch.int64)
    one, rows, wide = (
        x(ROWS, heads),
        x(ROWS, width),
        torch.float64 if dtype == torch.float64 else torch.float32,
    )
    lse, seed = torch.zeros(ROWS, heads, dtype=wide), torch.zeros(1, dtype=torch.int64)
    ends = (p, j, p, j, index)  # the graph and, for what it is worth here, its transpose
    att, term, by = h[0], x(edges, 3), x(3, heads, width // heads)
    edge, to = x(edges, 3), x(3, width)
    wide4, sent = x(ROWS, 4 * width), x(edges, width)
    pair, sent_h = x(edges, 2 * width), x(edges, heads, width // heads)
    rest = (seed, h, lse, lse, h, w)
    found = torch.zeros(ROWS, 2, width, dtype=wide)
    won = torch.zeros(ROWS, 1, width, dtype=torch.int32)
    tables = (torch.zeros(edges), arg.new_zeros(edges), arg.new_zeros(edges), torch.zeros(ROWS).double())
    skip = (torch.zeros(ROWS, 48), torch.zeros(ROWS, 48))  # two tables, of float32 alone
    walkers, pairs = index[:ROWS], torch.stack([index[:ROWS] + 1, index[:ROWS] + 3])  # with the hub

    def sample(weight: Tensor | None, replace: bool) -> tuple[Request]:
        relation = Relation(0, 0, p, j, weight)
        return (Request((relation,), (ROWS,), (walkers + 3,), ((5,),), replace=replace),)

    return {
        "additive_attention": lambda: (p, j, one, one, h, seed, 0.2, 0.3),
        "additive_attention_grad": lambda: (*ends, one, one, h, seed, h, h, lse, lse, h, 0.2, 0.3),
        "edge_attention": lambda: (p, j, h, h, h, att, term, by, seed, "gatv2", 0.2, 0.3, True),
        "edge_attention_grad": lambda: (
            *ends,
            h,
            h,
            h,
            att,
            term,
            by,
            seed,
            h,
            lse,
            lse,
            h,
            w,
            "gatv2",
            0.2,
            0.3,
        ),
        "edge_attention mapped": lambda: (p, j, h, h, h, att, sent_h, None, seed, "gatv2", 0.2, 0.3, True),
        "edge_attention_grad mapped": lambda: (*ends, h, h, h, att, sent_h, None, *rest, "gatv2", 0.2, 0.3),
        "edge_attention plain": lambda: (p, j, h, h, h, att, None, None, seed, "gatv2", 0.2, 0.3, True),
        "edge_attention_grad plain": lambda: (*ends, h, h, h, att, None, None, *rest, "gatv2", 0.2, 0.3),
        "edge_attention dot": lambda: (p, j, h, h, h, None, w, None, None, "dot", 0.2, 0.0, False),
        "edge_attention_grad dot": lambda: (
            *(*ends, h, h, h, None, w, None, None, h, lse, None, h, None, "dot", 0.2, 0.0),
        ),
        "edge_attention additive": lambda: (
            *(p, j, one, one, h, None, w, None, None, "additive", 0.2, 0.0, False),
        ),
        "edge_attention_grad additive": lambda: (
            *(*ends, one, one, h, None, w, None, None, h, lse, None, h, None, "additive", 0.2, 0.0),
        ),
        "edge_relu_sum plain": lambda: (p, j, rows, None, None, None),
        "edge_relu_sum mapped": lambda: (p, j, rows, sent, None, None),
        "edge_relu_sum_grad plain": lambda: (*ends, rows, None, None, None, rows, [True, False, False]),
        "edge_relu_sum_grad mapped": lambda: (*ends, rows, sent, None, index, rows, [True, True, False]),
        "multi_reduce plain": lambda: (p, j, rows, None, None, None, None, "sum"),
        "multi_reduce mapped": lambda: (p, j, rows, sent, None, None, None, "max,std"),
        "gated_sum plain": lambda: (p, j, None, rows, rows, rows, None, None, None, None, False),
        "spmm plain": lambda: (p, j, None, h, None, None),
        "spmm_arg plain": lambda: (p, j, None, h, False),
        "edge_relu_sum": lambda: (p, j, rows, edge, to, index),
        "edge_relu_sum_grad": lambda: (*ends, rows, edge, to, index, rows, [True, True, True]),
        "gated_sum": lambda: (p, j, index, rows, rows, rows, rows, edge, to, to, True),
        "gated_sum_edge": lambda: (p, j, rows, rows, rows, rows, edge, to, to),
        "gated_sum mapped": lambda: (p, j, index, rows, rows, rows, rows, pair, None, None, True),
        "gated_sum_edge mapped": lambda: (p, j, rows, rows, rows, rows, pair, None, None),
        "lstm_step": lambda: (wide4, index, wide4, index, None, None, wide4, rows, index),
        "lstm_step_grad": lambda: (wide4, index, None, None, None, None, wide4, rows, index, sent, sent),
        "multi_reduce": lambda: (p, j, rows, edge, to, index, rows, "mean,max,min,std"),
        "multi_reduce_grad": lambda: (
            *ends,
            rows,
            edge,
            to,
            index,
            rows,
            found,
            found,
            found[:, 0],
            won,
            "std,max",
            [True] * 4,
        ),
        "arg_scatter": lambda: (arg, p, j, w, h, ROWS),
        "arg_to_slots": lambda: (arg, p, h, edges),
        "alias_table": lambda: (p, torch.ones(edges)),
        "alias_draw": lambda: (tables[1], tables[2], 3, 0, 0),
        "common_neighbors": lambda: (p, j, pairs, ROWS),
        "random_walk": lambda: (p, j, *([None] * 4), walkers, 5, 0.2, 4.0, 2, True, 1, 0),
        "random_walk weighted": lambda: (p, j, *tables, walkers, 5, 0.2, 4.0, 0, False, 1, 0),
        "sample_neighbors": lambda: sample(None, False),
        "sample_neighbors weighted": lambda: sample(torch.ones(edges).double(), True),
        "coo_to_csr": lambda: (index, index, ROWS, ROWS),
        "csr_transpose": lambda: (p, j, ROWS),
        "propagate": lambda: (p, j, w[:, 0], h[:, 0], scale, scale, 2, 0.8, 0.2, True),
        "propagate_inject": lambda: (p, j, None, h[None, :, 0], None, None, 0.8),
        "scatter": lambda: (index, x(edges, width), ROWS, "sum"),
        "sddmm": lambda: (p, j, h, h, "dot"),
        "segment_reduce": lambda: (p, x(edges, width), "max"),
        "segment_softmax": lambda: (p, w),
        "segment_softmax_grad": lambda: (p, w, w),
        "skipgram": lambda: (*skip, p, j, arg.new_zeros(ROWS, 6), 0.1, 0.01, 0.0, 9.0, 16),
        "spmm": lambda: (p, j, w, h, scale, scale),
        "spmm_arg": lambda: (p, j, w, h, True),
    }


#: Type, width and heads: whole lanes, a width that is no power of two, narrow rows, several heads.
VARIANTS = ((torch.float32, 100, 1), (torch.bfloat16, 16, 1), (torch.float16, 64, 4), (torch.float64, 7, 1))

#: Ops without floats or of one type: one variant shows all, as of an op's other forms, named after a space.
INTEGER = ("alias", "common_neighbors", "random_walk", "sample_neighbors", "skipgram")


def main() -> None:
    launch._start = _compile
    done: dict[str, list[dict[str, Any]]] = {}
    for dtype, width, heads in VARIANTS:
        for op, arguments in calls(dtype, width, heads).items():
            if (op.startswith(INTEGER) or " " in op) and dtype != VARIANTS[0][0]:
                continue
            compiled.clear()
            found = [k for k in registry.load(op.split()[0]) if k.backend == "gpu"]
            for k in found:
                k.fn(*arguments())
                done.setdefault(op.split()[0], []).append({"dtype": str(dtype), "kernels": list(compiled)})
    json.dump(done, sys.stdout)


if __name__ == "__main__":
    main()
