"""Layers of several hops and spectral layers: matrix algebra on small graphs, and what each paper says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor, nn

from gnnlib.nn import (
    APPNP,
    ARMAConv,
    ChebConv,
    ClusterGCNConv,
    GCN2Conv,
    LGConv,
    MixHopConv,
    SGConv,
    SSGConv,
    TAGConv,
)
from gnnlib.sparse import as_csr
from tests.nn.cases import awkward_graph, plain_graph
from tests.nn.graphs import cycle, dense, normalised, with_loops
from tests.tolerances import assert_close

N, F_IN = 20, 6
WIDTHS = pytest.mark.parametrize("out_channels", [4, 9])


def features(n: int = N) -> Tensor:
    return torch.randn(n, F_IN, dtype=torch.float64)


def powers(a: Tensor, x: Tensor, k: int) -> list[Tensor]:
    out = [x]
    for _ in range(k):
        out.append(a @ out[-1])
    return out


def operator(loops: bool) -> Tensor:
    a = dense(plain_graph(), N)
    return normalised(with_loops(a) if loops else a)


# -- polynomials --------------------------------------------------------------------------------------


def test_lg_is_one_step_without_loops() -> None:
    x = features()
    assert_close(LGConv()(x, plain_graph()), operator(False) @ x)
    assert_close(LGConv(normalize=False)(x, plain_graph()), dense(plain_graph(), N) @ x)
    assert not list(LGConv().parameters())


@WIDTHS
@pytest.mark.parametrize("k", [0, 1, 4])
@pytest.mark.parametrize("cached", [False, True])
def test_ssg_is_a_mean_of_powers(out_channels: int, k: int, cached: bool) -> None:
    conv = SSGConv(F_IN, out_channels, 0.3, K=k, cached=cached).double()
    x = features()
    h = 0.3 * x
    if k:
        h = h + 0.7 / k * torch.stack(powers(operator(True), x, k)[1:]).sum(0)
    for _ in range(2):
        assert_close(conv(x, plain_graph()), conv.lin(h))


@WIDTHS
def test_tag_is_a_polynomial(out_channels: int) -> None:
    conv = TAGConv(F_IN, out_channels, K=3).double()
    x = features()
    expected = sum(lin(h) for lin, h in zip(conv.lins, powers(operator(False), x, 3), strict=True))
    assert_close(conv(x, plain_graph()), expected + conv.bias)


@pytest.mark.parametrize("make", [lambda: TAGConv(F_IN, 4, K=2), lambda: ChebConv(F_IN, 4, 3)])
def test_a_watched_map_sees_what_it_maps(make: Callable[[], Any]) -> None:
    """Narrow maps run before the steps, unless somebody watches them; the result is the same."""
    conv, x = make().double(), features()
    before = conv(x, plain_graph())
    seen: list[Tensor] = []
    conv.lins[2].register_forward_hook(lambda module, args, out: seen.append(args[0]))
    assert_close(conv(x, plain_graph()), before)
    if isinstance(conv, TAGConv):
        assert_close(seen[0], powers(operator(False), x, 2)[2])
    assert not torch.equal(seen[0], x)


def test_mixhop_puts_powers_side_by_side() -> None:
    conv = MixHopConv(F_IN, 3, [2, 0]).double()
    x = features()
    hops = powers(operator(True), x, 2)
    assert isinstance(conv.lins[1], nn.Identity)
    expected = torch.cat([conv.lins[2](hops[2]), conv.lins[0](hops[0])], dim=1)
    assert_close(conv(x, plain_graph()), expected + conv.bias)
    alone = MixHopConv(F_IN, 3, [0], bias=False).double()
    assert_close(alone(x, plain_graph()), alone.lins[0](x))
    for bad in ([], [1, -1]):
        with pytest.raises(ValueError, match="at least one power, none of them negative"):
            MixHopConv(F_IN, 3, bad)


# -- Chebyshev ----------------------------------------------------------------------------------------


def scaled_laplacian(normalization: str | None, top: float | None = None) -> Tensor:
    """Of the undirected plain graph."""
    edge_index = plain_graph()
    a = dense(torch.cat([edge_index, edge_index.flip(0)], dim=1), N)
    d = a.sum(1)
    if normalization is None:
        laplacian = torch.diag(d) - a
    else:
        mean = normalised(a) if normalization == "sym" else a / d.clamp(min=1)
        laplacian = torch.eye(N, dtype=torch.float64) - mean
    top = 2 * float(laplacian.max()) if top is None else top
    return 2 / top * laplacian - torch.eye(N, dtype=torch.float64)


@WIDTHS
@pytest.mark.parametrize("normalization", ["sym", "rw", None])
@pytest.mark.parametrize("top", [None, 1.5])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_cheb_is_a_chebyshev_series(out_channels: int, normalization: Any, top: float | None, k: int) -> None:
    conv = ChebConv(F_IN, out_channels, k, normalization).double()
    x, edge_index = features(), plain_graph()
    z = scaled_laplacian(normalization, top)
    terms = [torch.eye(N, dtype=torch.float64), z]
    while len(terms) < k:
        terms.append(2 * z @ terms[-1] - terms[-2])
    expected = sum(lin(t @ x) for lin, t in zip(conv.lins, terms, strict=False)) + conv.bias
    both = torch.cat([edge_index, edge_index.flip(0)], dim=1)
    assert_close(conv(x, both, lambda_max=top), expected)


def test_cheb_does_not_see_loops() -> None:
    conv = ChebConv(F_IN, 4, 3).double()
    x, edge_index = features(), plain_graph()
    looped = torch.cat([edge_index, torch.arange(5).repeat(2, 1)], dim=1)
    weight = torch.rand(edge_index.size(1), dtype=torch.float64)
    more = torch.cat([weight, weight.new_full((5,), torch.nan)])
    assert_close(conv(x, looped, more), conv(x, edge_index, weight))
    plain = ChebConv(F_IN, 4, 3, normalization=None).double()
    more[-5:] = -100  # would be the largest entry of L
    assert_close(plain(x, looped, more), plain(x, edge_index, weight))


def test_cheb_of_a_graph_without_edges_is_finite() -> None:
    conv = ChebConv(F_IN, 4, 3, normalization=None)
    x = torch.randn(5, F_IN).requires_grad_()
    out = conv(x, torch.empty(2, 0, dtype=torch.int64))
    out.sum().backward()
    assert out.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_cheb_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="K=0 leaves no term"):
        ChebConv(3, 4, 0)
    with pytest.raises(ValueError, match="normalization='row' is unknown"):
        ChebConv(3, 4, 2, normalization="row")  # type: ignore[arg-type]


# -- the others ---------------------------------------------------------------------------------------


def test_arma_of_one_layer_is_a_map_of_neighbours_and_self() -> None:
    conv = ARMAConv(F_IN, 4, num_stacks=3, act=None).double()
    x = features()
    assert conv.bias is not None
    stacks = [
        operator(False) @ x @ conv.init_weight[k] + x @ conv.root_weight[0, k] + conv.bias[0, k]
        for k in range(3)
    ]
    assert_close(conv(x, plain_graph()), torch.stack(stacks).mean(0))


def test_arma_learns_its_width_with_the_shapes_of_a_ready_one() -> None:
    """PyG's lazy layer makes one skip map too many when there is one layer."""
    for options in ({}, {"num_layers": 3, "num_stacks": 2}, {"num_layers": 3, "shared_weights": True}):
        lazy, ready = ARMAConv(-1, 4, **options), ARMAConv(F_IN, 4, **options)
        assert repr(lazy).startswith("ARMAConv(-1, 4")
        lazy(features().float(), plain_graph())
        assert {k: v.shape for k, v in lazy.state_dict().items()} == {
            k: v.shape for k, v in ready.state_dict().items()
        }


@pytest.mark.parametrize("add_self_loops", [True, False])
@WIDTHS
def test_cluster_gcn_strengthens_the_diagonal(out_channels: int, add_self_loops: bool) -> None:
    conv = ClusterGCNConv(F_IN, out_channels, 0.4, add_self_loops).double()
    x, edge_index = features(), awkward_graph()  # has nodes with several loops, and without any
    a = dense(edge_index, N)
    if add_self_loops:
        a = a - torch.diag(a.diag()) + torch.eye(N, dtype=torch.float64)
    a = a / a.sum(1, keepdim=True).clamp(min=1)
    a = a + 0.4 * torch.diag(a.diag())
    assert_close(conv(x, edge_index), conv.lin_out(a @ x) + conv.lin_root(x))


def test_gcn2_by_its_formula() -> None:
    x, x_0, s = features(), features(), operator(True)
    for shared in (True, False):
        conv = GCN2Conv(F_IN, 0.2, theta=0.5, layer=3, shared_weights=shared).double()
        beta = math.log(0.5 / 3 + 1)
        eye = torch.eye(F_IN, dtype=torch.float64)
        first = (1 - beta) * eye + beta * conv.weight1
        second = first if conv.weight2 is None else (1 - beta) * eye + beta * conv.weight2
        assert_close(conv(x, x_0, plain_graph()), 0.8 * s @ x @ first + 0.2 * x_0 @ second)
    alone = GCN2Conv(F_IN, 1.0).double()
    assert_close(alone(x, x_0, plain_graph()), x_0 @ alone.weight1)


def test_gcn2_takes_every_graph_format_and_keeps_a_cached_graph() -> None:
    conv, x, edge_index = GCN2Conv(F_IN, 0.2).double(), features(), plain_graph()
    expected = conv(x, x, edge_index)
    for graph in (edge_index.int(), as_csr(edge_index, N)):
        assert_close(conv(x, x, graph), expected)
    cached = GCN2Conv(F_IN, 0.2, cached=True).double()
    cached.load_state_dict(conv.state_dict())
    empty = torch.empty(2, 0, dtype=torch.int64)
    assert_close(cached(x, x, edge_index), expected)
    assert_close(cached(x, x, empty), expected)
    cached.reset_parameters()
    cached.load_state_dict(conv.state_dict())
    assert not torch.allclose(cached(x, x, empty), expected)


def test_gcn2_fails_clearly() -> None:
    with pytest.raises(ValueError, match=r"theta=0\.5 and layer=None must come together"):
        GCN2Conv(4, 0.1, theta=0.5)
    conv = GCN2Conv(F_IN, 0.1).double()
    with pytest.raises(ValueError, match="x_0 has 3 features but channels=6"):
        conv(features(), features()[:, :3], plain_graph())
    with pytest.raises(ValueError, match="x_0 has 5 rows but x has 20"):
        conv(features(), features()[:5], plain_graph())


# -- compiled, and in mixed precision -----------------------------------------------------------------

MODELS: dict[str, Callable[[], nn.Module]] = {
    "APPNP": lambda: APPNP(3, 0.1),
    "ARMAConv": lambda: ARMAConv(F_IN, 4, num_stacks=2, num_layers=2),
    "ChebConv": lambda: ChebConv(F_IN, 4, 3),
    "ChebConv-wide": lambda: ChebConv(F_IN, 9, 3, normalization=None),
    "ClusterGCNConv": lambda: ClusterGCNConv(F_IN, 4, 0.3),
    "GCN2Conv": lambda: _Start(GCN2Conv(F_IN, 0.1, 0.5, 1)),
    "LGConv": lambda: LGConv(),
    "MixHopConv": lambda: MixHopConv(F_IN, 4),
    "SGConv": lambda: SGConv(F_IN, 4, K=2),
    "SSGConv": lambda: SSGConv(F_IN, 9, 0.1, K=2),
    "TAGConv": lambda: TAGConv(F_IN, 4),
    "TAGConv-wide": lambda: TAGConv(F_IN, 9),
}


class _Start(nn.Module):
    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, edge_index: Any) -> Tensor:
        out: Tensor = self.conv(x, x.tanh(), edge_index)
        return out


@pytest.mark.parametrize("name", MODELS)
def test_compiled_as_one_graph_for_all_sizes(name: str) -> None:
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    model = MODELS[name]()
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for n, e in ((12, 40), (17, 55), (23, 31)):
        edge_index = torch.randint(0, n, (2, e))
        results = []
        for run in (model, compiled):
            x = torch.randn(n, F_IN, generator=torch.Generator().manual_seed(n), requires_grad=True)
            out = run(x, edge_index)
            results.append([out, *torch.autograd.grad(out.square().sum(), [x, *model.parameters()])])
        assert_close(results[1], results[0])
    assert counter.frame_count <= 2


@pytest.mark.parametrize("name", MODELS)
def test_autocast(name: str) -> None:
    model, x = MODELS[name](), features().float().requires_grad_()
    exact = model(x, plain_graph())
    with torch.autocast("cpu", torch.bfloat16):
        out = model(x, plain_graph())
    assert_close(out.float() / exact.abs().max(), exact / exact.abs().max(), torch.bfloat16)
    grads = torch.autograd.grad(out.float().square().sum(), [x, *model.parameters()])
    assert all(g.isfinite().all() for g in grads)


def test_every_hop_of_a_cycle() -> None:
    """On a cycle of even length the unlooped operator swaps the two halves."""
    x = torch.tensor([[1.0], [0.0]] * 4, dtype=torch.float64)
    for k in range(4):
        conv = TAGConv(1, 1, K=k, bias=False).double()
        with torch.no_grad():
            for i, lin in enumerate(conv.lins):
                lin.weight.fill_(float(i == k))
        assert_close(conv(x, cycle(8)), x if k % 2 == 0 else 1 - x)
