"""What is special about the gated, signed, edge-conditioned and self-supervised layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradgradcheck

from gnnlib.nn import FAConv, GatedGraphConv, NNConv, ResGatedGraphConv, RGCNConv, SuperGATConv
from gnnlib.nn.conv.nnconv import _last_map
from gnnlib.nn.conv.supergat import missing_pairs
from gnnlib.sparse import as_csr
from tests.nn.cases import awkward_graph
from tests.nn.graphs import cycle
from tests.nn.test_parity_gates import everything
from tests.tolerances import assert_close

N, F_IN = 20, 6


def x_of(n: int = N, width: int = F_IN) -> Tensor:
    return torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(n))


# -- ResGatedGraphConv --------------------------------------------------------------------------------


def test_open_and_closed_gates() -> None:
    """A large bias opens all gates: a sum of mapped neighbours; a small one closes them."""
    layer = ResGatedGraphConv(F_IN, 4, bias=False).double()
    x, edge_index = x_of(), awkward_graph()
    nn.init.zeros_(layer.lin_key.weight)
    nn.init.zeros_(layer.lin_query.weight)
    for bias, share in ((1e4, 1.0), (0.0, 0.5), (-1e4, 0.0)):
        nn.init.constant_(layer.lin_key.bias, bias)
        nn.init.zeros_(layer.lin_query.bias)
        value = layer.lin_value(x)
        sums = torch.zeros(N, 4, dtype=torch.float64).index_add(0, edge_index[1], value[edge_index[0]])
        assert_close(layer(x, edge_index), share * sums + layer.lin_skip(x))


def test_another_function_of_the_gate_is_the_same_formula() -> None:
    """The way with a message for each edge agrees with the one without."""
    fused = ResGatedGraphConv(F_IN, 4, edge_dim=3).double()
    plain = ResGatedGraphConv(F_IN, 4, act=lambda z: z.sigmoid(), edge_dim=3).double()
    plain.load_state_dict(fused.state_dict())
    x, edge_index = x_of(), awkward_graph()
    attr = torch.randn(60, 3, dtype=torch.float64)
    assert_close(fused(x, edge_index, attr), plain(x, edge_index, attr))


def test_lazy_width_with_edge_features() -> None:
    lazy, ready = ResGatedGraphConv(-1, 4, edge_dim=3), ResGatedGraphConv(F_IN, 4, edge_dim=3)
    x, attr = x_of().float(), torch.randn(60, 3)
    lazy(x, awkward_graph(), attr)
    assert {k: v.shape for k, v in lazy.state_dict().items()} == {
        k: v.shape for k, v in ready.state_dict().items()
    }


# -- FAConv -------------------------------------------------------------------------------------------


def test_signed_weights() -> None:
    """Large scores give +1 everywhere, the normalised sum; the opposite scores its negative."""
    layer = FAConv(1, eps=0.0, add_self_loops=False).double()
    x, edge_index = x_of(8, 1).abs() + 1, cycle(8)
    for sign in (1, -1):
        nn.init.constant_(layer.att_l.weight, 50.0 * sign)
        nn.init.zeros_(layer.att_r.weight)
        neighbours = torch.zeros(8, 1, dtype=torch.float64).index_add(0, edge_index[1], x[edge_index[0]])
        assert_close(layer(x, x, edge_index), sign * neighbours / 2)


def test_fa_keeps_the_first_graph_when_asked() -> None:
    layer = FAConv(F_IN, cached=True).double()
    x = x_of()
    first = layer(x, x, awkward_graph())
    assert torch.equal(layer(x, x, awkward_graph().flip(0)), first)
    layer.reset_parameters()
    assert layer._cached is None


# -- NNConv -------------------------------------------------------------------------------------------


def test_networks_are_taken_apart_at_their_last_map() -> None:
    last = nn.Linear(4, 12)
    hooked = nn.Linear(4, 12)
    hooked.register_forward_hook(lambda *_: None)
    relu = nn.ReLU()
    for network, parts, found in (
        (last, [], last),
        (nn.Sequential(relu, last), [relu], last),
        (nn.Sequential(relu, nn.Sequential(relu, last)), [relu, relu], last),
        (nn.Sequential(last, relu), None, None),
        (nn.Sequential(), None, None),
        (nn.Sequential(relu, hooked), None, None),
        (torch.tanh, None, None),
    ):
        before, map_ = _last_map(network)
        assert map_ is found
        assert parts is None or [id(p) for p in before] == [id(p) for p in parts]


def test_a_watched_map_is_called() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, F_IN * 4))
    layer, x = NNConv(F_IN, 4, network).double(), x_of()
    attr = torch.randn(60, 2, dtype=torch.float64)
    expected, seen = layer(x, awkward_graph(), attr), []
    network[1].register_forward_hook(lambda *_: seen.append(1))
    assert_close(layer(x, awkward_graph(), attr), expected)
    assert seen


def test_one_number_an_edge() -> None:
    layer, x = NNConv(F_IN, 4, nn.Linear(1, F_IN * 4)).double(), x_of()
    attr = torch.randn(60, dtype=torch.float64)
    assert_close(layer(x, awkward_graph(), attr), layer(x, awkward_graph(), attr[:, None]))


# -- SuperGATConv -------------------------------------------------------------------------------------


@pytest.mark.parametrize("both_ways", [True, False])
def test_missing_pairs(both_ways: bool) -> None:
    edge_index = awkward_graph()
    edges = set(map(tuple, edge_index.t().tolist()))
    edges |= {(j, i) for i, j in edges} if both_ways else set()
    found = missing_pairs(as_csr(edge_index, N), 100, both_ways=both_ways)
    pairs = set(map(tuple, found.t().tolist()))
    assert found.shape == (2, 100)
    assert len(pairs) == 100
    assert not pairs & edges
    assert 0 <= int(found.min()) <= int(found.max()) < N


def test_missing_pairs_stay_within_their_graph() -> None:
    batch = torch.tensor([0] * 3 + [1] * 12 + [2] * 5)
    found = missing_pairs(as_csr(torch.empty(2, 0, dtype=torch.int64), N), 90, both_ways=True, batch=batch)
    assert torch.equal(batch[found[0]], batch[found[1]])
    assert set(batch[found[0]].tolist()) == {0, 1, 2}


def test_missing_pairs_of_full_and_empty_graphs() -> None:
    full = torch.cartesian_prod(torch.arange(4), torch.arange(4)).t()
    assert missing_pairs(as_csr(full, 4), 9, both_ways=True).shape == (2, 0)
    assert missing_pairs(as_csr(full[:, 1:], 4), 9, both_ways=False).tolist() == [[0], [0]]
    assert missing_pairs(as_csr(full[:, :0], 0), 9, both_ways=True).shape == (2, 0)


def test_missing_pairs_are_even() -> None:
    """Every pair is drawn about equally often."""
    adj, count = as_csr(torch.tensor([[0, 1], [1, 2]]), 4), torch.zeros(4, 4)
    for _ in range(600):
        a, b = missing_pairs(adj, 5, both_ways=False)
        count[a, b] += 1
    free = count[count > 0]
    assert free.numel() == 14
    assert (free / (600 * 5 / 14) - 1).abs().max() < 0.25


@pytest.mark.parametrize("kind", ["MX", "SD"])
def test_the_loss_teaches_dot_products(kind: Any) -> None:
    """Edges of two cliques against missing pairs: some steps on the loss alone tell them apart."""
    pairs = torch.cartesian_prod(torch.arange(6), torch.arange(6)).t()
    edge_index = torch.cat([pairs, pairs + 6], 1)
    layer, x = SuperGATConv(12, 8, heads=2, attention_type=kind, neg_sample_ratio=1.0), torch.eye(12)
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    losses = []
    for _ in range(60):
        layer(x, edge_index)
        loss = layer.get_attention_loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]


def test_sampled_edges_and_errors() -> None:
    layer = SuperGATConv(F_IN, 4, edge_sample_ratio=0.5, neg_sample_ratio=0.5)
    with pytest.raises(ValueError, match="no call in training"):
        layer.get_attention_loss()
    edge_index = torch.randint(0, 200, (2, 2000))
    layer(torch.randn(200, F_IN), edge_index)
    edges = int(layer.att_y.sum())
    total = as_csr(edge_index, 200).add_self_loops(remaining=False).num_edges
    assert 0.4 * total < edges < 0.6 * total
    assert layer.att_y.numel() - edges == int(0.25 * total)
    layer(torch.randn(200, F_IN), edge_index, batch=torch.arange(200) // 50)
    for options, message in (
        ({"attention_type": "XM"}, "choose 'MX' or 'SD'"),
        ({"neg_sample_ratio": 0.0}, "the first must be above 0"),
        ({"edge_sample_ratio": 1.5}, "at most 1"),
    ):
        with pytest.raises(ValueError, match=message):
            SuperGATConv(F_IN, 4, **options)


# -- errors -------------------------------------------------------------------------------------------


def test_wrong_inputs_fail_clearly() -> None:
    x, edge_index, attr = torch.randn(N, F_IN), awkward_graph(), torch.randn(60, 3)
    res, nnc, fa = ResGatedGraphConv(F_IN, 4), NNConv(F_IN, 4, nn.Linear(3, 24)), FAConv(F_IN)
    with_edges = ResGatedGraphConv(F_IN, 4, edge_dim=3)
    for call, message in (
        (lambda: res(x, edge_index, attr), "edge_attr came but edge_dim=None"),
        (lambda: with_edges(x, edge_index), "no edge_attr came but edge_dim=3"),
        (lambda: with_edges(x, edge_index, attr[:, :2]), r"expected \[60, 3\]"),
        (lambda: res((x, None), edge_index), "the gates need the targets"),
        (lambda: nnc(x, edge_index), "no edge_attr came"),
        (lambda: nnc(x, edge_index, attr[:9]), "9 rows but the graph has 60 edges"),
        (lambda: fa(x, x[:, :2], edge_index), "x_0 has shape"),
        (lambda: fa(x, x, edge_index, attr[:, 0]), "edge_weight came with normalize=True"),
        (lambda: FAConv(F_IN, normalize=False)(x, x, edge_index), "needs edge_weight"),
        (lambda: GatedGraphConv(4, 2)(x, edge_index), "x has 6 features but out_channels=4"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


# -- compiled, and differentiated twice ---------------------------------------------------------------


@pytest.mark.parametrize(("make", "call"), everything(), ids=lambda v: getattr(v, "__name__", ""))
def test_compiled(make: Any, call: Callable[..., Tensor]) -> None:
    """One graph without a break, forward and backward; other sizes trace at most once more."""
    import gnnlib.nn

    torch._dynamo.reset()
    layer = make(gnnlib.nn, F_IN).double().eval()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    hyper = type(layer).__name__ == "HypergraphConv"
    for seed in (0, 1):
        edge_index = torch.randint(0, 17, (2, 60), generator=torch.Generator().manual_seed(seed))
        results = []
        for run in (layer, compiled):
            x = x_of().requires_grad_()
            wrapped = (lambda *a, run=run, **k: run(*a, **k, num_edges=17)) if hyper else run
            wrapped = wrapped if hyper else _Evaluated(run)
            out = call(wrapped, x, edge_index)
            grads = torch.autograd.grad(out.square().sum(), [x, *layer.parameters()], allow_unused=True)
            results.append([out, *(torch.zeros(()) if g is None else g for g in grads)])
        assert_close(results[1], results[0])


class _Evaluated:
    """Passes a call on; ``eval()`` is the module itself, which is in that mode already."""

    def __init__(self, run: Callable[..., Tensor]) -> None:
        self.run = run

    def eval(self) -> _Evaluated:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.run(*args, **kwargs)


@pytest.mark.parametrize(
    ("layer", "call"),
    [
        (ResGatedGraphConv(3, 2, edge_dim=2), lambda layer, x, e, a: layer(x, e, a)),
        (RGCNConv(3, 2, 2), lambda layer, x, e, a: layer(x, e, torch.arange(e.size(1)) % 2)),
        (NNConv(3, 2, nn.Linear(2, 6)), lambda layer, x, e, a: layer(x, e, a)),
        (FAConv(3), lambda layer, x, e, a: layer(x, x, e)),
    ],
    ids=["res", "rgcn", "nn", "fa"],
)
def test_second_derivative(layer: nn.Module, call: Callable[..., Tensor]) -> None:
    edge_index, attr = awkward_graph(6, 9), torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    x = x_of(6, 3).requires_grad_()
    layer = layer.double()
    assert gradgradcheck(lambda x, a: call(layer, x, edge_index, a), (x, attr), fast_mode=True)
