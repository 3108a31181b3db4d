"""DiGCN and DGCN against dense matrices and a dense eigenproblem."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnnlib.nn import DGCNConv, DiGCNConv, DiGCNInceptionConv
from gnnlib.nn.conv import digcn
from gnnlib.nn.conv.digcn import pagerank, pagerank_step
from gnnlib.sparse import as_csr
from tests.nn.cases import awkward_graph, plain_graph
from tests.nn.graphs import dense, normalised, with_loops
from tests.tolerances import assert_close

N, F_IN, F_OUT = 20, 6, 3
EYE = torch.eye(N, dtype=torch.float64)
WEIGHTED = pytest.mark.parametrize("weighted", [False, True])


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def weights(weighted: bool) -> Tensor | None:
    return torch.rand(plain_graph().size(1), dtype=torch.float64) + 0.5 if weighted else None


def walk(weight: Tensor | None = None, edge_index: Tensor | None = None) -> Tensor:
    """P, rows are sources."""
    a = with_loops(dense(plain_graph() if edge_index is None else edge_index, N, weight).t())
    return a / a.sum(1, keepdim=True)


def by_eigenproblem(p: Tensor, alpha: float) -> Tensor:
    """The stationary distribution of the chain with an auxiliary node, on the real nodes."""
    chain = torch.zeros(N + 1, N + 1, dtype=torch.float64)
    chain[:N, :N] = (1 - alpha) * p
    chain[:N, N] = alpha
    chain[N, :N] = 1 / N
    values, vectors = torch.linalg.eig(chain.t())
    pi = vectors[:, values.real.argmax()].real[:N]
    return pi / pi.sum()


def first_order(p: Tensor, alpha: float) -> Tensor:
    root = by_eigenproblem(p, alpha).sqrt()
    m = root[:, None] * p / root[None]
    return normalised((m + m.t()) / 2)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.6])
@pytest.mark.parametrize("graph", [plain_graph, awkward_graph])
def test_pagerank_solves_the_eigenproblem(alpha: float, graph: Any) -> None:
    adj = as_csr(graph(), N).add_self_loops()
    found = pagerank(adj, alpha, adj.col_degree)
    assert_close(found, by_eigenproblem(walk(edge_index=_with_own_loops(graph())), alpha))


def _with_own_loops(edge_index: Tensor) -> Tensor:
    """One loop for each node that has several, as the normalisation of loops keeps one."""
    loops = edge_index[0] == edge_index[1]
    return torch.cat([edge_index[:, ~loops], edge_index[:, loops].unique(dim=1)], dim=1)


@WEIGHTED
@pytest.mark.parametrize("out", [F_OUT, 9])
def test_digcn_is_the_dense_operator(weighted: bool, out: int) -> None:
    conv, x, weight = DiGCNConv(F_IN, out, alpha=0.2).double(), draw(N, F_IN), weights(weighted)
    expected = first_order(walk(weight), 0.2) @ x @ conv.lin.weight.t()
    assert_close(conv(x, plain_graph(), weight), expected)


def test_digcns_operator_is_symmetric_and_as_sparse_as_both_directions() -> None:
    step = pagerank_step(as_csr(plain_graph(), N), None, EYE, 0.1)
    found = step(EYE)
    assert_close(found, found.t())
    a = with_loops(dense(plain_graph(), N))
    assert torch.equal(found != 0, (a + a.t()) > 0)


def test_digcn_of_an_undirected_graph_tends_to_gcn() -> None:
    # Without teleport the distribution is the degrees' and the operator is S, whose rows are scaled again.
    ring = torch.stack([torch.arange(N), (torch.arange(N) + 1) % N])
    edge_index = torch.cat([plain_graph(), ring], dim=1)
    edge_index = torch.cat([edge_index, edge_index.flip(0)], dim=1).unique(dim=1)
    s = normalised(normalised(with_loops(dense(edge_index, N))))
    gaps = [
        float((pagerank_step(as_csr(edge_index, N), None, EYE, alpha)(EYE) - s).abs().max())
        for alpha in (0.1, 1e-5)
    ]
    assert gaps[0] > 1e-3
    assert gaps[1] < 1e-6


def meeting(p: Tensor) -> Tensor:
    common_source, common_target = p.t() @ p, p @ p.t()
    both = (common_source != 0) & (common_target != 0)
    return normalised(torch.where(both, (common_source + common_target) / 2, 0))


@WEIGHTED
@pytest.mark.parametrize("fuse", ["sum", "cat"])
def test_the_inception_block_is_its_three_dense_terms(weighted: bool, fuse: Any) -> None:
    conv = DiGCNInceptionConv(F_IN, F_OUT, fuse=fuse).double()
    nn.init.normal_(conv.bias)
    x, weight = draw(N, F_IN), weights(weighted)
    p = walk(weight)
    operators = (EYE, first_order(p, 0.1), meeting(p))
    terms = [s @ x @ lin.weight.t() for s, lin in zip(operators, conv.lins, strict=True)]
    expected = sum(terms) if fuse == "sum" else torch.cat(terms, dim=1)
    assert_close(conv(x, plain_graph(), weight), expected + conv.bias)


def test_a_cap_leaves_out_busy_meeting_points() -> None:
    x, cap = draw(N, F_IN), 4
    conv = DiGCNInceptionConv(F_IN, F_OUT, cap=cap).double()
    p = walk()
    by_source = torch.where((p != 0).sum(1, keepdim=True) <= cap, p, 0)
    by_target = torch.where((p != 0).sum(0, keepdim=True) <= cap, p, 0)
    a, b = by_source.t() @ by_source, by_target @ by_target.t()
    second = normalised(torch.where((a != 0) & (b != 0), (a + b) / 2, 0))
    assert not torch.equal(second, meeting(p))
    operators = (EYE, first_order(p, 0.1), second)
    expected = sum(s @ x @ lin.weight.t() for s, lin in zip(operators, conv.lins, strict=True))
    assert_close(conv(x, plain_graph()), expected)


@pytest.mark.parametrize(
    "make", [lambda: DiGCNConv(F_IN, 2), lambda: DiGCNInceptionConv(F_IN, 2, alpha=0.3, cap=3)]
)
def test_the_gradient_of_weights_passes_through_pagerank(make: Any) -> None:
    edge_index = torch.tensor([[0, 1, 2, 3, 1, 4], [1, 2, 3, 0, 1, 2]])
    conv, x = make().double(), draw(5, F_IN)
    weight = (torch.rand(6, dtype=torch.float64) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: conv(x, edge_index, w), (weight,))
    assert torch.autograd.gradgradcheck(lambda w: conv(x, edge_index, w), (weight,))


@WEIGHTED
@pytest.mark.parametrize("cap", [None, 2])
def test_compiled_layers_count_a_loop_of_the_graph_once(weighted: bool, cap: int | None) -> None:
    edge_index = torch.tensor([[0, 1, 2, 3, 1], [1, 2, 3, 0, 1]])
    x, weight = draw(4, F_IN), torch.rand(5, dtype=torch.float64) + 0.5 if weighted else None
    for conv in (DiGCNConv(F_IN, 2).double(), DiGCNInceptionConv(F_IN, 2, cap=cap).double()):
        torch._dynamo.reset()
        compiled = torch.compile(conv, backend="eager")
        assert_close(compiled(x, edge_index, weight), conv(x, edge_index, weight))


@WEIGHTED
@pytest.mark.parametrize("make", [plain_graph, awkward_graph])
def test_dgcn_is_its_three_dense_terms(weighted: bool, make: Any) -> None:
    graph = make()
    conv, x = DGCNConv(F_IN, F_OUT).double(), draw(N, F_IN)
    weight = torch.rand(graph.size(1), dtype=torch.float64) + 0.5 if weighted else None
    with torch.no_grad():
        conv.beta.copy_(torch.tensor([0.7, -0.2], dtype=torch.float64))
    a = dense(graph, N, weight).t()  # rows are sources

    def inverse(d: Tensor) -> Tensor:
        return torch.diag(torch.where(d > 0, 1 / d.clamp(min=1e-300), 0))

    graphs = (
        torch.maximum(a, a.t()),
        a.t() @ inverse(a.sum(1)) @ a,
        a @ inverse(a.sum(0)) @ a.t(),
    )
    factors = (1.0, 0.7, -0.2)
    terms = [f * normalised(g + EYE) @ x @ conv.lin.weight.t() for f, g in zip(factors, graphs, strict=True)]
    assert_close(conv(x, graph, weight), torch.cat(terms, dim=1))
    if not weighted:
        assert_close(conv(x, graph, torch.ones(graph.size(1), dtype=torch.float64)), conv(x, graph))


def test_wrong_options_and_hubs_fail_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    for build, message in (
        (lambda: DiGCNConv(2, 2, alpha=0.0), r"DiGCNConv: alpha=0\.0; pass a number between"),
        (lambda: DiGCNInceptionConv(2, 2, alpha=1.0), r"DiGCNInceptionConv: alpha=1\.0"),
        (lambda: DiGCNInceptionConv(2, 2, cap=0), "fuse='sum', cap=0"),
        (lambda: DGCNConv(2, 2, cap=0), "DGCNConv: cap=0"),
    ):
        with pytest.raises(ValueError, match=message):
            build()
    monkeypatch.setattr(digcn, "MAX_PRODUCTS", 50)
    with pytest.raises(ValueError, match=r"second order of this graph has \d+ products, .* pass cap"):
        DGCNConv(F_IN, 2)(torch.ones(N, F_IN), plain_graph())
