"""Attention: dropout, returned weights, rows without a score, memory, and the messages of bad input."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from gnnlib.sparse import CSR, as_csr, edge_attention, use_backend
from gnnlib.sparse.ops.edge_attention.dropout import keep_factor
from tests.sparse import oracle
from tests.sparse.cases import leaves
from tests.sparse.graphs import MIXED, TINY
from tests.tolerances import assert_close

SCORES = ("additive", "dot", "gatv2")


def arguments(
    score: Any, rows: int, cols: int, edges: int, *, heads: int = 2, depth: int = 5, edge: bool = False
) -> dict[str, Tensor]:
    """Random arguments of one score, in float64."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64)

    if score == "additive":
        found = {"x_dst": draw(rows, heads), "x_src": draw(cols, heads), "value": draw(cols, heads, depth)}
        return found | ({"edge": draw(edges, heads)} if edge else {})
    found = {"x_dst": draw(rows, heads, depth), "x_src": draw(cols, heads, depth)}
    if score == "dot":
        found["value"] = draw(cols, heads, depth)
        return found | ({"edge": draw(edges, heads)} if edge else {})
    found["att"] = draw(heads, depth)
    return found | ({"edge": draw(edges, 3), "edge_map": draw(3, heads, depth)} if edge else {})


def mixed(score: Any, **options: Any) -> dict[str, Tensor]:
    return arguments(score, MIXED.num_rows, MIXED.num_cols, MIXED.num_edges, **options)


@pytest.mark.parametrize("edge", [False, True], ids=["", "edge"])
@pytest.mark.parametrize("score", SCORES)
def test_dropout_is_the_same_on_every_backend_and_in_the_backward(score: Any, edge: bool) -> None:
    given = mixed(score, edge=edge)

    def run(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return edge_attention(
            MIXED.adj,
            score=score,
            dropout=0.4,
            seed=11,
            return_attention_weights=True,
            **dict(zip(given, tensors, strict=True)),
        )

    found = []
    for backend in ("cpu", "reference"):
        with use_backend(backend):
            held = leaves(list(given.values()))
            out = run(*held)
            found.append([*out, *torch.autograd.grad(out, held, [torch.ones_like(o) for o in out])])
    assert_close(found[0], found[1])
    assert (found[0][1] == 0).any()


@pytest.mark.parametrize("score", SCORES)
def test_gradients_with_dropout_and_weights(score: Any) -> None:
    given = arguments(score, TINY.num_rows, TINY.num_cols, TINY.num_edges, depth=2, edge=True)

    def run(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return edge_attention(
            TINY.adj,
            score=score,
            dropout=0.4,
            seed=11,
            return_attention_weights=True,
            **dict(zip(given, tensors, strict=True)),
        )

    held = leaves(list(given.values()))
    assert gradcheck(run, held)
    assert gradgradcheck(run, held)


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_additive_gradients_to_nodes_equal_those_through_the_edges(backend: str, rate: float) -> None:
    """Without an edge term the backward takes kept sums; with one it goes through the edges."""
    given = mixed("additive", heads=3, depth=37)
    given["x_dst"][3] = -given["x_src"].max() - 1  # a target all of whose edges are below 0
    given["x_dst"][4] = -given["x_src"].min() + 1  # and one all of whose edges are above
    zeros = torch.zeros(MIXED.num_edges, 3, dtype=torch.float64)
    found = []
    for more in ({}, {"edge": zeros}):
        held = leaves(list(given.values()))
        tensors = dict(zip(given, held, strict=True))
        out = edge_attention(MIXED.adj, score="additive", dropout=rate, seed=5, **tensors, **more)
        upstream = torch.sin(torch.arange(out.numel())).view_as(out)
        found.append([out, *torch.autograd.grad(out, held, upstream)])
    assert_close(found[0], found[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("heads", [1, 3, 4, 5, 8, 9, 17])
def test_additive_gradients_with_any_number_of_heads(heads: int, dtype: torch.dtype) -> None:
    """Heads share a vector of the CPU's, or need several."""
    given = mixed("additive", heads=heads, depth=3)
    given["x_src"][2] = -torch.inf  # a source that no target attends to
    found = []
    for name in ("cpu", "reference"):
        with use_backend(name):
            held = leaves([t.to(dtype) for t in given.values()])
            out = edge_attention(MIXED.adj, *held, "additive", dropout=0.3, seed=5)
            grads = torch.autograd.grad(out, held, torch.sin(torch.arange(out.numel())).view_as(out).to(out))
            found.append([out, *grads])
    assert_close(found[0], found[1])


def test_additive_gradients_of_a_hub_row_and_a_hub_source() -> None:
    """Rows that are cut into pieces, both ways round."""
    n = 9000
    ring = torch.stack([torch.arange(n), torch.arange(n).roll(1)])
    hub = torch.stack([torch.arange(n), torch.zeros(n, dtype=torch.int64)])
    edge_index = torch.cat([ring, hub, hub.flip(0)], dim=1)
    given = arguments("additive", n, n, edge_index.shape[1], heads=2, depth=9)
    found = []
    for name in ("cpu", "reference"):
        with use_backend(name):
            held = leaves([t.float() for t in given.values()] if name == "cpu" else list(given.values()))
            out = edge_attention(as_csr(edge_index, n), *held, "additive", dropout=0.3, seed=5)
            grads = torch.autograd.grad(out, held, torch.sin(torch.arange(out.numel())).view_as(out).to(out))
            found.append([t.float() for t in (out, *grads)])
    for ours, exact in zip(*found, strict=True):
        # Sums of 9,000 rounded terms: a relative error of 2^-24 each, added up like a random walk.
        torch.testing.assert_close(ours, exact, rtol=1e-4, atol=2e-4)


def test_dropout_keeps_the_mean_and_the_seed_decides() -> None:
    rate, edges = 0.3, 200_000
    factor = keep_factor(torch.tensor([5]), edges, 2, rate, torch.float64)
    assert set(factor.unique().tolist()) == {0.0, 1 / (1 - rate)}
    # five standard deviations of the mean of so many draws
    assert abs(float((factor == 0).double().mean()) - rate) < 5 * (rate * (1 - rate) / factor.numel()) ** 0.5
    assert torch.equal(factor, keep_factor(torch.tensor([5]), edges, 2, rate, torch.float64))
    other = keep_factor(torch.tensor([6]), edges, 2, rate, torch.float64)
    agree = float((factor == other).double().mean())
    assert abs(agree - (rate**2 + (1 - rate) ** 2)) < 0.005  # independent of each other


@pytest.mark.parametrize("score", SCORES)
def test_returned_weights_are_a_softmax_in_the_callers_order(score: Any) -> None:
    given = mixed(score)
    out, alpha = edge_attention(MIXED.adj, score=score, return_attention_weights=True, **given)
    total = oracle.reduce(MIXED.edge_index[1], MIXED.num_rows, alpha, "sum")
    assert_close(total, (MIXED.adj.degree > 0).double()[:, None].expand_as(total))
    value = given.get("value", given["x_src"])
    message = alpha[:, :, None] * value[MIXED.edge_index[0]]
    assert_close(out, oracle.reduce(MIXED.edge_index[1], MIXED.num_rows, message, "sum"))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_row_without_a_finite_score_gives_zero_and_no_gradient(backend: str) -> None:
    edge_index = torch.tensor([[0, 1, 1], [0, 0, 1]])
    x_dst, x_src = torch.tensor([[-torch.inf], [0.0]]), torch.zeros(2, 1, requires_grad=True)
    value = torch.ones(2, 1, 3, requires_grad=True)
    with use_backend(backend):
        out = edge_attention(as_csr(edge_index, 2), x_dst, x_src, value)
        assert out[:, 0, 0].tolist() == [0.0, 1.0]
        out.sum().backward()
    assert value.grad is not None
    assert value.grad[:, 0, 0].tolist() == [0.0, 1.0]
    assert x_src.grad is not None
    assert x_src.grad.isfinite().all()


def test_large_scores_do_not_overflow() -> None:
    edge_index = torch.tensor([[0, 1], [0, 0]])
    scores = torch.tensor([[3e4], [3e4 - 1]])
    out = edge_attention(as_csr(edge_index, (2, 1)), torch.zeros(1, 1), scores, torch.eye(2)[:, None])
    assert_close(out[0, 0], torch.tensor([1.0, 0.0]).add(torch.tensor([-1.0, 1.0]) / (1 + torch.e)))


@pytest.mark.parametrize("score", SCORES)
def test_torch_func(score: Any) -> None:
    given = mixed(score)
    names = list(given)

    def loss(*tensors: Tensor) -> Tensor:
        return edge_attention(MIXED.adj, score=score, **dict(zip(names, tensors, strict=True))).pow(2).sum()

    held = leaves(list(given.values()))
    expected = torch.autograd.grad(loss(*held), held)
    found = torch.func.grad(loss, argnums=tuple(range(len(names))))(*given.values())
    assert_close(list(found), list(expected))


class Largest(TorchDispatchMode):
    """The largest number of elements that any operator returned."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(t, Tensor):
                self.most = max(self.most, t.numel())
        return out


def crowded() -> tuple[CSR, int, int, int]:
    nodes, edges, heads, depth = 400, 40_000, 2, 16
    return as_csr(torch.randint(nodes, (2, edges)), nodes), nodes, heads, depth


@pytest.mark.parametrize("edge", [False, True], ids=["", "edge"])
@pytest.mark.parametrize("score", SCORES)
def test_no_operator_returns_a_tensor_of_edges_times_features(score: Any, edge: bool) -> None:
    adj, nodes, heads, depth = crowded()
    adj.transposed  # noqa: B018 - built before counting begins
    given = arguments(score, nodes, nodes, adj.num_edges, heads=heads, depth=depth, edge=edge)
    held = leaves(list(given.values()))
    with Largest() as seen:
        out = edge_attention(adj, score=score, **dict(zip(given, held, strict=True)))
        torch.autograd.grad(out.sum(), held)
    assert 0 < seen.most <= 2 * adj.num_edges * heads  # weight and slope of each edge and head
    assert 2 * adj.num_edges * heads < adj.num_edges * heads * depth / 4


_MEMORY = """
import torch
from gnnlib.bench.memory import peak, why_not
from gnnlib.sparse import as_csr, edge_attention
from tests.sparse.test_edge_attention import arguments
if why_not():
    print("skip", why_not())
    raise SystemExit
torch.manual_seed(0)
nodes, edges, heads, depth, score = 4000, 400_000, 2, 64, {score!r}
adj = as_csr(torch.randint(nodes, (2, edges)), nodes)
given = {{k: v.float().requires_grad_() for k, v in
         arguments(score, nodes, nodes, edges, heads=heads, depth=depth).items()}}
def step():
    out = edge_attention(adj, score=score, **given)
    return torch.autograd.grad(out.sum(), list(given.values()))
step()
print(peak(step), 4 * edges * heads * depth)
"""


@pytest.mark.parametrize("score", SCORES)
def test_peak_memory_is_a_fraction_of_edges_times_features(score: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY.format(score=score)], capture_output=True, text=True, check=True
    )
    if done.stdout.startswith("skip"):
        pytest.skip(done.stdout[5:])
    used, messages = map(int, done.stdout.split())
    assert used < 0.25 * messages


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": "cosine"}, "score='cosine' is unknown"),
        ({"value": None}, "needs value"),
        ({"value": torch.zeros(37, 5)}, r"value has shape \[37, 5\]; expected \[C, H, D\]"),
        ({"x_src": torch.zeros(37, 3)}, r"x_src has shape \[37, 3\]; expected \[37, 2\]"),
        ({"edge": torch.zeros(1, 2)}, r"edge has shape \[1, 2\]"),
        ({"att": torch.zeros(2, 5)}, "att came"),
        ({"dropout": 0.5}, "dropout needs a seed"),
        ({"dropout": 1.5, "seed": 1}, "choose a probability"),
    ],
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    adj = as_csr(MIXED.edge_index, 37)
    given: dict[str, Any] = arguments("additive", 37, 37, adj.num_edges)
    given = {k: v.float() for k, v in given.items()} | change
    with pytest.raises(ValueError, match=message):
        edge_attention(adj, **given)


def test_integer_features_are_refused() -> None:
    given = mixed("dot")
    given["value"] = given["value"].long()
    with pytest.raises(TypeError, match=r"value is torch\.int64"):
        edge_attention(MIXED.adj, score="dot", **given)
