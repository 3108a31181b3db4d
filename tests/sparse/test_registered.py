"""The operators behind the ops, and models compiled with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib.sparse import CSR, as_csr, edge_attention, scatter, sddmm, segment_reduce, segment_softmax, spmm
from gnnlib.sparse.ops.alias import alias_table
from tests.sparse.graphs import MIXED, TINY, Graph
from tests.tolerances import assert_close

ops = torch.ops.gnnlib
EMPTY = Graph("empty", torch.empty(2, 0, dtype=torch.int64), 3, 2)


def registered() -> set[str]:
    """Names of the operators in the gnnlib namespace."""
    names = torch._C._dispatch_get_all_op_names()
    return {n.removeprefix("gnnlib::").partition(".")[0] for n in names if n.startswith("gnnlib::")}


def samples(g: Graph) -> dict[str, list[tuple[Any, ...]]]:
    """Arguments of each operator on a graph."""
    adj = g.adj
    p, i = adj.arrays
    row, col = g.edge_index[1].contiguous(), g.edge_index[0].contiguous()
    perm = torch.arange(g.num_edges) if adj.perm is None else adj.perm

    def leaf(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64).requires_grad_()

    x, w, grad = leaf(g.num_cols, 2, 3), leaf(g.num_edges, 2), leaf(g.num_rows, 2, 3)
    r, c = torch.rand(g.num_rows, dtype=torch.float64), torch.rand(g.num_cols, dtype=torch.float64)
    arg = ops.spmm_arg(p, i, w, x, True)[1]
    src = leaf(g.num_edges, 3)
    maps, pair = (leaf(2, 3), leaf(2, 3)), leaf(g.num_edges, 6)
    ends = tuple(t.detach().contiguous() for t in (grad[:, 0], x[:, 0], x[:, 1], grad[:, 1]))
    return {
        "edge_index_to_csr": [(g.edge_index, g.num_rows, g.num_cols)],
        "coo_to_csr": [(row, col, g.num_rows, g.num_cols)],
        "csr_transpose": [(p, i, g.num_cols)],
        "self_loops": [(p, i, q, g.num_cols, g.num_edges, m) for q in (None, perm) for m in (True, False)],
        "spmm": [(p, i, w, x, r, c), (p, i, None, x, None, None)],
        "spmm_arg": [(p, i, w, x, True), (p, i, None, x, False)],
        "arg_scatter": [(arg, p, i, w, grad, g.num_cols), (arg, p, i, None, grad, g.num_cols)],
        "arg_gather": [(arg, p, i, x)],
        "arg_to_slots": [(arg, p, grad, g.num_edges)],
        "sddmm": [(p, i, grad, x, "dot"), (p, i, grad, x, "sub")],
        "segment_softmax": [(p, src)],
        "segment_softmax_grad": [(p, src.detach(), src.detach() + 1)],
        "segment_reduce": [(p, src, "mean"), (p, src, "max")],
        "expand_rows": [(p, leaf(g.num_rows, 3), g.num_edges)],
        "scatter": [(row, src, g.num_rows, "sum"), (row, src, g.num_rows, "min")],
        "gated_sum": [
            (p, i, grad[:, 0], x[:, 0], x[:, 1], None, None, None, True),
            (p, i, grad[:, 0], x[:, 0], x[:, 1], w, *maps, False),
            (p, i, grad[:, 0], x[:, 0], x[:, 1], pair, None, None, True),
        ],
        "gated_sum_back": [
            (*adj.transposed.arrays, adj.transpose_perm, *ends, None, None, None),
            (*adj.transposed.arrays, adj.transpose_perm, *ends, w.detach(), *(m.detach() for m in maps)),
        ],
        "gated_sum_edge": [
            (p, i, *ends, w.detach(), *(m.detach() for m in maps)),
            (p, i, *ends, pair.detach(), None, None),
        ],
        **lstm_samples(g),
        "dropout": [(x, 0.3, 5)],
        "gather_rows": [(row, leaf(g.num_rows, 3))],
        **attention_samples(g),
        **message_samples(g),
        **propagate_samples(g),
        **integer_samples(g),
    }


def lstm_samples(g: Graph) -> dict[str, list[tuple[Any, ...]]]:
    """Sequences that begin, of one table, and that go on, of three."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64)

    source, target = g.edge_index
    rest = [draw(g.num_cols, 8), draw(g.num_cols, 2)]
    begin = [draw(g.num_rows, 8), target, *[None] * 7]
    on = [
        draw(g.num_rows, 8),
        target,
        draw(g.num_cols, 8),
        source,
        draw(g.num_rows, 8),
        target,
        *rest,
        source,
    ]
    up = draw(g.num_edges, 2), draw(g.num_edges, 2)

    def leaves(args: list[Any]) -> tuple[Any, ...]:
        return tuple(
            t.clone().requires_grad_() if isinstance(t, Tensor) and t.is_floating_point() else t for t in args
        )

    return {
        "lstm_step": [leaves(begin), leaves(on)],
        "lstm_step_grad": [(*begin, *up), (*on, *up)],
    }


def attention_samples(g: Graph) -> dict[str, list[tuple[Any, ...]]]:
    """Each score, with the weights or without; the gradient for the first."""
    adj = g.adj

    def leaf(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64).requires_grad_()

    r, c, e, seed = g.num_rows, g.num_cols, g.num_edges, torch.tensor([3])
    a, b, v = leaf(r, 2), leaf(c, 2), leaf(c, 2, 3)
    q, k = leaf(r, 2, 3), leaf(c, 2, 3)
    att, term, edge, by = leaf(2, 3), leaf(e, 2), leaf(e, 4), leaf(4, 2, 3)
    forward = [
        (*adj.arrays, a, b, v, None, term, None, seed, "additive", 0.2, 0.3, True),
        (*adj.arrays, q, k, v, None, None, None, None, "dot", 0.5, 0.0, False),
        (*adj.arrays, q, k, k, att, edge, by, None, "gatv2", 0.2, 0.0, False),
        (*adj.arrays, q, k, k, att, leaf(e, 2, 3), None, None, "gatv2", 0.2, 0.0, False),
    ]
    ends = (*adj.arrays, *adj.transposed.arrays, adj.transpose_perm)
    found = []
    for args in forward:
        plain = [t.detach() if isinstance(t, Tensor) else t for t in args]
        out, lse, alpha = ops.edge_attention(*plain)
        grad_alpha = torch.randn_like(alpha) if args[-1] else None
        found.append((*ends, *plain[2:9], out, lse, None, torch.randn_like(out), grad_alpha,
                      *args[9:12]))  # fmt: skip
    nodes = (*adj.arrays, a, b, v, seed, 0.2, 0.3)
    kept = ops.additive_attention(*[t.detach() if isinstance(t, Tensor) else t for t in nodes])
    inputs = [t.detach() for t in (a, b, v, seed)]
    return {
        "additive_attention": [nodes],
        "additive_attention_grad": [(*ends, *inputs, *kept, torch.randn_like(kept[0]), 0.2, 0.3)],
        "edge_attention": forward,
        "edge_attention_grad": found,
    }


def message_samples(g: Graph) -> dict[str, list[tuple[Any, ...]]]:
    """Several reductions and the rectified sum, with each kind of edge features."""
    adj, every = g.adj, "sum,mean,max,min,var,std"
    ends = (*adj.arrays, *adj.transposed.arrays, adj.transpose_perm)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64)

    x, t = draw(g.num_cols, 3), draw(g.num_rows, 3)
    found: dict[str, list[tuple[Any, ...]]] = {
        name: [] for name in ("multi_reduce", "multi_reduce_grad", "edge_relu_sum", "edge_relu_sum_grad")
    }
    for edge, edge_map in ((None, None), (draw(g.num_edges, 3), None), (draw(g.num_edges, 2), draw(2, 3))):
        message = (x, edge, edge_map, adj.perm)
        held = [m.requires_grad_() if m is not None and m.is_floating_point() else m for m in
                [None if m is None else m.clone() for m in message]]  # fmt: skip
        found["edge_relu_sum"].append((*adj.arrays, *held))
        need = [True, edge is not None, edge_map is not None]
        found["edge_relu_sum_grad"].append((*ends, *message, t, need))
        for names, own in ((every, t), ("std,min", None), ("sum", None)):
            found["multi_reduce"].append((*adj.arrays, *held, own, names))
            out = ops.multi_reduce(*adj.arrays, *message, own, names)
            grad = torch.randn_like(out[0])
            found["multi_reduce_grad"].append(
                (*ends, *message, own, grad, *out, names, [*need, own is not None])
            )
    return found


def propagate_samples(g: Graph) -> dict[str, list[tuple[Any, ...]]]:
    n = max(g.num_rows, g.num_cols)
    p, i = as_csr(g.edge_index, n).arrays
    x, hops, w, r = (
        torch.rand(s, dtype=torch.float64).requires_grad_() for s in ((n, 3), (3, n, 3), (g.num_edges,), (n,))
    )
    r = r.detach()
    return {
        "propagate": [(p, i, w, x, r, r, 2, 0.8, 0.2, True), (p, i, None, x, None, None, 2, 1.0, 0.0, False)],
        "propagate_inject": [(p, i, w, hops, r, r, 0.8), (p, i, None, hops, None, None, 0.8)],
    }


def integer_samples(g: Graph) -> dict[str, list[tuple[Any, ...]]]:
    """The sparse product of the graph and its transpose, and common neighbours."""
    adj, back = g.adj, g.adj.transposed
    c = ops.spgemm_pattern(*adj.arrays, *back.arrays, g.num_rows)
    u, v, w = (
        torch.rand(n, dtype=torch.float64).requires_grad_() for n in (g.num_edges,) * 2 + (c[1].numel(),)
    )
    pairs = torch.arange(2 * (g.num_rows // 2)).view(2, -1)
    both = as_csr(g.edge_index, max(g.num_rows, g.num_cols))
    return {
        "spgemm_pattern": [(*adj.arrays, *back.arrays, g.num_rows)],
        "spgemm_values": [(*adj.arrays, u, *back.arrays, v, *c, g.num_rows)],
        "spgemm_sampled": [(*adj.arrays, *c, w, *back.arrays, v, g.num_rows)],
        "sorted_rows": [(*adj.arrays, g.num_cols)],
        "edge_matching": [(*g.edge_index, torch.arange(g.num_edges).flip(0), max(g.num_rows, g.num_cols))],
        "independent_set": [(*both.arrays, *both.transposed.arrays, torch.arange(both.num_rows), 1)],
        "common_neighbors": [(*ops.sorted_rows(*adj.arrays, g.num_cols), pairs, g.num_cols)],
        "rows_without": [
            (
                *(s := ops.sorted_rows(*adj.arrays, g.num_cols)),
                pairs[0],
                *ops.common_neighbors(*s, pairs, g.num_cols),
            )
        ],
        "random_walk": walk_samples(g),
    }


def walk_samples(g: Graph) -> list[tuple[Any, ...]]:
    n = max(g.num_rows, g.num_cols)
    out = as_csr(g.edge_index, n).transposed
    weight = torch.rand(g.num_edges)
    rest = (torch.arange(n), 4, 0.5, 2.0, 0, False, 1, 0)
    return [
        (*out.arrays, None, None, None, None, *rest),
        (*out.arrays, weight, *alias_table(out.indptr, weight), *rest),
    ]


def test_every_operator_has_a_sample() -> None:
    assert registered() == set(samples(TINY))


@pytest.mark.parametrize("name", sorted(registered()))
def test_opcheck(name: str) -> None:
    """Schema, fake tensors, autograd registration and tracing with dynamic shapes."""
    for args in samples(TINY)[name]:
        torch.library.opcheck(getattr(ops, name), args)


@pytest.mark.parametrize("name", sorted(registered()))
def test_fake_on_an_empty_graph(name: str) -> None:
    for args in samples(EMPTY)[name]:
        torch.library.opcheck(getattr(ops, name), args, test_utils=("test_schema", "test_faketensor"))


# -- compiled code ------------------------------------------------------------------------------------


def all_spmm(adj: Any, x: Tensor, w: Tensor) -> list[Tensor]:
    csr = as_csr(adj, x.shape[0])
    scale = w.new_ones(x.shape[0]).cumsum(0)
    return [
        spmm(csr, x, row_scale=scale, col_scale=scale),
        spmm(csr, x, w, "mean"),
        spmm(csr, x, w, "max"),
        spmm(csr, x[:, None].expand(-1, 2, -1), torch.stack([w, -w], dim=1), "min").flatten(1),
    ]


def attention(adj: Any, x: Tensor, w: Tensor) -> list[Tensor]:
    csr = as_csr(adj, x.shape[0])
    score = sddmm(csr, x, x) + w + sddmm(csr, x, x, "sub").square().sum(-1)
    alpha = csr.from_slots(segment_softmax(csr.to_slots(score), csr.indptr))
    return [spmm(csr, x, alpha), segment_reduce(csr.to_slots(sddmm(csr, x, x, "add")), csr.indptr, "max")]


def fused_attention(adj: Any, x: Tensor, w: Tensor) -> list[Tensor]:
    csr, wide = as_csr(adj, x.shape[0]), x[:, None]
    found = [
        edge_attention(csr, x[:, :1], x[:, 1:2], wide),
        edge_attention(csr, wide, wide, wide, "dot", edge=w[:, None]),
        edge_attention(csr, wide, wide, score="gatv2", att=wide[0].detach()),
    ]
    return [t.flatten(1) for t in found]


def scattered(adj: Any, x: Tensor, w: Tensor) -> list[Tensor]:
    source, target = adj.edge_index if isinstance(adj, CSR) else adj
    message = x[source] * w[:, None]
    return [scatter(message, target, x.shape[0], reduce) for reduce in ("sum", "mean", "max", "min")]


def looped(adj: Any, x: Tensor, w: Tensor) -> list[Tensor]:
    """Self-loops: compiled code does not know how many there were, so its arrays hold spare slots."""
    out = []
    for remaining in (True, False):
        csr = as_csr(adj, x.shape[0]).add_self_loops(remaining)
        weight = torch.cat([w, w.new_full((x.shape[0],), 2.0)])
        degree = segment_reduce(csr.to_slots(weight.square()), csr.indptr)
        alpha = csr.from_slots(segment_softmax(csr.to_slots(weight), csr.indptr))
        out += [
            spmm(csr, x, weight, row_scale=degree.rsqrt(), col_scale=degree.rsqrt()),
            spmm(csr, x, alpha, "max"),
            spmm(csr.transposed, x, weight, "mean"),
            sddmm(csr, x, x),
        ]
    return out


FUNCTIONS = (all_spmm, attention, fused_attention, scattered, looped)


def step(f: Callable[..., list[Tensor]], adj: Any, x: Tensor, w: Tensor) -> list[Tensor]:
    """Outputs and gradients of a training step."""
    x, w = x.clone().requires_grad_(), w.clone().requires_grad_()
    out = f(adj, x, w)
    loss = sum((t.square().mean() for t in out), torch.zeros(()))
    return [*out, *torch.autograd.grad(loss, (x, w))]


def data(edge_index: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    return torch.randn(num_nodes, 5, dtype=torch.float64), torch.rand(
        edge_index.shape[1], dtype=torch.float64
    )


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("form", ["edge_index", "CSR"])
@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_compiled_equals_eager(f: Callable[..., list[Tensor]], form: str) -> None:
    """A whole training step in one graph."""
    x, w = data(MIXED.edge_index, 37)
    adj = MIXED.edge_index if form == "edge_index" else MIXED.adj
    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    assert_close(step(compiled, adj, x, w), step(f, adj, x, w))


def test_compiled_once_for_all_sizes() -> None:
    """Nodes and edges are dynamic: a second graph does not compile again."""
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(all_spmm, fullgraph=True, backend=counter, dynamic=True)
    for nodes, edges in ((37, 211), (23, 90), (41, 60), (5, 7)):
        edge_index = torch.randint(nodes, (2, edges))
        x, w = data(edge_index, nodes)
        assert_close(step(compiled, edge_index, x, w), step(all_spmm, edge_index, x, w))
    assert counter.frame_count == 1


def test_compiled_code_needs_the_sizes() -> None:
    compiled = torch.compile(lambda e, x: spmm(as_csr(e), x), fullgraph=True, backend="eager")
    with pytest.raises(Exception, match="compiled code needs the number of nodes"):
        compiled(MIXED.edge_index, torch.rand(37, 3))


def test_compiled_code_may_change_its_edges() -> None:
    """An edge_index changed inside the graph is sorted again, with and without gradients."""

    def change(edge_index: Tensor, x: Tensor) -> Tensor:
        before = spmm(as_csr(edge_index, 37), x)
        edge_index.add_(1).remainder_(37)
        return before + spmm(as_csr(edge_index, 37), x)

    compiled = torch.compile(change, fullgraph=True, backend="aot_eager")
    for grad in (True, False):
        x, ours, theirs = torch.rand(37, 3), MIXED.edge_index.clone(), MIXED.edge_index.clone()
        with torch.set_grad_enabled(grad):
            for _ in range(3):
                assert_close(compiled(ours, x), change(theirs, x))


def test_compiled_in_turn_with_eager() -> None:
    """What compiled code writes into an op's output never reaches the cached structure."""

    def spoil(edge_index: Tensor, x: Tensor) -> Tensor:
        adj = as_csr(edge_index, 37)
        out = spmm(adj, x)
        adj.indptr.zero_()
        adj.indices.zero_()
        return out

    x, edge_index = torch.rand(37, 3), MIXED.edge_index.clone()
    wanted = spmm(edge_index, x)
    compiled = torch.compile(spoil, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        assert_close(compiled(edge_index, x), wanted)
        assert_close(spmm(edge_index, x), wanted)


needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="inductor needs a C++ compiler"
)


@pytest.mark.slow
@needs_compiler
def test_inductor_reuses_buffers() -> None:
    """Inductor writes one index after another into the same buffer, and tells torch nothing of it."""

    def hops(index: Tensor, x: Tensor) -> Tensor:
        for k in range(2):
            late = (x[0, 0] > 1e9).long()  # makes each index wait for the sum before
            x = scatter(x, (index + k + late) % 37, 37)
        return x

    index, x = MIXED.edge_index[0, :37].contiguous(), torch.rand(37, 3)
    compiled = torch.compile(hops, fullgraph=True, backend="inductor")
    for _ in range(2):
        assert_close(compiled(index, x), hops(index, x))


@pytest.mark.slow
@needs_compiler
def test_inductor_trains() -> None:
    x, w = data(MIXED.edge_index, 37)

    def layer(adj: Any, x: Tensor, w: Tensor) -> list[Tensor]:
        csr = as_csr(adj, x.shape[0]).add_self_loops()
        return [spmm(csr, x, torch.cat([w, w.new_ones(x.shape[0])]))]

    compiled = torch.compile(layer, fullgraph=True, backend="inductor")
    assert_close(step(compiled, MIXED.edge_index, x, w), step(layer, MIXED.edge_index, x, w))
