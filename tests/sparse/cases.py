"""One table of cases: what each op is called with, how, and what must come out.

A case names its floating inputs by shape letters: R targets, C sources, E edges, H heads, F features. Adding
a line here puts the op through equality, gradients, dtypes, strides, NaN, bits and threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse import scatter, sddmm, segment_reduce, segment_softmax, spmm
from tests.sparse import oracle
from tests.sparse.graphs import Graph

REDUCTIONS = ("sum", "mean", "max", "min")
HEADS = 2


@dataclass(frozen=True, eq=False)
class Case:
    """``run(graph, adj, *inputs)`` must equal ``expect(graph, *inputs)``; inputs have the named shapes."""

    name: str
    op: str
    shapes: tuple[str, ...]
    run: Callable[..., Tensor]
    expect: Callable[..., Tensor]
    reduce: str = "sum"

    def __repr__(self) -> str:
        return self.name

    @property
    def ties(self) -> bool:
        """Whether equal values matter to the gradient."""
        return self.reduce in ("max", "min")

    def inputs(
        self, graph: Graph, dtype: torch.dtype, width: int = 3, *, positive: bool = False
    ) -> list[Tensor]:
        """Fresh random inputs, seeded by nothing but their shapes."""
        generator = torch.Generator().manual_seed(len(self.name))
        sizes = {"R": graph.num_rows, "C": graph.num_cols, "E": graph.num_edges, "H": HEADS, "F": width}
        make = torch.rand if positive else torch.randn
        return [
            make([sizes[letter] for letter in shape], generator=generator, dtype=torch.float64).to(dtype)
            for shape in self.shapes
        ]


_WEIGHTS = {"plain": ("CF",), "heads": ("CHF",), "edge": ("CF", "E"), "edge-heads": ("CHF", "EH")}


def _spmm(reduce: Any, shapes: tuple[str, ...], scales: tuple[str, ...] = ()) -> Case:
    weighted = len(shapes) == 2

    def split(inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        weight = inputs[1] if weighted else None
        return inputs[0], weight, dict(zip(scales, inputs[1 + weighted :], strict=True))

    def run(graph: Graph, adj: Any, *inputs: Tensor) -> Tensor:
        x, weight, scale = split(inputs)
        return spmm(adj, x, weight, reduce, **scale)

    def expect(graph: Graph, *inputs: Tensor) -> Tensor:
        x, weight, scale = split(inputs)
        return oracle.spmm(graph, x, weight, reduce, **scale)

    form = next(name for name, s in _WEIGHTS.items() if s == shapes)
    extra = tuple("R" if s == "row_scale" else "C" for s in scales)
    name = "-".join(["spmm", reduce, form, *(s.removesuffix("_scale") for s in scales)])
    return Case(name, "spmm", shapes + extra, run, expect, reduce)


def _spmm_cases() -> Iterator[Case]:
    for reduce, shapes in itertools.product(REDUCTIONS, _WEIGHTS.values()):
        yield _spmm(reduce, shapes)
    for reduce in REDUCTIONS:
        for scales in (("row_scale",), ("col_scale",), ("row_scale", "col_scale")):
            yield _spmm(reduce, ("CF",), scales)
    for reduce in ("sum", "max"):
        yield _spmm(reduce, ("CHF", "EH"), ("row_scale", "col_scale"))


def _sddmm_cases() -> Iterator[Case]:
    for op, tail in itertools.product(("dot", "add", "sub"), ("F", "HF")):
        yield Case(
            f"sddmm-{op}-{tail}",
            "sddmm",
            (f"R{tail}", f"C{tail}"),
            lambda graph, adj, a, b, op=op: sddmm(adj, a, b, op),
            lambda graph, a, b, op=op: oracle.sddmm(graph, a, b, op),
        )
    yield Case(
        "sddmm-add-scalar",
        "sddmm",
        ("R", "C"),
        lambda graph, adj, a, b: sddmm(adj, a, b, "add"),
        lambda graph, a, b: oracle.sddmm(graph, a, b, "add"),
    )


def _segment_cases() -> Iterator[Case]:
    for shape in ("E", "EH"):
        yield Case(
            f"segment_softmax-{shape}",
            "segment_softmax",
            (shape,),
            lambda graph, adj, s: adj.from_slots(segment_softmax(adj.to_slots(s), adj.indptr)),
            oracle.softmax,
        )
    for reduce, shape in itertools.product(REDUCTIONS, ("E", "EHF")):
        yield Case(
            f"segment_reduce-{reduce}-{shape}",
            "segment_reduce",
            (shape,),
            lambda graph, adj, s, r=reduce: segment_reduce(adj.to_slots(s), adj.indptr, r),
            lambda graph, s, r=reduce: oracle.reduce(graph.edge_index[1], graph.num_rows, s, r),
            reduce,
        )


def _scatter_cases() -> Iterator[Case]:
    for reduce, shape in itertools.product(REDUCTIONS, ("E", "HEF")):
        dim = shape.index("E")
        yield Case(
            f"scatter-{reduce}-{shape}",
            "scatter",
            (shape,),
            lambda graph, adj, s, r=reduce, d=dim: scatter(s, graph.edge_index[1], graph.num_rows, r, d),
            lambda graph, s, r=reduce, d=dim: oracle.reduce(
                graph.edge_index[1], graph.num_rows, s.movedim(d, 0), r
            ).movedim(0, d),
            reduce,
        )


CASES = [*_spmm_cases(), *_sddmm_cases(), *_segment_cases(), *_scatter_cases()]
BY_NAME = {case.name: case for case in CASES}

#: A few cases that together run every kernel, forward and backward, for what costs too much to do with all.
SOME = [
    BY_NAME[name]
    for name in (
        "spmm-sum-plain",
        "spmm-sum-edge-heads-row-col",
        "spmm-mean-plain-row",
        "spmm-max-edge",
        "spmm-min-plain",
        "sddmm-dot-F",
        "sddmm-sub-HF",
        "segment_softmax-EH",
        "segment_reduce-mean-EHF",
        "segment_reduce-max-E",
        "scatter-sum-HEF",
        "scatter-min-E",
    )
]


def leaves(inputs: list[Tensor]) -> list[Tensor]:
    """Copies that ask for a gradient, of the same strides."""
    return [torch.empty_like(t).copy_(t).requires_grad_() for t in inputs]


def upstream(out: Tensor) -> Tensor:
    """A gradient to send back: different in every place, the same at every call."""
    generator = torch.Generator().manual_seed(out.numel())
    return torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype)


def outcome(run: Callable[..., Tensor], inputs: list[Tensor], grad: Tensor | None = None) -> list[Tensor]:
    """The output of ``run`` and its gradients to every input."""
    held = leaves(inputs)
    out = run(*held)
    grads: list[Tensor | None] = [None] * len(held)
    if out.requires_grad:
        grads = list(
            torch.autograd.grad(out, held, upstream(out) if grad is None else grad, allow_unused=True)
        )
    return [
        out.detach(),
        *(torch.zeros_like(t) if g is None else g for t, g in zip(held, grads, strict=True)),
    ]


def actual(case: Case, graph: Graph, inputs: list[Tensor], grad: Tensor | None = None) -> list[Tensor]:
    return outcome(lambda *t: case.run(graph, graph.adj, *t), inputs, grad)


def expected(case: Case, graph: Graph, inputs: list[Tensor], grad: Tensor | None = None) -> list[Tensor]:
    """The oracle's output and gradients, in float64."""
    grad = None if grad is None else grad.double()
    return outcome(lambda *t: case.expect(graph, *t), [t.double() for t in inputs], grad)
