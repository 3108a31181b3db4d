"""One table of cases: what each op is called with, how, and what must come out.

A case names its floating inputs by shape letters: R targets, C sources, E edges, H heads, F features,
K edge features, G gates of F states. Adding a line here puts the op through equality, gradients, dtypes,
strides, NaN, bits and threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse import (
    as_csr,
    edge_attention,
    edge_relu_sum,
    gated_sum,
    lstm_step,
    multi_reduce,
    propagate,
    scatter,
    sddmm,
    segment_reduce,
    segment_softmax,
    spmm,
)
from tests.sparse import oracle
from tests.sparse.graphs import Graph

REDUCTIONS = ("sum", "mean", "max", "min")
HEADS = 2
EDGE_DIM = 2


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
        sizes["K"] = EDGE_DIM
        sizes["G"] = 4 * width
        sizes["N"] = max(graph.num_rows, graph.num_cols)
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


def _gated_cases() -> Iterator[Case]:
    for name, extra in (("plain", ()), ("edge", ("EK", "KF", "KF"))):
        yield Case(
            f"gated_sum-{name}",
            "gated_sum",
            ("RF", "CF", "CF", *extra),
            lambda graph, adj, *t: gated_sum(adj, *t),
            oracle.gated_sum,
        )
    yield Case(
        "gated_sum-mapped",
        "gated_sum",
        ("RF", "CF", "CF", "EF", "EF"),
        lambda graph, adj, k, q, v, *both: gated_sum(adj, k, q, v, torch.cat(both, 1)),
        lambda graph, k, q, v, *both: oracle.gated_sum(graph, k, q, v, torch.cat(both, 1)),
    )


def _lstm_cases() -> Iterator[Case]:
    """Each edge is a sequence: it goes on from its source, or begins."""

    def run(graph: Graph, adj: Any, *t: Tensor) -> Tensor:
        source, target = graph.edge_index
        if len(t) == 1:
            return torch.cat(lstm_step(t, [target]), 1)
        return torch.cat(lstm_step(t[:2], [target, source], t[2], t[3], source), 1)

    yield Case("lstm_step-begin", "lstm_step", ("RG",), run, oracle.lstm_step)
    yield Case("lstm_step-on", "lstm_step", ("RG", "CG", "CG", "CF"), run, oracle.lstm_step)


def _propagate(name: str, steps: int, weighted: bool = False, scaled: bool = False, **options: Any) -> Case:
    """K steps need one set of nodes: N, the larger of both sets. The scales are constants."""

    def given(graph: Graph, x: Tensor, weight: Tensor | None = None) -> dict[str, Any]:
        source, target = graph.edge_index
        scales: dict[str, Any] = {}
        if scaled:
            scales["row_scale"] = 1 / (1 + target.bincount(minlength=x.shape[0])).to(x.dtype)
            scales["col_scale"] = 2 / (1 + source.bincount(minlength=x.shape[0])).to(x.dtype)
        return {"weight": weight, **scales, **options}

    return Case(
        f"propagate-{name}",
        "propagate",
        ("NF", "E") if weighted else ("NF",),
        lambda graph, adj, *t: propagate(
            as_csr(graph.edge_index, t[0].shape[0]), t[0], steps, **given(graph, *t)
        ),
        lambda graph, *t: oracle.propagate(graph, t[0], steps, **given(graph, *t)),
    )


def _propagate_cases() -> Iterator[Case]:
    yield _propagate("none", 0, restart=0.2)
    yield _propagate("power", 2)
    yield _propagate("restart", 3, restart=0.2)
    yield _propagate("sum", 3, scaled=True, restart=1.0, decay=1.0)
    yield _propagate("weight", 2, weighted=True, restart=0.2)
    yield _propagate("weight-scaled", 3, weighted=True, scaled=True, restart=0.2)
    yield _propagate("every", 3, scaled=True, restart=0.2, every=True)
    yield _propagate("every-weight", 2, weighted=True, every=True)


ALL_MOMENTS = ("sum", "mean", "max", "min", "var", "std")
#: What comes with x: edge features as wide as x, narrow ones with their map, a term of the target.
_MESSAGES = {
    "plain": ("CF",),
    "edge": ("CF", "EF"),
    "map": ("CF", "EK", "KF"),
    "target": ("CF", "RF"),
    "map-target-heads": ("CHF", "EK", "KHF", "RHF"),
    "edge-target-heads": ("CHF", "EHF", "RHF"),
}


def _parts(form: str, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    names = ["x"]
    names += ["edge"] if "edge" in form else ["edge", "edge_map"] if "map" in form else []
    names += ["target"] if "target" in form else []
    return dict(zip(names, inputs, strict=True))


def _multi(name: str, form: str, names: tuple[Any, ...]) -> Case:
    return Case(
        f"multi_reduce-{name}-{form}",
        "multi_reduce",
        _MESSAGES[form],
        lambda graph, adj, *t: multi_reduce(adj, reduces=names, **_parts(form, t)),
        lambda graph, *t: oracle.multi_reduce(graph, names, **_parts(form, t)),
        "max" if {"max", "min"} & set(names) else "sum",
    )


def _message_cases() -> Iterator[Case]:
    for form in _MESSAGES:
        yield _multi("all", form, ALL_MOMENTS)
    yield _multi("pna", "plain", ("mean", "min", "max", "std"))
    yield _multi("pna", "target", ("mean", "min", "max", "std"))
    yield _multi("spread", "map", ("std",))
    yield _multi("spread", "target", ("min", "var"))
    yield _multi("sums", "plain", ("mean", "sum"))
    yield _multi("extremes", "edge", ("min", "max"))
    for form in ("plain", "edge", "map"):
        yield Case(
            f"edge_relu_sum-{form}",
            "edge_relu_sum",
            _MESSAGES[form],
            lambda graph, adj, *t, form=form: edge_relu_sum(adj, **_parts(form, t)),
            lambda graph, *t, form=form: oracle.edge_relu_sum(graph, **_parts(form, t)),
        )


_ATTENTION = {  # shapes without and with an edge term, in the order of the arguments
    "additive": (("RH", "CH", "CHF"), ("EH",)),
    "dot": (("RHF", "CHF", "CHF"), ("EH",)),
    "gatv2": (("RHF", "CHF", "HF"), ("EF", "FHF")),
}


def _attention(score: Any, terms: tuple[str, ...]) -> Case:
    names = ("x_dst", "x_src", "att" if score == "gatv2" else "value", "edge", "edge_map")

    def run(graph: Graph, adj: Any, *inputs: Tensor) -> Tensor:
        return edge_attention(adj, score=score, scale=0.3, **dict(zip(names, inputs, strict=False)))

    def expect(graph: Graph, *inputs: Tensor) -> Tensor:
        given = {"value": inputs[1], **dict(zip(names, inputs, strict=False))}
        return oracle.attention(graph, score, **given, factor=0.3 if score == "dot" else 0.2)

    kind = "" if not terms else "-mapped" if terms == ("EHF",) else "-edge"
    name = f"edge_attention-{score}{kind}"
    return Case(name, "edge_attention", _ATTENTION[score][0] + terms, run, expect)


def _attention_cases() -> Iterator[Case]:
    for score, (_, terms) in _ATTENTION.items():
        yield _attention(score, ())
        yield _attention(score, terms)
    yield _attention("gatv2", ("EHF",))


CASES = [
    *_spmm_cases(),
    *_sddmm_cases(),
    *_attention_cases(),
    *_segment_cases(),
    *_scatter_cases(),
    *_gated_cases(),
    *_lstm_cases(),
    *_message_cases(),
    *_propagate_cases(),
]
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
        "edge_attention-additive-edge",
        "edge_attention-dot",
        "edge_attention-gatv2-edge",
        "edge_attention-gatv2-mapped",
        "segment_softmax-EH",
        "segment_reduce-mean-EHF",
        "segment_reduce-max-E",
        "scatter-sum-HEF",
        "scatter-min-E",
        "propagate-weight",
        "propagate-every",
        "gated_sum-plain",
        "gated_sum-edge",
        "gated_sum-mapped",
        "lstm_step-on",
        "multi_reduce-pna-plain",
        "multi_reduce-all-map",
        "multi_reduce-all-edge",
        "edge_relu_sum-map",
        "edge_relu_sum-edge",
    )
]


def leaves(inputs: list[Tensor]) -> list[Tensor]:
    """Copies that ask for a gradient, of the same strides."""
    return [torch.empty_like(t).copy_(t).requires_grad_() for t in inputs]


def upstream(out: Tensor) -> Tensor:
    """A gradient to send back: different in every place, the same at every call."""
    generator = torch.Generator().manual_seed(out.numel())
    return torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out)


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
