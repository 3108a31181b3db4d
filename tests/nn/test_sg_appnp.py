from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gnnlib.nn import APPNP, SGConv
from gnnlib.nn.conv.gcn_norm import gcn_norm
from gnnlib.sparse import as_csr
from tests.nn.cases import plain_graph
from tests.nn.graphs import cycle, dense, normalised, with_loops
from tests.tolerances import assert_close

N = 20


def operator() -> torch.Tensor:
    return normalised(with_loops(dense(plain_graph(), N)))


@pytest.mark.parametrize("out_channels", [3, 9])
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("k", [0, 1, 4])
def test_sgc_is_a_power_of_the_operator(out_channels: int, cached: bool, k: int) -> None:
    conv = SGConv(5, out_channels, K=k, cached=cached).double()
    x = torch.randn(N, 5, dtype=torch.float64)
    expected = conv.lin(torch.linalg.matrix_power(operator(), k) @ x)
    assert_close(conv(x, plain_graph()), expected)
    assert_close(conv(x, plain_graph()), expected)
    assert_close(conv.lin(conv.precompute(x, plain_graph())), expected)


def test_sgc_is_linear() -> None:
    conv = SGConv(5, 3, K=2, bias=False).double()
    x, y = torch.randn(2, N, 5, dtype=torch.float64)
    assert_close(conv(2 * x - y, plain_graph()), 2 * conv(x, plain_graph()) - conv(y, plain_graph()))


def test_sgc_ends_in_the_stationary_vector() -> None:
    # On a connected graph S^K tends to the projector on sqrt(degree).
    edge_index = torch.cat([cycle(7), torch.tensor([[0, 3], [3, 0]])], dim=1)
    d = with_loops(dense(edge_index, 7)).sum(1)
    x = torch.randn(7, 2, dtype=torch.float64)
    out = SGConv(2, 2, K=400).precompute(x, edge_index)
    assert_close(out, torch.outer(d.sqrt(), d.sqrt()) / d.sum() @ x)


def test_appnp_by_hand() -> None:
    # Two nodes joined both ways: S is 1/2 everywhere, so one step with alpha 1/4 gives 3/4 mean + 1/4 x.
    out = APPNP(1, 0.25)(torch.tensor([[0.0], [4.0]]), torch.tensor([[0, 1], [1, 0]]))
    assert_close(out, torch.tensor([[1.5], [2.5]]))


def test_appnp_limits() -> None:
    x = torch.randn(N, 5, dtype=torch.float64)
    assert_close(APPNP(10, 1.0)(x, plain_graph()), x)
    assert_close(APPNP(0, 0.1)(x, plain_graph()), x)
    assert_close(APPNP(3, 0.0)(x, plain_graph()), torch.linalg.matrix_power(operator(), 3) @ x)
    pagerank = 0.2 * torch.linalg.solve(torch.eye(N) - 0.8 * operator(), x)
    assert_close(APPNP(200, 0.2)(x, plain_graph()), pagerank)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("normalize", [True, False])
def test_appnp_drops_edges_anew_at_each_step(weighted: bool, normalize: bool) -> None:
    x, edge_index = torch.randn(N, 5, dtype=torch.float64), plain_graph()
    weight = torch.rand(60, dtype=torch.float64) if weighted else None
    prop = APPNP(3, 0.1, dropout=0.5, normalize=normalize)
    assert_close(
        prop.eval()(x, edge_index, weight), APPNP(3, 0.1, normalize=normalize)(x, edge_index, weight)
    )
    torch.manual_seed(1)
    out = prop.train()(x, edge_index, weight)

    adj = as_csr(edge_index, N)
    step = gcn_norm(adj, weight, x) if normalize else None
    graph = adj if step is None else step.adj
    base = weight if step is None else step.weight
    base = torch.ones(graph.num_values, dtype=torch.float64) if base is None else base
    scale = torch.ones(N, dtype=torch.float64) if step is None else step.scale
    assert scale is not None
    torch.manual_seed(1)
    h = x
    for _ in range(3):
        s = scale[:, None] * graph.to_dense(F.dropout(base, 0.5)) * scale[None]
        h = 0.9 * (s @ h) + 0.1 * x
    assert_close(out, h)


def test_cached_graphs_and_features() -> None:
    x, empty = torch.randn(N, 5), torch.empty(2, 0, dtype=torch.int64)
    for layer in (APPNP(3, 0.1, cached=True), SGConv(5, 3, K=2, cached=True)):
        first = layer(x, plain_graph())
        assert torch.equal(layer(x, empty), first)
        layer.reset_parameters()
        assert layer(x, empty).shape == first.shape
        assert not torch.equal(layer(x, empty), first)
